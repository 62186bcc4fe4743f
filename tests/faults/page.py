"""Renderer of `docs/faults.md`, from the figures that the drills saved in `docs/faults.json`."""

from pathlib import Path
from typing import Any

from tests.faults.drills import ROWS
from tests.faults.matrix import GROUPS

FIGURES = Path(__file__).parents[2] / "docs" / "faults.json"
VERDICT = {True: "yes", False: "**no**", None: "?"}

HEAD = """# Fault-injection results

Each row is a real fault that a drill in `tests/faults` injected, and the measured outcome. This page is generated: `make
faults` runs all drills and writes it, and `python -m tests.faults B2 C1` runs some rows again. `make test` runs most drills
with fewer repetitions.

{date}, {machine}, {versions}; seed {seed}. {passed} of {all} rows pass.
"""


def render(figures: dict[str, Any]) -> str:
    """The page as Markdown."""
    rows = figures["rows"]
    verdicts = [entry["passed"] for entry in rows.values()]
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    facts = {**figures, "versions": versions}
    parts = [HEAD.format(**facts, passed=verdicts.count(True), all=len(ROWS))]
    for letter, title in GROUPS.items():
        parts.append(f"\n## {letter}. {title}\n\n| id | fault | expected | measured | pass |\n|---|---|---|---|---|")
        for row in ROWS.values():
            if row.id.startswith(letter):
                entry = rows.get(
                    row.id, {"figure": f"not measured yet: `python -m tests.faults {row.id}`", "passed": None}
                )
                cells = (row.id, row.fault, row.expected, entry["figure"], VERDICT[entry["passed"]])
                parts.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(parts) + "\n"
