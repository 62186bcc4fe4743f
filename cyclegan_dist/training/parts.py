"""The parts of a training on one rank, built from its config."""

import dataclasses
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cyclegan_dist.checkpoint.fence import Fence
from cyclegan_dist.checkpoint.identity import Identity, run_id
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.checkpoint.store import CheckpointStore, new_attempt
from cyclegan_dist.config.changes import learned_digest
from cyclegan_dist.config.config import Config
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.data.domain_names import legend
from cyclegan_dist.data.images import to_unit_range
from cyclegan_dist.data.loader import Batch, RankSlice, batches, fixed_images
from cyclegan_dist.data.loader_processes import Waiting, wait_on
from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.plan import DOMAINS, Plan
from cyclegan_dist.methods.contract import Method
from cyclegan_dist.models.training_state import TrainingState
from cyclegan_dist.step.device_name import device_name
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.freeze import freeze
from cyclegan_dist.step.schedule import Schedule
from cyclegan_dist.step.update import Step
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.environment import environment, source_changes
from cyclegan_dist.tracking.journal import Journal, recorded_identity, source_commit
from cyclegan_dist.training.auto_options import resolved
from cyclegan_dist.training.data_checks import refuse_unequal_data
from cyclegan_dist.training.hooks.estimate import Estimate
from cyclegan_dist.training.hooks.log import Log, LogWindow
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.hooks.quarantine import Quarantine
from cyclegan_dist.training.hooks.rank_times import RankTimes
from cyclegan_dist.training.hooks.samples import SampleGrid
from cyclegan_dist.training.hooks.saving import SaveCheckpoint, SaveSnapshot
from cyclegan_dist.training.hooks.weight_consistency import WeightConsistency
from cyclegan_dist.training.run_state import RunState
from cyclegan_dist.training.segments import end_of, plain_segments, read_segments
from cyclegan_dist.training.write_limit import limited_writes

MOST_UNCHECKED = 100  # steps


