"""The training and the evaluation of `benchmarks.speedrun`."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.energy import EnergyLog, power_reader
from benchmarks.machine import environment
from benchmarks.speedrun_attempts import attempts, finished, speed
from cyclegan_dist.config.config import Config, load_config, with_values
from cyclegan_dist.config.features import check_features
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.evaluation.report import table, write_report
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.networks.pretrained import PACKAGED, refuse_missing_weights
from cyclegan_dist.step import distributed
from cyclegan_dist.step.graph import WARM_UP
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.local_rank import train_here
from cyclegan_dist.training.parts import Parts
from cyclegan_dist.training.trainer import Loader

CLASSES = ("zebra", "sorrel")  # of ImageNet; sorrel is a colour of horses and its only class of them
NO_EVALUATION = "none"


class Watch:
    """A plug-in and hook of the training: notes when the first updates are done, and stops when the time is up.

    Args:
        facts: gets `first_update_s` and `ready_s`, seconds since `started`. Ready is a step whose graph has been
            replayed, or without one the first update.
        started: time of the start of the process, in seconds since 1970.
        minutes: after which the training stops; 0: never.
    """

    def __init__(self, facts: dict[str, Any], started: float, minutes: float):
        self.facts, self.started, self.minutes = facts, started, minutes
        self._run_dir, self._first, self._ready = Path(), 0, 0

    def plugin(self, parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
        """Add this hook."""
        self._run_dir, self._first = parts.config.run_dir, at.step + 1
        self._ready = at.step + (WARM_UP + 1 if parts.step.fast else 1)
        hooks.reporting.append(self)
        return loader

    def __call__(self, at: Progress) -> None:
        for step, name in ((self._first, "first_update_s"), (self._ready, "ready_s")):
            if at.step == step:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self.facts[name] = time.time() - self.started
        if self.minutes and time.time() - self.started > 60 * self.minutes:
            RunFolder(self._run_dir).stop.touch()
            self.minutes = 0.0

    def end(self, at: Progress) -> None:
        if torch.cuda.is_available():
            self.facts["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30


def run(options: argparse.Namespace, values: dict[str, Any], started: float) -> int:
    """Train until the end, a stop or a time limit, then report. Returns the exit code."""
    chosen = {
        "data.path": str(options.data.absolute()),
        "runs_dir": options.runs_dir,
        "stop_after": options.stop_after,
        "tracking.mlflow": False,
        **values,
    }
    config = with_values(load_config(options.preset), chosen, "command line")
    if options.features != NO_EVALUATION:  # what is missing at the end is said at the beginning
        check_features(options.features)
        refuse_missing_weights(options.features)
        open_manifest(str(options.data / "test"), ())
    folder, log = RunFolder(config.run_dir), config.run_dir / "speedrun.jsonl"
    total = max(open_manifest(config.data.path, ()).samples.values()) * config.schedule.total_epochs
    if not finished(folder.journal, min(total, config.stop_after or total)):
        with EnergyLog(log, started, power_reader()) as energy:
            watch = Watch(energy.facts, started, options.minutes)
            _, status, number = train_here(config, [watch.plugin], alone=True)
        if status != Status.FINISHED:
            print(_speed_table(speed(folder.journal, attempts(folder.journal, log))))
            print("\nstopped: the same command resumes", flush=True)
            return 128 + number
    _report(config, options, log)
    return 0


def _report(config: Config, options: argparse.Namespace, log: Path) -> None:
    """Evaluate the last snapshot, print everything and write it into the run folder."""
    journal = RunFolder(config.run_dir).journal
    figures = {"preset": options.preset, **speed(journal, attempts(journal, log))}
    text = f"{environment('torchvision')}\nPreset {options.preset}.\n\n{_speed_table(figures)}\n"
    if options.features != NO_EVALUATION:
        evaluation = _evaluated(config, options)
        page = write_report(evaluation, config.run_dir / "evaluations" / "speedrun")
        headings, *rows = table(evaluation.figures)
        lines = [headings, ["---"] * len(headings), *rows]
        text += "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
        text += "".join(f"\n\n{finding.name}: {finding.text}" for finding in evaluation.findings)
        text += f"\n\nImages: {page}\n"
        figures["evaluation"] = json.loads(evaluation.to_json())
    (config.run_dir / "speedrun.md").write_text(text)
    (config.run_dir / "speedrun.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(text)


def _evaluated(config: Config, options: argparse.Namespace) -> Evaluation:
    what = EvaluationConfig(
        metrics=("distances", "cycle", "identity"),
        features=(options.features,),
        class_rate=CLASSES if options.features.partition(":")[0] in PACKAGED else (),
        batch_size=10,
    )
    manifest = open_manifest(str(options.data / "test"), (*READING, "name"))
    return evaluate(Snapshot.open(config.run_dir), manifest, what, distributed.join(config.world.device))


def _speed_table(figures: dict[str, Any]) -> str:
    """The figures of `speed` as Markdown."""
    first: dict[str, Any] = {}
    for attempt in reversed(figures["attempts"]):  # the first that lived long enough to write it
        first |= attempt["facts"]
    energy = figures["kilojoules"]
    rows = {
        "images per domain": f"{figures['images']}",
        "wall time, start-up included": f"{figures['wall_s'] / 60:.2f} min in {len(figures['attempts'])} attempts",
        "images/s over all of it": f"{figures['images_per_s']:.1f}",
        "images/s while training, median": f"{figures['images_per_s_while_training']:.1f}",
        "waiting for data": f"{figures['waiting_for_data']:.2%}",
        "first update after": f"{first['first_update_s']:.1f} s" if "first_update_s" in first else "not known",
        "ready after": f"{first['ready_s']:.1f} s" if "ready_s" in first else "not known",
        "memory": f"{first['peak_gib']:.1f} GiB" if "peak_gib" in first else "not known",
        "energy of the GPU": "not reported" if energy is None else f"{energy:.0f} kJ",
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())
