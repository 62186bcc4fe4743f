"""Published data sets by name, from a server of the test's own."""

import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cyclegan_dist.data import published
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from pipelines import prepare as pipeline
from tests.conftest import Answer, make_run, write_images
from tests.data.test_sources import table
from tests.servers import http_server

Cli = Callable[..., Answer]


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Cli:
    return partial(command, pipeline.main)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server that stands for the published ones; downloads are kept in `cache`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    folder = tmp_path / "site"
    for number, part in enumerate(("trainA", "trainB", "testA", "testB")):
        write_images(folder / "images" / part, 3 + number, seed=number)
    with http_server(folder) as url:
        monkeypatch.setattr(published, "CYCLEGAN_URL", url)
        monkeypatch.setenv("HF_ENDPOINT", url)
        publish(folder)
        tables = {}
        for split in ("train", "test"):
            tables[split] = [f"{url}/{split}.parquet"]
            table(folder / "images" / f"{split}A", folder / f"{split}.parquet")
        listing = folder / "api" / "datasets" / "some" / "photos" / "parquet"
        listing.parent.mkdir(parents=True)
        listing.write_text(json.dumps({"default": tables}))
        yield folder


def publish(folder: Path) -> None:
    with zipfile.ZipFile(folder / "horse2zebra.zip", "w") as archive:
        for path in sorted((folder / "images").rglob("*.png")):
            archive.write(path, f"horse2zebra/{path.relative_to(folder / 'images')}")


def test_a_data_set_of_the_paper_is_downloaded_once_and_prepared(cli: Cli, site: Path, tmp_path: Path) -> None:
    code, out, err = cli("--download", "horse2zebra", tmp_path / "out", "--workers", 1, "--load-size", 16)
    assert code == 0, err
    assert "3 images of A, 4 images of B" in out and "5 images of A, 6 images of B" in out
    assert open_manifest(str(tmp_path / "out")).samples == {"A": 3, "B": 4}
    assert open_manifest(str(tmp_path / "out" / "test")).samples == {"A": 5, "B": 6}
    kept = tmp_path / "cache" / "cyclegan_dist" / "data" / "horse2zebra.zip"
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert err.count("downloading") == 1 and f"sha256 {digest}, kept in {kept}.sha256: none is published" in err
    assert "horse2zebra/trainA: not the known images" in err
    assert Path(f"{kept}.sha256").read_text() == f"{digest}  horse2zebra.zip\n"
    (site / "horse2zebra.zip").unlink()
    parts = [f"cyclegan:horse2zebra/{part}" for part in ("testA", "testB")]
    code, out, err = cli(*parts, tmp_path / "again", "--workers", 1)
    assert code == 0 and "5 images of A, 6 images of B" in out and "download" not in err


def test_known_images_are_recognised(cli: Cli, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in (site / "images" / "trainA").iterdir())
    facts = 3, hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    monkeypatch.setattr(published, "KNOWN", {"horse2zebra/trainA": facts})
    code, _, err = cli("cyclegan:horse2zebra/trainA", "cyclegan:horse2zebra/trainB", tmp_path / "out", "--workers", 1)
    assert code == 0 and "horse2zebra/trainA: the 3 known images" in err, err


def test_another_file_than_the_first_one_is_refused(cli: Cli, site: Path, tmp_path: Path) -> None:
    arguments = ["cyclegan:horse2zebra/trainA", "cyclegan:horse2zebra/trainB", tmp_path / "out", "--workers", 1]
    assert cli(*arguments)[0] == 0
    kept = tmp_path / "cache" / "cyclegan_dist" / "data" / "horse2zebra.zip"
    first = kept.read_bytes()
    kept.write_bytes(first + b"x")  # changed since
    code, _, err = cli(*arguments)
    assert code == 2 and f"error: {kept} has sha256 " in err and "when it was first downloaded: if" in err
    kept.unlink()
    write_images(site / "images" / "trainA", 9)
    publish(site)  # published anew
    code, _, err = cli(*arguments)
    assert code == 2 and "/horse2zebra.zip has sha256 " in err and not kept.exists()