@dataclass
class Parts:
    """One rank's parts of a run. `journal` is None except on rank 0."""

    config: Config
    world: World
    journal: Journal | None
    manifest: Manifest
    plan: Plan
    method: Method
    step: Step
    schedule: Schedule
    state: RunState
    fence: Fence
    store: CheckpointStore
    identity: Identity
    window: LogWindow
    quarantine: Quarantine
    micro_batch: int
    accumulate: int
    unchecked: list[tuple[int, list[str]]] = field(default_factory=list[tuple[int, list[str]]])
    """Steps whose gradients have not been found finite yet, and the keys of this rank's images in each."""
    end_early: Callable[[], None] = lambda: None  # ends the run as finished before its schedule does; for rank 0

    def message(self, text: str) -> None:
        """Write a line to the journal, once for all ranks."""
        if self.journal is not None:
            self.journal.message(text)

    def seed(self, nimg: int) -> int:
        """The seed of this rank's step after `nimg` images."""
        return _seed(self.config.seed, self.world.rank, nimg)

    def common_seed(self, nimg: int) -> int:
        """The seed, equal on all ranks, of the step after `nimg` images."""
        return _seed(self.config.seed, 0, nimg, 1)

    def loader(self, first_step: int, waiting: Waiting = wait_on) -> Generator[Batch]:
        """This rank's micro-batches from `first_step` on, endlessly. `waiting` as for `batches`."""
        rank_slice = RankSlice(self.world.rank, self.world.size, self.micro_batch)
        pin = self.world.device.type == "cuda"
        return batches(
            self.manifest,
            self.plan,
            self.config.data,
            rank_slice,
            first_step=first_step,
            pin_memory=pin,
            gather=self.world.gather,
            waiting=waiting,
            **self._geometry(),
        )

    def resume(self) -> Progress:
        """Restore the newest checkpoint. Returns the progress, which is written to the journal too."""
        config = self.config
        step, size = self.state.restore(self.store, self.message), config.optim.batch_size
        if config.init_from and not step:
            self.state.begin(TrainingState.read(RunFolder(config.run_dir).start))
        segments = self.state.segments
        total = end_of(config, segments, self.plan.epoch_size)
        total = min(total, config.stop_after or total)
        hosts = self.world.gather(self.world.address())
        at = Progress(
            step=step,
            nimg=step * size,
            batch_size=size,
            epoch_size=self.plan.epoch_size,
            total=total,
            segment_nimg=segments[-1].nimg if segments else 0,
        )
        at = self.window.resumed(dataclasses.replace(at, bad_samples=len(self.quarantine.known)))
        if self.journal is not None:
            facts = {"world_size": self.world.size, "hosts": hosts, "attempt": self.fence.attempt}
            facts["commit"], facts["device"] = source_commit(), device_name(self.world.device)
            facts |= {"changed": source_changes(), "environment": environment(self.world.device.type)}
            facts |= {"manifest": self.manifest.digest, "identity": self.identity.run, **self._origin()}
            if names := dict(self.manifest.domain_names):
                facts["domain_names"] = names
            values = flatten(dataclasses.asdict(config))
            self.journal.write("run", config=values, data=self._data_facts(), nimg=at.nimg, total=total, **facts)
            if names:
                self.journal.message(f"domains: {legend(names)}")
            if step:
                self.journal.message(f"resumed at step {step}, {at.nimg} images, on {self.world.size} ranks")
            elif start := self.state.initialised_from:
                other = "; ".join(["", *start.get("other_data", [])])
                self.journal.message(f"initialised from {start['source']}: {' '.join(start['parts'])}{other}")
            if segments and at.nimg <= segments[-1].nimg:
                self.journal.message(f"extension {len(segments)} {segments[-1]}")
            if segments and at.nimg < segments[-1].nimg:
                self.journal.message("the checkpoint is older than the extension, which trains these images anew")
        return at

    def check_due(self, at: Progress) -> bool:
        """Whether something is about to be logged or saved, so that gradients must be known to be finite."""
        every = dataclasses.astuple(self.config.every)
        return len(self.unchecked) >= MOST_UNCHECKED or any(at.due(images) for images in every)

    def hooks(self) -> Hooks:
        """The hooks to call after each step. Consistency comes first, so that diverged weights are never saved; saving
        comes before reporting, which may take longer.
        """
        config, every, run_dir = self.config, self.config.every, self.config.run_dir
        best_loss = config.best_loss if config.keep_best else ""
        weights = self.method.networks.parameters
        consistency = WeightConsistency(every.compare, self.world, weights, self.store.latest)
        log = Log(self.window, self.world, self.journal, RankTimes(self.step.own_time, self.world, self.journal))
        hooks = Hooks(
            consistency=[consistency, self.quarantine, self.window],
            saving=[SaveCheckpoint(every.checkpoint, self.store, self.state, best_loss, self.window.seconds)],
            reporting=[log],
            recorded=[log],
        )
        if self.journal is not None:
            fixed = fixed_images(self.manifest, self.plan, config.data, count=4, **self._geometry())
            images = {name: to_unit_range(x, self.world.device, self.step.dtype) for name, x in fixed.items()}
            facts = {"data": self._data_facts(), "preprocess": dataclasses.asdict(config.data), **self._origin()}
            values = {domain: dataclasses.asdict(found) for domain, found in self.manifest.values.items() if found}
            bands = {domain: found for domain, found in self.manifest.bands.items() if found is not None}
            names = dict(self.manifest.domain_names)
            facts |= {k: v for k, v in (("values", values), ("bands", bands), ("domain_names", names)) if v}
            snapshot = SaveSnapshot(every.snapshot, run_dir, self.step, config, facts, self.journal)
            grid = SampleGrid(every.samples, run_dir, self.step, images, self.journal, names)
            hooks.saving.append(snapshot)
            hooks.reporting[:] = [Estimate(config, self.step, self.journal), log, grid]
            if every.samples:  # shows at once whether the data are read correctly
                hooks.beginning.append(grid)
            hooks.recorded.extend((snapshot, grid))
        return hooks

    def _origin(self) -> dict[str, Any]:
        """Where the weights come from besides this run's config, for journal and card."""
        found = {"initialised_from": dict(self.state.initialised_from), "segments": plain_segments(self.state.segments)}
        return {name: value for name, value in found.items() if value}

    def _geometry(self) -> dict[str, Any]:
        return {"multiple": self.config.method.multiple, "channels": dict(self.config.method.channels)}

    def _data_facts(self) -> list[dict[str, Any]]:
        return [
            {
                "name": domain,
                "digest": self.manifest.domain_digest(domain),
                "source": self.manifest.root,
                "samples": self.manifest.samples[domain],
            }
            for domain in DOMAINS
        ]


