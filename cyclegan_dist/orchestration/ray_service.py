"""The service as an application of Ray Serve, for KubeRay's RayService: `import_path` names `application`.

Requests come through Serve's HTTP proxy, which reads bodies of any length: limit them in the ingress before it.
"""

import asyncio
import os
from contextlib import ExitStack
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.orchestration.application import follow_and_answer, limits_of
from cyclegan_dist.orchestration.following import opened, opened_canary, report
from cyclegan_dist.orchestration.replicas import Replica, options_of
from cyclegan_dist.orchestration.serving import Served, ServingOptions
from cyclegan_dist.service.access import Access, open_access
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.webhook import SECRET_VARIABLE

FRONT = "front"


class ServiceArguments(BaseModel):
    """The `args` of the application, as the options of the command `serve`; `gpus`: of each replica. Paths are those of
    the nodes that answer requests.

    Raises:
        UsageError: without `tokens`, unless `authentication` is false.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    canary: str = ""
    canary_share: float = Field(0.1, ge=0, le=1)
    allowed_hosts: list[str] = []
    replicas: int = Field(1, ge=1)
    gpus: float = Field(0, ge=0)
    max_megabytes: float = Field(20, gt=0)
    max_megapixels: float = Field(50, gt=0)
    deadline_s: float = Field(30, ge=1, le=3600)
    batch_size: int = Field(4, ge=1)
    batch_wait_ms: float = Field(10, ge=0, le=10_000)
    follow_s: float = Field(2, ge=0, le=3600)
    tokens: str = ""
    authentication: bool = True
    trusted_proxy: list[str] = []
    audit_log: str = ""

    @model_validator(mode="after")
    def _is_closed(self) -> Self:
        if not self.tokens and self.authentication:
            command = pipeline_command("tokens")
            raise UsageError(
                f"the service can be reached from other machines: give tokens: FILE, which {command} create FILE NAME "
                "writes, or authentication: false"
            )
        return self

    @property
    def options(self) -> ServingOptions:
        """How the model is served. Clients cannot be told apart behind a proxy: one may have all places."""
        return ServingOptions(
            max_bytes=int(self.max_megabytes * 1e6),
            max_pixels=int(self.max_megapixels * 1e6),
            replicas=self.replicas,
            batch_size=self.batch_size,
            batch_wait_s=self.batch_wait_ms / 1000,
            deadline_s=self.deadline_s,
            requests_per_client=1_000_000,
            follow_s=self.follow_s,
            canary_share=self.canary_share,
        )

    def open_access(self) -> Access:
        """Who may use the service, on the node that answers requests, where the files are.

        Raises:
            UsageError: if a file cannot be used.
        """
        return open_access(
            tokens=self.tokens,
            authentication=self.authentication,
            where="",
            proxies=self.trusted_proxy,
            audit_log=self.audit_log,
            report=report,
        )


class Front:
    """The process that answers requests with what replicas translate."""

    async def __init__(
        self, served: Served, arguments: ServiceArguments, replicas: DeploymentHandle, canary: DeploymentHandle | None
    ):
        access = arguments.open_access()
        options, secret = arguments.options, os.environ.get(SECRET_VARIABLE, "")
        self._app, followed = await asyncio.to_thread(  # loading a canary waits for its replica
            follow_and_answer,
            served,
            limits_of(options, await replicas.max_pixels.remote()),
            AllowedHosts(frozenset(arguments.allowed_hosts) | {"localhost", "127.0.0.1"}),
            options,
            replicas=replicas,
            canary=canary,
            access=access,
            secret=secret,
        )
        self._following = ExitStack()
        for one in followed:
            self._following.enter_context(one.following(options.follow_s, notified=bool(secret)))

    def __serve_build_asgi_app__(self) -> Starlette:
        return self._app


def application(arguments: ServiceArguments) -> serve.Application:
    """The application of `serveConfigV2`, with replicas that translate and one process that answers requests.

    Args:
        arguments: its `args`.

    Raises:
        UsageError: if the model cannot be opened.
    """
    canary_model = opened_canary(arguments.canary, report) if arguments.canary else None
    served = Served(arguments.model, opened(arguments.model), arguments.canary, canary_model)
    first = str(served.model.snapshot.folder.resolve())
    options = arguments.options

    def replicas(name: str, number: int) -> serve.Application:
        how = options_of(options, number, arguments.gpus)
        return serve.deployment(**how, name=name)(Replica).bind(first, arguments.gpus > 0, options)

    canary = replicas("canary", 1) if arguments.canary else None
    front = serve.deployment(name=FRONT, max_ongoing_requests=1000)(serve.ingress()(Front))
    return front.bind(served, arguments, replicas("replicas", arguments.replicas), canary)