@pytest.mark.parametrize("case", ["no network", "missing", "cut", "no such name", "no such part", "OUT missing"])
def test_what_cannot_be_downloaded_is_one_line(cli: Cli, site: Path, tmp_path: Path, case: str, monkeypatch) -> None:
    arguments, says = ["--download", "horse2zebra", str(tmp_path / "out")], "cannot be downloaded"
    if case == "no network":
        monkeypatch.setattr(published, "CYCLEGAN_URL", "http://127.0.0.1:9")
    elif case == "missing":
        arguments[1], says = "maps", "cannot be downloaded (404 "
    elif case == "cut":
        monkeypatch.setattr(published, "CYCLEGAN_URL", cut(site / "horse2zebra.zip"))
        says = "it ended after 1,000 of 2,000 bytes"
    elif case == "no such name":
        arguments[1], says = "horse2zebr", "did you mean horse2zebra? there are apple2orange"
    elif case == "no such part":
        arguments, says = ["cyclegan:horse2zebra/valA", "cyclegan:horse2zebra/valB", arguments[2]], "has no folder"
    else:
        arguments, says = arguments[:2], "Missing from"
    code, _, err = cli(*arguments)
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("error: ") and says in last, err
    assert sum(line.startswith("error") for line in err.splitlines()) == 1 and not (tmp_path / "out").exists()
    assert case == "no such part" or not list((tmp_path / "cache").rglob("*.zip"))


def serve(answer: Callable[[http.server.BaseHTTPRequestHandler], object]) -> str:
    """The address of a server that answers each GET so, until the process ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def cut(file: Path) -> str:
    """A server that ends a file too early."""

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", "2000")
        to.end_headers()
        to.wfile.write(file.read_bytes()[:1000])

    return serve(answer)


def test_parquet_files_of_the_hub(cli: Cli, site: Path, tmp_path: Path) -> None:
    code, out, err = cli("hf:some/photos", "hf:some/photos/default/test", tmp_path / "out", "--workers", 1)
    assert code == 0 and "3 images of A, 5 images of B" in out, err
    names = open_manifest(str(tmp_path / "out"), SCHEMA.names).domains["A"]["name"].to_pylist()
    assert sorted(names) == [f"0000/{number:04d}.png" for number in range(3)]
    for path in site.glob("*.parquet"):
        path.unlink()
    code, _, err = cli("hf:some/photos", "hf:some/photos/test", tmp_path / "again", "--workers", 1)
    assert code == 0 and "download" not in err, err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "hf:some/photos/val",
            "has no Parquet files: give one of hf:some/photos/default/train, hf:some/photos/default/t",
        ),
        ("hf:some/others", "cannot be downloaded (404 "),
        ("hf:some", "hf:some: give cyclegan:NAME/trainA, or hf:OWNER/NAME"),
        ("hf:some/../../photos", "give cyclegan:NAME/trainA, or hf:OWNER/NAME"),
        ("cyclegan:../x", "give cyclegan:NAME/trainA, or hf:OWNER/NAME"),
    ],
)
def test_names_of_the_hub_that_cannot_be_used_are_one_line(cli: Cli, site, tmp_path, name: str, says: str) -> None:
    code, _, err = cli(name, name, tmp_path / "out")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and says in err


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"default": {"train": ["file:///etc/passwd"]}}', '{"a": 1}'])
def test_a_list_of_the_hub_that_is_none_is_one_line(cli: Cli, site: Path, tmp_path: Path, content: str) -> None:
    (site / "api" / "datasets" / "some" / "photos" / "parquet").write_text(content)
    code, _, err = cli("hf:some/photos", "hf:some/photos", tmp_path / "out")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err


def test_a_token_is_sent_to_the_hub_and_to_no_other_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        seen.append((to.headers["Host"].partition(":")[0], to.headers.get("Authorization")))
        if seen[-1][0] == "127.0.0.1":
            to.send_response(302)
            to.send_header("Location", f"http://localhost:{to.headers['Host'].partition(':')[2]}{to.path}")
        else:
            to.send_response(200)
        to.end_headers()

    monkeypatch.setenv("HF_ENDPOINT", hub := serve(answer))
    monkeypatch.setenv("HF_TOKEN", "secret")
    published._download(f"{hub}/x", tmp_path / "x")
    assert seen == [("127.0.0.1", "Bearer secret"), ("localhost", None)]
    published._download(f"{hub.replace('127.0.0.1', 'localhost')}/x", tmp_path / "x")
    assert seen[2:] == [("localhost", None)]


def test_a_training_takes_the_names_too(site: Path, own_home: Path) -> None:
    names = {domain: f"cyclegan:horse2zebra/train{domain}" for domain in "AB"}
    config = make_run(own_home, data__A=names["A"], data__B=names["B"])
    assert open_manifest(config.data.path).samples == {"A": 3, "B": 4}
    assert (names["A"], names["B"]) == (config.data.A, config.data.B)
    assert make_run(own_home, name="again", data__A=names["A"], data__B=names["B"]).data.path == config.data.path
