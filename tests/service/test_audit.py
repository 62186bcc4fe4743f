import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from cyclegan_dist.errors import UsageError
from cyclegan_dist.service import audit
from cyclegan_dist.service.access import Access
from cyclegan_dist.service.audit import AuditLog
from cyclegan_dist.service.authentication import Authentication
from cyclegan_dist.service.messages import TranslationRequest
from cyclegan_dist.service.tokens import create_token
from tests.service.running import picture, post, running

KEYS = ["time", "token", "client", "method", "path", "model", "direction", "status", "ms", "bytes_in", "bytes_out"]


def records(path: Path, count: int) -> list[dict[str, Any]]:
    """The lines of a log, which are written after the client has the answer."""
    until = time.monotonic() + 10
    while len(lines := path.read_text().splitlines()) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(lines) == count, lines
    return [json.loads(line) for line in lines]


def test_each_request_is_a_line_with_no_image_and_no_token(snapshot: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    _, secret = create_token(tmp_path / "tokens.json", "ann", per_minute=2)
    access = Access(authentication=Authentication(tmp_path / "tokens.json", print), audit=AuditLog(str(log)))
    header, image = {"Authorization": f"Bearer {secret}"}, picture()
    began = datetime.now(UTC)
    with running(snapshot, access=access) as url:
        made = post(f"{url}translate?direction=BA&note={secret}", data=image, headers=header)
        answers = [
            made,
            post(f"{url}translate", data=b"no image", headers=header),
            post(f"{url}translate", data=image, headers=header),  # above the rate
            post(f"{url}translate", data=image),
            requests.get(f"{url}health", headers={"Host": "a.org"}, timeout=10),
            requests.get(f"{url}no%0Asuch%22page%E2%80%A8%C2%9B", timeout=10),
        ]
        found = records(log, len(answers))
    assert [one["status"] for one in found] == [one.status_code for one in answers] == [200, 422, 429, 401, 421, 404]
    assert [one["bytes_out"] for one in found] == [len(one.content) for one in answers]
    assert [list(one) for one in found] == [KEYS] * len(answers)
    assert [one["token"] for one in found] == ["ann", "ann", "ann", None, None, None]
    assert [one["bytes_in"] for one in found[:3]] == [len(image), 8, 0]
    first = found[0]
    assert (first["model"], first["direction"], first["client"], first["method"]) == ("tiny", "BA", "127.0.0.1", "POST")
    assert first["path"] == "/translate" and found[-1]["path"] == '/no\nsuch"page\u2028\x9b'
    assert (
        0 <= (datetime.fromisoformat(first["time"]) - began).total_seconds() + 0.001 < 10 and 0 < first["ms"] < 10_000
    )
    assert secret not in log.read_text() and log.stat().st_mode & 0o777 == 0o600


def test_the_longest_line_is_one_write_of_a_pipe(tmp_path: Path) -> None:
    worst: dict[str, object] = {
        **dict.fromkeys(KEYS, 1e9),
        "path": "\U000e0001" * 200,
        "client": "\x9b" * 64,
        "method": "M" * 32,
    }
    AuditLog(str(tmp_path / "log")).write(worst | {"model": "\U0001f993" * 200, "token": "t" * 64})
    line = (tmp_path / "log").read_bytes()
    assert len(line) <= 4096 and json.loads(line)["path"] == worst["path"]


def test_a_pipe_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe cannot be written: No such device"):
        AuditLog(str(tmp_path / "pipe"))
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    AuditLog(str(tmp_path / "pipe")).write({"path": "/"})
    assert os.read(reader, 100) == b'{"path": "/"}\n'
    os.close(reader)


def test_a_failure_of_the_service_is_a_line_too(snapshot: Path, tmp_path: Path) -> None:
    async def fails(request: TranslationRequest) -> Any:
        raise ZeroDivisionError

    log = tmp_path / "audit.jsonl"
    with running(snapshot, answer=fails, access=Access(audit=AuditLog(str(log)))) as url:
        answer = post(f"{url}translate", data=picture())
        assert answer.status_code == 500 and "the reason is in its log" in answer.json()["error"]
        (found,) = records(log, 1)
    assert (found["status"], found["bytes_out"], found["direction"]) == (500, len(answer.content), "AB")


def test_lines_of_several_writers_stay_whole_and_a_renamed_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    logs = [AuditLog(str(path)) for _ in range(4)]

    def write(log: AuditLog) -> None:
        for number in range(50):
            log.write({"number": number, "text": "x" * 1000})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, logs))
    assert sorted(json.loads(line)["number"] for line in path.read_text().splitlines()) == sorted([*range(50)] * 4)
    path.rename(tmp_path / "audit.1.jsonl")
    logs[0].write({"number": 50})
    assert path.read_text() == '{"number": 50}\n'


def test_a_line_that_cannot_be_written_goes_to_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(str(path))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(audit.os, "write", lambda descriptor, data: write(descriptor, data[:5]))  # a full disk
        log.write({"number": 1})
    assert capsys.readouterr().err == 'the audit log cannot be written (No space left on device): {"number": 1}\n'
    log.write({"number": 2})
    assert path.read_text().splitlines() == ['{"num', '{"number": 2}']


def test_standard_output_and_a_place_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    AuditLog("-").write({"path": "/\udcff"})
    assert capfd.readouterr().out == '{"path": "/\\udcff"}\n'
    with pytest.raises(UsageError, match=r"--audit-log .* cannot be written: Is a directory; give another file"):
        AuditLog(str(tmp_path))
