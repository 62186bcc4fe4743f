"""Several ranks of one test, joined by gloo: forked processes, or spawned ones where they use a GPU, which a forked
process cannot.
"""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as torch_dist

from cyclegan_dist.step import distributed
from cyclegan_dist.step.world_config import Device


def run_ranks(
    work: Callable[[distributed.World], Any], size: int, timeout_s: float = 120, device: Device = "cpu"
) -> list[Any]:
    """`work(world)` on `size` ranks; what each returned, in rank order. A rank's exception fails the caller. For GPUs,
    which ranks may share, `work` must be picklable.
    """
    context = multiprocessing.get_context("fork" if device == "cpu" else "spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    ranks = [context.Process(target=_rank, args=(work, r, size, port, pipes[r][1], device)) for r in range(size)]
    for rank in ranks:
        rank.start()
    for _, sending in pipes:
        sending.close()
    try:
        answers = [receiving.recv() if receiving.poll(timeout_s) else ("error", "no answer") for receiving, _ in pipes]
    finally:
        for rank in ranks:
            rank.join(5)
            rank.kill()
    # All of them: what one rank died of, the others only saw as a lost connection.
    failed = [f"rank {number}: {value}" for number, (kind, value) in enumerate(answers) if kind != "done"]
    assert not failed, "\n".join(failed)
    return [pickle.loads(value) for _, value in answers]


def _rank(
    work: Callable[[distributed.World], Any], rank: int, size: int, port: int, answer: Connection, device: Device
) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
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
