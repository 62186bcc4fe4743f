"""What was found, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor.findings import Finding, Level, worst

NAMES = 14  # characters of the longest name of a check
CLOSING: dict[Level, str] = {
    "green": "fit for the night",
    "yellow": "it can run; yellow lines may cost something",
    "red": "not fit: mend the red lines first",
}


def table(findings: Sequence[Finding], title: str) -> Table:
    """One row for each finding: its colour, the check, and what was found with the advice below it."""
    rows = Table(title=title, title_justify="left", title_style="bold", expand=False, show_lines=False)
    rows.add_column("", no_wrap=True)
    rows.add_column("check", min_width=NAMES)
    rows.add_column("found, and what to do", overflow="fold")
    for finding in findings:
        words = Text(finding.found)
        if finding.advice:
            words.append(f"\n> {finding.advice}", style="bold")
        rows.add_row(Text(finding.level, style=f"bold {finding.level}"), finding.check, words)
    return rows


def closing(findings: Sequence[Finding]) -> str:
    """How many of which colour, and what that means."""
    level = worst(findings)
    counts = {name: sum(finding.level == name for finding in findings) for name in ("red", "yellow", "green")}
    return f"{', '.join(f'{n} {name}' for name, n in counts.items() if n)}: {CLOSING[level]}"


def write_json(findings: Sequence[Finding], path: Path) -> None:
    """The findings with their figures, and the worst level of them.

    Raises:
        UsageError: if it cannot be written.
    """
    told = {"level": worst(findings), "findings": [asdict(finding) for finding in findings]}
    try:
        path.write_text(json.dumps(told, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give --json another file") from error
