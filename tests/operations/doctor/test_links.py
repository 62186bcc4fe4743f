import itertools
import os
import socket

import pytest

from cyclegan_dist.operations.doctor import links
from cyclegan_dist.operations.doctor.fleet import Node
from cyclegan_dist.operations.doctor.links import check_links, check_names, judge_names, judge_speeds, rounds
from cyclegan_dist.operations.doctor.network import Group, Names, Speed, exchange, names_here
from tests.operations.doctor.fleets import Forked, levels

A, B, C = (Node(name=name, address=f"10.0.0.{i}") for i, name in enumerate("abc", 1))


def cut(name: str) -> dict:
    """A node whose gloo is sent to an interface that it does not have."""
    return {name: lambda: os.environ.update(GLOO_SOCKET_IFNAME="wrong0")}


def test_links_are_measured_between_all_pairs_and_among_all() -> None:
    pairs, together = check_links(Forked("a", "b", "c"), "gloo", 20)
    assert (pairs.level, together.level) == ("green", "green")
    assert pairs.found.startswith("3 of 3 pairs: ") and together.found.startswith("all 3 nodes together: ")
    assert len(pairs.figures) == 3
    for latency_s, bytes_per_s in (*pairs.figures.values(), *together.figures.values()):
        assert 0 < latency_s < 1 and 1e6 < bytes_per_s < 1e12


def test_the_pairs_that_cannot_talk_are_named_with_their_interfaces() -> None:
    found = check_links(Forked("a", "b", "c", prepare=cut("c")), "gloo", 1)
    red = [f.found for f in found if f.level == "red"]
    assert len(red) == 2 and all("GLOO_SOCKET_IFNAME=wrong0" in line for line in red)
    assert {line.split(" cannot")[0] for line in red} == {"a and c", "b and c"}
    assert all(socket.gethostname() in line for line in red)  # how the others would find themselves
    (well,) = [f for f in found if f.level == "green"]
    assert well.found.startswith("1 of 1 pairs")


def test_a_rank_that_finds_nobody_gives_up_in_time() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = Group(backend="gloo", rank=1, size=2, address="127.0.0.1", port=port, timeout_s=1)
    with pytest.raises(ConnectionError, match=f"rank 1 failed at meeting at tcp://127.0.0.1:{port}"):
        exchange(group)


def test_one_node_has_nobody_to_talk_to() -> None:
    assert levels(check_links(Forked("a"), "gloo", 1) + check_names(Forked("a"))) == ["green", "green"]


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_every_two_meet_once_and_nobody_twice_at_a_time(count: int) -> None:
    nodes = [Node(name=str(i), address="x") for i in range(count)]
    every = list(rounds(nodes))
    met = [frozenset((a.name, b.name)) for pairs in every for a, b in pairs]
    assert sorted(map(sorted, met)) == sorted(map(list, itertools.combinations(map(str, range(count)), 2)))
    for pairs in every:
        names = [node.name for pair in pairs for node in pair]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("slow", "far", "level"), [(1.0, 1e-3, "green"), (0.19, 1e-3, "yellow"), (1.0, 0.02, "yellow")]
)
def test_a_link_that_is_unlike_the_others_is_yellow(slow: float, far: float, level: str) -> None:
    usual = Speed(latency_s=1e-3, bytes_per_s=1e9)
    speeds = {(A, B): usual, (A, C): usual, (B, C): Speed(latency_s=far, bytes_per_s=slow * 1e9)}
    found = judge_speeds("network", speeds)
    assert level in levels(found)
    if level == "yellow":
        assert found[0].found.startswith("b and c: ") and found[1].found.startswith("2 of 3 pairs")


def test_a_slow_network_is_yellow_though_all_links_are_alike() -> None:
    (found,) = judge_speeds("network", {(A, B): Speed(latency_s=1e-3, bytes_per_s=1e8)})
    assert found.level == "yellow" and "0.8 Gbit/s" in found.found


def names(**changes: object) -> Names:
    facts = {"host": "n1", "resolved": "10.0.0.1", "interfaces": {"lo": "127.0.0.1", "eth0": "10.0.0.1"}}
    return Names(**{**facts, "gloo": "", "nccl": "", **changes})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (names(), []),
        (names(resolved="127.0.1.1"), ["red"]),
        (names(resolved="127.0.1.1", gloo="eth0"), []),
        (names(resolved=""), ["red"]),
        (names(resolved="192.168.0.9"), ["yellow"]),
        (names(gloo="eth9"), ["red"]),
        (names(nccl="eth9"), ["red"]),
        (names(nccl="=eth"), ["red"]),
        (names(nccl="eth"), []),
        (names(nccl="=eth0"), []),
        (names(nccl="^lo,docker"), []),
    ],
)
def test_how_a_node_finds_itself_is_judged(found: Names, expected: list[str]) -> None:
    judged = judge_names(A, found)
    assert levels(judged) == expected
    assert all("GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME (eth0)" in f.advice for f in judged)


def test_the_names_of_this_machine() -> None:
    here = names_here()
    assert here.host == socket.gethostname() and here.interfaces["lo"] == "127.0.0.1"


def test_every_node_is_asked_for_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = check_names(Forked("a", "b", prepare=cut("b")))
    assert levels(found) == ["red"] and found[0].found.startswith("b: GLOO_SOCKET_IFNAME names wrong0; there are lo")


def test_nodes_that_talk_in_pairs_but_not_together_are_red(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Forked("a", "b", "c")
    fast = Speed(latency_s=1e-4, bytes_per_s=1e9)
    answer = lambda _, __, groups, ___: {tuple(g): fast if len(g) == 2 else "too many" for g in groups}  # noqa: E731
    monkeypatch.setattr(links, "_together", answer)
    assert levels(check_links(fleet, "gloo", 1)) == ["green", "red"]
