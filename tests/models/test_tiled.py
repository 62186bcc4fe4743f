import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.inference import outputs, translate
from cyclegan_dist.models.tile_store import ImageInMemory
from cyclegan_dist.models.tiled import tiled_outputs, translate_tiled
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import GeneratorConfig, InitConfig
from cyclegan_dist.networks.resnet import ResnetGenerator

SIZES = [(64, 64), (97, 130), (33, 200), (7, 3), (68, 36)]


def network(
    padding: str = "reflect", channels: tuple[int, int] = (3, 3), norm: str = "instance", **options: int
) -> ResnetGenerator:
    torch.manual_seed(0)
    config = GeneratorConfig(ngf=4, n_blocks=options.get("n_blocks", 3), padding=padding, dropout=True, norm=norm)  # pyright: ignore[reportArgumentType]
    made = build_generator(*channels, config, InitConfig(gain=0.3)).requires_grad_(False)
    made(torch.rand(2, channels[0], 32, 32) * 2 - 1)  # running statistics of batch norm
    assert isinstance(made, ResnetGenerator)
    return made.eval()


def image(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """Bright on one side, so that tiles differ in their statistics."""
    noise = torch.randint(0, 90, (channels, height, width), generator=torch.Generator().manual_seed(width))
    return (noise + torch.linspace(0, 160, width)).to(torch.uint8)


@pytest.mark.parametrize(
    ("padding", "norm"),
    [
        ("reflect", "instance"),
        ("replicate", "instance"),
        ("zero", "instance"),
        ("reflect", "batch"),
        ("reflect", "none"),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_tiles_give_what_the_whole_image_gives(padding: str, norm: str, size: tuple[int, int]) -> None:
    generator, x = network(padding, norm=norm).double(), image(*size)
    parts = list(tiled_outputs(generator, ImageInMemory(x), 32))
    tiled = torch.full((3, *size), torch.nan, dtype=torch.float64)
    for window, values in parts:
        tiled[:, window.top : window.bottom, window.left : window.right] = values
    assert (tiled - outputs(generator, x[None])[0]).abs().max() < 1e-10
    assert len(parts) == -(-size[0] // 32) * -(-size[1] // 32)


def test_a_last_window_of_padding_only_is_left_out() -> None:
    x = image(577, 8)  # padded to 580: 17 windows of 34 rows, and one of the last two
    covered = torch.zeros(577, 8)
    for window, _ in tiled_outputs(network(n_blocks=0), ImageInMemory(x), 34):
        covered[window.top : window.bottom, window.left : window.right] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("size", SIZES)
def test_bytes_differ_by_one_grey_level_at_most(size: tuple[int, int]) -> None:
    generator, x = network(channels=(2, 1)), image(*size, channels=2)
    tiled, whole = translate_tiled(generator, x, 32), translate(generator, x[None])[0]
    assert tiled.shape == whole.shape == (1, *size)
    assert (tiled.int() - whole.int()).abs().max() <= 1
    assert (tiled != whole).float().mean() < 0.01


def test_tiles_on_their_own_would_show() -> None:
    """The reason for this module: without shared statistics the same image differs by many grey levels."""
    generator, x = network(), image(64, 128)
    whole, left = translate(generator, x[None])[0], translate(generator, x[None, ..., :64])[0]
    assert (whole[..., :64].int() - left.int()).abs().float().mean() > 5


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts = tiled_outputs(network(), ImageInMemory(image(70, 70)), 32)
    next(parts)
    assert len(list(tmp_path.glob("*/*"))) == 1  # of all layers, only the last
    parts.close()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = build_generator(3, 3, GeneratorConfig(arch="unet", ngf=2, n_downs=5), InitConfig())
    with pytest.raises(UsageError, match="this one is a U-Net"):
        translate_tiled(unet, image(64, 64), 32)
    with pytest.raises(UsageError, match="at least 32"):
        translate_tiled(network(), image(64, 64), 31)
    monkeypatch.setattr("os.posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(
        UsageError, match=r"no room for layers in .* \(No space left on device\): point TMPDIR elsewhere"
    ):
        translate_tiled(network(), image(64, 64), 32)


MEMORY = """
import re, torch
from tests.models.test_tiled import image, network
from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.tiled import translate_tiled
torch.set_num_threads(1)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
generator, x = network(n_blocks=1), image(768, 768)
translate_tiled(generator, x[:, :64, :64], 32)  # what libraries set up once is not counted
for work in (lambda: translate_tiled(generator, x, 128), lambda: translate(generator, x[None])):
    open("/proc/self/clear_refs", "w").write("5")  # the peak is forgotten
    before = peak()
    work()
    print(peak() - before)
"""


@pytest.mark.slow
def test_memory_is_that_of_tiles() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True, check=True)
    tiled, whole = map(float, done.stdout.split())
    assert tiled < whole / 3
