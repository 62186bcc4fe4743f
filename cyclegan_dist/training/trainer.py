"""The training loop: the only place where time passes.

It runs on every rank alike; who started the ranks (Ray Train, torchrun, a lone process) makes no difference to it.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from cyclegan_dist.checkpoint.fence import SupersededError
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader import Batch
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.memory import OutOfMemoryError, memory_errors
from cyclegan_dist.step.update import NonFiniteError
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts, build
from cyclegan_dist.training.run_folder import FAILURE_NAME
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.watchdog import Watchdog

WRITE_TIMEOUT_S = 60.0  # for a checkpoint that is being written when training ends for good
# And when another rank has failed, which may be what the writing waits for; the ranks start again meanwhile.
RESTART_TIMEOUT_S = 5.0
FATAL = (UsageError, DataError, NonFiniteError, OutOfMemoryError)  # starting the ranks again would end the same way

Loader = Iterator[Batch]
Plugin = Callable[[Parts, Hooks, Progress, Loader], Loader]
"""Adds hooks to a run from outside when it starts, and may wrap the loader; returns the loader to use."""


def train(config: Config, world: World, stop: StopRequest, plugins: Sequence[Plugin] = ()) -> str:
    """Train until the schedule ends or all ranks agree to stop; resume from the run's newest checkpoint if there is
    one.

    Args:
        config: of a run that `open_run` has opened.
        world: this rank among all.
        stop: asked after every step.
        plugins: what others add to the run.

    Returns:
        "FINISHED", or "KILLED" if it was stopped.

    Raises:
        SupersededError: if another attempt has taken over the run.
        UsageError, DataError, NonFiniteError, OutOfMemoryError: what starting again would not fix. The first also
            leaves a file FAILED that says so.
    """
    journal = Journal(config.run_dir) if world.is_first else None
    status = "FAILED"
    with journal or contextlib.nullcontext():
        try:
            status = loop(build(config, world, journal), stop, plugins)
        except FATAL as error:
            with contextlib.suppress(OSError):
                (config.run_dir / FAILURE_NAME).write_text(str(error))
            raise
        except SupersededError:
            status = "SUPERSEDED"
            raise
        finally:
            if journal is not None and status != "SUPERSEDED":  # then the journal is another's
                journal.write("end", status=status)
    return status


def loop(parts: Parts, stop: StopRequest, plugins: Sequence[Plugin] = ()) -> str:
    """Train until the end or a stop; `plugins` as for `train`. Returns "FINISHED" or "KILLED"."""
    at, hooks = parts.resume(), parts.hooks()
    source = parts.loader(first_step=at.step)
    loader: Loader = source
    for plugin in plugins:
        loader = plugin(parts, hooks, at, loader)
    watchdog = Watchdog(parts.config.run_dir, parts.world, parts.config.world.timeout_s)
    timeout_s = WRITE_TIMEOUT_S
    try:
        with contextlib.closing(source), watchdog:
            while not at.finished:
                # Data, forward, backward, gradient exchange, Adam.
                with watchdog.watching():
                    at = advance(parts, at, loader)
                # Compare ranks, then save, then report.
                for hook in hooks:
                    hook(at)
                # Stop between two steps, on all ranks at the same one.
                if stop.agreed(at.step, parts.fence):
                    break
        for hook in hooks:
            hook.end(at)
    except Exception as error:
        timeout_s = WRITE_TIMEOUT_S if isinstance(error, FATAL) else RESTART_TIMEOUT_S
        raise
    finally:
        parts.store.wait(timeout_s=timeout_s)  # also after an error: it was written before that
    return "FINISHED" if at.finished else "KILLED"


def advance(parts: Parts, at: Progress, loader: Loader) -> Progress:
    """One step, and the moment after it."""
    config, world = parts.config, parts.world

    # Wait for data.
    began = time.monotonic()
    micro_batches = [next(loader) for _ in range(parts.accumulate)]
    wait_s = time.monotonic() - began
    parts.quarantine.add(bad for batch in micro_batches for bad in batch.bad)

    # Update every player. Dropout and gradient penalty draw the same, whatever ran before.
    torch.manual_seed(parts.seed(at.nimg))
    lr = config.optim.learning_rate() * parts.schedule.factor(at.epoch)
    where = (world.device, parts.step.dtype, parts.step.memory_format)
    place = f"rank {world.rank}, step {at.step + 1}"
    try:
        with memory_errors(place, images=parts.micro_batch, size=config.data.crop_size):
            losses = parts.step([batch.images(*where) for batch in micro_batches], lr)
    except NonFiniteError as error:
        raise NonFiniteError(_explained(error, parts, at, micro_batches)) from None

    # The moment after it.
    now = dataclasses.replace(
        at,
        step=at.step + 1,
        nimg=at.nimg + at.batch_size,
        learning_rates=parts.step.learning_rates(lr),
        losses=losses,
        step_s=time.monotonic() - began,
        wait_s=wait_s,
        bad_samples=len(parts.quarantine.known),
    )
    if parts.schedule.watches_loss:
        watched = {p.name: losses[p.name] for p in parts.method.players if p.role == "generator"}
        parts.schedule.observe(sum(world.mean(watched).values()), ends_epoch=now.epoch > at.epoch)
    return now


def _explained(error: NonFiniteError, parts: Parts, at: Progress, batches: list[Batch]) -> str:
    """Where a gradient was lost, on which images, and what is left. All ranks call it together."""
    keys = " ".join(key for batch in batches for key in (*batch.keys_A, *batch.keys_B))
    lost = [name for name, value in error.losses.items() if not math.isfinite(value)]
    found = parts.world.gather(f"{', '.join(lost)} on {keys}" if lost else "")
    ranks = "; ".join(f"rank {rank}: {text}" for rank, text in enumerate(found) if text)
    parts.store.wait()
    return (
        f"step {at.step + 1}: {error}. Losses that are not finite: {ranks or 'none'}. "
        f"Last good: {parts.store.latest()}. Start a run of another name with a lower optim.lr, or precision fp32"
    )
