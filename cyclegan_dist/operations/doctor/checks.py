"""All checks of a cluster, or of one machine, in the order in which they run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cyclegan_dist.config.config import Config, home
from cyclegan_dist.operations.doctor.access import check_job_api, check_token_files, token_files_here
from cyclegan_dist.operations.doctor.hardware import check_gpus, check_shared_memory, gpus_here, shared_memory_here
from cyclegan_dist.operations.doctor.limits import limits_here
from cyclegan_dist.operations.doctor.links import check_links
from cyclegan_dist.operations.doctor.mlflow_store import check_mlflow
from cyclegan_dist.operations.doctor.network import announced_here
from cyclegan_dist.operations.doctor.nodes import TIMEOUT_S, Fleet, call_all, result_of
from cyclegan_dist.operations.doctor.ports import check_ports, listeners_here
from cyclegan_dist.operations.doctor.ranks import check_cores, check_memory
from cyclegan_dist.operations.doctor.report import Report
from cyclegan_dist.operations.doctor.space import check_job_stop, check_space, stop_wait_here
from cyclegan_dist.operations.doctor.storage import check_data, check_shared, values_of
from cyclegan_dist.operations.doctor.versions import check_versions, versions_here

NO_ANSWER = "See ray status and the logs of the node."


@dataclass(frozen=True, kw_only=True)
class Target:
    """The cluster or machine to check.

    Attributes:
        fleet: the nodes.
        address: of the cluster; empty for this machine alone.
        nccl: the nodes with a free GPU, at least two; or None.
        job_api: URL of the cluster's job API; empty if it has none.
        ask_job_api: HTTP status of a request to that URL with a token; raises an OSError if there is no answer.
    """

    fleet: Fleet
    address: str = ""
    nccl: Fleet | None = None
    job_api: str = ""
    ask_job_api: Callable[[str, str], int] | None = None


# Measured on every node, all in one call.
PROBES: dict[str, Callable[[], Any]] = {
    "job stop": stop_wait_here,
    "versions": versions_here,
    "GPUs": gpus_here,
    "shared memory": shared_memory_here,
    "limits": limits_here,
    "token files": token_files_here,
    "ports": listeners_here,
    "announced": announced_here,
}


def measure_here(probes: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """The result of each probe, or the exception that it raised."""
    return {name: result_of(probe) for name, probe in probes.items()}


def run_checks(target: Target, config: Config, report: Report, *, network: bool, timeout_s: float) -> None:
    """Run all checks and add their findings to `report`; `network` measures links, each within `timeout_s`."""
    fleet, nodes = target.fleet, target.fleet.nodes
    measured: dict[str, dict[str, Any]] = {}

    def answers(probe: str) -> dict[str, Any]:
        return report.answers({node: values[probe] for node, values in measured.items()}, NO_ANSWER)

    with report.check("cluster"):
        gpus = f", {n} GPUs" if (n := sum(node.gpus for node in nodes)) else ""
        found = f"{target.address}: {len(nodes)} nodes, {sum(node.cpus for node in nodes)} CPU cores{gpus}"
        if not target.address:
            found = f"none: this machine alone, {nodes[0].name}; nothing between nodes is checked"
        report.add("green", found, figures={node.name: node.address for node in nodes})
        # nvidia-smi and torch may take 50 s of it.
        measured = report.answers(call_all(fleet, measure_here, PROBES, timeout_s=2 * TIMEOUT_S), NO_ANSWER)
    with report.check("versions"):
        check_versions(report, answers("versions"))
    cards: dict[str, Any] = {}
    with report.check("GPUs"):
        cards = answers("GPUs")
        check_gpus(report, nodes, cards, config)
    values = values_of(config.data)
    limits: dict[str, Any] = {}
    with report.check("cores"):
        limits = answers("limits")
        check_cores(report, nodes, limits, config)
    with report.check("memory"):
        check_memory(report, nodes, limits, cards, config, values)
    with report.check("shared memory"):
        check_shared_memory(report, nodes, answers("shared memory"), config, values)
    with report.check("runs folder"):
        check_shared(report, fleet, str(home() / config.runs_dir), "runs_dir")
    if config.checkpoints:
        with report.check("checkpoints"):
            place = config.checkpoints if "://" in config.checkpoints else str(home() / config.checkpoints)
            check_shared(report, fleet, place, "checkpoints")
    with report.check("data set"):
        if config.data.A:
            report.add("green", "prepared from data.A and data.B into the runs folder when the training starts")
        else:
            check_data(report, fleet, config.data.path)
    with report.check("free space"):
        check_space(report, nodes, config)
    with report.check("MLflow"):
        check_mlflow(report, config, len(nodes))
    with report.check("token files"):
        check_token_files(report, answers("token files"))
    with report.check("open ports"):
        check_ports(report, answers("ports"))
    if target.ask_job_api is not None:
        with report.check("job API"):
            check_job_api(report, target.job_api, target.ask_job_api)
    if target.address:
        with report.check("job stop"):
            check_job_stop(report, nodes, answers("job stop"), config)
    for backend, group in (("gloo", fleet if target.address else None), ("nccl", target.nccl)):
        if network and group is not None:
            with report.check(f"network, {backend}"):
                check_links(report, group, answers("announced"), backend=backend, timeout_s=timeout_s)
