"""Several ranks of one test, joined by gloo: forked processes, or spawned ones where they use a GPU, which a forked
process cannot.
"""

import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist

from cyclegan_dist.step import distributed
from cyclegan_dist.step.world_config import Device

EXIT_S = 30.0  # for a rank that has answered


class HangError(AssertionError):
    """Ranks did not end in time. The text has the stacks of all their threads."""


def run_ranks(
    work: Callable[[distributed.World], Any], size: int, timeout_s: float = 120, device: Device = "cpu"
) -> list[Any]:
    """`work(world)` on `size` ranks; what each returned, in rank order. For GPUs, which ranks may share, `work` must be
    picklable.

    Raises:
        HangError: if a rank has not answered after `timeout_s` seconds, or does not exit after that.
        AssertionError: if a rank raised an exception or died.
    """
    context: Any = multiprocessing.get_context("fork" if device == "cpu" else "spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    with tempfile.TemporaryDirectory(prefix="stacks") as folder:
        ranks = [
            context.Process(target=_rank, args=(work, r, size, port, pipes[r][1], device, Path(folder, str(r))))
            for r in range(size)
        ]
        # What is here already is no garbage of a forked rank, whose collections would copy all of its pages.
        gc.freeze()
        for rank in ranks:
            rank.start()
        gc.unfreeze()
        for _, sending in pipes:
            sending.close()
        try:
            deadline = time.monotonic() + timeout_s
            answers = [_answer(receiving, deadline) for receiving, _ in pipes]
            deadline = time.monotonic() + (EXIT_S if all(kind != "late" for kind, _ in answers) else 0)
            for rank in ranks:
                rank.join(max(0.0, deadline - time.monotonic()))
            hung = [number for number, rank in enumerate(ranks) if _runs(rank)]
            stacks = _stacks(ranks, Path(folder)) if hung else ""
        finally:
            for rank in ranks:
                rank.kill()
                rank.join()
    # All of them: what one rank died of, the others only saw as a lost connection.
    failed = "\n".join(f"rank {number}: {value}" for number, (kind, value) in enumerate(answers) if kind != "done")
    if hung:
        raise HangError(f"ranks {hung} hang\n{failed}\n{stacks}")
    assert not failed, failed
    return [pickle.loads(value) for _, value in answers]


def _answer(receiving: Connection, deadline: float) -> tuple[str, Any]:
    try:
        return receiving.recv() if receiving.poll(max(0.0, deadline - time.monotonic())) else ("late", "no answer")
    except EOFError:
        return "error", "died"


def _runs(rank: BaseProcess) -> bool:
    return rank.exitcode is None


def _stacks(ranks: Sequence[BaseProcess], folder: Path) -> str:
    """The stacks of all threads of the ranks that run."""
    running = {folder / str(number): rank for number, rank in enumerate(ranks) if _runs(rank)}
    written = [path for path in running if path.exists()]
    for path in written:
        os.kill(running[path].pid or 0, signal.SIGUSR2)
    deadline = time.monotonic() + 10
    while not all(path.stat().st_size for path in written) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)  # until the last is complete
    return "\n".join(f"rank {path.name}\n{path.read_text()}" for path in written)


def _rank(
    work: Callable[[distributed.World], Any],
    rank: int,
    size: int,
    port: int,
    answer: Connection,
    device: Device,
    stacks: Path,
) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    faulthandler.register(signal.SIGUSR2, stacks.open("w"))
    try:
        if device == "cuda":  # NCCL refuses two ranks on one GPU
            torch_dist.init_process_group("gloo")
        world = distributed.join(device, 60)
        answer.send(
            ("done", pickle.dumps(work(world)))
        )  # by value: tensors would go through shared memory that dies with us
        distributed.leave()
    except BaseException:
        answer.send(("error", traceback.format_exc()))
