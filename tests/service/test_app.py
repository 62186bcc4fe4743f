"""The service with requests of clients and of attackers."""

import asyncio
import base64
import io
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.messages import Refusal, Translation, TranslationRequest
from tests.faults.decompression_bombs import decompression_bombs
from tests.service.running import LIMITS, make_snapshot, picture, post, post_json, running


def pixels(data: bytes) -> torch.Tensor:
    return pil_to_tensor(Image.open(io.BytesIO(data)))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refused(answer: "requests.Response", status: int) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]


@pytest.mark.parametrize("direction", ["AB", "BA"])
def test_a_file_comes_back_translated(service: str, snapshot: Path, direction: str) -> None:
    answer = post(f"{service}translate?direction={direction}", data=picture())
    expected = translate(Snapshot.open(snapshot).generator(direction), pixels(picture())[None])[0]
    assert answer.headers["Content-Type"] == "image/png"
    assert torch.equal(pixels(answer.content), expected)


def test_the_page_says_the_names_of_the_domains(service: str, tmp_path: Path) -> None:
    assert "A to B" in (plain := requests.get(service, timeout=60).text) and "channels of A" in plain
    card = make_snapshot(tmp_path / "named") / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"domain_names": {"A": "sun", "B": "rain"}}))
    with running(card.parent) as url:
        page = requests.get(url, timeout=60).text
    assert "sun to rain" in page and "rain to sun" in page and "channels of rain" in page and "A to B" not in page


def test_a_direction_may_be_given_by_the_names_of_the_domains(tmp_path: Path) -> None:
    with running(make_snapshot(tmp_path / "named", names="sun rain")) as url:
        expected = post(f"{url}translate?direction=BA", data=picture()).content
        assert post(f"{url}translate?direction=Rain-to-sun", data=picture()).content == expected
        form = post(f"{url}translate", data={"direction": "rain-to-sun"}, files={"image": picture()})
        assert form.content == expected
        answer = post_json(url, {"image": text(picture()), "direction": "rain to sun"})
        assert base64.b64decode(answer.json()["image"]) == expected
        other = refused(post(f"{url}translate?direction=sun-to-snow", data=picture()), 422)
    assert other == "direction 'sun-to-snow': this model translates sun to rain and rain to sun only; give AB or BA"


def test_a_form_is_translated_as_the_file_in_it(service: str) -> None:
    alone = post(f"{service}translate?direction=BA", data=picture())
    form = post(f"{service}translate", data={"direction": "BA"}, files={"image": ("../../evil.png", picture())})
    assert form.content == alone.content and form.headers["X-Model"] == "tiny"
    jpeg = post(f"{service}translate?direction=BA", data={"format": "jpeg"}, files={"image": ("a.png", picture())})
    assert jpeg.headers["Content-Type"] == "image/jpeg"
    plain = post(f"{service}translate", files={"image": picture()}, headers={"Accept": "image/jpeg"})
    assert plain.headers["Content-Type"] == "image/jpeg"
    edge = bytes(LIMITS.max_bytes)
    for size, status in ((edge, 422), (edge + b"1", 413), (bytes(2_500_000), 413)):
        refused(post(f"{service}translate", files={"image": size}), status)
    assert "give AB or BA" in refused(post(f"{service}translate", data={"direction": "AC"}, files={"image": b"x"}), 422)


def test_clients_that_prefer_jpeg_get_one(service: str) -> None:
    answer = post(f"{service}translate", data=picture(format="JPEG"), headers={"Accept": "image/jpeg"})
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"


def test_json_carries_the_reconstruction_as_well(service: str, snapshot: Path) -> None:
    asked = {"image": text(picture()), "direction": "BA", "reconstruction": True}
    answer = post_json(service, asked).json()
    there = translate(Snapshot.open(snapshot).generator("BA"), pixels(picture())[None])
    back = translate(Snapshot.open(snapshot).generator("AB"), there)[0]
    assert answer["media_type"] == answer["reconstruction_media_type"] == "image/png"
    assert torch.equal(pixels(base64.b64decode(answer["image"])), there[0])
    assert torch.equal(pixels(base64.b64decode(answer["reconstruction"])), back)
    plain = post_json(service, {"image": text(picture()), "format": "jpeg"}).json()
    assert (
        set(plain) == {"model", "media_type", "image"}
        and plain["model"] == "tiny"
        and plain["media_type"] == "image/jpeg"
    )


def test_card_and_health(service: str) -> None:
    assert requests.get(f"{service}health", timeout=10).json() == {"status": "ok", "model": "tiny"}


def test_folders_of_the_server_and_names_of_any_script_do_no_harm(snapshot: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(snapshot, tmp_path / "\u6591\u9a6c 1"))
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"preprocess": {"path": "/home/ann/data/horse2zebra"}}))
    with running(folder) as url:
        assert requests.get(f"{url}card", timeout=10).json()["preprocess"] == {"path": "horse2zebra"}
        answer = post_json(url, {"image": text(picture())})
        assert answer.json()["model"] == folder.name
        assert answer.headers["X-Model"] == "%E6%96%91%E9%A9%AC 1" and unquote(answer.headers["X-Model"]) == folder.name


