"""Run tests in several processes: `python -m tests [--processes N] [PYTEST'S OPTIONS]`; see tests/sharing.py.

The first process writes to the terminal; the output of the others follows when they have ended.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.sharing import CLAIMS, NUMBER

NO_TESTS = 5  # pytest.ExitCode.NO_TESTS_COLLECTED
RAY = {"RAY_worker_niceness": "0"}  # by default Ray's workers give way to other processes, such as these
PYTEST = [sys.executable, "-m", "pytest", "-p", "tests.sharing"]


def exit_code(codes: list[int]) -> int:
    """That of all processes: of those that ran any test, one that failed. Codes are pytest's, or -N after signal N."""
    return max((code for code in codes if code != NO_TESTS), key=abs, default=NO_TESTS)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests", description="Run tests in several processes.", allow_abbrev=False
    )
    parser.add_argument("--processes", type=int, default=2)
    arguments, options = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="tests") as folder, contextlib.ExitStack() as stack:
        logs = [Path(folder, f"{number}.txt") for number in range(2, arguments.processes + 1)]
        outputs = [None, *(stack.enter_context(log.open("w")) for log in logs)]
        Path(folder, "claims").mkdir()
        processes = list[subprocess.Popen[bytes]]()
        for number, output in enumerate(outputs, 1):
            environment = os.environ | {CLAIMS: f"{folder}/claims", NUMBER: str(number)} | RAY
            process = subprocess.Popen([*PYTEST, *options], env=environment, stdout=output)
            processes.append(stack.enter_context(process))
            stack.callback(process.terminate)
        with contextlib.suppress(KeyboardInterrupt):  # which the terminal sends to all of them
            for process in processes:
                process.wait()
        codes = [process.wait() for process in processes]
        for number, log in enumerate(logs, 2):
            print(f"\n===== process {number} =====\n{log.read_text()}", flush=True)
    return exit_code(codes)


if __name__ == "__main__":
    sys.exit(main())
