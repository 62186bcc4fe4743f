"""Processes, seen from outside."""

import subprocess
import sys
import time

from benchmarks.births import LOOK_S, births

SLEEP = [sys.executable, "-c", f"import time; time.sleep({3 * LOOK_S})"]


def test_the_first_process_of_a_name_counts_and_what_did_not_come_is_left_out() -> None:
    subprocess.run([*SLEEP, "of earlier"], check=True)
    before = time.time()
    with births({"sleeper": "a sleeper", "earlier": "of earlier", "never": "no such thing"}) as seen:
        first = subprocess.Popen([*SLEEP, "a sleeper"])
        time.sleep(LOOK_S / 2)
        second = subprocess.Popen([*SLEEP, "a sleeper"])
        assert first.wait() == 0 and second.wait() == 0
    assert list(seen) == ["sleeper"]
    assert before - 0.1 <= seen["sleeper"] < before + LOOK_S / 2
