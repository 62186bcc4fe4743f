"""Size of a run's checkpoints: free space for them, and time to write the last one."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.footprint import method_sizes
from cyclegan_dist.operations.doctor.nodes import Node, max_ranks
from cyclegan_dist.operations.doctor.report import Level, Report
from cyclegan_dist.tracking.quantities import size

STOP_WAIT, STOP_WAIT_DEFAULT_S = "RAY_JOB_STOP_WAIT_TIME_S", 3.0
STEP_S, BYTES_PER_S = 15.0, 100e6  # to end the step and gather the ranks; throughput of a modest network file system


def checkpoint_bytes(config: Config, nodes: list[Node]) -> int:
    """Size of weights, Adam's two moments of each, averaged generators if enabled, and every rank's full history."""
    weights, averaged, history = method_sizes(config)
    numbers = 3 * weights + (averaged if config.optim.ema_half_life_images else 0) + max_ranks(config, nodes) * history
    return numbers * (8 if config.optim.precision == "fp64" else 4)


def check_space(report: Report, nodes: list[Node], config: Config) -> None:
    """Check the free space for checkpoints; those that the run already has will be replaced, and count as free."""
    place, each = config.checkpoint_path, checkpoint_bytes(config, nodes)
    count = config.keep_checkpoints + config.keep_best + 1  # the newest is written before the oldest is removed
    total = count * each
    found = f"{count} checkpoints of {size(each)}"
    if "://" in place:
        report.add("green", f"{found} in an object store, whose free space is not known", figures={"need": total})
        return
    folder = Path(place)
    own = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free + own
    # Others write there too: less than twice as much is yellow.
    level: Level = "red" if free < total else "yellow" if free < 2 * total else "green"
    advice = "" if level == "green" else "Free some space, lower keep_checkpoints, or set checkpoints to another place."
    found += f" need {size(total)}; {size(free)} are free at {place}"
    report.add(level, found, advice, {"need": total, "free": free})


def stop_wait_here() -> float:
    """Seconds between the SIGTERM and the SIGKILL of `ray job stop`, as Ray on this node was started."""
    return float(os.environ.get(STOP_WAIT) or STOP_WAIT_DEFAULT_S)


def check_job_stop(report: Report, nodes: list[Node], waits_s: Mapping[str, float], config: Config) -> None:
    """Check that the head, on which jobs run, gives a stopped job enough time to write a last checkpoint."""
    wait_s = next((waits_s[node.name] for node in nodes if node.is_head and node.name in waits_s), None)
    if wait_s is None:  # its node has not answered, which is red already
        return
    need_s = STEP_S + checkpoint_bytes(config, nodes) / BYTES_PER_S
    found = f"{wait_s:.0f} s between ray job stop and SIGKILL, a last checkpoint may take {need_s:.0f} s"
    if wait_s < need_s:
        advice = f"Start the head with {STOP_WAIT}={max(60, round(2 * need_s))}, or a stop may lose the latest steps."
        report.add("yellow", found, advice, {"wait_s": wait_s, "need_s": need_s})
    report.ok(found, {"wait_s": wait_s, "need_s": need_s})
