"""Translation on a GPU gives the bytes of a CPU, but for single grey levels."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cyclegan_dist.data.images import decode
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.models.tile_store import ImageInMemory
from cyclegan_dist.models.tiled import tiled_outputs
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.networks.config import InitConfig
from cyclegan_dist.translation.job import Job
from cyclegan_dist.translation.targets import shard_tasks
from cyclegan_dist.translation.work import JobWorker
from tests.gpu.steps import CPU, DISCRIMINATOR, GENERATOR
from tests.models.test_tiled import image, network

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    torch.manual_seed(0)
    config = CycleGANConfig(generator=GENERATOR, discriminator=DISCRIMINATOR, init=InitConfig(gain=0.3))
    folder = tmp_path_factory.mktemp("translating") / "snapshot"
    return Snapshot.open(save_snapshot(folder, config.build(rank_seed=0).translators, config, {}))


def differing(one: Tensor, two: Tensor) -> float:
    """The fraction of bytes that differ, all by one grey level."""
    assert one.shape == two.shape and (one.int() - two.int()).abs().max() <= 1
    return float((one != two).float().mean())


@pytest.mark.parametrize("tile", [0, 32])
def test_images_are_translated_as_on_a_cpu(gpu: torch.device, snapshot: Snapshot, tile: int) -> None:
    images = [image(64, 64), image(64, 64), image(97, 130), image(33, 200)]
    on_gpu, on_cpu = (Translator(snapshot, "AB", where, tile=tile).translate_batch(images) for where in (gpu, CPU))
    assert all(made.device.type == "cpu" and made.float().std() > 1 for made in on_gpu)
    assert max(map(differing, on_gpu, on_cpu)) < 0.01


def test_tiles_give_what_the_whole_image_gives(gpu: torch.device) -> None:
    generator, x = network().double().to(gpu), image(64, 96)
    whole = generator(x.to(gpu).double()[None] / 127.5 - 1)[0]
    for window, values in tiled_outputs(generator, ImageInMemory(x), 32):
        there = whole[:, window.top : window.bottom, window.left : window.right].cpu()
        assert (values.cpu() - there).abs().max() < 1e-10


def test_a_data_set_is_translated_as_on_a_cpu(
    gpu: torch.device, snapshot: Snapshot, dataset: Path, tmp_path: Path
) -> None:
    tars: dict[str, dict[str, Tensor]] = {}
    for device in ("cuda", "cpu"):
        job = Job(snapshot=str(snapshot.folder), direction="BA", device=device, batch_size=3, dataset=str(dataset))
        tasks = shard_tasks(open_manifest(job.dataset), job.domain, tmp_path / device)
        assert JobWorker(job)(tasks).written == 10
        tars[device] = {}
        for task in tasks:
            tars[device] |= _images(Path(task.target))
    assert tars["cuda"].keys() == tars["cpu"].keys() and len(tars["cpu"]) == 10
    assert max(differing(tars["cuda"][name], tars["cpu"][name]) for name in tars["cpu"]) < 0.01


def _images(path: Path) -> dict[str, Tensor]:
    import tarfile

    with tarfile.open(path) as tar:
        return {member.name: decode(tar.extractfile(member).read(), 3) for member in tar}  # pyright: ignore
