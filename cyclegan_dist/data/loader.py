"""The data loader of a rank: batches of decoded images in the order of the plan."""

import dataclasses
import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cyclegan_dist.data.augment import Augment
from cyclegan_dist.data.cache import Gather, PixelCache, alone
from cyclegan_dist.data.config import PREFETCH, DataConfig
from cyclegan_dist.data.images import decode, to_unit_range
from cyclegan_dist.data.loader_processes import (
    POLL_S,
    Waiting,
    set_up_worker,
    stream_batches,
    use_short_socket_folder,
    wait_on,
)
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.plan import DOMAINS, PAIR, Plan
from cyclegan_dist.data.reader import BadSample, BadSampleError, DataError, ShardReader
from cyclegan_dist.data.values import ValueRange

TRIES = 100  # damaged samples in a row, after which loading fails


class Batch(NamedTuple):
    """n images of each domain as n x C x H x W uint8, or float32 in [-1, 1] if it has a value range, their keys in the
    shards, the damaged samples that were replaced, and n pairs by name (`pair_A`, `pair_B`), if they are drawn besides.
    """

    A: Tensor
    B: Tensor
    keys_A: list[str]
    keys_B: list[str]
    bad: list[BadSample]
    pairs: dict[str, Tensor]
    keys_pairs: list[str]

    @property
    def keys(self) -> list[str]:
        """The keys of all images."""
        return [*self.keys_A, *self.keys_B, *self.keys_pairs]

    def images(self, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format) -> dict[str, Tensor]:
        """`real_A` and `real_B`, and `pair_A` and `pair_B` if there are, in [-1, 1] on `device`."""
        images = {"real_A": self.A, "real_B": self.B, **self.pairs}
        return {name: to_unit_range(image, device, dtype, memory_format) for name, image in images.items()}


@dataclass(frozen=True)
class RankSlice:
    """This rank's share of the work: which rank of how many, and images per micro-batch."""

    rank: int
    world_size: int
    micro_batch: int


Item = tuple[dict[str, tuple[Tensor, str]], list[BadSample]]
"""By name (`A`, `B`, `pair_A`, ...) an image and its key, and the damaged samples that were replaced."""


class _Positions(Dataset[Item]):
    """Position in the plan -> one image of each domain, augmented by a generator that depends on the position alone."""

    def __init__(self, manifest: Manifest, plan: Plan, augment: Augment, channels: dict[str, int], gather: Gather):
        self._plan, self._augment, self._channels = plan, augment, channels
        self._may_be_bad = augment.config.max_bad_fraction > 0
        self._readers = {domain: ShardReader(manifest, domain) for domain in DOMAINS}
        self._values = manifest.values
        self._caches = _caches(manifest, augment.config, channels, gather)

    def __getitem__(self, position: int) -> Item:
        bad: list[BadSample] = []
        found: dict[str, tuple[Tensor, str]] = {}
        for drawn, domains in self._plan.sequences.items():
            images = self._images(drawn, domains, position, bad)
            found |= {f"pair_{domain}": x for domain, x in images.items()} if drawn == PAIR else images
        return found, bad

    def _images(
        self, drawn: str, domains: Sequence[str], position: int, bad: list[BadSample]
    ) -> dict[str, tuple[Tensor, str]]:
        """The images at `position` of a sequence, or the replacements of damaged ones."""
        for attempt in range(TRIES):
            index = self._plan.sample(drawn, position)
            if attempt:
                index = int(self._plan.generator(drawn, position, attempt).integers(self._plan.count(drawn)))
            try:
                return {
                    domain: self._augmented(domain, self._plan.index_of(domain, drawn, index), drawn, position)
                    for domain in domains
                }
            except BadSampleError as error:
                if not self._may_be_bad:
                    raise DataError(str(error)) from error  # a plain one, which a worker process can send
                bad.append(error.sample)
        what = "pairs" if drawn == PAIR else f"samples of domain {drawn}"
        raise DataError(f"{TRIES} {what} in a row are damaged, the last in {bad[-1].shard}")

    def _augmented(self, domain: str, index: int, drawn: str, position: int) -> tuple[Tensor, str]:
        """An image, cropped at random by the position of the sequence `drawn`, so that partners are cropped alike."""
        reader = self._readers[domain]
        image = self._resized(domain, index)
        try:
            return self._augment.cut(image, self._plan.generator(drawn, position)), f"{domain}/{reader.key(index)}"
        except ValueError as error:
            raise reader.bad(index, error) from error

    def _resized(self, domain: str, index: int) -> Tensor:
        """A resized image, from the cache or from its shard."""
        reader, cache = self._readers[domain], self._caches.get(domain)
        if cache is not None and (kept := cache.get(index)) is not None:
            return kept
        data = reader.read(index)
        try:
            image = self._augment.resize(decode(data, self._channels[domain], self._values[domain]))
        except (OSError, ValueError) as error:
            raise reader.bad(index, error) from error
        if cache is not None:
            cache.put(index, image)
        return image