def test_requests_are_counted_by_model_and_status(service: str) -> None:
    assert post(f"{service}translate", data=picture()).status_code == 200
    assert post(f"{service}translate", data=b"no image").status_code == 422
    answer = requests.get(f"{service}metrics", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    counts = {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("cyclegan_"))
        if "created" not in name
    }
    assert counts['cyclegan_requests_total{model="tiny",status="200"}'] >= 1
    assert counts['cyclegan_requests_total{model="tiny",status="422"}'] >= 1
    assert counts["cyclegan_requests_running"] == 0
    seconds = counts['cyclegan_request_seconds_sum{model="tiny"}']
    assert 0 < seconds < 60 and counts['cyclegan_request_seconds_bucket{le="60.0",model="tiny"}'] >= 1
    assert requests.get(f"{service}card", timeout=10).json()["nimg"] == 40


def test_the_page_is_escaped_and_may_load_nothing_from_elsewhere(service: str) -> None:
    one, two = (requests.get(service, timeout=10) for _ in range(2))
    assert "<b>tiny" not in one.text and "&lt;b&gt;tiny" in one.text
    assert "http" not in one.text.replace("http://HOST:PORT/", "")
    policy = one.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert one.text.count(f'nonce="{nonce}"') == 2 and nonce not in two.text
    assert one.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_offers_what_the_model_can_do(service: str, tmp_path: Path) -> None:
    page = requests.get(service, timeout=10).text
    assert all(f'name="direction" value="{way}"' in page for way in ("AB", "BA"))
    assert "A to B</label>" in page and 'value="reconstruction"' in page
    assert 'type="range"' in page and 'role="status"' in page and 'role="alert"' in page
    assert "up to 1 MB and 0.04 megapixels" in page
    with running(make_snapshot(tmp_path / "one", directions="AB"), title="/runs/one") as url:
        page = requests.get(url, timeout=10).text
    assert 'value="BA"' not in page and 'value="reconstruction"' not in page
    assert "<h1>one</h1>" in page


@pytest.mark.parametrize(
    ("data", "status", "sentence"),
    [
        (b"", 422, "empty"),
        (b"GIF89a, or so it says", 422, "cannot be read"),
        (b"/etc/passwd", 422, "cannot be read"),
        (b"http://127.0.0.1/image.png", 422, "cannot be read"),
        (picture()[:500], 422, "cannot be read"),
        (picture(300, 200), 413, "300x200 exceed the limit of 40,000 pixels"),
        (bytes(1_000_001), 413, "exceeds the limit of 1 megabytes"),
    ],
    ids=["nothing", "garbage", "path", "url", "cut", "pixels", "bytes"],
)
def test_files_that_are_refused(service: str, data: bytes, status: int, sentence: str) -> None:
    assert sentence in refused(post(f"{service}translate", data=data), status)
    if data and len(data) <= LIMITS.max_bytes:
        assert sentence in refused(post_json(service, {"image": text(data)}), status)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "JSON"),
        (b"[" * 100_000, 400, "JSON"),
        (b"[]", 400, "object"),
        (b"{}", 422, "image: Field required"),
        (b'{"image": 3}', 422, "image: must be a valid string"),
        (b'{"image": "no base64!"}', 422, "image: this is not base64"),
        ('{"image": "\u00e4\u00f6"}'.encode(), 422, "image: this is not base64"),
        (b'{"image": "data:image/png;base64,AAAA"}', 422, "image: this is not base64"),
        (b'{"image": "AAAA", "direction": "AC"}', 422, "give AB or BA"),
        (b'{"image": "AAAA", "path": "/etc/passwd"}', 422, "path: Extra inputs"),
        (b'{"image": "AAAA", "format": "gif"}', 422, "format: "),
        (json.dumps({"image": text(bytes(1_000_001))}).encode(), 413, "exceeds the limit of 1 megabytes"),
        (json.dumps({"image": "A" * 1_500_000}).encode(), 413, "exceeds the limit of 1 megabytes"),
    ],
)
def test_json_that_is_refused(service: str, body: bytes, status: int, sentence: str) -> None:
    answer = post(f"{service}v1/translate", data=body, headers={"Content-Type": "application/json"})
    assert sentence in refused(answer, status)


def test_other_requests_that_are_refused(service: str) -> None:
    assert "give AB or BA" in refused(post(f"{service}translate?direction=../..", data=picture()), 422)
    assert "/translate" in refused(requests.get(f"{service}../../etc/passwd", timeout=10), 404)
    assert "use POST" in refused(requests.get(f"{service}translate", timeout=10), 405)
    assert "Content-Type" in refused(post(f"{service}v1/translate", data="{}"), 415)
    assert "as the body" in refused(post(f"{service}translate", data="a", headers={"Content-Type": "text/plain"}), 415)


