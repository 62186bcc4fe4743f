"""All checks, one after the other."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor import (
    clock,
    hardware,
    job_api,
    jobs,
    links,
    mlflow_store,
    ports,
    space,
    storage,
    tokens,
    versions,
)
from cyclegan_dist.operations.doctor.findings import Finding
from cyclegan_dist.operations.doctor.fleet import Fleet, everywhere

Check = tuple[str, Callable[[], list[Finding]]]
CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is examined.

    Attributes:
        config: of the training.
        fleet: the nodes.
        address: of the cluster; empty for this machine alone.
        dashboard: address of its dashboard; empty if it has none.
        nccl: nodes with a GPU that is free, at least two for NCCL to be measured.
        troubles: what was in the way of asking all of it.
    """

    config: Config
    fleet: Fleet
    address: str = ""
    dashboard: str = ""
    nccl: Fleet | None = None
    troubles: list[Finding] = field(default_factory=list)


def checks(patient: Target, *, network: bool, timeout_s: float) -> Iterator[Check]:
    """What is to be looked at, by name.

    Args:
        patient: what is examined.
        network: whether the links between nodes are measured.
        timeout_s: seconds after which two nodes cannot talk.
    """
    config, fleet = patient.config, patient.fleet
    api = functools.cache(lambda: _job_api(patient))
    yield CLUSTER, lambda: _who(patient)
    yield versions.CHECK, lambda: versions.check_versions(fleet)
    yield hardware.GPUS, lambda: hardware.check_gpus(fleet, config)
    yield hardware.MEMORY, lambda: hardware.check_memory(fleet, config)
    yield hardware.FILES, lambda: hardware.check_files(fleet)
    yield storage.RUNS, lambda: storage.check_runs(fleet, config)
    yield storage.CHECKPOINTS, lambda: storage.check_checkpoints(fleet, config)
    yield storage.DATA, lambda: storage.check_data(fleet, config)
    yield space.CHECK, lambda: space.check_space(fleet.nodes, config)
    yield mlflow_store.CHECK, lambda: mlflow_store.check_mlflow(config, len(fleet.nodes))
    if patient.address:
        yield job_api.CHECK, api
        yield jobs.CHECK, lambda: jobs.check_job_stop(fleet, config)
        yield clock.CHECK, lambda: clock.check_clock(fleet)
        yield links.NAMES, lambda: links.check_names(fleet)
    yield tokens.CHECK, lambda: tokens.check_tokens(fleet)
    yield ports.CHECK, lambda: ports.check_ports(fleet, _is_guarded(patient, api))
    if network and patient.address:
        yield links.LINKS, lambda: links.check_links(fleet, "gloo", timeout_s)
        if patient.nccl is not None:
            yield links.LINKS, lambda: links.check_links(patient.nccl or fleet, "nccl", timeout_s)


def _who(patient: Target) -> list[Finding]:
    nodes = patient.fleet.nodes
    if not patient.address:
        found = f"none: this machine alone, {nodes[0].name}; nothing between nodes is looked at"
        return [*patient.troubles, Finding(check=CLUSTER, level="green", found=found)]
    found = f"{patient.address}: {len(nodes)} nodes, {sum(n.cpus for n in nodes)} CPU cores"
    found += f", {gpus} GPUs" if (gpus := sum(n.gpus for n in nodes)) else ""
    addresses = {node.name: node.address for node in nodes}
    return [*patient.troubles, Finding(check=CLUSTER, level="green", found=found, figures=addresses)]


def _job_api(patient: Target) -> list[Finding]:
    """Asked from here, or else from the head, on which it may listen to that machine alone."""
    url = job_api.api_url(patient.dashboard)
    findings = job_api.check_job_api(url)
    head = next((node.name for node in patient.fleet.nodes if node.is_head), None)
    if head is None or findings[0].level != "yellow" or findings[0].figures:
        return findings

    def ask_head(url: str, token: str) -> int:
        answer = patient.fleet.ask({head: (job_api.ask, (url, token))})[head]
        if isinstance(answer, Exception):
            raise OSError(str(answer)) from answer
        return answer

    return job_api.check_job_api(url, ask_head)


def _is_guarded(patient: Target, api: Callable[[], list[Finding]]) -> bool:
    """Whether the cluster asks for a token: the job API has shown it, or every node was started so."""
    if not patient.address:
        return False  # what runs here is not known to be one cluster
    if figures := api()[0].figures:
        return job_api.OPEN not in figures.values()
    return all(answer is True for answer in everywhere(patient.fleet, tokens.asks_for_token).values())
