"""Tests of fused networks, interpreted on a CPU, against the same networks layer by layer."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cyclegan_dist.networks import fused
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.config import CoupledConfig, DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.resnet import recompute_blocks
from cyclegan_dist.networks.spectral import start_iteration
from tests.networks.kernels import imported, relative, values_and_gradients

NHWC = torch.channels_last


@pytest.fixture(scope="module", autouse=True)
def on_cpu() -> Iterator[None]:
    with imported("cpu", interpret=True):
        yield


def generator(channels_in: int = 3, channels_out: int = 3, **config) -> nn.Module:
    return build_generator(channels_in, channels_out, GeneratorConfig(**config), InitConfig())


def discriminator(**config) -> nn.Module:
    return build_discriminator(3, DiscriminatorConfig(**config), InitConfig())


# A network, an input's shape, and whether narrow convolutions are computed by rows.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int, int], bool]] = {
    "resnet": (lambda: generator(ngf=4, n_blocks=2), (2, 3, 8, 8), False),
    "resnet, by rows": (lambda: generator(2, 3, ngf=4, n_blocks=0), (1, 2, 8, 12), True),
    "resnet, replicate": (lambda: generator(9, 2, ngf=3, n_blocks=1, padding="replicate"), (1, 9, 8, 8), True),
    "resnet, zero": (lambda: generator(1, 8, ngf=4, n_blocks=1, padding="zero"), (1, 1, 8, 8), False),
    "resnet, separable": (lambda: generator(ngf=4, n_blocks=2, separable=True), (2, 3, 8, 8), False),
    "resnet, dropout": (lambda: generator(8, 3, ngf=4, n_blocks=1, dropout=True), (1, 8, 8, 8), False),
    "unet": (lambda: generator(arch="unet", ngf=2, n_downs=5, dropout=True), (1, 3, 32, 64), False),
    "patch": (lambda: discriminator(ndf=8, n_layers_D=2), (1, 3, 19, 18), False),
    "patch, spectral norm": (lambda: discriminator(ndf=8, n_layers_D=1, spectral_norm=True), (2, 3, 9, 8), False),
    "pixel": (lambda: discriminator(arch="pixel", ndf=4), (1, 3, 7, 6), True),
}


class Layouts(TorchDispatchMode):
    """Counts convolutions, and records images in another layout than NHWC that are convolved, copied or made."""

    def __init__(self, batch: int):
        super().__init__()
        self.batch = batch
        self.wrong: list[str] = []
        self.convolutions = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = str(func)
        convolves = "convolution" in name
        self.convolutions += convolves
        outputs = result if isinstance(result, tuple | list) else [result]
        made = [] if func.is_view or "set_" in name else outputs  # set_ is the interpreter's
        for value in [*made, *(args[:3] if convolves or "clone" in name or "copy" in name else [])]:
            image = isinstance(value, Tensor) and value.dim() == 4 and (convolves or value.shape[0] == self.batch)
            if image and not value.is_contiguous(memory_format=NHWC):
                self.wrong.append(f"{func} {tuple(value.shape)} {value.stride()}")
        return result


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_equal_those_layer_by_layer_in_nhwc_only(name, monkeypatch) -> None:
    make, shape, by_rows = NETWORKS[name]
    monkeypatch.setattr(fused, "NARROW_BY_ROWS", by_rows)
    # The order in which random numbers meet pixels depends on the layout.
    half = lambda x, *_: x * torch.arange(x.shape[1]).remainder(2).view(-1, 1, 1).to(x)  # noqa: E731
    monkeypatch.setattr(F, "dropout", half)
    torch.manual_seed(0)
    network, x = make(), torch.randn(shape).contiguous(memory_format=NHWC)
    for p in network.parameters():
        nn.init.normal_(p, 0.0, 0.05)  # biases too
    start_iteration(network)
    ours = copy.deepcopy(network)
    fused.use_fused_layers(ours)

    expected = values_and_gradients(network.double(), x.double())
    with Layouts(shape[0]) as layouts:
        found = values_and_gradients(ours, x)
    assert max(relative(found[name], expected[name]) for name in found) < 5e-5
    without = {name: expected[name].abs().max() for name in expected.keys() - found}
    assert all(name.endswith("bias") and largest < 1e-10 for name, largest in without.items())  # before norms
    assert len(without) == sum(isinstance(layer, nn.InstanceNorm2d) for layer in network.modules())
    assert not layouts.wrong
    assert layouts.convolutions == 2 * sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in ours.modules())


def test_blocks_that_are_computed_again_have_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain, x = generator(ngf=4, n_blocks=2), torch.randn(1, 3, 8, 8).contiguous(memory_format=NHWC)
    again = copy.deepcopy(plain)
    recompute_blocks(again)
    for network in (plain, again):
        fused.use_fused_layers(network)
    with Layouts(1) as both:
        expected = values_and_gradients(plain, x)
        before = both.convolutions
        found = values_and_gradients(again, x)
    assert max(relative(found[name], expected[name]) for name in expected) < 1e-5
    assert found.keys() == expected.keys()
    assert both.convolutions - before == before + 2 * 2  # two blocks of two convolutions, once more
    assert not both.wrong


class Parts(nn.Module):
    """All that methods compute with a network apart from its translation, at once."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.network.pair(x) if hasattr(self.network, "pair") else self.network.features(x, (0, 4, 7, 10, 20))
        return torch.cat([output.flatten() for output in outputs]).view(1, 1, 1, -1)


