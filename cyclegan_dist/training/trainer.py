"""The training loop: the only place where time passes.

It is given a config and runs on every rank alike; who started the ranks (Ray Train, torchrun, a lone process) makes no
difference to it.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch

from cyclegan_dist.checkpoint.fence import Fence, SupersededError
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.checkpoint.store import CheckpointStore, new_attempt
from cyclegan_dist.config.config import Config
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.data.images import to_unit_range
from cyclegan_dist.data.loader import Batch, RankSlice, batches, fixed_images
from cyclegan_dist.data.manifest import Manifest, open_manifest
from cyclegan_dist.data.plan import DOMAINS, Plan
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.operations.drill.inject import Injector
from cyclegan_dist.operations.drill.plan import read_plan
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.memory import OutOfMemoryError, memory_errors
from cyclegan_dist.step.schedule import Schedule
from cyclegan_dist.step.update import NonFiniteError, Step
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.evaluations import Evaluations
from cyclegan_dist.training.hooks.log import Log
from cyclegan_dist.training.hooks.progress import Hook, Progress
from cyclegan_dist.training.hooks.quarantine import Quarantine
from cyclegan_dist.training.hooks.samples import SampleGrid
from cyclegan_dist.training.hooks.saving import SaveCheckpoint, SaveSnapshot
from cyclegan_dist.training.hooks.weight_consistency import WeightConsistency
from cyclegan_dist.training.run_folder import FAILURE_NAME
from cyclegan_dist.training.run_state import RunState
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.watchdog import Watchdog

PATIENCE_S = 60.0  # for a checkpoint that is being written when training ends for good
# And when another rank has failed, which may be what the writing waits for; the ranks start again meanwhile.
BRIEF_PATIENCE_S = 5.0
FATAL = (UsageError, DataError, NonFiniteError, OutOfMemoryError)  # starting the ranks again would end the same way


def train(config: Config, world: World, stop: StopRequest) -> str:
    """Train until the schedule ends or all ranks agree to stop; resume from the run's newest checkpoint if there is
    one.

    Args:
        config: of a run that `open_run` has opened.
        world: this rank among all.
        stop: asked after every step.

    Returns:
        "FINISHED", or "KILLED" if it was stopped.

    Raises:
        SupersededError: if another attempt has taken over the run.
        UsageError, DataError, NonFiniteError, OutOfMemoryError: what starting again would not mend. The first also
            leaves a file FAILED that says so.
    """
    journal = Journal(config.run_dir) if world.is_first else None
    status = "FAILED"
    with journal or contextlib.nullcontext():
        try:
            status = Trainer(config, world, journal).run(stop)
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


class Trainer:
    """One rank's networks, data, schedule and hooks."""

    def __init__(self, config: Config, world: World, journal: Journal | None):
        self.config, self.world, self.journal = config, world, journal
        if config.world.threads:
            torch.set_num_threads(config.world.threads)
        self.micro_batch, self.accumulate = config.optim.micro_batches(world.size, config.world.most_workers)
        self.manifest = open_manifest(config.data.path)
        samples, data = self.manifest.samples, config.data
        self.plan = Plan(samples, config.seed, config.optim.batch_size, data.shuffle_window)
        torch.manual_seed(config.seed)  # the same weights on every rank
        self.method = CycleGAN(config.method, pool_seed=_seed(config.seed, world.rank))
        self.step = Step(self.method, config.optim, world)
        self.schedule = Schedule(config.schedule)
        self.state = RunState(self.step, self.schedule, self.method, self.manifest.digest, world)
        self.fence = Fence(config.run_dir, world.broadcast(new_attempt()))
        if world.is_first:
            self.fence.claim()  # before a checkpoint is chosen: from here on no older attempt adds one
        self.store = CheckpointStore(
            storage_at(config.checkpoint_path),
            world,
            keep=config.keep_checkpoints,
            keep_best=config.keep_best,
            warn=self._say,
            fence=self.fence,
        )
        often = config.every.log or config.every.checkpoint
        self.quarantine = Quarantine(often, config.run_dir, world, samples, data.max_bad_fraction, journal)

    def run(self, stop: StopRequest) -> str:
        """The loop. Returns "FINISHED" or "KILLED"."""
        at = self._start()
        hooks, loader = self._hooks(), self._batches(first_step=at.step)
        if (faults := read_plan(self.config.run_dir)) is not None:
            injector = Injector(faults, self.config.run_dir, self.world, self.fence.attempt, at.step)
            injector.arm(self.method.networks["G_AB"], self.store.storage)
            hooks, loader = [injector, *hooks], injector.loading(loader)
        patience_s = PATIENCE_S
        try:
            watchdog = Watchdog(self.config.run_dir, self.world, self.config.world.timeout_s)
            with contextlib.closing(loader), watchdog:
                while not at.finished:
                    with watchdog.watching():
                        at = self._advance(at, loader)
                    for hook in hooks:
                        hook(at)
                    if stop.agreed(at.step, self.fence):
                        break
            for hook in hooks:
                hook.end(at)
        except Exception as error:
            patience_s = PATIENCE_S if isinstance(error, FATAL) else BRIEF_PATIENCE_S
            raise
        finally:
            self.store.wait(timeout_s=patience_s)  # also after an error: it was written before that
        return "FINISHED" if at.finished else "KILLED"

    def _advance(self, at: Progress, loader: Iterator[Batch]) -> Progress:
        """One step, and the moment after it."""
        began = time.monotonic()
        micro_batches = [next(loader) for _ in range(self.accumulate)]
        wait_s = time.monotonic() - began
        self.quarantine.add(bad for batch in micro_batches for bad in batch.bad)
        # Dropout and gradient penalty draw the same, whatever ran before.
        torch.manual_seed(_seed(self.config.seed, self.world.rank, at.nimg))
        lr = self.config.optim.learning_rate() * self.schedule.factor(at.epoch)
        where = (self.world.device, self.step.dtype, self.step.memory_format)
        place = f"rank {self.world.rank}, step {at.step + 1}"
        try:
            with memory_errors(place, images=self.micro_batch, size=self.config.data.crop_size):
                losses = self.step([batch.images(*where) for batch in micro_batches], lr)
        except NonFiniteError as error:
            raise NonFiniteError(self._explained(error, at, micro_batches)) from None
        now = dataclasses.replace(
            at,
            step=at.step + 1,
            nimg=at.nimg + at.batch_size,
            lr=lr,
            losses=losses,
            step_s=time.monotonic() - began,
            wait_s=wait_s,
            bad_samples=len(self.quarantine.known),
        )
        if self.schedule.watches_loss:
            self.schedule.observe(self.world.mean({"G": losses["G"]})["G"], ends_epoch=now.epoch > at.epoch)
        return now

    def _explained(self, error: NonFiniteError, at: Progress, batches: list[Batch]) -> str:
        """Where a gradient was lost, on which images, and what is left. All ranks call it together."""
        keys = " ".join(key for batch in batches for key in (*batch.keys_A, *batch.keys_B))
        lost = [name for name, value in error.losses.items() if not math.isfinite(value)]
        told = self.world.gather(f"{', '.join(lost)} on {keys}" if lost else "")
        ranks = "; ".join(f"rank {rank}: {text}" for rank, text in enumerate(told) if text)
        self.store.wait()
        return (
            f"step {at.step + 1}: {error}, no weight was changed. Losses that are not finite: {ranks or 'none'}. "
            f"Last good: {self.store.latest()}. Start a run of another name with a lower optim.lr, or precision fp32"
        )

    def _start(self) -> Progress:
        """Restore the newest checkpoint, say where the run stands, and return that."""
        total = self.config.schedule.total_epochs * self.plan.epoch_size
        if self.config.stop_after:
            total = min(total, self.config.stop_after)
        step = self.state.restore(self.store, self._say)
        size = self.config.optim.batch_size
        hosts = self.world.gather(self.world.address())
        at = Progress(step=step, nimg=step * size, batch_size=size, epoch_size=self.plan.epoch_size, total=total)
        if self.journal is not None:
            data = [_describe(self.manifest, domain) for domain in DOMAINS]
            config = flatten(dataclasses.asdict(self.config))
            facts = {"world_size": self.world.size, "hosts": hosts, "attempt": self.fence.attempt}
            self.journal.write("run", config=config, data=data, nimg=at.nimg, total=total, **facts)
            if step:
                self.journal.message(f"resumed at step {step}, {at.nimg} images, on {self.world.size} ranks")
        return at

    def _say(self, text: str) -> None:
        if self.journal is not None:
            self.journal.message(text)

    def _hooks(self) -> list[Hook]:
        every, run_dir, device = self.config.every, self.config.run_dir, self.world.device
        # Nothing is kept of ranks that have parted. The checkpoint before what takes longer: who stops a run may not
        # wait for pictures.
        hooks: list[Hook] = [
            WeightConsistency(every.compare, self.world, self.method.networks.parameters, self.store.latest),
            self.quarantine,
            SaveCheckpoint(
                every.checkpoint, self.store, self.state, self.config.best_loss * bool(self.config.keep_best)
            ),
            Log(every.log, self.world, self.journal),
        ]
        if self.journal is not None:
            fixed = fixed_images(self.manifest, self.config.data, count=4, **self._geometry())
            images = {name: to_unit_range(x, device, self.step.dtype) for name, x in fixed.items()}
            hooks.append(SampleGrid(every.samples, run_dir, self.step, images, self.journal))
            facts = {
                "data": [_describe(self.manifest, domain) for domain in DOMAINS],
                "preprocess": dataclasses.asdict(self.config.data),
            }
            hooks.append(SaveSnapshot(every.snapshot, run_dir, self.step, self.config, facts, self.journal))
            if self.config.held_out.data:
                hooks.append(Evaluations(self.config, self.journal))
        return hooks

    def _batches(self, first_step: int) -> Generator[Batch]:
        share = RankSlice(self.world.rank, self.world.size, self.micro_batch)
        pin = self.world.device.type == "cuda"
        data = self.config.data
        return batches(self.manifest, self.plan, data, share, first_step=first_step, pin_memory=pin, **self._geometry())

    def _geometry(self) -> dict[str, Any]:
        method = self.config.method
        return {
            "multiple": self.method.networks["G_AB"].multiple,
            "channels": {"A": method.input_nc, "B": method.output_nc},
        }


def _describe(manifest: Manifest, domain: str) -> dict[str, Any]:
    return {
        "name": domain,
        "digest": manifest.domain_digest(domain),
        "source": manifest.root,
        "samples": manifest.samples[domain],
    }


def _seed(*parts: int) -> int:
    """One number out of several, such that different parts give unrelated generators."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
