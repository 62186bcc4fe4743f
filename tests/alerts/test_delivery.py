"""Alerts of a journal at one destination: each at least once, and none for ever."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest

from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.alerts.delivery import MAX_AGE_S, AlertDestination, is_delivered, send_now
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import append, read_records
from tests.alerts.receivers import WebReceiver, mail_receiver, web_receiver
from tests.alerts.settings import ALERT, settings_for


def deliver(folder: Path, web: WebReceiver) -> None:
    destination = AlertDestination(folder, "webhook", settings_for(web))
    for record, offset in read_records(RunFolder(folder).journal, destination.offset):
        destination.send(record, offset)


def messages(folder: Path) -> list[str]:
    return [record["text"] for record, _ in read_records(RunFolder(folder).journal, 0) if record["kind"] == "message"]


def test_each_is_delivered_until_it_is_taken_and_then_no_more(tmp_path: Path) -> None:
    append(tmp_path, "message", text="begun")
    for number in "12":
        append(tmp_path, "alert", **ALERT.record() | {"id": number})
    offsets = [offset for _, offset in read_records(RunFolder(tmp_path).journal, 0)]
    with web_receiver() as web:
        web.statuses = [200, 500]
        with pytest.raises(OSError, match="status 500"):
            deliver(tmp_path, web)
        delivered = [is_delivered(tmp_path, "webhook", settings_for(web), offset) for offset in offsets]
        assert delivered == [True, True, False]
        deliver(tmp_path, web)
        deliver(tmp_path, web)
        assert [headers["webhook-id"] for headers, _ in web.posts] == ["1", "2", "2"]
        RunFolder(tmp_path).state_of("webhook").unlink()  # as if it had been killed before it was noted
        deliver(tmp_path, web)
        assert [headers["webhook-id"] for headers, _ in web.posts[3:]] == ["1", "2"]
    assert "hook" not in RunFolder(tmp_path).state_of("webhook").read_text()  # the path may be a secret


def test_another_place_gets_them_too(tmp_path: Path) -> None:
    append(tmp_path, "alert", **ALERT.record())
    with web_receiver() as first, web_receiver() as second:
        for web in (first, second, second):
            deliver(tmp_path, web)
        assert (len(first.posts), len(second.posts)) == (1, 1)


def test_what_was_not_taken_in_a_day_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path, "alert", **ALERT.record())
    now = time.time()
    with web_receiver() as web:
        monkeypatch.setattr(time, "time", lambda: now + MAX_AGE_S + 60)
        deliver(tmp_path, web)  # a place that is new
        assert not messages(tmp_path) and not web.posts
        RunFolder(tmp_path).state_of("webhook").unlink()
        monkeypatch.setattr(time, "time", lambda: now)
        web.statuses = [500]
        with pytest.raises(OSError):
            deliver(tmp_path, web)
        monkeypatch.setattr(time, "time", lambda: now + MAX_AGE_S + 60)
        deliver(tmp_path, web)
        deliver(tmp_path, web)
        assert len(web.posts) == 1
        told = f"webhook: failed: horses is not sent to {web.url.removesuffix('/hook')}: it is older than 24 h"
        assert messages(tmp_path) == [told]


def test_without_a_journal_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with web_receiver() as web, mail_receiver() as relay:
        web.statuses = [500, 500]
        assert send_now(settings_for(web, relay), ALERT) == [] and len(web.posts) == 3 and len(relay.messages) == 1
        web.statuses = [500] * 3
        [line] = send_now(settings_for(web), ALERT)
        assert line == f"webhook at {web.url.removesuffix('/hook')} did not take the alert: it answers with status 500"


def test_an_answer_that_comes_byte_by_byte_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not ended.wait(0.01):
                connection.sendall(b"x")

    monkeypatch.setattr("cyclegan_dist.alerts.delivery.DELIVERY_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        settings = AlertSettings(webhook=f"http://127.0.0.1:{listener.getsockname()[1]}/", secret="s")
        [line] = send_now(settings, ALERT, tries=1)
        ended.set()
    assert line.endswith("did not take the alert: it has not answered within 0.3 s")
