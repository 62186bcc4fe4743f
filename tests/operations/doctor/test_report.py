import json
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor.findings import Finding
from cyclegan_dist.operations.doctor.report import closing, table, write_json

FINDINGS = [
    Finding(check="clock", level="green", found="3 nodes within 0.2 ms", figures={"a": 0.0002}),
    Finding(check="job API", level="red", found="[red] answers without a token " + "x" * 90, advice="Use a token."),
]


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_and_leaves_nothing_out(width: int) -> None:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table(FINDINGS, "demo"))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.count("x") for line in lines) == 90
    assert "[red] answers" in capture.get()  # not taken for markup
    assert any("> Use a token." in line for line in lines)
    assert any("green" in line and "clock" in line and "3 nodes" in line for line in lines)


def test_the_last_line_counts() -> None:
    assert closing(FINDINGS) == "1 red, 1 green: not fit: mend the red lines first"
    assert closing(FINDINGS[:1]) == "1 green: fit for the night"


def test_programs_read_json(tmp_path: Path) -> None:
    write_json(FINDINGS, tmp_path / "out.json")
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["level"] == "red"
    assert told["findings"][0] == {
        "check": "clock",
        "level": "green",
        "found": "3 nodes within 0.2 ms",
        "advice": "",
        "figures": {"a": 0.0002},
    }
    with pytest.raises(UsageError, match="--json"):
        write_json(FINDINGS, tmp_path)
