"""From the plan to batches of decoded images: what one rank's training loop draws from."""

import dataclasses
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cyclegan_dist.data.augment import Augment
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.images import decode, to_unit_range
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.plan import DOMAINS, Plan
from cyclegan_dist.data.reader import DataError, ShardReader


class Batch(NamedTuple):
    """n images of each domain as n x C x H x W uint8, and the keys they have in their shards."""

    A: Tensor
    B: Tensor
    keys_A: list[str]
    keys_B: list[str]

    def images(self, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format) -> dict[str, Tensor]:
        """`real_A` and `real_B` in [-1, 1] where the networks are."""
        return {f"real_{d}": to_unit_range(x, device, dtype, memory_format) for d, x in (("A", self.A), ("B", self.B))}


@dataclass(frozen=True)
class Share:
    """This rank's share of the work: which rank of how many, and images per micro-batch."""

    rank: int
    world_size: int
    micro_batch: int


class _Positions(Dataset[tuple[Tensor, Tensor, str, str]]):
    """Position in the plan -> one image of each domain, augmented by a generator that depends on the position alone."""

    def __init__(self, manifest: Manifest, plan: Plan, augment: Augment, channels: dict[str, int]):
        self._plan, self._augment, self._channels = plan, augment, channels
        self._readers = {domain: ShardReader(manifest, domain) for domain in DOMAINS}

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, str, str]:
        image_A, key_A = self._image("A", position)
        image_B, key_B = self._image("B", position)
        return image_A, image_B, key_A, key_B

    def _image(self, domain: str, position: int) -> tuple[Tensor, str]:
        reader, index = self._readers[domain], self._plan.sample(domain, position)
        key = f"{domain}/{reader.key(index)}"
        data = reader.read(index)
        try:
            image = decode(data, self._channels[domain])
            rng = np.random.default_rng([self._plan.seed, DOMAINS.index(domain), position])
            return self._augment(image, rng), key
        except (OSError, ValueError) as error:
            raise DataError(f"sample {key}: {error}") from error


def _collate(samples: list[tuple[Tensor, Tensor, str, str]]) -> Batch:
    A, B, keys_A, keys_B = zip(*samples, strict=True)
    for images, keys in ((A, keys_A), (B, keys_B)):
        if len({image.shape for image in images}) > 1:
            sizes = ", ".join(
                f"{key} {image.shape[2]}x{image.shape[1]}" for image, key in zip(images, keys, strict=True)
            )
            raise DataError(
                f"images of one batch differ in size ({sizes}): choose a preprocess that crops, or micro_batch 1"
            )
    return Batch(torch.stack(A), torch.stack(B), list(keys_A), list(keys_B))


def batches(
    manifest: Manifest,
    plan: Plan,
    config: DataConfig,
    share: Share,
    *,
    first_step: int,
    multiple: int,
    channels: dict[str, int],
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """This rank's micro-batches from `first_step` on, without end: one run of the loader, so that no epoch boundary
    stops it.

    Args:
        manifest: the data set.
        plan: the order; its batch_size is global.
        config: preprocessing and worker processes.
        share: of this rank.
        first_step: 0-based step to begin with.
        multiple: what the generators need sides to be a multiple of.
        channels: of domain "A" and "B": 1 or 3.
        pin_memory: place batches where a GPU can fetch them from.

    Raises:
        DataError: while iterating, if a shard is not what the manifest says or an image cannot be used.
    """

    def order() -> Iterator[list[int]]:
        step = first_step
        while True:
            positions = plan.positions(step, share.rank, share.world_size)
            for start in range(0, len(positions), share.micro_batch):
                yield list(positions[start : start + share.micro_batch])
            step += 1

    return _clean_errors(
        DataLoader(
            _Positions(manifest, plan, Augment(config, multiple), channels),
            batch_sampler=order(),  # pyright: ignore[reportArgumentType]
            collate_fn=_collate,
            num_workers=config.workers,
            prefetch_factor=config.prefetch if config.workers else None,
            pin_memory=pin_memory,
            worker_init_fn=_leave_signals_to_the_rank,
        )
    )


def _leave_signals_to_the_rank(worker: int) -> None:
    """A signal to the whole group (torchrun, Slurm, Ctrl-C) must not kill the loader before the last checkpoint."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _clean_errors(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """The loader's batches; a worker's DataError as one line, raised when the worker processes are gone."""
    stream, problem = iter(loader), ""
    try:
        while True:
            try:
                batch = next(stream)
            except DataError as error:  # out of a worker it comes with that worker's traceback as its text
                problem = str(error).strip().splitlines()[-1].removeprefix(f"{DataError.__module__}.DataError: ")
                break
            yield batch
    finally:
        del stream
    raise DataError(problem)


def fixed_images(
    manifest: Manifest, config: DataConfig, *, count: int, multiple: int, channels: dict[str, int]
) -> dict[str, Tensor]:
    """The first `count` samples of each domain, always cut alike: `real_A` and `real_B`, n x C x H x W uint8.

    Where preprocessing leaves images of different sizes, only those of the first one's size are taken, equally many of
    both domains.
    """
    augment = Augment(dataclasses.replace(config, flip=False), multiple)
    found: dict[str, list[Tensor]] = {}
    for domain in DOMAINS:
        reader = ShardReader(manifest, domain)
        images = [decode(reader.read(i), channels[domain]) for i in range(min(count, len(reader)))]
        try:
            images = [augment(image, np.random.default_rng(i)) for i, image in enumerate(images)]
        except ValueError as error:
            raise DataError(f"domain {domain}: {error}") from error
        found[domain] = [image for image in images if image.shape == images[0].shape]
    n = min(map(len, found.values()))
    return {f"real_{domain}": torch.stack(images[:n]) for domain, images in found.items()}
