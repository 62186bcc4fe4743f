"""Drill F10: HTML, scripts and templates in names that pages show."""

import asyncio
import base64
import hashlib
import html.parser
import json
from pathlib import Path

import requests

from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.evaluate import Evaluate
from cyclegan_dist.evaluation.evaluate import run as evaluate
from cyclegan_dist.models.snapshot import CARD, Snapshot
from pipelines.gallery import Gallery, gallery
from tests.conftest import write_images
from tests.faults.file_names import captured_output
from tests.faults.matrix import Measured, Stage, row
from tests.servers import http_server
from tests.service.chromium import PROGRAM, browser
from tests.service.running import make_snapshot, running

DO = "window.executed=1"
FILES = (  # file names without a slash
    f"<script>{DO}<script>",
    f"<img src=x onerror={DO}>",
    f"<svg onload={DO}>",
    f'" onmouseover="{DO}" x="',
    f"' onfocus='{DO}' autofocus tabindex=1 x='",
    f"<a href=javascript:{DO}>x",
    f"<iframe srcdoc='<img src=x onerror=parent.{DO}>'>",
    f"<details open ontoggle={DO}>",
    "{{ 111*111 }}{% set x = 1 %}",
)
NAMES = (*FILES, f"</title><script>{DO}</script>", f"</style></dd><script>{DO}</script>", "<base href=//127.0.0.1>")
POLICY = "default-src 'none'"
TOUCH = """
(() => {
  for (const one of document.querySelectorAll("*"))
    for (const kind of ["mouseover", "focus", "click"]) one.dispatchEvent(new MouseEvent(kind, {bubbles: true, cancelable: true}));
  return new Promise((done) => setTimeout(() => done(window.executed === 1), 500));
})()
"""


class _Marks(html.parser.HTMLParser):
    """Parser that collects tags and attributes that could run a script or load another page."""

    def __init__(self, policy: str):
        super().__init__()
        self.nonce, self.policy = policy.partition("'nonce-")[2].partition("'")[0], policy
        self.found = list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = self.nonce and ("nonce", self.nonce) in attrs
        followed = [(key, value or "") for key, value in attrs if key != "alt" and not key.startswith("data-")]
        handlers = [key for key, value in followed if key.startswith("on") or "javascript:" in value]
        if tag in ("script", "iframe", "object", "embed", "base", "svg", "details") and not own:
            self.found.append(tag)
        self.found += handlers

    def handle_data(self, data: str) -> None:
        digest = base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
        if self.lasttag == "script" and f"'sha256-{digest}'" in self.policy:
            self.found.remove("script")


@row(
    "F10",
    "files, runs and models are named with HTML, scripts and templates",
    "names are shown as text; a policy forbids scripts; no script is run",
    nightly=True,
)
def names_as_html(stage: Stage) -> Measured:
    with captured_output():
        folders = [_gallery(stage), _evaluation(stage)]
    control = stage.folder / "control"
    control.mkdir()
    (control / "index.html").write_text("<title></title>" + "\n".join(NAMES))
    snapshot = stage.folder / "model"
    marks, policies, executed, texts = [], 0, list[bool](), []
    with http_server(stage.folder) as url, running(snapshot, title=NAMES[0]) as service:
        addresses = [f"{url}/{folder.name}/index.html" for folder in folders] + [service]
        for address in addresses:
            answer = requests.get(address, timeout=20)
            policy = answer.headers.get("Content-Security-Policy", "")
            policy = policy or answer.text.partition('"Content-Security-Policy" content="')[2].partition('"')[0]
            policies += POLICY in policy
            page = _Marks(policy)
            page.feed(answer.text)
            marks += page.found
            texts.append(answer.text)
        if PROGRAM:
            executed = asyncio.run(_opened([*addresses, f"{url}/control/index.html"]))
    evaluated = sum(str(111 * 111) in text for text in texts)
    shown = all("&lt;img src=x onerror" in text for text in texts)
    in_chromium = (
        f"scripts run in Chromium {sum(executed[:-1])} (on an unprotected page: {executed[-1]})"
        if executed
        else "Chromium is not installed"
    )
    return Measured(
        f"{len(NAMES)} names on {len(addresses)} pages (gallery, evaluation, service): tags and handlers created "
        f"{len(marks)} {marks[:3] or ''}, templates evaluated {evaluated}, shown as text: {shown}; pages with a policy "
        f"{policies} of {len(addresses)}; {in_chromium}",
        not marks and not evaluated and shown and policies == len(addresses) and executed in ([], [False] * 3 + [True]),
    )


def _named(folder: Path) -> Path:
    """Images whose names are HTML."""
    for image, name in zip(sorted(write_images(folder, len(FILES)).iterdir()), FILES, strict=True):
        image.rename(folder / f"{name}.png")
    return folder


def _gallery(stage: Stage) -> Path:
    """The gallery of a model whose card contains HTML."""
    snapshot = make_snapshot(stage.folder / "model")
    card = {**Snapshot.open(snapshot).card, "run": " ".join(NAMES), "nimg": NAMES[1]}
    (snapshot / CARD).write_text(json.dumps(card))
    out = stage.folder / "gallery"
    gallery(Gallery(snapshot, _named(stage.folder / "A"), _named(stage.folder / "B"), out))
    return out


def _evaluation(stage: Stage) -> Path:
    """The evaluation report of the same model."""
    prepare(PrepareConfig(stage.folder / "A", stage.folder / "B", stage.folder / "data", workers=1))
    out = stage.folder / "evaluation"
    what = EvaluationConfig(metrics=("cycle",), size=16)
    model = stage.folder / "model"
    evaluate(Evaluate(str(model), str(stage.folder / "data"), out=out, mlflow=False, device="cpu", what=what))
    return out


async def _opened(addresses: list[str]) -> list[bool]:
    """Whether a script in a name ran on each page, after mouse and focus events on every element."""
    executed = []
    async with browser() as tab:
        for address in addresses:
            await tab.open(address, 1000, 800)
            executed.append(bool(await tab.value(TOUCH)))
    return executed
