"""The application for KubeRay, without a cluster."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import torch
from pydantic import ValidationError

from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.errors import UsageError
from cyclegan_dist.service.messages import Translation, TranslationRequest
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, answering, listen
from cyclegan_dist.service.tokens import create_token
from tests.service.running import LIMITS, make_snapshot, picture, post
from tests.service.test_audit import records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments:DeprecationWarning"),  # ray.serve, when imported
]


class Value:
    """What a call of a replica answers."""

    def __init__(self, value: object):
        self.value = value

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return self.value

    def result(self, timeout_s: float) -> object:
        return self.value


class Method:
    def __init__(self, value: object):
        self.value = value

    def remote(self, *_: object) -> Value:
        return Value(self.value)


class Handle(Method):
    """Of replicas that answer all requests with a grey image."""

    def __init__(self) -> None:
        super().__init__(Translation(image=encode_image(torch.full((3, 4, 4), 128, dtype=torch.uint8), "grey")))
        self.max_pixels, self.load = Method(1000), Method("")
        self.asked: list[TranslationRequest] = []

    def remote(self, *given: object) -> Value:
        self.asked.append(cast(TranslationRequest, given[0]))
        return super().remote()


def test_the_front_answers_by_its_replicas(tmp_path: Path) -> None:
    from cyclegan_dist.orchestration.following import opened
    from cyclegan_dist.orchestration.ray_service import Front, ServiceArguments
    from cyclegan_dist.orchestration.serving import Served

    one, two = (str(make_snapshot(tmp_path / name)) for name in ("one", "two"))
    _, secret = create_token(tmp_path / "tokens.json", "ann")
    log = tmp_path / "audit.jsonl"
    arguments = ServiceArguments(
        model=one, canary=two, canary_share=0, tokens=str(tmp_path / "tokens.json"), audit_log=str(log)
    )
    served = Served(one, opened(one), two, opened(two))

    async def start(replicas: Handle, canary: Handle) -> Front:
        front = object.__new__(Front)
        await Front.__init__(front, served, arguments, cast(Any, replicas), cast(Any, canary))  # pyright: ignore
        return front

    replicas, canary = Handle(), Handle()
    listener = listen("127.0.0.1", 0)
    with answering(asyncio.run(start(replicas, canary)).__serve_build_asgi_app__(), listener):
        url = address(listener)
        token = {"Authorization": f"Bearer {secret}"}
        answers = [
            post(f"{url}translate", data=picture(), headers={"X-Canary": wish, **token}) for wish in ("", "always")
        ]
        assert post(f"{url}translate", data=picture()).status_code == 401
        assert [answer.headers["X-Model"] for answer in answers] == ["one", "two"]
        assert requests.get(f"{url}health", headers={"Host": "other.org"}, timeout=10).status_code == 421
    for handle, folder in ((replicas, one), (canary, two)):
        assert [request.snapshot for request in handle.asked] == [folder]
    assert [record["token"] for record in records(log, 4)] == ["ann", "ann", None, None]


def test_a_canary_of_exchanged_domains_is_refused(tmp_path: Path) -> None:
    from cyclegan_dist.orchestration.application import follow_and_answer
    from cyclegan_dist.orchestration.following import opened
    from cyclegan_dist.orchestration.ray_service import ServiceArguments
    from cyclegan_dist.orchestration.serving import Served

    one = str(make_snapshot(tmp_path / "one", names="horse zebra"))
    two = str(make_snapshot(tmp_path / "two", names="zebra horse"))
    served, handles = Served(one, opened(one), two, opened(two)), {"replicas": Handle(), "canary": Handle()}
    options = ServiceArguments.model_validate({"model": one, "authentication": False}).options
    with pytest.raises(
        UsageError, match=r"two: domain A is zebra, which is domain B of one: the domains are exchanged"
    ):
        follow_and_answer(served, LIMITS, AllowedHosts(frozenset()), options, **cast(Any, handles))


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    from cyclegan_dist.orchestration.ray_service import ServiceArguments, application

    for wrong in ({}, {"model": "a", "modle": "b"}, {"model": "a", "canary_share": 2}, {"model": "a", "replicas": 0}):
        with pytest.raises(ValidationError):
            ServiceArguments.model_validate({**wrong, "authentication": False})
    with pytest.raises(UsageError, match=r"give tokens: FILE, .* or authentication: false"):
        ServiceArguments(model="a")
    with pytest.raises(UsageError):
        application(ServiceArguments(model=str(tmp_path / "nothing"), tokens="tokens.json"))
    # The file of tokens is read where requests are answered, which may be on another node.
    arguments = ServiceArguments(model=str(make_snapshot(tmp_path / "one")), replicas=3, tokens="/run/tokens.json")
    assert arguments.options.replicas == 3
    assert application(arguments)
