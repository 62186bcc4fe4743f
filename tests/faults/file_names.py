"""Drills C6 and C13: unusual file names, and path traversal by names, links and URLs."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from cyclegan_dist.data.encode import Reading, encode_file
from cyclegan_dist.data.files import list_images
from cyclegan_dist.data.images import UnreadableImageError, decode
from cyclegan_dist.data.manifest import MANIFEST, SCHEMA, Manifest, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.data.shards import write_manifest
from cyclegan_dist.errors import UsageError
from pipelines.translate import Translate
from pipelines.translate import run as translate
from tests.conftest import write_images
from tests.faults.matrix import Measured, Stage, row
from tests.service.running import make_snapshot

ODD_NAMES = (
    *("a.png", "A.png", "a.PNG", "a.v1.png", "a.v2.png", "two  spaces .png", "trailing..png", "ümlaut ñ 日本 🦓.png"),
    *(
        "u\u0308.png",
        "\u00fc.png",
        "-rf.png",
        "%2e%2e%2f.png",
        "quote'\".png",
        "$(touch hacked).png",
        "line\nbreak.png",
    ),
    *("\x1b[2Jescape.png", "pipe:touch hacked.png", "https:::x.png", "no ending", "deep.er/x.png", "deep.er/y/x.png"),
    *("s3:/bucket/x.png", "CON.png", "~.png", "*.png", f"{'long' * 60}.png", "<script>.png", "a.jpg.png", "0.png"),
)
HIDDEN = (".hidden.png", ".git/x.png", "deep.er/.trash/x.png", "._a.png")


@contextlib.contextmanager
def captured_output() -> Iterator[io.StringIO]:
    """Redirect standard output and error to a buffer."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        yield output


@row("C6", "unusual file names", "images keep their names; hidden files are skipped")
def unusual_names(stage: Stage) -> Measured:
    folder, other = stage.folder / "A", write_images(stage.folder / "B", 1)
    rng = np.random.default_rng(stage.seed)
    pixels = {name: rng.integers(0, 256, (6, 5, 3), dtype=np.uint8) for name in (*ODD_NAMES, *HIDDEN)}
    for name, values in pixels.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            Image.fromarray(values).save(file, "PNG")
    with (folder / os.fsdecode(b"not utf-8 \xff.png")).open("wb") as file:
        Image.fromarray(pixels["a.png"]).save(file, "PNG")
    with captured_output() as output:
        prepare(PrepareConfig(folder, other, stage.folder / "out", workers=1, max_bad_fraction=0.1))
        translate(
            Translate(str(make_snapshot(stage.folder / "model")), str(folder), str(stage.folder / "done"), batch_size=8)
        )
    manifest = open_manifest(str(stage.folder / "out"), SCHEMA.names)
    reader, names = ShardReader(manifest, "A"), manifest.domains["A"]["name"].to_pylist()
    same = sum(np.array_equal(decode(reader.read(i), 3).permute(1, 2, 0), pixels[name]) for i, name in enumerate(names))
    inputs = set(ODD_NAMES) | {os.fsdecode(b"not utf-8 \xff.png")}
    written = {name.removesuffix(".png") for name in list_images(stage.folder / "done")}
    named = "not utf-8" in output.getvalue() and "rename it" in output.getvalue()
    return Measured(
        f"{len(ODD_NAMES)} unusual names: {same} prepared with their pixels, {len(written)} of {len(inputs)} translated; "
        f"{len(HIDDEN)} hidden files skipped; 1 name that is not UTF-8 {'reported' if named else 'lost'}",
        sorted(names) == sorted(ODD_NAMES)
        and same == len(ODD_NAMES)
        and written == {name.removesuffix(".png") for name in inputs}
        and named,
    )


