"""The service for tests: on this machine's own address, computed by this process."""

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from PIL import Image

from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import GeneratorConfig
from cyclegan_dist.service.app import make_app
from cyclegan_dist.service.handler import RequestHandler
from cyclegan_dist.service.messages import Answerer, Limits, Refusal, ServedModel, Translation, TranslationRequest
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, answering, listen

LIMITS = Limits(max_bytes=1_000_000, max_pixels=40_000, max_requests=4, max_requests_per_client=4, deadline_s=30)


def make_snapshot(
    folder: Path, *, directions: str = "AB BA", input_nc: int = 3, seed: int = 0, names: str = ""
) -> Path:
    """A snapshot of untrained generators."""
    torch.manual_seed(seed)
    config = CycleGANConfig(input_nc=input_nc, generator=GeneratorConfig(ngf=4, n_blocks=1), lambda_identity=0)
    channels = {"AB": (input_nc, 3), "BA": (3, input_nc)}
    networks = {way: build_generator(*channels[way], config.generator, config.init) for way in directions.split()}
    facts = {"domain_names": dict(zip("AB", names.split(), strict=True))} if names else {}
    return save_snapshot(folder, networks, config, {"run": "<b>tiny</b>", "nimg": 40, **facts})


def local_answerer(handler: RequestHandler) -> Answerer:
    """Translates in a thread of this process."""

    def compute(request: TranslationRequest) -> Translation | Refusal:
        try:
            decoded = handler.decode(request)
        except Refusal as refusal:
            return refusal
        return handler.encode(handler.translate([decoded])[0], request)

    async def answer(request: TranslationRequest) -> Translation | Refusal:
        return await asyncio.to_thread(compute, request)

    return answer


@contextmanager
def running(
    snapshot: Path,
    limits: Limits = LIMITS,
    answer: Answerer | None = None,
    title: str = "tiny",
    root_path: str = "",
    tls: tuple[Path, Path] | None = None,
    **options: Any,
) -> Iterator[str]:
    """The service of a snapshot behind a URL while the block lasts."""
    answer = answer or local_answerer(RequestHandler(Snapshot.open(snapshot), torch.device("cpu"), limits.max_pixels))
    door = listen("127.0.0.1", 0)
    hosts = AllowedHosts.of(door)
    model = ServedModel(name=snapshot.name, snapshot=Snapshot.open(snapshot))
    app = make_app(title, lambda: model, limits, hosts, answer, **options)
    with answering(app, door, root_path=root_path, tls=tls):
        yield address(door)


def picture(width: int = 24, height: int = 20, seed: int = 0, format: str = "PNG") -> bytes:
    """A file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def post(url: str, **options: Any) -> "requests.Response":
    return requests.post(url, timeout=60, **options)


def post_json(url: str, body: object) -> "requests.Response":
    return post(f"{url}v1/translate", data=json.dumps(body), headers={"Content-Type": "application/json"})
