"""Run tests in several processes: `python -m tests [--processes N] [PYTEST'S OPTIONS]`; see tests/sharing.py.

The first process writes to the terminal; the output of the others follows when they have ended.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.sharing import CLAIMS, NUMBER

NO_TESTS = 5  # pytest.ExitCode.NO_TESTS_COLLECTED
PYTEST = [sys.executable, "-m", "pytest", "-p", "tests.sharing"]


def exit_code(codes: list[int]) -> int:
    """That of all processes: of those that ran any test, one that failed. Codes are pytest's, or -N after signal N."""
    return max((code for code in codes if code != NO_TESTS), key=abs, default=NO_TESTS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", description="Run tests in several processes.")
    parser.add_argument("--processes", type=int, default=2)
    arguments, options = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="tests") as folder:
        logs = [Path(folder, f"{number}.txt") for number in range(2, arguments.processes + 1)]
        claims = Path(folder, "claims")
        claims.mkdir()
        processes = list[subprocess.Popen[bytes]]()
        try:
            for number in range(1, arguments.processes + 1):
                environment = os.environ | {CLAIMS: str(claims), NUMBER: str(number)}
                with logs[number - 2].open("w") if number > 1 else open(os.dup(1), "w") as out:
                    processes.append(subprocess.Popen([*PYTEST, *options], env=environment, stdout=out))
            codes = [process.wait() for process in processes]
        except KeyboardInterrupt:  # which the terminal has sent to all of them
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                process.terminate()
        for number, log in enumerate(logs, 2):
            print(f"\n===== process {number} =====\n{log.read_text()}", flush=True)
    return exit_code(codes)


if __name__ == "__main__":
    sys.exit(main())
