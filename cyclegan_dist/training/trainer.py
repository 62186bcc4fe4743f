"""The training loop.

It is the same on every rank and for every launcher (Ray Train, torchrun, a single process).
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from cyclegan_dist.checkpoint.fence import SupersededError
from cyclegan_dist.checkpoint.store import SaveTimeoutError
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader import Batch
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.step.memory import OutOfMemoryError, memory_errors
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts, build
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.waiting import SaveLimit, StoppedWaitingError, WaitLimit, watched
from cyclegan_dist.training.watchdog import Watchdog

WRITE_TIMEOUT_S = 60.0  # for the last checkpoint, when training ends
RESTART_TIMEOUT_S = 5.0  # after another rank failed: the write may be waiting for that rank, and ranks restart anyway
FATAL = (UsageError, DataError, NonFiniteError, OutOfMemoryError)  # restarting the ranks would not fix these

Loader = Iterator[Batch]
Plugin = Callable[[Parts, Hooks, Progress, Loader], Loader]
"""Called when a run starts; may add hooks and wrap the loader. Returns the loader to use."""


def train(config: Config, world: World, stop: StopRequest, plugins: Sequence[Plugin] = ()) -> Status:
    """Resume from the run's newest checkpoint, if there is one, and train until the schedule ends or a stop request.

    Args:
        config: of a run that `open_run` has opened.
        world: this rank among all.
        stop: checked after every step.
        plugins: additions to the run, such as evaluation.

    Returns:
        FINISHED, or KILLED if it was stopped.

    Raises:
        SupersededError: if another attempt has taken over the run.
        UsageError, DataError, NonFiniteError, OutOfMemoryError: for errors that a restart would not fix, which are
            recorded in the run folder too (`RunFolder.read_failure`).
    """
    journal = Journal(config.run_dir) if world.is_first else None
    status = Status.FAILED
    with journal or contextlib.nullcontext():
        try:
            status = loop(build(config, world, journal), stop, plugins)
        except FATAL as error:
            with contextlib.suppress(OSError):
                RunFolder(config.run_dir).write_failure(error, world.rank)
            raise
        except SupersededError:
            status = Status.SUPERSEDED
            raise
        finally:
            # After SUPERSEDED the journal belongs to the other attempt. A run that had ended, and could not be resumed,
            # stays what it was.
            refused = journal is not None and journal.ended and status == Status.FAILED
            if journal is not None and status != Status.SUPERSEDED and not refused:
                journal.write("end", status=status)
    return status


def loop(parts: Parts, stop: StopRequest, plugins: Sequence[Plugin] = ()) -> Status:
    """Train until the end or a stop; `plugins` as for `train`. Returns FINISHED or KILLED."""
    at, hooks = parts.resume(), parts.hooks()
    limits = parts.config.world
    watchdog = Watchdog(parts.config.run_dir, parts.world, limits.timeout_s, limits.save_timeout_s, stop.arrived)
    source = parts.loader(first_step=at.step, waiting=WaitLimit(stop, watchdog))
    loader: Loader = source
    parts.end_early = stop.end_early
    for plugin in plugins:
        loader = plugin(parts, hooks, at, loader)
    loader = watched(loader, watchdog)
    parts.store.waiting = SaveLimit(stop, watchdog, limits.save_timeout_s)
    timeout_s = WRITE_TIMEOUT_S
    try:
        with watchdog:
            with watchdog.saving():
                for hook in hooks.recorded if at.step else hooks.beginning:
                    hook(at)
            with contextlib.closing(source):
                # All ranks stop after the same step, or before the first if they were restarted after the request.
                while not (stop.agreed(at.step, parts.fence) or at.finished):
                    # A checkpoint on request, such as before a node is taken away.
                    if stop.saves and at.step:
                        check(parts)
                        with watchdog.saving():
                            hooks.saving[0].end(at)
                        parts.message(f"checkpoint of step {at.step} saved on request")
                    # Data, forward, backward, gradient exchange, Adam.
                    try:
                        with watchdog.watching():
                            at = advance(parts, at, loader)
                    except StoppedWaitingError:
                        if parts.world.size > 1:  # others may be in the middle of the step
                            raise
                        break
                    # Hooks: compare ranks, then save, then report.
                    for hook in hooks:
                        with watchdog.saving():
                            hook(at)
            check(parts)
            if stop.ends_early:
                at = dataclasses.replace(at, total=at.nimg)
            for hook in (*hooks.consistency, *hooks.saving, *hooks.reporting):
                with watchdog.saving():
                    hook.end(at)
            if not parts.store.has(at.step):
                raise UsageError(
                    f"the last checkpoint, of step {at.step}, was not written: {parts.store.problem or 'see above'}. "
                    f"Run the same command again, which resumes from {parts.store.latest()}"
                )
            # After the last exchange: rank 0 may wait for longer than others would for it.
            for hook in hooks.waiting:
                hook.end(at)
    except SaveTimeoutError as error:
        if not stop.requested():
            raise
        parts.message(str(error))
        return Status.KILLED
    except Exception as error:
        timeout_s = WRITE_TIMEOUT_S if isinstance(error, FATAL) else RESTART_TIMEOUT_S
        raise
    finally:
        parts.step.close()
        with contextlib.suppress(SaveTimeoutError):
            parts.store.wait(timeout_s=timeout_s)  # also after an error: the state being written precedes it
    return Status.FINISHED if at.finished else Status.KILLED


def advance(parts: Parts, at: Progress, loader: Loader) -> Progress:
    """Do one step, and check gradients if that is due. Returns the progress after it."""
    config, world = parts.config, parts.world

    # Wait for data.
    started = time.monotonic()
    micro_batches = [next(loader) for _ in range(parts.accumulate)]
    wait_s = time.monotonic() - started
    parts.quarantine.add(bad for batch in micro_batches for bad in batch.bad)
    parts.unchecked.append((at.step + 1, [key for batch in micro_batches for key in batch.keys]))

    # Update every player. The seed makes dropout and gradient penalty independent of earlier steps.
    torch.manual_seed(parts.seed(at.nimg))
    lr = config.optim.learning_rate() * parts.schedule.factor(at.schedule_epochs)
    where = (world.device, parts.step.dtype, parts.step.memory_format)
    place = f"rank {world.rank}, step {at.step + 1}"
    try:
        with memory_errors(place, images=parts.micro_batch, size=config.data.crop_size):
            images = [batch.images(*where) for batch in micro_batches]
            losses = parts.step(images, lr, parts.common_seed(at.nimg), at.nimg)
    except NonFiniteError as error:
        raise NonFiniteError(_describe(error, parts)) from None

    # The progress after it.
    now = dataclasses.replace(
        at,
        step=at.step + 1,
        nimg=at.nimg + at.batch_size,
        learning_rates=parts.step.learning_rates(lr),
        losses=losses,
        wait_s=wait_s,
        bad_samples=len(parts.quarantine.known),
    )
    if parts.schedule.watches_loss:
        watched = {p.name: losses[p.name] for p in parts.method.players if p.role == "generator"}
        parts.schedule.observe(sum(world.mean(watched).values()), ends_epoch=now.schedule_epoch > at.schedule_epoch)
    if parts.check_due(now):
        check(parts)
    # With `optim.fast` only what waits for the GPU shows how long its updates took, so it is part of the step.
    return dataclasses.replace(now, step_s=time.monotonic() - started)


def check(parts: Parts) -> None:
    """Raise for a gradient that was not finite since the last call, if `optim.fast` has not asked for it yet.

    Raises:
        NonFiniteError: on all ranks, naming the step and its images.
    """
    try:
        parts.step.check()
    except NonFiniteError as error:
        raise NonFiniteError(_describe(error, parts)) from None
    parts.unchecked.clear()


def _describe(error: NonFiniteError, parts: Parts) -> str:
    """The message: which losses on which images, and the last checkpoint. All ranks call it together."""
    step, keys = parts.unchecked[-1 - error.updates_ago]
    bad = [name for name, value in error.losses.items() if not math.isfinite(value)]
    found = parts.world.gather(f"{', '.join(bad)} on {' '.join(keys)}" if bad else "")
    ranks = "; ".join(f"rank {rank}: {text}" for rank, text in enumerate(found) if text)
    parts.store.wait()
    return (
        f"step {step}: {error}. Losses that are not finite: {ranks or 'none'}. "
        f"Last good: {parts.store.latest()}. Start a run of another name with a lower optim.lr, or precision fp32"
    )
