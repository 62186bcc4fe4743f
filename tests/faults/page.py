"""The page `docs/faults.md`, from the figures that the drills left in `docs/faults.json`."""

from pathlib import Path
from typing import Any

from tests.faults.drills import ROWS
from tests.faults.matrix import GROUPS

FIGURES = Path(__file__).parents[2] / "docs" / "faults.json"
VERDICT = {True: "yes", False: "**no**", None: "?"}

HEAD = """# What breaks, and what happens then

Every row was broken for real and measured; nothing here is written by hand. `make faults` runs all drills and writes this
page, `python -m tests.faults B2 C1` runs some of them anew; `make test` runs most of them, with fewer repetitions.
The drills are in `tests/faults`.

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
