"""Processes, seen from outside."""

import subprocess
import sys
import time

from benchmarks.births import LOOK_S, births

SLEEP = [sys.executable, "-c", f"import time; time.sleep({3 * LOOK_S})"]


def test_the_first_process_of_a_name_counts_and_what_did_not_come_is_left_out() -> None:
    earlier = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({6 * LOOK_S})", "an earlier sleeper"])
    time.sleep(LOOK_S)
    before = time.time()
    with births({"sleeper": "sleeper", "never": "no such thing"}) as seen:
        first = subprocess.Popen([*SLEEP, "a sleeper"])
        time.sleep(LOOK_S / 2)
        between = time.time()
        second = subprocess.Popen([*SLEEP, "a sleeper"])
        assert first.wait() == 0 and second.wait() == 0
    assert list(seen) == ["sleeper"]
    assert before - 0.1 <= seen["sleeper"] < (before + between) / 2  # the kernel's clock is not quite ours
    assert earlier.wait() == 0
