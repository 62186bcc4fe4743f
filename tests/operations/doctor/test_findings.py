import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor.findings import Finding, attempt, hidden, size, told, worst


def finding(level: str, found: str = "x") -> Finding:
    return Finding(check="c", level=level, found=found)  # pyright: ignore[reportArgumentType]


def test_a_check_that_raises_is_a_red_finding_with_its_text() -> None:
    def look() -> list[Finding]:
        raise ZeroDivisionError("no nodes\nand more")

    (found,) = attempt("clock", look)
    assert (found.check, found.level, found.found) == (
        "clock",
        "red",
        "cannot be checked: ZeroDivisionError: no nodes",
    )


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("X", "http://user:p@ss@host:80/a", "http://host:80/a"),
        ("X", "s3://b/k?X-Amz-Signature=abcdef&a=1", "s3://b/k?X-Amz-Signature=***&a=1"),
        ("RAY_AUTH_TOKEN", "got canary-value-1 back", "got *** back"),
        ("MLFLOW_TRACKING_PASSWORD", "canary-value-1", "***"),
        ("AWS_SECRET_ACCESS_KEY", "canary-value-1", "***"),
        ("AWS_ACCESS_KEY_ID", "canary-value-1", "***"),
        ("RAY_AUTH_TOKEN_PATH", "canary-value-1", "canary-value-1"),
        ("HOME", "canary-value-1", "canary-value-1"),
    ],
)
def test_secrets_are_hidden(name: str, text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "canary-value-1")
    assert hidden(text) == shown


def test_no_part_of_a_finding_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "canary-value-1")
    told_all = Finding(
        check="c",
        level="red",
        found="canary-value-1",
        advice="canary-value-1",
        figures={"canary-value-1": 1, "b": "canary-value-1"},
    )
    assert "canary" not in str(attempt("c", lambda: [told_all]))

    def fails() -> list[Finding]:
        raise OSError("canary-value-1")

    assert "canary" not in str(attempt("c", fails))


def test_the_worst_level_wins() -> None:
    assert worst([]) == "green"
    assert worst([finding("green"), finding("yellow")]) == "yellow"
    assert worst([finding("red"), finding("yellow"), finding("green")]) == "red"


def test_errors_are_told_in_one_line() -> None:
    assert told(UsageError("no data set")) == "no data set"
    assert told(OSError()) == "OSError"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (12_500_000, "12.5 MB"), (1.67e9, "1.67 GB"), (2e15, "2,000 TB")]
)
def test_sizes(count: float, words: str) -> None:
    assert size(count) == words
