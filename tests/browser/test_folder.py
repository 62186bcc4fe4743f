"""The folder of the page: complete, without addresses of other servers, and with the package that is pinned."""

import base64
import hashlib
import io
import json
import re
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.browser import folder, runtime
from cyclegan_dist.models.snapshot import Snapshot
from pipelines import browser
from tests.conftest import Answer
from tests.models.test_export import make


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the files' names, whose checksum is the pinned one."""
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in runtime.FILES:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    monkeypatch.setattr(runtime, "SHA512", base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode())
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of files in the place of ONNX models."""
    (tmp_path / "onnx").mkdir()
    for direction in ("AB", "BA"):
        (tmp_path / "onnx" / f"G_{direction}.onnx").write_bytes(direction.encode())
    return tmp_path / "onnx"


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return lambda *arguments: command(browser.main, *arguments)


class Links(HTMLParser):
    """Everything that a page loads, and the ids of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.attributes: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.attributes.append(found)
        self.links += [found[key] or "" for key in ("src", "href") if key in found]


def test_the_folder_is_complete(cli, package: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--runtime", package, "--models", models, "--title", "Horses & <zebras>")
    code, said, err = cli(make(tmp_path / "model"), out, *arguments)
    assert (code, err) == (0, "") and "12 files" in said
    page = (out / "index.html").read_text()
    assert "{{" not in page and "{%" not in page and "Horses &amp; &lt;zebras&gt;" in page
    links = Links()
    links.feed(page)
    assert all(link == "data:," or (out / link).is_file() for link in links.links) and len(links.links) == 3
    values = [found["value"] for found in links.attributes if found.get("name") == "direction"]
    assert values == ["G_AB.onnx", "G_BA.onnx"] and all((out / str(name)).is_file() for name in values)
    script = (out / "page.js").read_text()
    assert {found.get("id") for found in links.attributes} >= set(re.findall(r'element\("([a-z]+)"\)', script))
    assert {(out / name).read_bytes() for name in runtime.FILES} == {name.encode() for name in runtime.FILES}
    for name in ("index.html", "page.js", "page.css"):
        assert "//" not in re.sub(r"(?m)(^|\s)//.*$", "", (out / name).read_text()), "an address of another server"
    text = (out / "from_disk.js").read_text()
    from_disk = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert base64.b64decode(from_disk["G_AB.onnx"]) == b"AB"
    assert set(re.findall(r'bytesFromDisk\("([^"]+)"\)', script)) <= set(from_disk)


def test_the_select_starts_at_the_side_of_training(cli, package: Path, models: Path, tmp_path: Path) -> None:
    model = make(tmp_path / "model")
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps(card | {"preprocess": {"crop_size": 128}, "directions": ["AB"]}))
    assert cli(model, tmp_path / "out", "--runtime", package, "--models", models)[0] == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert '<option value="128" selected>' in page and "fieldset" not in page and "G_BA" not in page


def test_the_models_are_exported_and_compared(
    cli, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    difference = 1e-6

    def export(snapshot: Snapshot, out: Path, formats: list[str]) -> dict[str, Any]:
        files = [f"G_{direction}.onnx" for direction in snapshot.directions]
        for name in files:
            (out / name).write_text(f"{name} as {formats}")
        return {"tolerance": 1e-4, "files": [{"file": name, "max_difference": {"": difference}} for name in files]}

    monkeypatch.setattr(folder, "export_generators", export)
    arguments = (make(tmp_path / "model"), tmp_path / "out", "--runtime", package)
    assert cli(*arguments)[0] == 0
    assert (tmp_path / "out" / "G_AB.onnx").read_text() == "G_AB.onnx as ['onnx']"
    difference = 1e-3
    code, _, err = cli(*arguments)
    assert code == 2 and "G_AB.onnx, G_BA.onnx does not compute what the generator does" in err


def test_another_package_is_refused(cli, package: Path, models: Path, tmp_path: Path) -> None:
    package.write_bytes(package.read_bytes() + b" ")
    code, _, err = cli(make(tmp_path / "model"), tmp_path / "out", "--runtime", package, "--models", models)
    assert code == 2 and "has sha512" in err and "npm pack onnxruntime-web@" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_it_is_downloaded_once_and_checked(
    cli, package: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    content = [package.read_bytes() + b" ", package.read_bytes()]

    def answer(url: str, timeout: float) -> Any:
        asked.append(url)
        return io.BytesIO(content[len(asked) - 1])

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    arguments = (make(tmp_path / "model"), tmp_path / "out", "--models", models)
    code, _, err = cli(*arguments)
    assert code == 2 and "has sha512" in err and list((tmp_path / "cache" / "cyclegan_dist").iterdir()) == []
    assert cli(*arguments)[0] == cli(*arguments)[0] == 0
    assert asked == [f"http://127.0.0.1:9/onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz"] * 2


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("no network", "cannot be downloaded to"),
        ("no registry", "set NPM_CONFIG_REGISTRY to an npm registry, or run npm pack"),
        ("no package", "--runtime nowhere.tgz does not exist"),
        ("no models", "holds no G_AB.onnx: export the generators with --formats onnx"),
        ("no place", "cannot write to /proc/out"),
        ("channels", "a browser shows colour and grey of 8 bits"),
    ],
)
def test_bad_input_is_one_line(
    cli, package: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, says: str
) -> None:
    def unreachable(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "" if case == "no registry" else "http://127.0.0.1:9/")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = make(tmp_path / "model", output_nc=4 if case == "channels" else 3)
    if case == "no models":
        (models / "G_AB.onnx").unlink()
    runtime_option = {"no network": [], "no registry": [], "no package": ["--runtime", "nowhere.tgz"]}.get(
        case, ["--runtime", package]
    )
    place = "/proc/out" if case == "no place" else tmp_path / "out"
    code, _, err = cli(model, place, "--models", models, *runtime_option)
    lines = [line for line in err.splitlines() if not line.startswith("downloading")]
    assert code == 2 and says in lines[0] and len(lines) == 1
    assert not (tmp_path / "out").exists()