@row(
    "C13",
    "names, keys, links and URLs that lead outside a folder, files that start programs",
    "nothing is written outside; no command is run",
    slow=True,
)
def path_traversal(stage: Stage) -> Measured:
    home = stage.folder / "home"
    home.mkdir()
    witness = home / "witness"
    refused = [_refuses(lambda change=change: _open_changed(stage, change)) for change in _malicious_entries()]
    for url in (f"pipe:touch {witness}", f"pipe:touch {witness} |", f"simplecache::pipe:touch {witness}"):
        refused.append(_refuses(lambda url=url: open_manifest(url)))
    links = [
        _refuses(lambda link=link: _translate_onto(stage, home, link)) for link in (_file_link, _folder_link, _loop)
    ]
    programs = _programs(stage, witness)
    escapes = sum(path != home / "kept" for path in home.iterdir())
    kept = (home / "kept").read_text() == "mine"
    tries = len(refused) + len(links) + programs
    return Measured(
        f"manifests and URLs refused {sum(refused)}/{len(refused)}, links out of OUTPUT refused {sum(links)}/{len(links)}; "
        f"written outside {escapes + (not kept)}/{tries}, commands run {int(witness.exists())}/{tries}",
        all(refused) and all(links) and not escapes and kept,
    )


def _refuses(attempt: Callable[[], object]) -> bool:
    try:
        with captured_output():
            attempt()
    except UsageError:
        return True
    return False


def _malicious_entries() -> list[dict[str, str]]:
    keys = ("../../x", "/etc/passwd", "..", ".hidden", "a/b", "a\\b", "a b", "", "x" * 300, "x;touch x", "x\ny", "ü")
    shards = ("../x.tar", "/tmp/x.tar", "A/../../x.tar", "pipe:cat x", "https://x/x.tar", "file:///x.tar", "s3::x")
    return [{"key": key} for key in keys] + [{"shard": shard} for shard in shards]


def _open_changed(stage: Stage, change: dict[str, str]) -> Manifest:
    """Open the data set's manifest, as training does, with a change of its first sample."""
    manifest = open_manifest(str(stage.dataset), SCHEMA.names)
    first, *others = manifest.table.to_pylist()
    folder = stage.folder / "changed"
    folder.mkdir(exist_ok=True)
    changed = first | change
    shards = manifest.shards | {changed["shard"]: manifest.shards[first["shard"]]}
    write_manifest(str(folder / MANIFEST), [changed, *others], shards)
    return open_manifest(str(folder))


def _translate_onto(stage: Stage, home: Path, link: Callable[[Path, Path], None]) -> None:
    """Translate into a folder that contains a link created by `link`."""
    (home / "kept").write_text("mine")
    images, out = stage.folder / "images", stage.folder / f"out{link.__name__}"
    if not images.exists():
        write_images(images / "sub", 1)
    out.mkdir()
    link(out, home)
    translate(Translate(str(make_snapshot(stage.folder / "model")), str(images), str(out)))


def _file_link(out: Path, home: Path) -> None:
    (out / "sub").mkdir()
    (out / "sub" / "0000.png").symlink_to(home / "kept")


def _folder_link(out: Path, home: Path) -> None:
    (out / "sub").symlink_to(home)


def _loop(out: Path, home: Path) -> None:
    (out / "sub").symlink_to("sub")


def _programs(stage: Stage, witness: Path) -> int:
    """Use files and variables that make libraries start programs. Returns the number of attempts."""
    tools, folder = stage.folder / "bin", stage.folder / "pipe:touch hacked;"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {witness}\n")  # Pillow passes EPS files of any name to it
    (tools / "gs").chmod(0o755)
    images = write_images(folder / "images", 3)
    (images / "postscript.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    (images / "up").symlink_to(folder)
    (images / "loop.png").symlink_to("loop.png")
    changed = {"PATH": f"{tools}:{os.environ['PATH']}", "GOPEN_REWRITE": f"{stage.folder}=pipe:touch {witness} #"}
    code = (
        "import sys, pathlib; from cyclegan_dist.data.prepare import *; "
        "prepare(PrepareConfig(*map(pathlib.Path, sys.argv[1:]), workers=1, max_bad_fraction=0.9))"
    )
    for out in (folder / "out", Path("pipe:touch hacked;") / "relative"):
        subprocess.run(
            [sys.executable, "-c", code, str(images), str(images), str(out)],
            cwd=stage.folder,
            env={**os.environ, **changed, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
            capture_output=True,
        )
        made = open_manifest(str(stage.folder / out))
        assert made.samples == {"A": 3, "B": 3}
    try:
        encode_file(images, "postscript.png", Reading())
    except UnreadableImageError:
        return 4
    raise AssertionError("PostScript was read")