def test_an_endless_body_is_cut_off(service: str) -> None:
    place = urlsplit(service)
    sent = 0
    with socket.create_connection((place.hostname, place.port), timeout=20) as client:
        client.sendall(b"POST /translate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 200 << 20:
                client.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                sent += 1 << 16
        except OSError:
            pass
    assert LIMITS.max_bytes < sent < 20 << 20  # the limit, twice, and what the kernel's buffers took


@pytest.mark.filterwarnings("default::UserWarning")  # what Pillow thinks of bombs
def test_bombs_are_refused_and_take_no_memory(snapshot: Path) -> None:
    made = decompression_bombs()
    with running(snapshot) as service:
        post(f"{service}translate", data=picture())
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        before = _memory("VmRSS")
        for name, data in made.items():
            answer = post(f"{service}translate", data=data)
            assert answer.status_code in (413, 422), name
            assert answer.json()["error"], name
        growth = _memory("VmHWM") - before
    assert growth < 60


def _memory(key: str) -> float:
    """Megabytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


@pytest.fixture
def slow_service(snapshot: Path) -> Iterator[tuple[str, threading.Event]]:
    """A service whose answers can be held back."""
    go = threading.Event()

    async def answer(request: TranslationRequest) -> Translation | Refusal:
        await asyncio.to_thread(go.wait, 20)
        grey = torch.full((3, 4, 4), 128, dtype=torch.uint8)
        return Translation(image=encode_image(grey, "grey"))

    with running(snapshot, answer=answer) as url:
        yield url, go
        go.set()


def test_it_is_ready_while_a_process_can_translate(snapshot: Path) -> None:
    now = [True]

    async def ready() -> bool:
        return now[0]

    with running(snapshot, ready=ready) as url:
        answer = requests.get(f"{url}ready", timeout=10)
        assert (answer.status_code, answer.json()) == (200, {"ready": True})
        now[0] = False
        answer = requests.get(f"{url}ready", timeout=10)
        assert "no process can translate" in refused(answer, 503) and answer.headers["Retry-After"] == "5"
        assert requests.get(f"{url}health", timeout=10).status_code == 200


def test_too_many_requests_get_503(slow_service: tuple[str, threading.Event]) -> None:
    url, go = slow_service
    answers: list[int] = []
    clients = [
        threading.Thread(target=lambda: answers.append(post(f"{url}translate", data=picture()).status_code))
        for _ in range(LIMITS.max_requests)
    ]
    for client in clients:
        client.start()
    late = _until_refused(url)
    assert "try again" in refused(late, 503)
    assert late.headers["Retry-After"] == "1"
    assert requests.get(f"{url}health", timeout=10).status_code == 200
    go.set()
    for client in clients:
        client.join()
    assert answers == [200] * LIMITS.max_requests
    assert post(f"{url}translate", data=picture()).status_code == 200


def _until_refused(url: str) -> "requests.Response":
    """An empty body is refused in any case, with 503 once all places are taken."""
    limit = time.monotonic() + 10
    while (answer := post(f"{url}translate", data=b"")).status_code != 503 and time.monotonic() < limit:
        time.sleep(0.02)
    return answer


def test_a_failing_request_gets_an_error_and_others_continue(snapshot: Path) -> None:
    async def answer(request: TranslationRequest) -> Translation | Refusal:
        raise ZeroDivisionError("secret")

    with running(snapshot, answer=answer) as url:
        sentence = refused(post(f"{url}translate", data=picture()), 500)
        assert "secret" not in sentence
        assert requests.get(f"{url}health", timeout=10).status_code == 200


def test_a_model_of_one_direction_refuses_the_other(tmp_path: Path) -> None:
    with running(make_snapshot(tmp_path / "half", directions="AB")) as url:
        assert post(f"{url}translate", data=picture()).status_code == 200
        assert "give AB" in refused(post(f"{url}translate?direction=BA", data=picture()), 422)
        asked = {"image": text(picture()), "reconstruction": True}
        assert "this model translates A to B only" in refused(post_json(url, asked), 422)
        assert 'value="BA"' not in requests.get(url, timeout=10).text


def test_channels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with running(make_snapshot(tmp_path / "four", input_nc=4)) as url:
        sentence = refused(post(f"{url}translate", data=picture()), 422)
        assert sentence == "the image has 3 channels, and direction AB takes 4"
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((20, 24, 4), np.uint8))
        answer = post(f"{url}translate", data=buffer.getvalue())
        assert pixels(answer.content).shape == (3, 20, 24)
        back = post(f"{url}translate?direction=BA", data=picture(), headers={"Accept": "image/jpeg"})
        assert back.headers["Content-Type"] == "application/octet-stream"
        assert np.load(io.BytesIO(back.content), allow_pickle=False).shape == (20, 24, 4)
