"""Tests of the recording of process start times."""

import subprocess
import sys
import time

from benchmarks.process_starts import POLL_INTERVAL_S, watch_process_starts


def sleeper(intervals: float, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({intervals * POLL_INTERVAL_S})", name])


def test_the_first_matching_process_is_recorded_and_names_without_a_match_are_absent() -> None:
    with sleeper(7, "an earlier sleeper"):
        time.sleep(POLL_INTERVAL_S)
        before = time.time()
        with watch_process_starts({"sleeper": "sleeper", "never": "no such thing"}) as seen, sleeper(4, "a sleeper"):
            began = time.time()
            time.sleep(POLL_INTERVAL_S)
            with sleeper(3, "a sleeper"):
                pass
    assert list(seen) == ["sleeper"]
    assert before - 0.05 <= seen["sleeper"] < began + 0.05  # the kernel's resolution is 0.01 s
