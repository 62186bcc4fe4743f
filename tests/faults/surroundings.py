"""Drills G35, G36 and G39: what surrounds a training on a Ray cluster of its own: signals, folders, proxies, kills."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from cyclegan_dist.config.config import Config, dump_config
from tests.faults.matrix import Measured, Stage, row
from tests.faults.ray_heads import end, process_tree, wait_until
from tests.training.trainings import differences, final_state, go_on, records

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900.0
DEAD = "http://127.0.0.1:9"  # where nothing listens
PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "grpc_proxy"), DEAD)


class Launched:
    """A training of two ranks on its own cluster, in a process group of its own, as a shell starts it."""

    def __init__(self, stage: Stage, config: Config, **variables: str):
        self.config, self.log = config, stage.folder / f"{config.name}.log"
        path = stage.folder / f"{config.name}.yaml"
        path.write_text(dump_config(config))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")} | variables
        command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=ROOT, process_group=0, preexec_fn=_heed_hangups
            )

    def steps(self) -> int:
        path = self.config.run_dir / "metrics.jsonl"
        return (
            max((r["step"] for r in records(self.config) if r["kind"] == "metrics"), default=0) if path.exists() else 0
        )

    def until_step(self, step: int) -> None:
        wait_until(lambda: self.steps() >= step or self.process.poll() is not None, TIMEOUT_S)
        assert self.process.poll() is None, self.log.read_text()[-500:]

    def others(self) -> list[str]:
        """Lines of its output that are not about its progress."""
        return [line for line in self.log.read_text().splitlines() if not line.startswith("step ")]


def _heed_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the drills may run under nohup, which ignores it


def two_ranks(stage: Stage, name: str, **options: Any) -> Config:
    fixed = {"world__num_workers": 2, "optim__batch_size": 2, "every__log": 2, "every__checkpoint": 0}
    return stage.run(name=name, **{**fixed, **options})


@row(
    "G35",
    "SIGTERM and SIGHUP to the launcher's whole process group, as `timeout`, Slurm and a closed terminal send them, with a "
    "TMPDIR of more than 107 bytes",
    "a checkpoint of the last step is written, exit code 128 + the signal's number, one line, no process is left",
    nightly=True,
)
def signals_to_the_group(stage: Stage) -> Measured:
    folder = stage.folder / ("long" * 30)
    folder.mkdir()
    parts, good = [], True
    for number in (signal.SIGTERM, signal.SIGHUP):
        launched = Launched(
            stage, two_ranks(stage, number.name, schedule__n_epochs=50000), TMPDIR=str(folder), RAY_TMPDIR=str(folder)
        )
        try:
            launched.until_step(4)
            children = process_tree(launched.process.pid)
            began = time.monotonic()
            os.killpg(launched.process.pid, number)
            code = launched.process.wait(TIMEOUT_S)
            seconds = time.monotonic() - began
            _, alive = psutil.wait_procs(children, timeout=10)
        finally:
            end(launched.process)
        saved = max((int(p.name[5:]) for p in launched.config.run_dir.glob("checkpoints/step-*")), default=0)
        lost, hint = launched.steps() - saved, "run the same command again to resume" in launched.log.read_text()
        parts.append(
            f"{number.name}: exit code {code} after {seconds:.1f} s, steps lost {lost}, processes left {len(alive)}, "
            f"other lines {len(launched.others()) - 2}"
        )
        good = good and (code, lost, len(alive), len(launched.others())) == (128 + number, 0, 0, 2) and hint
    return Measured(f"TMPDIR of {len(str(folder))} bytes; {'; '.join(parts)}", good)


@row(
    "G36",
    "the environment names an HTTP proxy that does not answer, without no_proxy",
    "a training on its own cluster does not use it, and is bit-identical to one without",
    nightly=True,
)
def dead_proxy(stage: Stage) -> Measured:
    plain = two_ranks(stage, "plain", stop_after=40)
    go_on(2, plain)
    launched = Launched(stage, two_ranks(stage, "proxy", stop_after=40), **PROXIES)
    try:
        code = launched.process.wait(TIMEOUT_S)
    finally:
        end(launched.process)
    unequal = differences(final_state(plain, 2), final_state(launched.config, 2)) if code == 0 else ["no result"]
    return Measured(
        f"{len(PROXIES)} variables of a proxy: exit code {code}, differences of the final state {len(unequal)}, lines besides "
        f"the progress {len(launched.others()) - 1}",
        code == 0 and not unequal and len(launched.others()) == 1,
    )


@row(
    "G39",
    "processes of ranks are killed (SIGKILL) at random while they register and the run is opened, before their first step",
    "the ranks restart within max_failures, and the result is bit-identical",
    nightly=True,
)
def killed_while_starting(stage: Stage) -> Measured:
    plain = two_ranks(stage, "plain", stop_after=40)
    go_on(2, plain)
    launched = Launched(stage, two_ranks(stage, "killed", stop_after=40, world__max_failures=20))
    kills, seen = 0, set[int]()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while launched.process.poll() is None and time.monotonic() < deadline:
            ranks = [p for p in process_tree(launched.process.pid) if _is_rank(p) and p.pid not in seen]
            if ranks and kills < stage.times(2, 5):
                time.sleep(stage.random.uniform(0, 2))
                if launched.steps():
                    break
                seen |= {rank.pid for rank in ranks}
                with contextlib.suppress(psutil.NoSuchProcess):
                    stage.random.choice(ranks).send_signal(signal.SIGKILL)
                    kills += 1
            time.sleep(0.05)
        code = launched.process.wait(TIMEOUT_S)
    finally:
        end(launched.process)
    unequal = differences(final_state(plain, 2), final_state(launched.config, 2)) if code == 0 else ["no result"]
    journal = records(launched.config)
    starts = sum(record["kind"] == "run" for record in journal)
    steps = [record["step"] for record in journal if record["kind"] == "metrics"]
    trace = "Traceback" in launched.log.read_text()
    return Measured(
        f"{kills} kills before the first step: exit code {code}, {starts} starts recorded, differences of the final state "
        f"{len(unequal)}, steps recorded {len(steps)}, twice {len(steps) - len(set(steps))}, traceback {trace}",
        kills > 0 and code == 0 and not unequal and len(steps) == len(set(steps)) == 20 and not trace,
    )


def _is_rank(process: psutil.Process) -> bool:
    try:
        return any(name in " ".join(process.cmdline()) for name in ("RayTrainWorker", "execute._"))
    except psutil.NoSuchProcess:
        return False
