import json
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor.report import Report, first_line, hidden


@pytest.fixture
def report() -> Report:
    report = Report()
    with report.check("versions"):
        report.ok("the same on 3 nodes", {"torch": "2.14"})
    with report.check("job API"):
        report.add("red", "[red] answers without a token " + "x" * 90, "Use a token.")
        report.ok("not added after another finding of the same check")
    return report


def test_a_check_that_raises_is_red_and_the_next_one_runs() -> None:
    names: list[str] = []
    report = Report(on_check=names.append)
    with report.check("a"):
        raise ZeroDivisionError("no nodes\nand more")
    with report.check("b"):
        report.ok("fine")
    a, b = report.findings
    assert (a.check, a.level, a.found) == ("a", "red", "cannot be checked: ZeroDivisionError: no nodes") and a.advice
    assert (b.check, b.level) == ("b", "green")
    assert names == ["a", "b"]


def test_nodes_without_an_answer_are_red() -> None:
    report = Report()
    assert report.answers({"a": 1, "b": RuntimeError("died")}, "look") == {"a": 1}
    assert [(f.level, f.found, f.advice) for f in report.findings] == [("red", "b: RuntimeError: died", "look")]


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("X", "http://user:p@ss@host:80/a", "http://host:80/a"),
        ("X", "s3://b/k?X-Amz-Signature=abcdef&a=1", "s3://b/k?X-Amz-Signature=***&a=1"),
        ("RAY_AUTH_TOKEN", "got canary-value-1 back", "got *** back"),
        ("MLFLOW_TRACKING_PASSWORD", "canary-value-1", "***"),
        ("AWS_ACCESS_KEY_ID", "canary-value-1", "***"),
        ("RAY_AUTH_TOKEN_PATH", "canary-value-1", "canary-value-1"),
        ("HOME", "canary-value-1", "canary-value-1"),
    ],
)
def test_secrets_are_hidden(name: str, text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "canary-value-1")
    assert hidden(text) == shown


def test_no_part_of_a_finding_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "canary-value-1"
    monkeypatch.setenv("API_KEY", secret)
    report = Report()
    report.add("red", secret, secret, {secret: 1, "b": secret})
    with report.check("c"):
        raise OSError(secret)
    assert len(report.findings) == 2 and "canary" not in str(report.findings)


def test_the_worst_level_counts() -> None:
    report = Report()
    for added, level in (("green", "green"), ("yellow", "yellow"), ("red", "red"), ("green", "red")):
        report.add(added, "x")  # pyright: ignore[reportArgumentType]
        assert report.level == level


def test_an_error_is_one_line() -> None:
    assert first_line(UsageError("no data set")) == "no data set"
    assert first_line(OSError()) == "OSError"


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_and_is_complete(width: int, report: Report) -> None:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(report.table("demo"))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.count("x") for line in lines) == 90
    assert "[red] answers" in capture.get()  # not taken for markup
    assert any("> Use a token." in line for line in lines)
    assert any("green" in line and "versions" in line and "3 nodes" in line for line in lines)


def test_the_last_line_counts(report: Report) -> None:
    assert report.closing() == "1 red, 1 green: not ready: fix the red lines first"


def test_programs_read_json(report: Report, tmp_path: Path) -> None:
    report.write_json(tmp_path / "out.json")
    tree = json.loads((tmp_path / "out.json").read_text())
    assert tree["level"] == "red" and len(tree["findings"]) == 2
    first = {"check": "versions", "level": "green", "found": "the same on 3 nodes", "advice": ""}
    assert tree["findings"][0] == {**first, "figures": {"torch": "2.14"}}
    with pytest.raises(UsageError, match="--json"):
        report.write_json(tmp_path)
