"""Train a small generator that translates as a trained one does.

    python -m pipelines.distill SOURCE [--data DATA] [--preset distill] [--name NAME] [--launcher auto|ray|local]
        [--dotted.key value ...]

SOURCE, the teacher, is models:/NAME@champion, the folder of a run, or that of a snapshot. Data set, images (the first
ones alone, if it had data.max_samples) and their sizes are those of its training, and both its directions are distilled
(one: --method.directions AB). It is an ordinary training: the same command again resumes, and the run's folder holds
journal, samples and snapshots. Then:

    python -m pipelines.promote RUN_DIR --data DATA [--split test]

makes it models:/NAME-small@champion if it is nearly as good as its teacher. Options with a dot are those of
cyclegan_dist.train, such as --method.generator.ngf 16.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

from cyclegan_dist.config.command_line import option_names, parse_own_options
from cyclegan_dist.data.location import SYNTHETIC, data_path
from cyclegan_dist.errors import UsageError, pipeline_command, run_command
from cyclegan_dist.registry.sources import REGISTRY, refuse_missing_source
from cyclegan_dist.train import parse

if TYPE_CHECKING:
    from cyclegan_dist.config.config import Config
    from cyclegan_dist.models.snapshot import Snapshot

FROM_TEACHER = ("preprocess", "load_size", "crop_size", "direction", "flip")  # options of `data`
FROM_ITS_DATA = ("max_samples", "max_bad_fraction")  # which mean nothing for other data sets


@dataclass(frozen=True)
class Distill:
    """Train a small generator that translates as a trained one does."""

    source: tyro.conf.Positional[str]
    """The teacher: models:/NAME@ALIAS, or the folder of a run or of a snapshot."""
    data: str = ""
    """Data set to train on, instead of the teacher's."""
    preset: str = "distill"
    """Preset or YAML file of method distill, or several joined by +."""


def defaults(command: Distill, teacher: "Snapshot") -> dict[str, list[str]]:
    """The options of the training that the teacher, or the command, decides, by dotted key.

    Raises:
        UsageError: if there is no data set to train on.
    """
    card, prepared = teacher.card, teacher.preprocess
    data = command.data or next((str(one["source"]) for one in card.get("data", ()) if one.get("source")), "")
    if not data:
        raise UsageError(f"the card of {command.source} names no data set: give --data")
    taken = FROM_TEACHER if command.data else (*FROM_TEACHER, *FROM_ITS_DATA)
    options = {f"data.{key}": [str(prepared[key])] for key in taken if key in prepared}
    return options | {
        "name": [f"{_name(command.source, card)}-small"],
        "data.path": [data],
        "method.teacher": [command.source],
        "method.directions": list(teacher.directions),
        "method.input_nc": [str(card["input_nc"])],
        "method.output_nc": [str(card["output_nc"])],
    }


def _name(source: str, card: dict[str, Any]) -> str:
    """The registered name of a teacher, or that of its run."""
    if source.startswith(REGISTRY):
        return re.split("[@/]", source.removeprefix(REGISTRY))[0]
    return str(card.get("run", "teacher"))


def costs(teacher: "Snapshot", config: "Config") -> str:
    """A line that compares the multiply-adds of teacher and student."""
    from cyclegan_dist.models.cost import SIDE, multiply_adds  # loads torch
    from cyclegan_dist.promotion.gate import Gate

    direction = config.method.directions[0]
    before = multiply_adds(teacher.channels(direction), teacher.generator_config) / 1e9
    channels = config.method.channels[direction[0]], config.method.channels[direction[1]]
    now = multiply_adds(channels, config.method.generator) / 1e9
    most = Gate().most_gmac
    more = f"; more than the {most:g} G that a promotion allows" if now > most else ""
    pixels = f"{SIDE} x {SIDE} pixels"
    return f"teacher {before:.3g} G, student {now:.3g} G multiply-adds for {pixels}: {now / before:.0%}{more}"


def main() -> int:
    """Read the command line and train. Returns the exit code."""
    command, rest = parse_own_options(Distill, "distill", __doc__)
    refuse_missing_source(command.source)
    if command.data not in ("", SYNTHETIC) and not {"--dry_run", "--dry-run"} & set(rest):
        data_path(command.data)
    from cyclegan_dist.training.teacher import open_teacher

    teacher = open_teacher(command.source)
    given = {argument[2:].partition("=")[0].replace("-", "_") for argument in rest if argument.startswith("--")}
    if "data.path" in given:
        given |= {f"data.{key}" for key in FROM_ITS_DATA}
    options = {key: values for key, values in defaults(command, teacher).items() if key not in given}
    filled = [argument for key, values in options.items() for argument in (f"--{key}", *values)]
    training = parse([command.preset, *filled, *rest], pipeline_command("distill"), option_names(Distill))
    if training.config.method.name != "distill":
        raise UsageError(f"preset {command.preset} is of method {training.config.method.name}, not distill")
    if training.dry_run:
        from cyclegan_dist.config.config import dump_config

        print(dump_config(training.config), end="")
        return 0
    print(costs(teacher, training.config), flush=True)
    from cyclegan_dist.orchestration.launch import launch  # pyarrow, and what starts the ranks

    return launch(training.config, training.launcher, training.extend)


if __name__ == "__main__":
    run_command(main)
