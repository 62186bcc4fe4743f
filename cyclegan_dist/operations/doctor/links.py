"""What is made of the exchanges between nodes: who asks whom, and which link is at fault."""

import statistics
from collections.abc import Iterator, Sequence

from cyclegan_dist.operations.doctor.findings import Finding, Level, told
from cyclegan_dist.operations.doctor.fleet import PATIENCE_S, Fleet, Node, answered, everywhere
from cyclegan_dist.operations.doctor.network import Group, Names, Speed, exchange, free_port, names_here

NAMES, LINKS = "host names", "network"
# Gradients of the paper's networks are 113 MB: 0.9 s of every step at 1 Gbit/s. A data centre's round trip is below a
# millisecond; ten are another site, and every bucket of gradients pays them.
SLOW_BYTES_PER_S, FAR_S = 1e9 / 8, 0.01
UNLIKE = 5.0  # a pair so many times slower than the median one has something the others have not
Pair = tuple[Node, Node]


def check_names(fleet: Fleet) -> list[Finding]:
    """Whether gloo and NCCL would take an address that other nodes can reach."""
    if len(fleet.nodes) == 1:
        return [Finding(check=NAMES, level="green", found="one machine: no other has to reach it")]
    answers, findings = answered(NAMES, everywhere(fleet, names_here), "See why the node does not answer.")
    for node in fleet.nodes:
        if node.name in answers:
            findings += judge_names(node, answers[node.name])
    found = "every node's name leads to an address that others can reach, or an interface is named"
    return findings or [Finding(check=NAMES, level="green", found=found)]


def judge_names(node: Node, names: Names) -> list[Finding]:
    """What is wrong with how a node finds itself, if something is."""
    carrying = [name for name, address in names.interfaces.items() if address == node.address]
    carrying += ["lo"] * node.address.startswith("127.")
    named = (
        f"GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME ({carrying[0] if carrying else 'the interface of ' + node.address})"
    )
    advice = f"Start every node with {named}, or give the host a name that leads to {node.address}."
    for variable, absent in (("GLOO", names.absent_gloo), ("NCCL", names.absent_nccl)):
        if absent:
            found = f"{node.name}: {variable}_SOCKET_IFNAME names {absent}; there are {', '.join(names.interfaces)}"
            return [Finding(check=NAMES, level="red", found=found, advice=advice)]
    if names.gloo or node.address.startswith("127."):  # or all of the cluster is this machine
        return []
    if not names.resolved or names.resolved.startswith("127."):
        what = f"leads to {names.resolved}" if names.resolved else "leads nowhere"
        found = f"{node.name}: its name {names.host} {what}, which no other node can reach"
        return [Finding(check=NAMES, level="red", found=found, advice=advice)]
    if names.resolved != node.address:
        found = f"{node.name}: its name {names.host} leads to {names.resolved}, the cluster knows it at {node.address}"
        return [Finding(check=NAMES, level="yellow", found=found, advice=advice)]
    return []


