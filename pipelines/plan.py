"""Plan a training on a cluster: GPUs, hours, memory, cost, goodput.

    python -m pipelines.plan PRESET_or_YAML --gpus 64 [--world.price 2.5] [--dotted.key value ...]
    python -m pipelines.plan PRESET_or_YAML --gpus 1 --measure --save FILE      # on a GPU machine; or under torchrun
    python -m pipelines.plan PRESET_or_YAML --gpus 64 --measured FILE           # anywhere

The plan has a checkpoint interval too. More GPUs in one training mean a larger batch, which needs more images to the
same quality; GPUs that it cannot use run further trainings beside it. All is computed from measured steps: of this
machine, of a file from another one, or shipped ones (--card). Each line says whether its figure is measured, given,
computed or assumed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.operations.sizing.figures import (
    Card,
    Measured,
    read_figures,
    refuse_other_workload,
    shipped_figures,
    write_figures,
)
from cyclegan_dist.operations.sizing.report import Line, Options, Sizing, size_training
from cyclegan_dist.train import parse_with_training


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """Plan a training on a cluster. Also takes the options of cyclegan_dist.train for the config, except --launcher and
    --dry_run.
    """

    measured: Path | None = None
    """Figures from a machine of the cluster, written there by --save, or by benchmarks.gpu --json."""
    card: Card | None = None
    """Shipped figures of the preset horse2zebra with optim.precision bf16."""
    measure: bool = False
    """Measure here even if it takes minutes. Default where there is a GPU, or where world.device is cpu."""
    save: Path | None = None
    """File for what is measured here."""
    sizes: tuple[int, ...] = (1, 4, 8, 16)
    """Images per domain and GPU to measure."""
    budget_s: float = 60.0
    """Seconds after which no further size is measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse("budget_s", self.budget_s > 0)
        if min(self.sizes, default=0) < 1:
            raise UsageError(f"--sizes {' '.join(map(str, self.sizes))}: give numbers above 0")
        chosen = [name for name in ("measured", "card", "measure") if getattr(self, name)]
        if len(chosen) > 1:
            raise UsageError(f"--{' and --'.join(chosen)}: give one of them")
        if self.save is not None and (self.measured or self.card):
            raise UsageError("--save writes what is measured here: leave out --measured and --card")
        if self.save is not None and not self.save.absolute().parent.is_dir():
            raise UsageError(f"--save {self.save}: make the folder {self.save.parent} first")


def figures(command: Command, config: Config) -> Measured | None:
    """The figures to plan with; None on ranks that only take part in a measurement.

    Raises:
        UsageError: if there are none, and measuring here would take long.
    """
    if command.measured is not None or command.card is not None:
        found = read_figures(command.measured, config) if command.measured else shipped_figures(command.card or "h100")
        refuse_other_workload(found, config, str(command.measured or f"--card {command.card}"))
        return found
    import torch

    if not (command.measure or torch.cuda.is_available() or config.world.device == "cpu"):
        raise UsageError(
            "there is no GPU here to measure: give --measured FILE, --card h100, or --measure to use the processor"
        )
    from cyclegan_dist.operations.sizing.measure import measure
    from cyclegan_dist.step.distributed import join, leave

    world = join(config.world.device)
    with Console(stderr=True).status("measuring ..."):
        measured = measure(config, world, command.sizes, command.budget_s)
    leave()
    if not world.is_first:
        return None
    if command.save is not None:
        write_figures(measured, command.save)
    return measured


def show(sizing: Sizing, title: str) -> None:
    """Print the plan."""
    console = Console(width=None if os.isatty(1) else 160)

    def lines(title: str, content: list[Line]) -> None:
        table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        for line in content:
            table.add_row(line.name, line.value, line.origin)
        console.print(table)

    lines(title, sizing.inputs)
    names = ("GPUs", "batch", "step, ms", "images/s", "h, schedule", "h, same quality", "efficiency")
    table = Table(*names, title="\nOne training, computed", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for layout, efficiency in sizing.rows:
        cells = [1000 * layout.step_s, layout.images_per_s, layout.schedule_hours, layout.quality_hours, efficiency]
        batch = f"{layout.gpus} x {layout.images_per_gpu}"
        table.add_row(str(layout.gpus), batch, *(f"{cell:,.3g}" for cell in cells))
    console.print(table)
    lines("\nPlan", sizing.results)


def main() -> int:
    """Read the command line and print the plan. Returns the exit code."""
    command, training = parse_with_training(Command, "plan", __doc__)
    if training.launcher != "auto" or training.dry_run:
        raise UsageError("--launcher and --dry_run are options of cyclegan_dist.train alone: leave them out")
    measured = figures(command, training.config)
    if measured is not None:
        sizing = size_training(training.config, measured, command)
        show(sizing, f"{training.config.name} on {command.gpus} GPUs")
    return 0


if __name__ == "__main__":
    run_command(main)
