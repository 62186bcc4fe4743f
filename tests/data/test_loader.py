import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.images import to_bytes, to_unit_range
from cyclegan_dist.data.loader import Batch, RankSlice, batches, fixed_images
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.reader import DataError
from tests.conftest import write_images

RGB = {"A": 3, "B": 3}


def read(
    dataset: Path,
    count: int,
    *,
    batch_size: int = 4,
    share: RankSlice | None = None,
    first_step: int = 0,
    channels=RGB,
    **config,
) -> list[Batch]:
    manifest = open_manifest(str(dataset))
    settings = DataConfig(**{"load_size": 20, "crop_size": 16, "workers": 0, **config})
    share = share or RankSlice(0, 1, batch_size)
    plan = Plan(manifest.samples, 0, batch_size)
    stream = batches(manifest, plan, settings, share, first_step=first_step, multiple=4, channels=channels)
    return list(islice(stream, count))


def same(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(x.A, y.A) and torch.equal(x.B, y.B) and x.keys_A == y.keys_A for x, y in zip(one, two, strict=True)
    )


def test_batches_are_bytes_with_their_keys(dataset: Path) -> None:
    (batch,) = read(dataset, 1)
    assert batch.A.shape == batch.B.shape == (4, 3, 16, 16)
    assert batch.A.dtype == torch.uint8
    assert all(key.startswith("B/0000000") for key in batch.keys_B)


@pytest.mark.parametrize("workers", [0, 2])
def test_any_step_can_be_the_first(dataset: Path, workers: int) -> None:
    whole = read(dataset, 8, workers=workers)
    assert same(whole[5:], read(dataset, 3, first_step=5, workers=0))


def test_ranks_and_micro_batches_cut_the_same_batch(dataset: Path) -> None:
    (whole,) = read(dataset, 1)
    parts = [batch for rank in range(2) for batch in read(dataset, 2, share=RankSlice(rank, 2, 1))]
    assert torch.equal(whole.A, torch.cat([part.A for part in parts]))
    assert whole.keys_B == [key for part in parts for key in part.keys_B]


def test_an_image_is_cut_differently_in_each_pass(dataset: Path) -> None:
    stream = read(dataset, 40, batch_size=1)
    crops = [batch.A for batch in stream if batch.keys_A == stream[0].keys_A]
    assert len(crops) > 4
    assert len({crop.numpy().tobytes() for crop in crops}) > 2


def test_images_of_different_sizes_cannot_share_a_batch(tmp_path: Path) -> None:
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig

    a = write_images(tmp_path / "A", 2, size=16)
    write_images(a / "large", 2, size=32)
    prepare(PrepareConfig(a, a, tmp_path / "out", workers=1))
    with pytest.raises(DataError, match="micro_batch 1"):
        read(tmp_path / "out", 4, preprocess="none")
    assert len(read(tmp_path / "out", 4, preprocess="none", batch_size=1)) == 4


def test_grey_channels(dataset: Path) -> None:
    (batch,) = read(dataset, 1, channels={"A": 1, "B": 3})
    assert batch.A.shape[1] == 1 and batch.B.shape[1] == 3


def test_conversion_to_unit_range_is_invertible() -> None:
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    unit = to_unit_range(x, torch.device("cpu"))
    assert (unit.min(), unit.max()) == (-1, 1)
    assert torch.equal(to_bytes(unit), x)


def test_fixed_images_are_always_the_same_and_never_more_than_there_are(dataset: Path) -> None:
    manifest = open_manifest(str(dataset))
    config = DataConfig(load_size=20, crop_size=16)
    plan = Plan(manifest.samples, 0, 1)
    one, two = (fixed_images(manifest, plan, config, count=9, multiple=4, channels=RGB) for _ in range(2))
    assert one["real_A"].shape == one["real_B"].shape == (7, 3, 16, 16)
    assert np.array_equal(one["real_B"], two["real_B"])


ENDS = """
import sys
from cyclegan_dist.data.reader import DataError
from tests.data.test_loader import read
kept = []
try:
    read(sys.argv[1], 50, workers=2)
except DataError as error:
    kept.append(error)  # and with it, its traceback, its frames and the loader in them
sys.exit(3)
"""


def test_workers_end_when_the_error_is_kept(dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    for shard in copy.rglob("*.tar"):
        shard.write_bytes(b"")
    command = [sys.executable, "-c", ENDS, str(copy)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
