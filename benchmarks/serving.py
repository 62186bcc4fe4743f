"""What the service answers under load, for batch sizes and numbers of replicas, with tokens and without.

    python -m benchmarks.serving [--size 128] [--requests 200] [--clients 8] [--batch-sizes 1 4] [--replicas 1 2]
        [--access open tokens audit]

Clients of this machine send one image after the other, so that they share its cores with the service. Beside the rate
and the durations, the processor time of the service and its replicas for a request, which other processes of the
machine change little. Access: `open` to everyone, with `tokens`, or with tokens and a line in an `audit` log for each
request. A kind may be given several times: rows of one run that should be equal show how far they can be trusted.
"""

import argparse
import io
import itertools
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import requests
import torch
from PIL import Image

from benchmarks.machine import environment
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import save_snapshot
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import GeneratorConfig
from cyclegan_dist.service.tokens import MAX_PER_MINUTE, create_token

WARM_UP = 8  # requests that are not counted


@dataclass(frozen=True)
class Load:
    """What one service did.

    Attributes:
        seconds: from the first request to the last answer.
        durations_s: of the requests.
        busy: refused with 503.
        processor_s: of the service and its replicas, for one request.
    """

    seconds: float
    durations_s: list[float]
    busy: int
    processor_s: float

    def row(self) -> str:
        """Columns of the table: requests/s, percentiles in ms, processor time in ms, refusals."""
        p50, p99 = (1e3 * np.percentile(self.durations_s, percent) for percent in (50, 99))
        rate = len(self.durations_s) / self.seconds
        return f"{rate:.1f} | {p50:.0f} | {p99:.0f} | {1e3 * self.processor_s:.0f} | {self.busy}"


@contextmanager
def served(snapshot: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """The URL and the process of a service while the block lasts."""
    command = [sys.executable, "-m", "pipelines.serve", str(snapshot), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        found = re.search(r"http://\S+/", line := process.stdout.readline())
        assert found, line
        yield found[0], psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def processor_s(process: psutil.Process) -> float:
    """Processor time of a service and of its replicas so far, without Ray's own processes."""
    replicas = [one for one in process.children(recursive=True) if "ServeReplica" in " ".join(one.cmdline())]
    return sum(times.user + times.system for times in (one.cpu_times() for one in (process, *replicas)))


def measure(url: str, process: psutil.Process, image: bytes, count: int, clients: int, headers: dict[str, str]) -> Load:
    """Send `count` images from so many clients at once."""

    def ask(_: int) -> tuple[int, float]:
        began = time.perf_counter()
        status = requests.post(f"{url}translate", data=image, headers=headers, timeout=120).status_code
        return status, time.perf_counter() - began

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(WARM_UP)))
        before, began = processor_s(process), time.perf_counter()
        answers = list(pool.map(ask, range(count)))
        seconds, used = time.perf_counter() - began, processor_s(process) - before
    statuses = {status for status, _ in answers}
    assert statuses <= {200, 503}, statuses
    durations = [duration for status, duration in answers if status == 200]
    return Load(seconds, durations, len(answers) - len(durations), used / len(answers))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8, help="that send at once")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--access", choices=["open", "tokens", "audit"], nargs="+", default=["open"])
    given = parser.parse_args()
    print(environment("ray"))
    pixels = np.random.default_rng(0).integers(0, 256, (given.size, given.size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image := io.BytesIO(), "PNG")
    torch.manual_seed(0)
    config = CycleGANConfig(generator=GeneratorConfig(ngf=16, n_blocks=3))
    network = build_generator(3, 3, config.generator, config.init)
    print(f"ResNet, ngf 16, 3 blocks; {given.size}x{given.size}, {given.requests} requests, {given.clients} clients\n")
    print("| access | replicas | batch size | requests/s | p50, ms | p99, ms | processor time, ms | 503 |")
    print("|---|" + "---:|" * 7)
    with tempfile.TemporaryDirectory() as folder:
        snapshot = save_snapshot(Path(folder, "small"), {"AB": network}, config, {"run": "small", "nimg": 0})
        tokens = Path(folder, "tokens.json")
        _, secret = create_token(tokens, "benchmark", days=1, per_minute=MAX_PER_MINUTE)
        kinds = {"open": [], "tokens": ["--tokens", str(tokens)]}
        kinds["audit"] = [*kinds["tokens"], "--audit-log", str(Path(folder, "audit.jsonl"))]
        for replicas, batch_size, access in itertools.product(given.replicas, given.batch_sizes, given.access):
            options = ("--replicas", str(replicas), "--batch-size", str(batch_size), "--requests-per-client", "1000")
            headers = {} if access == "open" else {"Authorization": f"Bearer {secret}"}
            with served(snapshot, *options, *kinds[access]) as (url, process):
                load = measure(url, process, image.getvalue(), given.requests, given.clients, headers)
            print(f"| {access} | {replicas} | {batch_size} | {load.row()} |", flush=True)


if __name__ == "__main__":
    main()