@pytest.mark.parametrize("arch", ["resnet", "coupled"])
def test_parts_of_a_network_equal_those_layer_by_layer(arch: str) -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(ngf=2, n_blocks=2) if arch == "resnet" else CoupledConfig(ngf=2, n_blocks=0, n_z=3)
    network = Parts(build_generator(3, 2, config, InitConfig()))
    x = torch.randn(1, 3, 8, 8) if arch == "resnet" else torch.randn(1, 3, 3, 3)
    for p in network.parameters():
        nn.init.normal_(p, 0.0, 0.05)
    ours = copy.deepcopy(network)
    fused.use_fused_layers(ours)
    expected, found = values_and_gradients(network.double(), x.double()), values_and_gradients(ours, x)
    assert max(relative(found[name], expected[name]) for name in found) < 5e-5
    without = {name: expected[name].abs().max() for name in expected.keys() - found}
    assert all(name.endswith("bias") and largest < 1e-10 for name, largest in without.items())  # before norms


def test_autocast_computes_in_sixteen_bits_and_casts_each_weight_once(monkeypatch) -> None:
    network = generator(ngf=8, n_blocks=0)
    fused.use_fused_layers(network)
    wide = [p.shape for p in network.parameters() if p.dim() == 4 and not any(side % 8 for side in p.shape[:2])]
    casts, results = [], []

    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            name = str(func)
            if args and isinstance(args[0], Tensor) and args[0].shape in wide and name.startswith("aten._to_copy"):
                casts.append(args[0].shape)
            if name.startswith("aten.convolution.") or name.startswith("aten.mkldnn_convolution."):
                results.append(result.dtype)
            return result

    with torch.autocast("cpu", torch.bfloat16), Casts():
        y = network(torch.randn(1, 3, 8, 8))
        network(y)
    y.float().sum().backward()
    assert sorted(casts) == sorted(wide)
    assert set(results) == {torch.bfloat16} and y.dtype == torch.bfloat16
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())


def test_copies_run_fused_and_keep_the_state_dict() -> None:
    network = generator(ngf=4, n_blocks=0)
    before = copy.deepcopy(network.state_dict())
    fused.use_fused_layers(network)
    average = copy.deepcopy(network)
    assert average.run is fused.run
    assert average.state_dict().keys() == before.keys()
    for p in average.parameters():
        nn.init.zeros_(p)
    average.load_state_dict(before)
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(average(x), network(x))
    assert all(p.is_contiguous(memory_format=NHWC) for p in average.parameters() if p.dim() == 4)


def test_elsewhere_networks_run_layer_by_layer(monkeypatch) -> None:
    network = nn.ModuleDict({"G": generator(ngf=2, n_blocks=1)})
    plain = copy.deepcopy(network["G"])
    fused.use_fused_layers(network)
    x = torch.randn(1, 3, 8, 8)
    called = []
    network["G"].model[2].register_forward_hook(lambda *_: called.append(True))
    network["G"](x)
    assert not called
    network["G"].double()(x.double())
    assert called == [True]
    monkeypatch.setattr(fused, "DEVICES", {"cuda"})
    torch.testing.assert_close(network["G"].float()(x), plain(x))
    assert len(called) == 2
    monkeypatch.setattr(fused, "DEVICES", {"cpu"})
    program = torch.export.export(network["G"].eval(), (x,))
    assert len(called) == 3
    assert "aten.instance_norm.default" in {str(node.target) for node in program.graph.nodes}
