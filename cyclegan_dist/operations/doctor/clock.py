"""Do the nodes agree on the time."""

import time

from cyclegan_dist.operations.doctor.findings import Finding, Level, told
from cyclegan_dist.operations.doctor.fleet import Fleet

CHECK = "clock"
ROUNDS = 5
# Nothing in a run goes by the time: "latest" is the highest step. But logs of several nodes are read side by side,
# which a second's difference ends; and a clock that is off by a minute is kept by nothing and drifts on, until object
# stores and TLS refuse requests, at some minutes.
YELLOW_S, RED_S = 1.0, 60.0


def check_clock(fleet: Fleet) -> list[Finding]:
    """Compare every node's clock with this one's as NTP does: halfway between asking and hearing, at the quickest of
    some rounds.
    """
    findings: list[Finding] = []
    measured: dict[str, tuple[float, float]] = {}
    for node in fleet.nodes:
        try:
            measured[node.name] = _offset(fleet, node.name)
        except (RuntimeError, OSError) as error:
            advice = "See what keeps the node from answering: ray status, and its logs."
            findings.append(Finding(check=CHECK, level="red", found=f"{node.name}: {told(error)}", advice=advice))
    findings += [finding for name, (s, trip_s) in measured.items() for finding in judge(name, s, trip_s)]
    if findings or not measured:
        return findings
    furthest = max(measured.values(), key=lambda found: abs(found[0]))
    slowest = max(trip_s for _, trip_s in measured.values())
    count = f"{len(measured)} nodes" if len(measured) > 1 else "one node"
    found = f"{count} within {1e3 * abs(furthest[0]):.1f} ms, round trip {1e3 * slowest:.1f} ms"
    return [Finding(check=CHECK, level="green", found=found, figures={name: s for name, (s, _) in measured.items()})]


def _offset(fleet: Fleet, name: str) -> tuple[float, float]:
    """Seconds that a node is ahead of this one, and those that asking took."""
    rounds = []
    for _ in range(ROUNDS):
        asked, began = time.time(), time.perf_counter()
        answer = fleet.ask({name: (time.time, ())})[name]
        trip_s = time.perf_counter() - began
        if isinstance(answer, Exception):
            raise RuntimeError(told(answer)) from answer
        rounds.append((trip_s, answer - asked - trip_s / 2))
    trip_s, ahead_s = min(rounds)
    return ahead_s, trip_s


def judge(name: str, ahead_s: float, trip_s: float) -> list[Finding]:
    """What is wrong with a clock, if something is; half of the round trip is doubt."""
    certain = abs(ahead_s) - trip_s / 2
    if certain < YELLOW_S:
        return []
    level: Level = "red" if certain >= RED_S else "yellow"
    found = f"{name} is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this one"
    advice = "Let chrony or systemd-timesyncd keep its time."
    return [Finding(check=CHECK, level=level, found=found, advice=advice, figures={name: ahead_s})]