def build(config: Config, world: World, journal: Journal | None) -> Parts:
    """Build everything that `config` names. All ranks call it together.

    Raises:
        UsageError: for errors that the user can fix.
    """
    if config.world.threads:
        torch.set_num_threads(config.world.threads)
    config = resolved(config, world, journal)
    micro_batch, accumulate = config.micro_batches(world.size, config.world.most_workers)

    # Data: the order of the images.
    pairing, data = config.method.pairing, config.data
    manifest = open_manifest(data.path, READING if pairing == "none" else (*READING, "name"))
    refuse_unequal_data(manifest, world, journal.trained_on if journal is not None else "")
    manifest = manifest.selected(data.direction, data.max_samples)
    plan = Plan(
        manifest.samples,
        config.seed,
        config.optim.batch_size,
        data.shuffle_window,
        partners=manifest.partners() if pairing == "all" else None,
        pairs=manifest.pairs(data.max_pairs) if pairing == "some" else None,
        pairing=data.pairing,
    )

    # Networks, equal on every rank, and their optimizers.
    torch.manual_seed(config.seed)
    method = config.method.build(rank_seed=_seed(config.seed, world.rank))
    freeze(method, config.freeze)
    step, schedule = Step(method, config.optim, world), Schedule(config.schedule)
    window = LogWindow(config.every.log)
    segments = world.broadcast(read_segments(config.run_dir) if world.is_first else ())
    state = RunState(step, schedule, method, manifest.digest, world, window, segments)

    # Checkpoints: claim the run before loading one, so that no older attempt adds one later.
    fence = Fence(config.run_dir, world.broadcast(new_attempt()))
    storage = storage_at(config.checkpoint_path)
    own, digest = "", learned_digest(config)
    if world.is_first:
        with limited_writes(config.run_dir, config.world.save_timeout_s):
            fence.claim()
            own = run_id(config.run_dir, storage, recorded_identity(config.run_dir), seed=config.seed, config=digest)
    identity = Identity(world.broadcast(own), config.seed, digest)
    store = CheckpointStore(
        storage,
        world,
        keep=config.keep_checkpoints,
        keep_best=config.keep_best,
        warn=journal.message if journal is not None else lambda text: None,
        fence=fence,
        identity=identity,
    )
    every = config.every.log or config.every.checkpoint
    quarantine = Quarantine(every, config.run_dir, world, manifest.samples, config.data.max_bad_fraction, journal)
    return Parts(
        config=config,
        world=world,
        journal=journal,
        manifest=manifest,
        plan=plan,
        method=method,
        step=step,
        schedule=schedule,
        state=state,
        fence=fence,
        store=store,
        identity=identity,
        window=window,
        quarantine=quarantine,
        micro_batch=micro_batch,
        accumulate=accumulate,
    )


def _seed(*parts: int) -> int:
    """A seed from several numbers: different numbers give independent generators."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
