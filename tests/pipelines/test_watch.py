"""The command, as users run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from pipelines.watch import main
from tests.alerts.receivers import mail_receiver, web_receiver
from tests.conftest import Answer
from tests.watch.runs import make_run


@pytest.mark.slow
def test_it_serves_until_it_is_interrupted(own_home: Path) -> None:
    make_run(own_home / "runs" / "one")
    words = [sys.executable, "-c", WATCH, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith(f"watch {own_home}/runs at http://127.0.0.1:"), process.communicate()
        url = line.split(" at ")[1].split()[0]
        assert requests.get(f"{url}state", timeout=20).json()["run"] == "one"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "") and process.returncode == 0


WATCH = """
import sys
from pipelines.watch import main
main()
assert not {"torch", "mlflow", "ray"} & {*sys.modules}
"""


def test_what_is_no_folder_is_refused(command: Callable[..., Answer], own_home: Path) -> None:
    code, out, err = command(main)
    assert (code, out) == (2, "")
    assert err == f"error: {own_home}/runs is not a folder: give that of a run, or the --runs_dir of the trainings\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--no-page"], "--no-page without --alert: there is nothing to do"),
        (["--alerts.webhook", "https://example.org/x"], "options of alerts were given, but not --alert"),
        (["--alert"], "give --alerts.webhook URL or --alerts.email ADDRESS, or set CYCLEGAN_DIST_ALERT_WEBHOOK"),
        (["--alert", "--alerts.webhook", "example.org"], "alerts.webhook is not a URL"),
        (["--alert", "--alerts.webhook", "https://example.org/x"], "set CYCLEGAN_DIST_ALERT_SECRET"),
        (["--alert", "--alerts.email", "ops"], "alerts.email 'ops' is not an e-mail address: give NAME@HOST"),
        (["--alert", "--alerts.email", "a@b.org", "--alert-every", "0"], "--alert-every 0.0: give seconds"),
        (["--alert", "--alerts.emial", "a@b.org"], "unknown option --alerts.emial, did you mean --alerts.email?"),
    ],
)
def test_alerts_that_cannot_be_sent_are_refused(
    command: Callable[..., Answer], own_home: Path, options: list[str], says: str
) -> None:
    make_run(own_home / "runs" / "one")
    code, out, err = command(main, *options)
    assert (code, out) == (2, "") and err.startswith("error: ") and says in err and err.count("\n") == 1
    assert not (own_home / "runs" / ".alerts").exists()


def test_a_test_alert_says_where_it_arrived(
    command: Callable[..., Answer], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_DIST_ALERT_SECRET", "s3cret")
    with web_receiver() as web, mail_receiver() as relay:
        options = ["--alerts.webhook", web.url, "--alerts.email", "a@b.org", "--alerts.smtp", relay.address]
        code, out, err = command(main, "--test-alert", *options)
        place = web.url.removesuffix("/hook")
        assert (code, out, err) == (0, f"sent: webhook at {place} and email at relay {relay.address}\n", "")
        assert web.events == ["test"] and len(relay.messages) == 1
        web.statuses = [401]
        code, out, err = command(main, "--test-alert", *options)
        assert (code, out) == (2, "")
        assert err == f"error: webhook at {place} did not take the alert: it answers with status 401\n"


@pytest.mark.slow
def test_it_sends_alerts_without_a_page_until_it_is_interrupted(own_home: Path) -> None:
    make_run(own_home / "runs" / "old", end="FINISHED")
    with web_receiver() as web:
        words = [sys.executable, "-c", WATCH, "--alert", "--no-page", "--alert-every", "0.2"]
        words += ["--alerts.webhook", web.url]
        environment = os.environ | {"CYCLEGAN_DIST_ALERT_SECRET": "s3cret"}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith(f"alerts of {own_home}/runs are sent to webhook at http://127.0.0.1:")
            make_run(own_home / "runs" / "one", end="FINISHED")
            assert process.stdout.readline() == "alert: finished: one: 12 images\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        assert web.events == ["finished"]