def rounds(nodes: Sequence[Node]) -> Iterator[list[Pair]]:
    """Every two of the nodes once, as many at a time as do not share one (the circle of a tournament)."""
    ring: list[Node | None] = [*nodes, *[None] * (len(nodes) % 2)]
    for _ in range(len(ring) - 1):
        pairs = [(ring[i], ring[-1 - i]) for i in range(len(ring) // 2)]
        yield [(a, b) for a, b in pairs if a is not None and b is not None]
        ring = [ring[0], ring[-1], *ring[1:-1]]


def check_links(fleet: Fleet, backend: str, timeout_s: float) -> list[Finding]:
    """An all-reduce between every two nodes, and one among all.

    Args:
        fleet: at least two nodes.
        backend: gloo or nccl.
        timeout_s: seconds after which two nodes cannot talk.
    """
    check = f"{LINKS}, {backend}"
    if len(fleet.nodes) == 1:
        return [Finding(check=check, level="green", found="one machine: nothing to measure")]
    good: dict[Pair, Speed] = {}
    findings: list[Finding] = []
    for pairs in rounds(fleet.nodes):
        measured = _together(fleet, backend, pairs, timeout_s)
        for pair in pairs:
            speed = measured[pair]
            if isinstance(speed, Speed):
                good[pair] = speed
            else:
                findings.append(_cut(check, fleet, pair, speed))
    findings += judge_speeds(check, good)
    if not any(finding.level == "red" for finding in findings):
        findings += _among_all(check, fleet, backend, timeout_s)
    return findings


def _together(fleet: Fleet, backend: str, pairs: Sequence[Sequence[Node]], timeout_s: float) -> dict:
    """Measure groups of nodes that share none, at once. By group the speed, or what went wrong."""
    ports = fleet.ask({group[0].name: (free_port, ()) for group in pairs})
    calls = {}
    for group in pairs:
        port = ports[group[0].name]
        for rank, node in enumerate(group if isinstance(port, int) else ()):
            place = Group(
                backend=backend,
                rank=rank,
                size=len(group),
                address=group[0].address,
                port=port,
                timeout_s=timeout_s,
            )
            calls[node.name] = (exchange, (place,))
    answers = {**ports, **fleet.ask(calls, timeout_s * 3 + PATIENCE_S)}
    return {tuple(group): _of(group, answers) for group in pairs}


def _of(group: Sequence[Node], answers: dict) -> Speed | str:
    speeds = [answers[node.name] for node in group if node.name in answers]
    told_by = [f"{node.name}: {told(a)}" for node in group if isinstance(a := answers.get(node.name), Exception)]
    return "; ".join(told_by) or speeds[0]


def _cut(check: str, fleet: Fleet, pair: Pair, problem: str) -> Finding:
    """Which two cannot talk, and through what they tried."""
    names = fleet.ask({node.name: (names_here, ()) for node in pair})
    through = [_through(node, names[node.name]) for node in pair]
    found = f"{pair[0].name} and {pair[1].name} cannot talk through {' and '.join(through)}: {problem}"
    advice = (
        "Open all ports between the nodes, and set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface of "
        f"{pair[0].address} and {pair[1].address}."
    )
    return Finding(check=check, level="red", found=found, advice=advice)


def _through(node: Node, names: Names | Exception) -> str:
    if isinstance(names, Exception):
        return node.address
    return f"GLOO_SOCKET_IFNAME={names.gloo}" if names.gloo else f"{names.host} ({names.resolved or 'no address'})"


def judge_speeds(check: str, speeds: dict[Pair, Speed]) -> list[Finding]:
    """One line for all pairs that are well, and one for each that is not."""
    if not speeds:
        return []
    middle = statistics.median(speed.bytes_per_s for speed in speeds.values())
    findings, well = [], {}
    for pair, speed in speeds.items():
        slow = speed.bytes_per_s < max(SLOW_BYTES_PER_S, middle / UNLIKE)
        if not slow and speed.latency_s < FAR_S:
            well[pair] = speed
            continue
        found = f"{pair[0].name} and {pair[1].name}: {shown(speed)}"
        advice = (
            "Look for the cable, port or route that the other pairs do not have."
            if speed.bytes_per_s < middle / UNLIKE
            else "Expect ranks to wait for each other; raise optim.batch_size or use nodes that lie closer together."
        )
        findings.append(Finding(check=check, level="yellow", found=found, advice=advice, figures=_figures(speeds)))
    if well:
        slowest = min(well.values(), key=lambda speed: speed.bytes_per_s)
        furthest = max(speed.latency_s for speed in well.values())
        found = f"{len(well)} of {len(speeds)} pairs: {_gbit(slowest)} or more, {1e3 * furthest:.2f} ms or less"
        findings.append(Finding(check=check, level="green", found=found, figures=_figures(speeds)))
    return findings


def _figures(speeds: dict[Pair, Speed]) -> dict[str, list[float]]:
    return {f"{a.name} - {b.name}": [speed.latency_s, speed.bytes_per_s] for (a, b), speed in speeds.items()}


def _gbit(speed: Speed) -> str:
    return f"{8e-9 * speed.bytes_per_s:.3g} Gbit/s"


def shown(speed: Speed) -> str:
    """Bandwidth and latency in words."""
    return f"{_gbit(speed)}, {1e3 * speed.latency_s:.2f} ms"


def _among_all(check: str, fleet: Fleet, backend: str, timeout_s: float) -> list[Finding]:
    """Every two can talk; can all at once."""
    nodes = fleet.nodes
    speed = _together(fleet, backend, [nodes], timeout_s)[tuple(nodes)]
    if isinstance(speed, Speed):
        found = f"all {len(nodes)} nodes together: {shown(speed)}"
        return [Finding(check=check, level="green", found=found, figures={"all": [speed.latency_s, speed.bytes_per_s]})]
    advice = "Every two of them can: look for a limit of connections, or a node that stopped meanwhile."
    level: Level = "red"
    return [Finding(check=check, level=level, found=f"all {len(nodes)} nodes cannot talk: {speed}", advice=advice)]