def _caches(manifest: Manifest, config: DataConfig, channels: dict[str, int], gather: Gather) -> dict[str, PixelCache]:
    """A cache per domain, or none; each caches the same share of its domain's images."""
    if not config.cache_gb:
        return {}
    side = config.load_size
    kinds = {domain: np.dtype(np.float32 if values else np.uint8) for domain, values in manifest.values.items()}
    sizes = {domain: n * channels[domain] * side**2 * kinds[domain].itemsize for domain, n in manifest.samples.items()}
    share = min(1.0, config.cache_gb * 1e9 / sum(sizes.values()))
    return {
        domain: PixelCache(n, (channels[domain], side, side), round(share * sizes[domain]), gather, kinds[domain])
        for domain, n in manifest.samples.items()
    }


def _collate(items: list[Item]) -> Batch:
    images: dict[str, Tensor] = {}
    keys: dict[str, list[str]] = {}
    for name in items[0][0]:
        found = [item[name] for item, _ in items]
        keys[name] = [key for _, key in found]
        if len({image.shape for image, _ in found}) > 1:
            sizes = ", ".join(f"{key} {image.shape[2]}x{image.shape[1]}" for image, key in found)
            raise DataError(
                f"images of one batch differ in size ({sizes}): choose a preprocess that crops, or micro_batch 1"
            )
        images[name] = torch.stack([image for image, _ in found])
    bad = [sample for _, some in items for sample in some]
    A, B, keys_A, keys_B = images.pop("A"), images.pop("B"), keys.pop("A"), keys.pop("B")
    return Batch(A, B, keys_A, keys_B, bad, images, [key for some in keys.values() for key in some])


def batches(
    manifest: Manifest,
    plan: Plan,
    config: DataConfig,
    share: RankSlice,
    *,
    first_step: int,
    multiple: int,
    channels: dict[str, int],
    pin_memory: bool = False,
    gather: Gather = alone,
    waiting: Waiting = wait_on,
) -> Generator[Batch]:
    """This rank's endless stream of micro-batches from `first_step` on: one iteration of the loader, so that it does
    not pause at epoch boundaries. Close it to end the worker processes. All ranks call it together.

    Args:
        manifest: the data set.
        plan: the order; its batch_size is global.
        config: preprocessing and worker processes.
        share: of this rank.
        first_step: 0-based step to begin with.
        multiple: the generators require sides that are multiples of it.
        channels: of domain "A" and "B".
        pin_memory: copy batches into pinned memory, for a GPU.
        gather: exchanges values between ranks, so that those of a node share a cache.
        waiting: called while a batch of worker processes is waited for; may raise.

    Raises:
        DataError: while iterating, if a shard is not what the manifest says or an image cannot be used.
        LoaderError: while iterating, if the worker processes fail.
    """

    def order() -> Iterator[list[int]]:
        step = first_step
        while True:
            positions = plan.positions(step, share.rank, share.world_size)
            for start in range(0, len(positions), share.micro_batch):
                yield list(positions[start : start + share.micro_batch])
            step += 1

    if config.workers:
        use_short_socket_folder()
    return stream_batches(
        DataLoader(
            _Positions(manifest, plan, Augment(config, multiple), channels, gather),
            batch_sampler=order(),  # pyright: ignore[reportArgumentType]
            collate_fn=_collate,
            num_workers=config.workers,
            prefetch_factor=PREFETCH if config.workers else None,
            pin_memory=pin_memory,
            worker_init_fn=set_up_worker,
            timeout=POLL_S if config.workers else 0,
            # Only forked processes share the cache.
            multiprocessing_context="fork" if config.workers and config.cache_gb else None,
        ),
        waiting,
    )


def fixed_images(
    manifest: Manifest, plan: Plan, config: DataConfig, *, count: int, multiple: int, channels: dict[str, int]
) -> dict[str, Tensor]:
    """The first `count` samples of each domain, or the first pairs, always cropped alike: `real_A` and `real_B`,
    n x C x H x W, uint8 or float32 in [-1, 1].

    Where preprocessing leaves images of different sizes, only those of the first one's size are taken, equally many of
    both domains.
    """
    augment = Augment(dataclasses.replace(config, flip=False), multiple)
    readers = {domain: ShardReader(manifest, domain) for domain in DOMAINS}
    found: dict[str, list[Tensor]] = {}
    for drawn, domains in plan.sequences.items():
        if drawn == PAIR:
            continue
        problems: list[str] = []
        usable = _usable(domains, readers, plan, augment, channels, manifest.values, problems)
        images = list(itertools.islice(usable, count))
        if not images:
            raise DataError(f"none of the first samples of domain {drawn} can be used: {problems[0]}")
        shapes = [image.shape for image in images[0]]
        alike = [some for some in images if [image.shape for image in some] == shapes]
        found |= {domain: [some[i] for some in alike] for i, domain in enumerate(domains)}
    n = min(map(len, found.values()))
    return {f"real_{domain}": torch.stack(images[:n]) for domain, images in found.items()}


def _usable(
    domains: Sequence[str],
    readers: Mapping[str, ShardReader],
    plan: Plan,
    augment: Augment,
    channels: dict[str, int],
    values: Mapping[str, ValueRange | None],
    problems: list[str],
) -> Iterator[list[Tensor]]:
    """The first usable images, cropped. Whether the others end the run is decided when training reaches them."""
    first = domains[0]
    for index in range(min(TRIES, len(readers[first]))):
        try:
            yield [
                augment(
                    decode(readers[domain].read(plan.index_of(domain, first, index)), channels[domain], values[domain]),
                    np.random.default_rng(index),
                )
                for domain in domains
            ]
        except (BadSampleError, OSError, ValueError) as error:
            problems.append(str(error))
