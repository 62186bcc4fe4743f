import itertools
import os
import socket

import pytest

from cyclegan_dist.operations.doctor import links
from cyclegan_dist.operations.doctor.links import check_links, rounds
from cyclegan_dist.operations.doctor.network import Speed, announced_here, exchange, free_port
from cyclegan_dist.operations.doctor.nodes import Node
from tests.operations.doctor.fleets import ForkedFleet, findings

FLEET = ForkedFleet("a", "b", "c")


def measured(monkeypatch: pytest.MonkeyPatch, together: Speed | str, pairs: Speed | str = "") -> list[int]:
    """Replace measurements. Returns the list of the sizes of the groups measured."""
    sizes: list[int] = []

    def measure(fleet: object, backend: str, groups: list[list[Node]], timeout_s: float) -> list[Speed | str]:
        sizes.extend(len(group) for group in groups)
        return [together if len(group) == 3 else pairs for group in groups]

    monkeypatch.setattr(links, "_measure", measure)
    return sizes


def test_nodes_are_measured_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "SLOW_BYTES_PER_S", 0.0)  # this machine may be busy
    monkeypatch.setattr(links, "FAR_S", 10.0)
    (found,) = findings(check_links, FLEET, {}, backend="gloo", timeout_s=20)
    assert found.level == "green" and found.found.startswith("3 nodes: ")
    assert 0 < found.figures["latency_s"] < 1 and 1e6 < found.figures["bytes_per_s"] < 1e12


def test_pairs_are_measured_if_that_fails_and_the_failing_ones_named() -> None:
    cut = {"c": lambda: os.environ.update(GLOO_SOCKET_IFNAME="wrong0")}
    fleet = ForkedFleet("a", "b", "c", prepare=cut)
    announced = {"a": "host-a (10.0.0.1)", "c": "GLOO_SOCKET_IFNAME=wrong0"}
    *red, fine = findings(check_links, fleet, announced, backend="gloo", timeout_s=1)
    assert [f.level for f in red] == ["red", "red"]
    assert {f.found.split(":")[0] for f in red} == {
        "a and c cannot exchange data through host-a (10.0.0.1) and GLOO_SOCKET_IFNAME=wrong0",
        "b and c cannot exchange data through 127.0.0.1 and GLOO_SOCKET_IFNAME=wrong0",
    }
    assert (fine.level, fine.found) == ("green", "1 of 3 pairs can exchange data")


@pytest.mark.parametrize(
    ("bytes_per_s", "latency_s", "level"),
    [(1e9, 1e-3, "green"), (1e8, 1e-3, "yellow"), (1e9, 0.019, "green"), (1e9, 0.021, "yellow")],
)
def test_a_slow_network_is_yellow(
    bytes_per_s: float, latency_s: float, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = measured(monkeypatch, Speed(latency_s=latency_s, bytes_per_s=bytes_per_s))
    (found,) = findings(check_links, FLEET, {}, backend="gloo", timeout_s=1)
    assert found.level == level and bool(found.advice) == (level == "yellow")
    assert f"{8e-9 * bytes_per_s:.3g} Gbit/s, {1e3 * latency_s:.2f} ms" in found.found
    assert sizes == [3]


def test_nodes_that_fail_together_but_not_in_pairs_are_red(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = measured(monkeypatch, "too many", Speed(latency_s=1e-4, bytes_per_s=1e9))
    (found,) = findings(check_links, FLEET, {}, backend="gloo", timeout_s=1)
    assert found.level == "red" and "though every two can: too many" in found.found
    assert sizes == [3, 2, 2, 2]


def test_one_node_is_not_measured() -> None:
    (found,) = findings(check_links, ForkedFleet("a"), {}, backend="gloo", timeout_s=1)
    assert (found.level, found.found) == ("green", "one node, nothing to measure")


def test_a_rank_that_stays_alone_fails_in_time() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionError, match=f"rank 1 failed at joining {address}"):
        exchange("gloo", address, 1, 2, 1.0)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_every_pair_is_measured_once_and_no_node_twice_at_a_time(count: int) -> None:
    nodes = [Node(name=str(i), address="x") for i in range(count)]
    pairs = [sorted(node.name for node in pair) for round_ in rounds(nodes) for pair in round_]
    assert sorted(pairs) == sorted(map(list, itertools.combinations(map(str, range(count)), 2)))
    for round_ in rounds(nodes):
        names = [node.name for pair in round_ for node in pair]
        assert len(names) == len(set(names))


def test_what_a_node_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert announced_here().startswith(f"{socket.gethostname()} (")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth1")
    assert announced_here() == "GLOO_SOCKET_IFNAME=eth1"
