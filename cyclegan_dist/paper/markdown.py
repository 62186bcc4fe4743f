"""Tables as Markdown, for documentation: for each row a line for the last checkpoint, the chosen one, and the paper, if
it has figures of the table.
"""

from collections.abc import Mapping
from typing import Any

from cyclegan_dist.paper import formats
from cyclegan_dist.paper.results import PAPER, WHICH


def markdown(results: Mapping[str, Any], warning: str = "") -> str:
    """The tables of `results`, as `write_page` takes them, below a warning if there is one."""
    lines = [f"> **{warning}**", ""] if warning else []
    for table in results["tables"].values():
        columns = table["columns"]
        lines += [f"### {table['title']}", "", *([table["note"], ""] if table["note"] else [])]
        lines += [f"| | | {' | '.join(columns)} | |", f"|---|---|{'---:|' * len(columns)}---|"]
        printed = (PAPER,) if _has_printed(table) else ()
        for name, row in table["rows"].items():
            for which in (*WHICH, *printed):
                texts = [_cell(row["cells"][column], which, about) for column, about in columns.items()]
                end = row["status"] if which == PAPER else _measured(row) if which == WHICH[0] else ""
                lines.append(f"| {name} | {which} | {' | '.join(texts)} | {end} |")
        if table["truth"]:
            cells = table["truth"]["cells"]
            real = [formats.mean(cells[column], about["decimals"]) for column, about in columns.items()]
            lines.append(f"| Ground truth | real | {' | '.join(real)} | |")
        if table["truth"] and printed:
            cells = table["truth"]["cells"]
            paper = [formats.number(cells[column][PAPER], about["paper_decimals"]) for column, about in columns.items()]
            lines.append(f"| Ground truth | {PAPER} | {' | '.join(paper)} | {table['truth']['status']} |")
        lines += _differences(table)
        lines += ["", *(f"* {_sentence(check)}" for check in table["checks"]), ""]
    return "\n".join(lines)


def _differences(table: Mapping[str, Any]) -> list[str]:
    """A table of differences from baselines, where rows have one; bold where the interval does not contain 0."""
    rows = {name: row for name, row in table["rows"].items() if row["differences"]}
    if not rows:
        return []
    columns = table["columns"]
    lines = ["", "Differences, seed by seed, with 95 % intervals; bold where these do not contain 0:", ""]
    lines += [f"| | | {' | '.join(columns)} |", f"|---|---|{'---:|' * len(columns)}"]
    for name, row in rows.items():
        for which in WHICH:
            cells = [_difference(row["differences"].get(column, {}).get(which), columns[column]) for column in columns]
            lines.append(f"| {name} - {row['baseline']} | {which} | {' | '.join(cells)} |")
    return lines


def _difference(cell: Mapping[str, Any] | None, about: Mapping[str, Any]) -> str:
    text = " ".join(filter(None, (formats.mean(cell, about["decimals"]), formats.margin(cell, about["decimals"]))))
    return f"**{text}**" if formats.is_not_zero(cell) else text


def _has_printed(table: Mapping[str, Any]) -> bool:
    rows = [*table["rows"].values(), *([table["truth"]] if table["truth"] else [])]
    return any(cell[PAPER] is not None for row in rows for cell in row["cells"].values())


def _cell(cells: Mapping[str, Any], which: str, about: Mapping[str, Any]) -> str:
    if which == PAPER:
        return formats.number(cells[PAPER], about["paper_decimals"])
    cell, places = cells[which], about["decimals"]
    text = formats.mean(cell, places)
    text = f"**{text}**" if cell is not None and cell["best"] else text
    return " ".join(filter(None, (text, formats.margin(cell, places), formats.mark(cell))))


def _measured(row: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (formats.runs_of(row), row["reason"])))


def _sentence(check: Mapping[str, Any]) -> str:
    return f"{check['says']}: " + "; ".join(
        f"{which}: **{check[which]['outcome']}** ({check[which]['text']})" for which in WHICH
    )
