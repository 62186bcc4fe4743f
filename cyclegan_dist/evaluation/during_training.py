"""Evaluation of snapshots during training, by a low-priority process on the CPU."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader import Batch
from cyclegan_dist.evaluation.repeated import RepeatedMessages
from cyclegan_dist.storage.checked import write_checked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import JOURNAL, Journal, read_records
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts

TIMEOUT_S = 1800.0  # at the end of the run, for each snapshot


def evaluate_snapshots(parts: Parts, hooks: Hooks, at: Progress, loader: Iterator[Batch]) -> Iterator[Batch]:
    """A plug-in of `train`: evaluate every snapshot, where the config names held-out images."""
    if parts.journal is not None and parts.config.held_out.data:
        hooks.waiting.append(SnapshotEvaluations(parts.config, parts.journal, at, lambda: parts.end_early()))
    return loader


class SnapshotEvaluations:
    """Every snapshot's figures on held-out images, into the journal when they are there; `best.json` names the
    snapshot whose `held_out.best`, the mean over directions, is lowest by the journal. On rank 0 only.

    A run that is stopped does not wait for them; missing ones follow when it is resumed. `end_early` is called when the
    figure has not improved for `held_out.patience` images, by the snapshots that are evaluated: oldest first, so that
    none between two others is missing, however late they are.
    """

    def __init__(self, config: Config, journal: Journal, at: Progress, end_early: Callable[[], None]):
        self.config, self.run_dir, self.journal = config, config.run_dir, journal
        self._end_early, self._ends, self._said_late = end_early, False, False
        self._messages = RepeatedMessages(journal)
        self._process: subprocess.Popen[bytes] | None = None
        self._snapshot = Path()
        # By the journal, not by the folder `evaluations`: a process may have ended after its training was killed.
        records = [record for record, _ in read_records(self.run_dir / JOURNAL, 0)]
        evaluated = (record for record in records if record["kind"] == "evaluation")
        self._values = {f"nimg-{record['nimg']:09d}": record["values"] for record in evaluated}
        self._done = set(self._values)
        self._held_out = next(filter(None, (self._digests(name) for name in sorted(self._values))), {})
        self._may_wait = True
        self._write_best()  # a training may have been killed before it did, or the file may be damaged
        ended = [
            record["patience"] for record in records if record["kind"] == "early_end" and record["nimg"] == at.nimg
        ]
        if ended and at.nimg > at.segment_nimg and 0 < self.config.held_out.patience <= ended[-1]:
            self._end("it had ended here")  # even if its last snapshot, evaluated afterwards, was better
        self._end_if_no_better(at)

    def __call__(self, at: Progress) -> None:
        self._may_wait = self._may_wait or at.due(self.config.every.snapshot)
        if self._process is not None:
            if self._process.poll() is not None:
                self._collect()
                self._end_if_no_better(at)
        elif self._may_wait:  # the folder is not looked through at every step
            self._may_wait = self._start_next(niceness=10)
        if at.due(self.config.every.snapshot):
            self._say_late()
            self._end_if_no_better(at)  # of which a resumed run may know already

    def _say_late(self) -> None:
        """Say once that evaluations take longer than training from one snapshot to the next, which delays the end."""
        late = len(self._not_evaluated()) - 1  # without the one of this step
        if late >= 2 and self.config.held_out.patience and not self._said_late and not self._ends:
            self._said_late = True
            self.journal.message(
                f"evaluation is {late} snapshots behind training, so that held_out.patience ends it that much later: "
                f"make snapshots less often (every.snapshot, now {self.config.every.snapshot} images)"
            )

    def _end_if_no_better(self, at: Progress) -> None:
        """End the run if the best of the segment's snapshots up to now is too old."""
        if not self._ends and (why := self._no_better(at)):
            self._end(why)

    def _no_better(self, at: Progress) -> str:
        """Why patience is at its end; empty if it is not."""
        patience, figure = self.config.held_out.patience, self.config.held_out.best
        found = {int(name.removeprefix("nimg-")): mean for name, mean in self._means().items()}
        best, age = 0, 0
        for nimg in sorted(nimg for nimg in found if at.segment_nimg < nimg <= at.nimg):
            best = nimg if not best or found[nimg] < found[best] else best
            age = nimg - best
        if not patience or age < patience:
            return ""
        return (
            f"{figure} was lowest, {found[best]:.4g}, at {best} images, and has not improved in the {age} images since "
            f"(held_out.patience {patience})"
        )

    def _end(self, why: str) -> None:
        self._ends = True
        self.journal.message(f"ending before the schedule does: {why}")
        self._end_early()

    def end(self, at: Progress) -> None:
        if not at.finished:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._messages.end()
            return
        self._messages.only_at_end = True
        if self._ends:
            self.journal.write("early_end", nimg=at.nimg, patience=self.config.held_out.patience)
        while self._process is not None or self._start_next():
            assert self._process is not None
            try:
                self._process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._collect()
        self._messages.end()
        if not self._ends and (why := self._no_better(at)):
            self.journal.message(f"evaluated too late to end the training before its schedule did: {why}")

    def _not_evaluated(self) -> list[Path]:
        """Snapshots that are to be evaluated, or are just now, oldest first."""
        return [s for s in sorted((self.run_dir / "snapshots").glob("nimg-*")) if s.name not in self._done]

    def _start_next(self, niceness: int = 0) -> bool:
        """Begin with the oldest snapshot that has not been evaluated."""
        self._snapshot = next(iter(self._not_evaluated()), Path())
        if not self._snapshot.name:
            return False
        how = self.config.held_out
        command = [
            "nice",
            "-n",
            str(niceness),
            sys.executable,
            "-m",
            "cyclegan_dist.evaluation.evaluate",
            str(self._snapshot),
        ]
        command += ["--data", how.data, "--no-mlflow", "--device", "cpu", "--limit-s", str(TIMEOUT_S)]
        command += ["--features", *how.features, "--features-sha256", how.features_sha256]
        environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
        environment["OMP_NUM_THREADS"] = "1"
        with RunFolder(self.run_dir).evaluation_log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        return True

    def _result(self, snapshot: Path) -> Path:
        return self.run_dir / "evaluations" / snapshot.name / "metrics.json"

    def _digests(self, snapshot: str) -> dict[str, str]:
        """Of the images, by domain, that a snapshot was evaluated on; empty if that is not known."""
        try:
            data = json.loads(self._result(self.run_dir / "snapshots" / snapshot).read_text())["data"]
            return {domain: facts["digest"] for domain, facts in data.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _collect(self) -> None:
        assert self._process is not None
        code, self._process = self._process.wait(), None
        self._done.add(self._snapshot.name)
        self._messages.snapshots += 1
        if code or not self._result(self._snapshot).exists():
            said = RunFolder(self.run_dir).evaluation_log.read_text().strip().splitlines() or [f"exit code {code}"]
            self._messages.add(said[-1], f"snapshot {self._snapshot.name} was not evaluated: {said[-1]}")
            return
        digests = self._digests(self._snapshot.name)
        self._held_out = self._held_out or digests
        if digests != self._held_out:
            self._messages.add(
                "other images",
                f"snapshot {self._snapshot.name} was evaluated on other images than those before it, and is not "
                f"compared with them: restore {self.config.held_out.data}, which was replaced",
            )
            return
        result = json.loads(self._result(self._snapshot).read_text())
        values = {key: figure["value"] for key, figure in result["figures"].items()}
        findings = result["findings"]
        self.journal.write("evaluation", step=result["step"], nimg=result["nimg"], values=values, findings=findings)
        for finding in findings:
            kind = f"{finding['name']} {finding['direction']}"
            self._messages.add(kind, f"at {result['nimg']} images, {finding['name']}: {finding['text']}")
        self._values[self._snapshot.name] = values
        if not _mean_of(values, self.config.held_out.best):
            text = f"held_out.best {self.config.held_out.best} is not among {', '.join(values)}"
            self._messages.add(text, text)
        self._write_best()

    def _write_best(self) -> None:
        if means := self._means():
            name = min(means, key=lambda name: means[name])
            best = {"snapshot": f"snapshots/{name}", "figure": self.config.held_out.best, "value": means[name]}
            write_checked(RunFolder(self.run_dir).best, best)

    def _means(self) -> dict[str, float]:
        """The figure that counts of each snapshot that has it, by name."""
        found = {name: _mean_of(values, self.config.held_out.best) for name, values in self._values.items()}
        return {name: mean[0] for name, mean in found.items() if mean and math.isfinite(mean[0])}


def _mean_of(values: dict[str, float], figure: str) -> list[float]:
    """The mean of a figure over directions, or nothing if it was not measured."""
    found = [value for key, value in values.items() if key.rpartition("_")[0] == figure]
    return [sum(found) / len(found)] if found else []
