import errno
import os
from pathlib import Path
from unittest import mock

import pytest
import torch

from cyclegan_dist.data import loader
from cyclegan_dist.data.cache import PixelCache
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from tests.data.test_loader import read, same

SHAPE = (3, 4, 5)
BYTES = 3 * 4 * 5


def image(value: int) -> torch.Tensor:
    return torch.full(SHAPE, value, dtype=torch.uint8)


def test_only_stored_images_are_found() -> None:
    cache = PixelCache(3, SHAPE, 10 * BYTES)
    cache.put(1, image(7))
    kept = cache.get(1)
    assert kept is not None and torch.equal(kept, image(7))
    assert cache.get(0) is None and cache.get(2) is None


def test_the_size_limit_is_kept() -> None:
    cache = PixelCache(10, SHAPE, 2 * BYTES + 1)
    for index in range(10):
        cache.put(index, image(index))
    assert [cache.get(index) is not None for index in range(10)] == [True, True, *[False] * 8]
    assert PixelCache(10, SHAPE, BYTES - 1).get(0) is None


def test_forked_processes_share_it() -> None:
    cache = PixelCache(2, SHAPE, 2 * BYTES)
    if not (child := os.fork()):
        cache.put(0, image(9))
        os._exit(0)
    os.waitpid(child, 0)
    kept = cache.get(0)
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
