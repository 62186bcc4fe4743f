"""Everything between the command line of a comparison and what it prints and writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from cyclegan_dist.comparison.curves import curves_of, draw_all
from cyclegan_dist.comparison.differences import config_differences, warnings_of
from cyclegan_dist.comparison.options import Compare
from cyclegan_dist.comparison.page import write_page
from cyclegan_dist.comparison.sources import open_sources
from cyclegan_dist.comparison.tables import Tables, config_table, facts_table
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import write_atomic

if TYPE_CHECKING:
    from cyclegan_dist.comparison.measure import ComparedFigures

RESULTS = "comparison.json"


def run(command: Compare, report: Callable[[str], object]) -> None:
    """Compare, write the page and `comparison.json`, and print. Under torchrun all ranks call it; the first one writes.

    Args:
        command: what the user wants.
        report: called with a line for what takes time.

    Raises:
        UsageError: for errors that the user can fix.
    """
    compared = open_sources(command.sources, command.snapshot)
    warnings, differing = warnings_of(compared), config_differences(compared)
    figures: ComparedFigures | None = None
    if command.data:
        from cyclegan_dist.comparison.measure import measured  # these load torch
        from cyclegan_dist.step import distributed

        world = distributed.join(command.device)
        figures = measured(command, compared, world, report if world.is_first else lambda line: None)
        distributed.leave()
        if not world.is_first:
            return
        warnings += figures.warnings
    tables: Tables = {"Runs": facts_table(compared)}
    if sum(bool(one.config) for one in compared) > 1:
        tables["Differences of the configurations"] = config_table(compared, differing)
    results: dict[str, Any] = {
        "runs": {one.name: {"source": one.source, **one.facts, "data": one.data} for one in compared},
        "configurations": differing,
        "warnings": warnings,
    }
    if figures is not None:
        from cyclegan_dist.comparison.measure import evaluations_as_json
        from cyclegan_dist.comparison.tables import figures_table

        tables["Figures"] = figures_table(compared, figures)
        results |= {"first": compared[0].name, **evaluations_as_json(figures)}
    try:
        command.out.mkdir(parents=True, exist_ok=True)
        curves = draw_all(curves_of(compared), command.out)
        page = write_page(command.out, compared, warnings, tables, curves, figures)
        write_atomic(command.out / RESULTS, json.dumps(results, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {command.out}: {error.strerror}; choose another --out") from error
    if command.json:
        print(json.dumps({**results, "page": str(page)}, indent=1))
    else:
        _print(tables, warnings, page)


def _print(tables: Tables, warnings: list[str], page: Path) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # rich assumes 80, and would cut names off in a log
    for title, (headings, *rows) in tables.items():
        if not rows:
            console.print(f"{title}: none", highlight=False)
            continue
        shown = Table(Column(headings[0], overflow="fold"), *(Column(one, overflow="fold") for one in headings[1:]))
        shown.box, shown.title, shown.title_justify = None, title, "left"
        for row in rows:
            shown.add_row(*(cell.replace("[", "\\[") for cell in row))
        console.print(shown, highlight=False)
        console.print()
    for warning in warnings:
        console.print(f"note: {warning}", soft_wrap=True, markup=False, highlight=False)
    print(f"page: {page}")
