import errno
import os
import tempfile
from itertools import islice
from pathlib import Path
from unittest import mock

import pytest
import torch

from cyclegan_dist.data import cache, loader
from cyclegan_dist.data.cache import PixelCache
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.loader import Batch, RankSlice, batches
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World
from tests.data.test_loader import RGB, read, same
from tests.ranks import run_ranks

SHAPE = (3, 4, 5)
BYTES = 3 * 4 * 5


def image(value: int) -> torch.Tensor:
    return torch.full(SHAPE, value, dtype=torch.uint8)


def test_only_stored_images_are_found() -> None:
    kept_images = PixelCache(3, SHAPE, 10 * BYTES)
    kept_images.put(1, image(7))
    kept = kept_images.get(1)
    assert kept is not None and torch.equal(kept, image(7))
    assert kept_images.get(0) is None and kept_images.get(2) is None


def test_the_size_limit_is_kept() -> None:
    kept_images = PixelCache(10, SHAPE, 2 * BYTES + 1)
    for index in range(10):
        kept_images.put(index, image(index))
    assert [kept_images.get(index) is not None for index in range(10)] == [True, True, *[False] * 8]
    assert PixelCache(10, SHAPE, BYTES - 1).get(0) is None


def test_forked_processes_share_it() -> None:
    kept_images = PixelCache(2, SHAPE, 2 * BYTES)
    if not (child := os.fork()):
        kept_images.put(0, image(9))
        os._exit(0)
    os.waitpid(child, 0)
    kept = kept_images.get(0)
    assert kept is not None and torch.equal(kept, image(9))


def test_a_full_disk_is_reported_before_training() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch.object(os, "posix_fallocate", side_effect=full), pytest.raises(DataError, match="TMPDIR"):
        PixelCache(2, SHAPE, 2 * BYTES)


def test_a_cache_is_for_images_of_one_size() -> None:
    with pytest.raises(UsageError, match="resize_and_crop"):
        DataConfig(preprocess="scale_width", cache_gb=1)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache_gb", [1.0, 5e-6])
def test_batches_are_the_same_with_a_cache_of_any_size(dataset: Path, workers: int, cache_gb: float) -> None:
    assert same(read(dataset, 12), read(dataset, 12, workers=workers, cache_gb=cache_gb))


def test_later_passes_decode_nothing(dataset: Path) -> None:
    decode = mock.Mock(side_effect=loader.decode)
    with mock.patch.object(loader, "decode", decode):
        read(dataset, 40, batch_size=1, cache_gb=1.0)
    assert decode.call_count == 7 + 10  # the images of A and of B


STEPS = 20  # of one image per rank: 40 of both domains, which have 7 and 10


def shares(dataset: Path, world: World, **config: float) -> tuple[list[Batch], int]:
    """A rank's batches, and how many images it decoded. Ranks take turns, so that no two decode one at a time."""
    manifest = open_manifest(str(dataset))
    settings = DataConfig(load_size=20, crop_size=16, workers=0, **config)
    decode = mock.Mock(side_effect=loader.decode)
    with mock.patch.object(loader, "decode", decode):
        stream = batches(
            manifest,
            Plan(manifest.samples, 0, world.size),
            settings,
            RankSlice(world.rank, world.size, 1),
            first_step=0,
            multiple=4,
            channels=RGB,
            gather=world.gather,
        )
        found = []
        for _ in range(STEPS):
            for rank in range(world.size):
                if rank == world.rank:
                    found += list(islice(stream, 1))
                world.gather(None)
    return found, decode.call_count


def test_ranks_of_a_node_decode_each_image_once(dataset: Path) -> None:
    plain = run_ranks(lambda world: shares(dataset, world), 2)
    shared = run_ranks(lambda world: shares(dataset, world, cache_gb=1.0), 2)
    assert all(same(one, two) for (one, _), (two, _) in zip(plain, shared, strict=True))
    assert sum(count for _, count in plain) == 2 * 2 * STEPS
    assert sum(count for _, count in shared) == 7 + 10
    assert all(count for _, count in shared)


def test_ranks_of_different_nodes_share_nothing(dataset: Path) -> None:
    def on_its_own_node(world: World) -> tuple[list[Batch], int]:
        with mock.patch.object(cache, "_node", return_value=f"node {world.rank}"):
            return shares(dataset, world, cache_gb=1.0)

    together = sum(count for _, count in run_ranks(on_its_own_node, 2))
    assert 7 + 10 < together <= 2 * (7 + 10)


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept_images = PixelCache(2, SHAPE, 2 * BYTES)
    kept_images.put(0, image(9))
    assert not list(tmp_path.iterdir())


def test_all_ranks_report_one_node_without_room() -> None:
    def fails(world: World) -> str:
        full = OSError(errno.ENOSPC, "No space left on device")
        broken = mock.patch.object(os, "posix_fallocate", side_effect=full if world.rank == 1 else None)
        node = mock.patch.object(cache, "_node", return_value=f"node {world.rank}")
        with node, broken, pytest.raises(DataError) as raised:
            PixelCache(2, SHAPE, 2 * BYTES, world.gather)
        return str(raised.value)

    assert all("no room" in text for text in run_ranks(fails, 2))
