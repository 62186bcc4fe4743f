"""Processes, seen from outside."""

import subprocess
import sys
import time

from benchmarks.process_starts import LOOK_S, births


def sleeper(looks: float, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({looks * LOOK_S})", name])


def test_the_first_process_of_a_name_counts_and_what_did_not_come_is_left_out() -> None:
    with sleeper(7, "an earlier sleeper"):
        time.sleep(LOOK_S)
        before = time.time()
        with births({"sleeper": "sleeper", "never": "no such thing"}) as seen, sleeper(4, "a sleeper"):
            began = time.time()
            time.sleep(LOOK_S)
            with sleeper(3, "a sleeper"):
                pass
    assert list(seen) == ["sleeper"]
    assert before - 0.05 <= seen["sleeper"] < began + 0.05  # the kernel counts in hundredths
