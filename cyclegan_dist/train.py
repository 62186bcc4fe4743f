"""Train a model that translates between two domains of images.

    python -m cyclegan_dist.train PRESET_or_YAML [--dotted.key value ...] [--launcher auto|ray|local] [--dry-run]
    python -m cyclegan_dist.train PRESET_or_YAML --name NAME --extend 1 --schedule.n_epochs 50 ...

The ranks are started by Ray Train, on the cluster of RAY_ADDRESS or on one of this machine's own; under torchrun they
are torchrun's; `--launcher local` trains in this process. The same command again resumes. Presets can be joined:
horse2zebra+gan_alone. A finished run is trained further with --extend: n_epochs then counts from its end.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar

from cyclegan_dist.errors import missing_package

try:
    import tyro
except ModuleNotFoundError as error:
    print(missing_package(str(error.name)), file=sys.stderr)
    sys.exit(2)

from cyclegan_dist.config import command_line
from cyclegan_dist.config.config import (
    Config,
    dump_config,
    for_method,
    load_config,
    refuse_options_of_others,
    with_values,
)
from cyclegan_dist.config.older import refuse_older
from cyclegan_dist.config.shipped import in_few_words, shipped
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.errors import STOPS_WITH_INPUT, UsageError, pipeline_command, run_command, train_command

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Train a model that translates between two domains of images."""

    preset: tyro.conf.Positional[str] = "demo"
    """Shipped preset, YAML file, or several joined by +."""
    launcher: Literal["auto", "ray", "local"] = "auto"
    """`auto`: torchrun's ranks if it runs us, else Ray Train. `local`: this process alone."""
    dry_run: bool = False
    """Print the resolved config and stop."""
    extend: int = 0
    """Train a finished run further with another schedule, learning rate or weights of losses: 1 for its first
    extension, 2 for the next. The same command again resumes."""
    config: Config = field(default_factory=Config)


def main() -> int:
    """Read the command line and train. Returns the exit code."""
    command = parse(sys.argv[1:])
    if command.dry_run:
        print(dump_config(command.config), end="")
        return 0
    if STOPS_WITH_INPUT in os.environ:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    from cyclegan_dist.orchestration.launch import launch, mlflow_ui  # pyarrow, and what starts the ranks

    code = launch(command.config, command.launcher, command.extend)
    if not code and command.config.tracking.mlflow and os.environ.get("RANK", "0") == "0":  # once, not by every rank
        print(f"curves and models: {mlflow_ui(command.config.run_dir)}")
    return code


def _stop_at_end_of_input() -> None:
    """Stop as on Ctrl-C, with a checkpoint, when the process that waits for this one has died."""
    os.read(0, 1)  # sys.stdin cannot be closed at the end while a thread reads it
    os.kill(os.getpid(), signal.SIGINT)


def parse_with_training(kind: type[T], pipeline: str, description: str | None) -> tuple[T, Command]:
    """The command line of a pipeline that takes the options of a training besides its own.

    Raises:
        UsageError: as `parse`.
    """
    own, rest = command_line.parse_own_options(kind, pipeline, description)
    return own, parse(rest, pipeline_command(pipeline), command_line.option_names(kind))


def parse(arguments: list[str], program: str | None = None, other_options: Iterable[str] = ()) -> Command:
    """The command line: a preset, overridden by options.

    Args:
        arguments: of the command line.
        program: named in errors; by default `train_command()`.
        other_options: that the program has besides, named in errors.

    Raises:
        UsageError: for a preset, key or value that does not exist or fit.
    """
    program = program or train_command()
    asks_help = any(a in ("-h", "--help") for a in arguments)
    named = bool(arguments) and not arguments[0].startswith("-")
    if not named and not asks_help:
        raise UsageError(f"name a preset or YAML file first: {program} PRESET; there are {in_few_words('preset')}")
    config = load_config(arguments[0]) if named else Config()
    known = (*flatten(asdict(config)), "launcher", "dry_run", "extend", *other_options)
    keys = [a[2:].partition("=")[0].replace("-", "_") for a in arguments if a.startswith("--")]
    refuse_older(keys)
    refuse_options_of_others(keys, config.method.name, "unknown option --")
    command_line.refuse_unknown_option(arguments[named:], known)
    if "method.name" in keys:  # its value decides which options there are
        raise UsageError("--method.name: a preset or file chooses the method: join one, as in horse2zebra+cut")
    kind = for_method(config.method.name)  # the preset picks the method; its options alone are offered
    narrowed = kind(**{part.name: getattr(config, part.name) for part in fields(Config)})
    described = Annotated[kind, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]
    command_type = make_dataclass(
        "Command", [("config", described, field(default=narrowed))], bases=(Command,), frozen=True, kw_only=True
    )
    command = command_line.parse(
        command_type,
        prog=program,
        args=arguments,
        default=command_type(preset=arguments[0] if named else "PRESET"),
        description=f"{command_line.with_commands(__doc__)}\nPresets: {', '.join(shipped('preset'))}.",
        use_underscores=True,
    )
    values = flatten(asdict(command.config))
    given = {key: values[key] for key in keys if key in values}
    return replace(command, config=with_values(command.config, given, "command line"))


class _Callable(ModuleType):
    """The package's attribute `train` is this module, which `python -m` runs. It is called as the function of `api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Path:
        from cyclegan_dist import api

        return api.train(*arguments, **options)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    run_command(main)
