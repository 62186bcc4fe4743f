"""Everything between the command line and the page: data, scoring network, runs and their scores."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import home, load_config, with_values
from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.paper.data import Parts, draw_streets, open_parts
from cyclegan_dist.paper.options import Options
from cyclegan_dist.paper.page import write_page
from cyclegan_dist.paper.results import RunResult, run_facts, table_results
from cyclegan_dist.paper.runs import SNAPSHOTS, Plan, plan
from cyclegan_dist.paper.scores import LAST, Scorer, Scores
from cyclegan_dist.paper.tables import Table, load_tables
from cyclegan_dist.step.distributed import join
from cyclegan_dist.step.world_config import Device
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.sweep.progress import time_left
from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.state import Sweep
from cyclegan_dist.tracking.journal import training_seconds

Report = Callable[[str], object]
# A smoke test: everything runs, nothing is learned.
SMOKE = {
    **{"method.generator.ngf": 4, "method.generator.n_blocks": 1, "method.discriminator.ndf": 4},
    **{"data.load_size": 16, "data.crop_size": 16, "method.discriminator.n_layers_D": 1},
}
SMOKE_IMAGES, SMOKE_SEEDS = 48, (0, 1)
PAUSE_S = 10.0  # between two lines of the evaluation


@dataclass(frozen=True)
class Experiment:
    """Tables that are trained together.

    Attributes:
        tables: by name.
        data: what is trained and measured on.
        plan: of the runs.
        config: what is measured.
        device: where.
        smoke: nothing is learned.
    """

    tables: dict[str, Table]
    data: Parts
    plan: Plan
    config: EvaluationConfig
    device: Device
    smoke: bool = False


def prepare_experiment(names: str, options: Options, overrides: Mapping[str, Any], report: Report) -> Experiment:
    """Load tables, get the data and the scoring network ready, and check every run.

    Args:
        names: of tables, joined by +.
        options: the user's.
        overrides: values of all runs by dotted key.
        report: called with a line for what takes time.

    Raises:
        UsageError: for errors that the user can fix.
    """
    tables = load_tables(names)
    one = next(iter(tables.values()))
    overrides = {**(SMOKE if options.smoke else {}), **overrides}
    base = with_values(load_config(one.base), {**one.overrides, **overrides}, names)
    name = options.name or "-".join(Path(part).stem for part in tables) + "-smoke" * options.smoke
    folder = home() / base.runs_dir / name
    path, palette = options.data, options.palette
    if not path:
        path, palette = str(folder.with_name(f"{name}-data")), palette or "streets"
        report(f"street scenes: {path}")
        draw_streets(Path(path), base.data.crop_size, smoke=options.smoke)
    data = open_parts(path)
    if palette and one.maps and open_palette(palette).domain != one.maps:
        tables = {name: table.exchanged() for name, table in tables.items()}
    segmenter = options.segmenter
    if palette and not segmenter and any(_scores_photos(table) for table in tables.values()):
        segmenter = str(folder.with_name(f"{name}-segmenter.safetensors"))
        if not Path(segmenter).exists():
            _train_segmenter(
                data.path, palette, Path(segmenter), base.data.crop_size, smoke=options.smoke, report=report
            )
    images = options.images or (SMOKE_IMAGES if options.smoke else 0)
    seeds = options.seeds or (SMOKE_SEEDS if options.smoke else ())
    planned = plan(tables, data, name, overrides, images=images, seeds=seeds)
    for row, reason in planned.failed.items():
        report(f"{row} is left out: {reason}")
    return Experiment(tables, data, planned, one.measured(palette, segmenter), options.device, options.smoke)


def _scores_photos(table: Table) -> bool:
    columns = [column for column in table.columns.values() if column.metric.startswith("seg/")]
    return any(column.direction[-1] != table.maps for column in columns)


def _train_segmenter(data: str, palette: str, out: Path, size: int, *, smoke: bool, report: Report) -> None:
    from cyclegan_dist.evaluation.segmenter_config import SegmenterConfig
    from cyclegan_dist.evaluation.segmenter_training import run

    report(f"training the network that segments photos: {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    config = SegmenterConfig(data=data, palette=palette, out=out, size=size)
    found = run(dataclasses.replace(config, epochs=1) if smoke else config, lambda line: None)
    report("held-out photos: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items()))


def finish_experiment(experiment: Experiment, sweep: Sweep, command: str, report: Report) -> Path:
    """Evaluate the finished runs that have not been, write the page, and return its path.

    Args:
        experiment: of the tables.
        sweep: its runs.
        command: the command line, for the page.
        report: called with a line for evaluations, at most one in 10 seconds.

    Raises:
        UsageError: if the page cannot be written.
    """
    started, one = time.monotonic(), next(iter(experiment.tables.values()))
    scorer = Scorer(experiment.data, experiment.config, one.choose_by, join(experiment.device))
    trials = [trial for _, trial in sorted(sweep.record.trials.items())]
    said = _Evaluations(scorer, [sweep.folder / trial.name for trial in trials if trial.status == "finished"], report)
    runs = [_result(experiment, sweep, trial, scorer, said) for trial in trials]
    base = sweep.base
    seen = {
        row: max(found.nimg[LAST] for run in runs if run.row == row for found in run.scores.values())
        for row in {run.row for run in runs if run.scores}
    }
    others = {row: f"{n:,}" for row, n in seen.items() if n != base.schedule.total_epochs * experiment.data.images}
    protocol = {
        "command": command,
        "smoke": experiment.smoke,
        "runs": f"{sum(bool(run.scores) for run in runs)} of {len(runs)} finished",
        "seeds": list(experiment.plan.spec.space["seed"].grid),
        "images_that_a_run_sees": base.schedule.total_epochs * experiment.data.images,
        "epochs": base.schedule.total_epochs,
        **({"images_that_rows_see": others} if others else {}),
        "batch_size": base.optim.batch_size,
        "size": f"{base.data.crop_size} x {base.data.crop_size} pixels ({base.data.preprocess})",
        "snapshots": SNAPSHOTS,
        "choose_by": f"{one.choose_by}, lowest, of each direction",
        "features": " ".join(experiment.config.features),
        "palette": experiment.config.palette or "none",
        "segmenter": experiment.config.segmenter or "none",
        "scores_digest": scorer.protocol,
        "seconds_of_training": round(sum(run.seconds for run in runs)),
        "seconds_of_evaluation_just_now": round(time.monotonic() - started),
        "left_out": experiment.plan.failed or "nothing",
        "data": experiment.data.facts(),
    }
    results = {
        "tables": {name: table_results(table, experiment.plan, runs) for name, table in experiment.tables.items()},
        "protocol": protocol,
        "runs": [run_facts(run) for run in runs],
    }
    try:
        return write_page(sweep.folder / "page", experiment.tables, results, runs, sweep.spec.name)
    except OSError as error:
        raise UsageError(f"cannot write {sweep.folder / 'page'}: {error.strerror}; free some space") from error


class _Evaluations:
    """Says how far the evaluation of runs is, with the time left by the mean of what was done."""

    def __init__(self, scorer: Scorer, run_dirs: Sequence[Path], report: Report):
        self.scorer, self.run_dirs, self.report = scorer, run_dirs, report
        self.begun = self.printed = time.monotonic()
        if left := sum(map(scorer.left, run_dirs)):
            report(f"evaluating: {left} snapshots of {len(run_dirs)} runs")

    def __call__(self, line: str) -> None:
        """Print a line unless one was printed just now."""
        now = time.monotonic()
        if now - self.printed < PAUSE_S:
            return
        self.printed = now
        left = [self.scorer.left(run_dir) for run_dir in self.run_dirs]
        remaining = time_left(now - self.begun, self.scorer.computed, sum(left))
        self.report(f"{line} [{left.count(0)} of {len(left)} runs evaluated{remaining}]")


def _result(experiment: Experiment, sweep: Sweep, trial: Trial, scorer: Scorer, report: Report) -> RunResult:
    variant, run_dir = experiment.plan.variants[trial.values["variant"]], sweep.folder / trial.name
    scores: dict[DataDirection, Scores] = {}
    status, text = trial.status, trial.text
    if status == "finished":
        try:
            scores = scorer.score(run_dir, variant, report)
        except UsageError as error:
            status, text = "not evaluated", str(error)
    return RunResult(
        trial.name,
        variant.row,
        trial.values["seed"],
        status,
        text,
        training_seconds(RunFolder(run_dir).journal),
        scores,
    )
