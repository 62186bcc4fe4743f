"""The service's application over replicas of Ray Serve, and what it follows in the registry."""

from collections.abc import Awaitable, Callable

from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from cyclegan_dist.data.domain_names import refuse_exchanged
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.orchestration.following import FollowedModel, looking_soon, report
from cyclegan_dist.orchestration.replicas import answerer_of, loader_of
from cyclegan_dist.orchestration.serving import ESTIMATED_SHARE, QUEUE, Served, ServingOptions
from cyclegan_dist.registry.sources import REGISTRY
from cyclegan_dist.service.access import Access
from cyclegan_dist.service.app import make_app
from cyclegan_dist.service.canary import Canary
from cyclegan_dist.service.messages import Limits
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.webhook import Webhook


def limits_of(options: ServingOptions, max_pixels: int) -> Limits:
    """The limits of a service whose replicas meet the deadline with images of `max_pixels`."""
    requests = options.replicas * (options.max_ongoing + QUEUE)  # that replicas and their queues can hold
    return Limits(
        max_bytes=options.max_bytes,
        max_pixels=min(options.max_pixels, max_pixels),
        max_requests=requests,
        max_requests_per_client=options.requests_per_client or requests // 2,
        deadline_s=options.deadline_s,
    )


def follow_and_answer(
    served: Served,
    limits: Limits,
    hosts: AllowedHosts,
    options: ServingOptions,
    *,
    replicas: DeploymentHandle,
    canary: DeploymentHandle | None,
    access: Access | None = None,
    ready: Callable[[], Awaitable[bool]] | None = None,
    secret: str = "",
) -> tuple[Starlette, list[FollowedModel]]:
    """The application, and the models it follows once their `following` is entered.

    Args:
        served: what is served.
        limits: of requests.
        hosts: under which the service may be requested.
        options: how it serves.
        replicas: that translate.
        canary: the replica of the canary, if there is one.
        access: who may use the service, and what is recorded.
        ready: tells whether a replica can translate now.
        secret: of the webhook by which an MLflow server notifies that an alias has moved; empty: there is none.

    Raises:
        UsageError: if a canary that is no alias cannot be loaded, or has the names of the domains exchanged.
    """
    followed = [FollowedModel(served.source, served.model, loader_of(replicas), report)]
    second = None
    if canary:
        load, first = loader_of(canary), followed[0]

        def load_canary(snapshot: Snapshot) -> None:
            of, advice = first(), "give a canary that translates the same way"
            refuse_exchanged(served.canary, snapshot.domain_names, of.name, of.snapshot.domain_names, advice)
            load(snapshot)

        other = FollowedModel(served.canary, served.canary_model, load_canary, report, kept=False)
        other.load_first()
        followed.append(other)
        second = Canary(
            model=lambda: other.current,
            answer=answerer_of(canary),
            share=options.canary_share,
            patience_s=options.deadline_s * (1 - ESTIMATED_SHARE),
        )
    app = make_app(
        # A folder's path is nothing for people elsewhere.
        served.source if served.source.startswith(REGISTRY) else served.model.name,
        followed[0],
        limits,
        hosts,
        answerer_of(replicas),
        access=access,
        canary=second,
        webhook=Webhook(secret, looking_soon(followed)),
        ready=ready,
    )
    return app, followed
