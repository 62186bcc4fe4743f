"""Generators of the published implementation, written here once more from its description, against ours."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.reference_weights import published_names, published_options, read_published
from cyclegan_dist.networks.build import build_generator
from cyclegan_dist.networks.config import GeneratorConfig, InitConfig

NORMS: dict[str, Any] = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d, "none": lambda _: nn.Identity()}


class Block(nn.Module):
    def __init__(self, width: int, dropout: bool, norm: str):
        super().__init__()
        bias = norm == "instance"
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), NORMS[norm](width)]  # noqa: E731
        drop = [nn.Dropout(0.5)] if dropout else []
        self.conv_block = nn.Sequential(*half(), nn.ReLU(), *drop, *half())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Resnet(nn.Module):
    def __init__(self, inputs: int, outputs: int, ngf: int, blocks: int, dropout: bool = False, norm: str = "instance"):
        super().__init__()
        make, bias = NORMS[norm], norm == "instance"
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, ngf, 7, bias=bias), make(ngf), nn.ReLU()]
        for width in (ngf, 2 * ngf):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), make(2 * width), nn.ReLU()]
        layers += [Block(4 * ngf, dropout, norm) for _ in range(blocks)]
        for width in (2 * ngf, ngf):
            layers += [nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1, bias=bias), make(width), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(ngf, outputs, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Nest(nn.Module):
    """One scale of the U-Net around the next smaller one; activations change in place what the skip carries on."""

    def __init__(self, inputs: int, outputs: int, inner: int, inside: nn.Module | None, outermost: bool, norm: str):
        super().__init__()
        self.outermost = outermost
        make, bias = NORMS[norm], norm == "instance"
        down, relu = nn.Conv2d(inputs, inner, 4, 2, 1, bias=bias), nn.ReLU(True)
        up = nn.ConvTranspose2d(inner if inside is None else 2 * inner, outputs, 4, 2, 1, bias=bias or outermost)
        if outermost:
            assert inside is not None
            layers = [down, inside, relu, up, nn.Tanh()]
        elif inside is None:
            layers = [nn.LeakyReLU(0.2, True), down, relu, up, make(outputs)]
        else:
            layers = [nn.LeakyReLU(0.2, True), down, make(inner), inside]
            layers += [relu, up, make(outputs)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    def __init__(self, inputs: int, outputs: int, ngf: int, downs: int, norm: str = "instance"):
        super().__init__()
        widths = [ngf * min(2**i, 8) for i in range(downs)]
        inside = None
        for i in reversed(range(1, downs)):
            inside = Nest(widths[i - 1], widths[i - 1], widths[i], inside, False, norm)
        self.model = Nest(inputs, outputs, ngf, inside, True, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


KINDS: dict[str, tuple[Any, GeneratorConfig, tuple[int, int], tuple[int, int]]] = {
    "resnet_6blocks": (lambda: Resnet(3, 1, 4, 6), GeneratorConfig(ngf=4, n_blocks=6), (3, 1), (4, 4)),
    "resnet_9blocks": (lambda: Resnet(3, 3, 3, 9), GeneratorConfig(ngf=3), (3, 3), (4, 4)),
    "dropout": (lambda: Resnet(3, 3, 4, 2, True), GeneratorConfig(ngf=4, n_blocks=2, dropout=True), (3, 3), (4, 4)),
    "batch": (
        lambda: Resnet(3, 3, 4, 2, norm="batch"),
        GeneratorConfig(ngf=4, n_blocks=2, norm="batch"),
        (3, 3),
        (4, 4),
    ),
    "batch, dropout": (
        lambda: Resnet(3, 3, 4, 1, True, "batch"),
        GeneratorConfig(ngf=4, n_blocks=1, dropout=True, norm="batch"),
        (3, 3),
        (4, 4),
    ),
    "none": (lambda: Resnet(3, 1, 4, 2, norm="none"), GeneratorConfig(ngf=4, n_blocks=2, norm="none"), (3, 1), (4, 4)),
    "unet batch": (
        lambda: Unet(3, 3, 2, 7, "batch"),
        GeneratorConfig(arch="unet", ngf=2, n_downs=7, norm="batch"),
        (3, 3),
        (128, 128),
    ),
    "unet none": (
        lambda: Unet(3, 1, 2, 7, "none"),
        GeneratorConfig(arch="unet", ngf=2, n_downs=7, norm="none"),
        (3, 1),
        (128, 128),
    ),
    "unet_128": (lambda: Unet(1, 3, 2, 7), GeneratorConfig(arch="unet", ngf=2, n_downs=7), (1, 3), (128, 128)),
    "unet_256": (lambda: Unet(3, 3, 2, 8), GeneratorConfig(arch="unet", ngf=2, n_downs=8), (3, 3), (256, 256)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_the_outputs_are_equal(kind: str, tmp_path: Path) -> None:
    make, config, channels, unit = KINDS[kind]
    torch.manual_seed(1)
    theirs = make()
    theirs(torch.rand(3, channels[0], 2 * unit[0], 2 * unit[1]))  # running statistics, where there are any
    theirs.eval()
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    found = read_published(tmp_path / "x.pth")
    assert (found.config, (found.in_channels, found.out_channels), found.dropped) == (config, channels, 0)
    ours = build_generator(*channels, config, InitConfig(gain=0.3))
    ours(torch.rand(3, channels[0], 2 * unit[0], 2 * unit[1]))
    ours.eval()
    back = make().eval()
    names = published_names(config)
    back.load_state_dict({names[key]: value for key, value in ours.state_dict().items()})
    for network in (theirs, found.network, ours, back):  # in single precision, rounding is all that differs
        network.double()
    for height, width in ((2, 3), (3, 2)) if unit[0] > 4 else ((8, 10), (13, 7)):
        x = torch.rand(2, channels[0], height * unit[0], width * unit[1], dtype=torch.float64) * 2 - 1
        with torch.inference_mode():
            # Theirs get a copy: their first layers may work in place.
            assert (theirs(x.clone()) - found.network(x)).abs().max() < 1e-12
            assert (back(x.clone()) - ours(x)).abs().max() < 1e-12


def test_files_of_old_versions_and_of_data_parallel(tmp_path: Path) -> None:
    theirs = Resnet(3, 3, 4, 1).eval()
    state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    state |= {"module.model.2.running_mean": torch.zeros(4), "module.model.2.running_var": torch.ones(4)}
    state |= {"module.model.2.num_batches_tracked": torch.tensor(7)}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    found = read_published(tmp_path / "x.pth")
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    assert found.dropped == 3
    assert (found.network.double()(x) - theirs.double()(x)).abs().max() < 1e-12


def test_batch_norm_of_versions_that_did_not_count_batches(tmp_path: Path) -> None:
    theirs = Resnet(3, 3, 4, 1, norm="batch")
    theirs(torch.rand(2, 3, 16, 16))
    state = {key: value for key, value in theirs.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "x.pth")
    found, x = read_published(tmp_path / "x.pth"), torch.rand(1, 3, 16, 16, dtype=torch.float64)
    assert found.dropped == 0 and "--norm batch" in found.description
    assert (found.network.double()(x) - theirs.eval().double()(x)).abs().max() < 1e-12


class _Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("bomb", "more than the tensors"),
        ("noise", "was not loaded"),
        ("empty", "was not loaded"),
        ("gone", "cannot read"),
        ("list", "no state dict"),
        ("whole checkpoint", "no state dict"),
        ("discriminator", "its keys begin: model.0.weight"),
        ("nothing", "its keys begin: none"),
        ("affine norm", "model.2.weight belongs to a norm with weights and without running statistics"),
        ("zero padding", "unknown: model.10.conv_block.4.weight"),
        ("odd key", "unknown: model.99.scale"),
        ("key gone", "missing: model.4.bias"),
        ("odd shape", "of another shape: model.4.weight"),
        ("nan", "model.4.bias has values that are not finite"),
    ],
)
def test_other_files_are_refused_in_one_line(case: str, says: str, tmp_path: Path) -> None:
    path, good = tmp_path / "x.pth", Resnet(3, 3, 4, 1).state_dict()
    zero = {key.replace("conv_block.5", "conv_block.4"): value for key, value in good.items()}
    content: dict[str, Any] = {
        "list": [torch.zeros(1)],
        "whole checkpoint": {"epoch": 3, "model": good},
        "discriminator": {"model.0.weight": torch.zeros(4, 3, 4, 4), "model.0.bias": torch.zeros(4)},
        "nothing": {},
        "affine norm": good | {"model.2.weight": torch.ones(4), "model.2.bias": torch.zeros(4)},
        "zero padding": zero,
        "odd key": good | {"model.99.scale": torch.ones(1, 1)},
        "key gone": {key: value for key, value in good.items() if key != "model.4.bias"},
        "odd shape": good | {"model.4.weight": torch.zeros(9, 4, 3, 3)},
        "nan": good | {"model.4.bias": torch.full((8,), torch.nan)},
    }
    if case == "bomb":
        path.write_bytes(pickle.dumps({"model.1.weight": _Bomb(tmp_path / "boom")}))
    elif case in ("noise", "empty"):
        path.write_bytes(b"noise" * 9 * (case == "noise"))
    elif case != "gone":
        torch.save(content[case], path)
    with pytest.raises(UsageError, match=says.replace(".", r"\.")) as error:
        read_published(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "boom").exists()


def test_options_for_the_published_programs() -> None:
    assert published_options(GeneratorConfig()) == "--netG resnet_9blocks --ngf 64 --norm instance --no_dropout"
    assert "unet_128" in published_options(GeneratorConfig(arch="unet", n_downs=7))
    assert published_options(GeneratorConfig(n_blocks=2)).endswith("which they lack")
    with pytest.raises(UsageError, match="pad by reflection"):
        published_names(GeneratorConfig(padding="zero"))


def test_files_that_unpack_to_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    kept, packed = tmp_path / "latest_net_G_A.pth", tmp_path / "packed.pth"
    torch.save({"model.1.weight": torch.zeros(1).expand(64, 3, 7, 7, 1 << 16)}, kept)
    assert kept.stat().st_size < 5000
    with pytest.raises(UsageError, match=r"announces more weights than its .* bytes hold"):
        read_published(kept)
    torch.save({"model.1.weight": torch.zeros(1 << 26)}, kept)
    with zipfile.ZipFile(kept) as one, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for entry in one.infolist():
            other.writestr(entry.filename, one.read(entry))
    kept.unlink()
    with pytest.raises(UsageError, match="damaged"):
        read_published(packed)
    os.mkfifo(kept)
    with pytest.raises(UsageError, match="no regular file"):
        read_published(kept)
