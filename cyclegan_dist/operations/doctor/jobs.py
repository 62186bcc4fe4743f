"""Does a job that is stopped have the time to write its checkpoint."""

import os

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.findings import Finding, told
from cyclegan_dist.operations.doctor.fleet import Fleet, ranks_of
from cyclegan_dist.operations.doctor.space import need_of

CHECK = "job stop"
VARIABLE, DEFAULT_S = "RAY_JOB_STOP_WAIT_TIME_S", 3.0
STEP_S, BYTES_PER_S = 15.0, 100e6  # to end the step and gather the ranks; what a modest network file system takes
SILENT = "See what keeps the node from answering: ray status, and its logs."


def stop_wait_here() -> float:
    """Seconds between the SIGTERM and the SIGKILL of `ray job stop`, as Ray on this node was started."""
    return float(os.environ.get(VARIABLE) or DEFAULT_S)


def check_job_stop(fleet: Fleet, config: Config) -> list[Finding]:
    """What the head was started with, against what a checkpoint takes."""
    head = next((node.name for node in fleet.nodes if node.is_head), None)
    if head is None:
        advice = f"Start the head with {VARIABLE}=60."
        return [Finding(check=CHECK, level="yellow", found="the head runs nothing that could say", advice=advice)]
    answer = fleet.ask({head: (stop_wait_here, ())})[head]
    if isinstance(answer, Exception):
        return [Finding(check=CHECK, level="red", found=f"{head}: {told(answer)}", advice=SILENT)]
    return [judge(answer, STEP_S + need_of(config, ranks_of(config, fleet.nodes)).checkpoint / BYTES_PER_S)]


def judge(wait_s: float, need_s: float) -> Finding:
    """Whether the time that a stopped job has is enough."""
    figures = {"wait_s": wait_s, "need_s": need_s}
    found = f"{wait_s:.0f} s between ray job stop and SIGKILL, a last checkpoint may take {need_s:.0f} s"
    if wait_s >= need_s:
        return Finding(check=CHECK, level="green", found=found, figures=figures)
    advice = f"Start the head with {VARIABLE}={max(60, round(2 * need_s))}, or the steps since the last one are lost."
    return Finding(check=CHECK, level="yellow", found=found, advice=advice, figures=figures)
