"""Findings of the checks, as a table for people and as JSON for programs; no secret is in them."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from cyclegan_dist.errors import UsageError

Level = Literal["green", "yellow", "red"]
SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|(ACCESS|API|PRIVATE|ACCOUNT)_?KEY", re.IGNORECASE)
PATH_NAME = re.compile(r"_(PATH|FILE|DIR)$", re.IGNORECASE)  # names a file that holds the secret
SHORTEST_SECRET = 6  # characters; hiding a value such as "1" would garble the text
CLOSING: dict[Level, str] = {
    "green": "ready to train",
    "yellow": "training can run; see what the yellow lines may cost",
    "red": "not ready: fix the red lines first",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the table.

    Attributes:
        check: name of the check.
        level: green: fine; yellow: may cost time or data; red: training will fail, or others can run code here.
        found: what was measured.
        advice: what to do; empty if nothing.
        figures: the measurements as plain values, for programs.
    """

    check: str
    level: Level
    found: str
    advice: str
    figures: dict[str, Any]


class Report:
    """The findings so far, in the order of the checks. `on_check` is called with the name of each as it begins."""

    def __init__(self, on_check: Callable[[str], None] = lambda name: None) -> None:
        self.findings: list[Finding] = []
        self._on_check, self._check, self._start = on_check, "", 0

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        """Name the check that adds findings in this block. An exception becomes a red finding, so that the next check
        still runs.
        """
        self._check, self._start = name, len(self.findings)
        self._on_check(name)
        try:
            yield
        except Exception as error:
            self.add("red", f"cannot be checked: {first_line(error)}", "Fix what the message names, and run again.")

    def add(self, level: Level, found: str, advice: str = "", figures: Mapping[str, Any] | None = None) -> None:
        """Add a finding of the current check; `advice` says what to do about yellow and red ones."""
        shown = {hidden(k): hidden(v) if isinstance(v, str) else v for k, v in (figures or {}).items()}
        finding = Finding(check=self._check, level=level, found=hidden(found), advice=hidden(advice), figures=shown)
        self.findings.append(finding)

    def ok(self, found: str, figures: Mapping[str, Any] | None = None) -> None:
        """Add a green finding, unless the current check has found something else."""
        if len(self.findings) == self._start:
            self.add("green", found, figures=figures)

    def answers(self, answers: Mapping[str, Any], advice: str) -> dict[str, Any]:
        """The answers of the nodes; an exception among them becomes a red finding."""
        for node, answer in answers.items():
            if isinstance(answer, Exception):
                self.add("red", f"{node}: {first_line(answer)}", advice)
        return {node: answer for node, answer in answers.items() if not isinstance(answer, Exception)}

    @property
    def level(self) -> Level:
        """The worst of all findings."""
        levels = {finding.level for finding in self.findings}
        return "red" if "red" in levels else "yellow" if "yellow" in levels else "green"

    def table(self, title: str) -> Table:
        """One row for each finding: its level, the check, what was found, and the advice below."""
        rows = Table(title=title, title_justify="left", title_style="bold")
        rows.add_column("", no_wrap=True)
        rows.add_column("check", min_width=14)
        rows.add_column("found, and what to do", overflow="fold")
        for finding in self.findings:
            words = Text(finding.found)
            if finding.advice:
                words.append(f"\n> {finding.advice}", style="bold")
            rows.add_row(Text(finding.level, style=f"bold {finding.level}"), finding.check, words)
        return rows

    def closing(self) -> str:
        """The number of findings of each level, and what to do next."""
        counts = {name: sum(finding.level == name for finding in self.findings) for name in ("red", "yellow", "green")}
        return f"{', '.join(f'{n} {name}' for name, n in counts.items() if n)}: {CLOSING[self.level]}"

    def write_json(self, path: Path) -> None:
        """Write the worst level and all findings.

        Raises:
            UsageError: if the file cannot be written.
        """
        tree = {"level": self.level, "findings": [asdict(finding) for finding in self.findings]}
        try:
            path.write_text(json.dumps(tree, indent=1) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}; give --json another file") from error


def first_line(error: BaseException) -> str:
    """Type and first line of an exception; a UsageError as it is."""
    if isinstance(error, UsageError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def hidden(text: str) -> str:
    """`text` without credentials of URLs, signed parameters, and values of the environment's secrets."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and not PATH_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    text = re.sub(r"://[^/\s]*@", "://", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:token|key|secret|password|sig|signature)=)[^&\s]+", r"\1***", text)
