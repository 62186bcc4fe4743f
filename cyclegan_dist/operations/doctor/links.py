"""Links between the nodes: an all-reduce among all of them, and between pairs where it fails."""

from collections.abc import Iterator, Mapping, Sequence

from cyclegan_dist.operations.doctor.network import Speed, exchange, free_port
from cyclegan_dist.operations.doctor.nodes import TIMEOUT_S, Fleet, Node
from cyclegan_dist.operations.doctor.report import Report, first_line

# Gradients of the paper's networks are 113 MB: 0.9 s of every step at 1 Gbit/s. A round trip in a data centre takes
# less than a millisecond; one of 10 ms goes to another site, and each bucket of gradients waits for it.
SLOW_BYTES_PER_S, FAR_S = 1e9 / 8, 0.01
Group = tuple[Node, ...]


def check_links(report: Report, fleet: Fleet, announced: Mapping[str, str], *, backend: str, timeout_s: float) -> None:
    """Measure an all-reduce of gloo or NCCL among all nodes; if it fails, one between every two of them, to find the
    faulty links. Findings name the interfaces that the nodes have `announced` to each other.
    """
    nodes = tuple(fleet.nodes)
    if len(nodes) == 1:
        report.add("green", "one node, nothing to measure")
        return
    (together,) = _measure(fleet, backend, [nodes], timeout_s)
    if isinstance(together, Speed):
        # The small all-reduce passes at most all links of a ring one after the other.
        fine = together.bytes_per_s >= SLOW_BYTES_PER_S and together.latency_s < FAR_S * (len(nodes) - 1)
        advice = "" if fine else "Use a faster network or nodes closer together, or raise optim.batch_size."
        report.add("green" if fine else "yellow", f"{len(nodes)} nodes: {together}", advice, vars(together))
        return
    count = fine = 0
    for pairs in rounds(nodes):
        for (a, b), result in zip(pairs, _measure(fleet, backend, pairs, timeout_s), strict=True):
            count += 1
            if isinstance(result, Speed):
                fine += 1
                continue
            through = " and ".join(announced.get(node.name, node.address) for node in (a, b))
            found = f"{a.name} and {b.name} cannot exchange data through {through}: {result}"
            advice = "Open all ports between the nodes, and set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the "
            report.add("red", found, f"{advice}interfaces of {a.address} and {b.address}.")
    if fine == count:
        advice = "Look for a limit on connections, or a node that has stopped since."
        report.add("red", f"{len(nodes)} nodes cannot exchange data, though every two can: {together}", advice)
    elif fine:
        report.add("green", f"{fine} of {count} pairs can exchange data")


def rounds(nodes: Sequence[Node]) -> Iterator[list[Group]]:
    """Every pair of nodes once; the pairs of a round share no node (round-robin tournament, circle method)."""
    ring: list[Node | None] = [*nodes, *[None] * (len(nodes) % 2)]
    for _ in range(len(ring) - 1):
        pairs = [(ring[i], ring[-1 - i]) for i in range(len(ring) // 2)]
        yield [(a, b) for a, b in pairs if a is not None and b is not None]
        ring = [ring[0], ring[-1], *ring[1:-1]]


def _measure(fleet: Fleet, backend: str, groups: Sequence[Group], timeout_s: float) -> list[Speed | str]:
    """Measure groups that share no node, at once. Returns the speed of each, or what went wrong."""
    answers = fleet.call({group[0].name: (free_port, ()) for group in groups})
    calls = {}
    for group in groups:
        port = answers[group[0].name]
        for rank, node in enumerate(group if isinstance(port, int) else ()):
            where = f"{group[0].address}:{port}"
            calls[node.name] = (exchange, (backend, where, rank, len(group), timeout_s))
    answers |= fleet.call(calls, 3 * timeout_s + TIMEOUT_S)
    results = []
    for group in groups:
        errors = {node.name: a for node in group if isinstance(a := answers.get(node.name), Exception)}
        reason = "; ".join(f"{name}: {first_line(error)}" for name, error in errors.items())
        results.append(reason or answers[group[0].name])
    return results
