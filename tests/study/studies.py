"""Small studies without models, and participants that speak to the application without a network."""

import asyncio
import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from starlette.applications import Starlette

from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.study.answers import Answers
from cyclegan_dist.study.app import PAGE, make_app, page_template
from cyclegan_dist.study.design import CONSENT, IMAGES, Algorithm, Protocol, Study, write_study

RED, BLUE = (200, 0, 0), (0, 0, 200)  # real images and translations, so that simulated participants know them
HOSTS = AllowedHosts(frozenset({"localhost"}))


def make_study(folder: Path, *, names: tuple[str, ...] = ("one",), paired: bool = False, **protocol: float) -> Study:
    """A study of single-coloured images in a new folder."""
    (folder / IMAGES).mkdir(parents=True)
    what = Protocol(**{"practice": 2, "scored": 4, **protocol})  # pyright: ignore[reportArgumentType]
    n = what.practice + what.scored + 2

    def images(kind: str, colour: tuple[int, int, int]) -> list[str]:
        files = [f"{kind}{i}.png" for i in range(n)]
        for i, file in enumerate(files):
            Image.new("RGB", (16, 16), (*colour[:1], i, *colour[2:])).save(folder / IMAGES / file, compress_level=0)
        return files

    algorithms = [Algorithm(name=name, snapshot="s", digest="d", fakes=images(f"fake-{name}-", BLUE)) for name in names]
    reals = images("real", RED)
    study = Study(data="d", direction="AB", paired=paired, size=16, protocol=what, algorithms=algorithms, reals=reals)
    (folder / CONSENT).write_text("Be <b>careful</b>.\n\nThank you.\n")
    (folder / PAGE).write_text(page_template())
    write_study(study, folder)
    return study


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """The application of a study, with a link for each of `tokens`."""

    def __init__(self, folder: Path, study: Study, tokens: tuple[str, ...] = ("token",), expires: float = 2000):
        self.clock, self.answers, self.folder, self.study = Clock(), Answers(folder), folder, study
        if not self.answers.sessions():
            self.answers.add(tokens, expires)
        self.app = make_app(folder, study, self.answers, "Be careful.", HOSTS, self.clock, random.Random(0))

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.close()


class Participant:
    """A client of one link."""

    def __init__(self, app: Starlette, token: str = "token"):
        self._app, self._token = app, token

    def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Status, and JSON or bytes."""
        status, found, body = self.request(path, method, headers)
        return status, json.loads(body) if found["content-type"] == "application/json" else body

    def request(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        sent = {"host": "localhost", "authorization": f"Bearer {self._token}", **(headers or {})}
        parts = urlsplit(path)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(key.lower().encode(), value.encode()) for key, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        asyncio.run(self._app(scope, receive, send))
        found = {key.decode(): value.decode() for key, value in messages[0]["headers"]}
        return messages[0]["status"], found, b"".join(message.get("body", b"") for message in messages[1:])

    def real_side(self, number: int) -> str:
        """Where the real image of a trial is, by its colour."""
        with Image.open(io.BytesIO(self.request(f"/trials/{number}/left")[2])) as image:
            red, _, blue = image.convert("RGB").resize((1, 1)).tobytes()
        return "left" if red > blue else "right"

    def answer(self, number: int, choice: str, **values: object) -> tuple[int, Any]:
        """Answer a trial, with an exposure of a second if none is given."""
        query = {"exposure_ms": 1000, "response_ms": 300, "hidden": "false", **values}
        text = "&".join(f"{key}={value}" for key, value in query.items() if value is not None)
        return self.ask(f"/trials/{number}/answer?choice={choice}&{text}", "POST")

    def play(self, server: Server, fooled: float, rng: random.Random) -> None:
        """Take part in a whole session, fooled in a share of the trials."""
        state = self.ask("/session", "POST")[1]
        for number in range(state["next"], server.study.trials + 1):
            real = self.real_side(number)
            assert self.ask(f"/trials/{number}/start", "POST") == (200, {"show": True})
            server.clock.now += 1.3
            choice = real if rng.random() >= fooled else {"left": "right", "right": "left"}[real]
            assert self.answer(number, choice)[0] == 200
