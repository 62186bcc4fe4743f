"""The command, as users run it."""

import asyncio
import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import requests

from cyclegan_dist.service.messages import Refusal, Translation, TranslationRequest
from cyclegan_dist.service.server import listen
from pipelines.serve import main
from tests.conftest import Answer
from tests.service.running import make_snapshot, picture, post, post_json


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--max-megabytes", "0"], "--max-megabytes 0: give more than 0 and at most 268.435"),
        (["--max-megapixels", "51"], "--max-megapixels 51: give more than 0 and at most 50"),
        (["--max-megapixels", "nan"], "--max-megapixels nan: give more than 0"),
        (["--replicas", "0"], "--replicas 0: give 1 or more"),
        (["--batch-size", "-1"], "--batch-size -1: give 1 or more"),
        (["--batch-wait-ms", "-1"], "--batch-wait-ms -1: give 0 to 10000"),
        (["--follow-s", "-1"], "--follow-s -1: give 0 to 3600"),
        (["--canary", "nothing"], "nothing is neither a snapshot nor a run with snapshots"),
        (["--canary-share", "1.1"], "--canary-share 1.1: give 0 to 1"),
        (["--canary-share", "nan"], "--canary-share nan: give 0 to 1"),
        (["--deadline-s", "0"], "--deadline-s 0: give 1 to 3600"),
        (["--requests-per-client", "-1"], "--requests-per-client -1: give 0 or more"),
        (["--allowed-hosts", "http://a.org/"], "--allowed-hosts http://a.org/: give a name such as"),
        (["--host", "0.0.0.0", "--port", "0"], "--host 0.0.0.0 can be reached from other machines: give --tokens FILE"),
        (["--tokens", "nothing.json"], "nothing.json does not exist: write it with"),
        (["--tokens", "a", "--no-authentication"], "--no-authentication and --tokens exclude each other"),
        (["--root-path", "prefix"], "--root-path prefix: give a path such as /horse2zebra"),
        (["--trusted-proxy", "proxy"], "--trusted-proxy proxy: give the address of a proxy"),
        (["--tls-cert", "cert.pem"], "--tls-cert and --tls-key belong together"),
        (["--audit-log", "nowhere/audit.jsonl"], "--audit-log nowhere/audit.jsonl cannot be written: No such file"),
        (["--port", "70000"], "cannot listen on 127.0.0.1, port 70000"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    command: Callable[..., Answer], tmp_path: Path, options: list[str], sentence: str
) -> None:
    code, _, err = command(main, make_snapshot(tmp_path / "tiny"), *options)
    assert code == 2
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1


def test_a_value_may_be_a_hyphen(command: Callable[..., Answer], tmp_path: Path) -> None:
    options = ("--audit-log", "-", "--port", "70000")
    assert "cannot listen on" in command(main, make_snapshot(tmp_path / "tiny"), *options)[2]


def test_a_taken_port_and_a_damaged_model_are_one_line(command: Callable[..., Answer], tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path / "tiny")
    with listen("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        code, _, err = command(main, snapshot, "--port", port)
        assert code == 2
        assert (
            err
            == f"error: cannot listen on 127.0.0.1, port {port}: Address already in use; choose another --port or --host\n"
        )
    (snapshot / "G_BA.safetensors").write_bytes(b"damaged")
    code, _, err = command(main, snapshot)
    assert code == 2
    assert "is damaged" in err and err.count("\n") == 1
    assert command(main, tmp_path / "nothing")[0] == 2


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:Using extra keyword arguments:DeprecationWarning")  # ray.serve, when it is imported
def test_busy_or_dead_replicas_are_refusals_with_a_reason() -> None:
    from ray.exceptions import ActorDiedError
    from ray.serve.exceptions import BackPressureError

    from cyclegan_dist.orchestration.replicas import answerer_of

    class Handle:
        def __init__(self, error: Exception):
            self.error = error

        async def remote(self, request: TranslationRequest) -> Translation:
            raise self.error

    for error, sentence in ((BackPressureError(3, 2), "too many requests"), (ActorDiedError(), "reduce the image")):
        request = TranslationRequest(data=b"", direction="AB")
        answer = asyncio.run(answerer_of(cast(Any, Handle(error)))(request))
        assert isinstance(answer, Refusal)
        assert answer.status == 503 and sentence in answer.sentence


@pytest.mark.slow
@pytest.mark.ray
def test_it_serves_until_it_is_stopped(tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path / "tiny")
    words = [sys.executable, "-m", "pipelines.serve", str(snapshot), "--port", "0", "--max-megapixels", "0.04"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate()
        found = re.fullmatch(rf"serving {snapshot} at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
        assert found, line
        url, family = found[1], psutil.Process(process.pid).children(recursive=True)
        lines = [" ".join(member.cmdline()) for member in family]
        assert any("Replica" in line for line in lines)
        (temporary,) = set(re.findall(r"/tmp/cgd\w+", " ".join(lines)))
        _use(url)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert not Path(temporary).exists()


def _use(url: str) -> None:
    assert requests.get(f"{url}health", timeout=10).json() == {"status": "ok", "model": "tiny"}
    assert "choose a file" in requests.get(url, timeout=10).text
    files = [picture(24 + 8 * (i % 2), 24, i) for i in range(6)]
    alone = [post(f"{url}translate", data=file).content for file in files]
    assert len(set(alone)) == len(files)
    with ThreadPoolExecutor(len(files)) as pool:  # now in batches
        together = list(pool.map(lambda file: post(f"{url}translate", data=file).content, files))
    assert together == alone
    asked = {"image": base64.b64encode(files[0]).decode(), "reconstruction": True}
    answer = post_json(url, asked).json()
    assert base64.b64decode(answer["image"]) == alone[0]
    assert base64.b64decode(answer["reconstruction"]).startswith(b"\x89PNG")
    for data, status in ((b"no image", 422), (picture(300, 200), 413)):
        refusal = post(f"{url}translate", data=data)
        assert refusal.status_code == status and refusal.json()["error"]
