"""Tests of the CPU layers against the layers of torch.nn that they replace."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.on_cpu import InstanceNorm2d, NarrowConv2d


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "out"), [(7, 3), ((5, 2), 1), (1, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_equal_those_of_a_convolution(kernel, out, bias, layout) -> None:
    torch.manual_seed(0)
    ours, theirs = (layer(4, out, kernel, bias=bias).double() for layer in (NarrowConv2d, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    found = []
    for layer in (ours, theirs):
        torch.manual_seed(1)
        x = torch.randn(2, 4, 9, 11).double().contiguous(memory_format=layout).requires_grad_()
        y = layer(x)
        weigh = torch.randn_like(y)
        found.append((y, *torch.autograd.grad((y * weigh).sum(), (x, *layer.parameters()))))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_both_derivatives_equal_those_of_instance_norm(layout) -> None:
    found = []
    for layer in (InstanceNorm2d(5), nn.InstanceNorm2d(5)):
        torch.manual_seed(0)
        x = (3 * torch.randn(2, 5, 7, 6).double() + 1).contiguous(memory_format=layout).requires_grad_()
        y = layer(x)
        weigh = torch.randn_like(y)
        (once,) = torch.autograd.grad((y * weigh).pow(2).sum(), x, create_graph=True)
        (twice,) = torch.autograd.grad(once.pow(2).sum(), x)  # as in the gradient penalty of wgangp
        found.append((y, once, twice))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


def test_single_precision_suffices_for_an_almost_constant_image() -> None:
    torch.manual_seed(0)
    x, weigh = (0.01 * torch.randn(2, 5, 32, 32) + 1), torch.randn(2, 5, 32, 32)
    found = []
    for layer, dtype in ((InstanceNorm2d(5), torch.float32), (nn.InstanceNorm2d(5), torch.float64)):
        image = x.to(dtype).requires_grad_()
        y = layer(image)
        found.append((y, *torch.autograd.grad((y * weigh.to(dtype)).sum(), image)))
    for single, double in zip(*found, strict=True):
        assert (single - double).abs().max() < 2e-5 * double.abs().max()


def test_networks_use_the_cpu_layers() -> None:
    init = InitConfig()
    resnet, unet = (build_generator(3, 3, GeneratorConfig(arch=arch, ngf=2), init) for arch in ("resnet", "unet"))
    patch, pixel = (build_discriminator(3, DiscriminatorConfig(arch=arch, ndf=2), init) for arch in ("patch", "pixel"))
    for network in (resnet, unet, patch, pixel):
        norms = [layer for layer in network.modules() if isinstance(layer, nn.InstanceNorm2d)]
        assert norms and all(isinstance(layer, InstanceNorm2d) for layer in norms)
    *_, last = (layer for layer in resnet.modules() if isinstance(layer, nn.Conv2d))
    assert isinstance(last, NarrowConv2d)


def norms(layer: nn.Module, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The normalisation functions that a call uses."""
    seen: list[str] = []

    def watch(name: str):
        real = getattr(F, name)
        return lambda *args, **options: (seen.append(name), real(*args, **options))[1]

    with monkeypatch.context() as patch:
        for name in ("group_norm", "instance_norm"):
            patch.setattr(F, name, watch(name))
        layer(x)
    return seen


def test_group_norm_is_used_only_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    x, layer = torch.randn(2, 8, 4, 4), InstanceNorm2d(8)
    assert norms(layer, x, monkeypatch) == ["group_norm"]
    assert norms(layer, x[0], monkeypatch) == ["instance_norm"]
    assert norms(layer, x.contiguous(memory_format=torch.channels_last), monkeypatch) == ["instance_norm"]
    with torch.autocast("cpu", torch.bfloat16):
        assert norms(layer, x, monkeypatch) == ["instance_norm"]
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        layer(x[:, :, :1, :1])


def heights(network: nn.Module, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Heights of the convolution kernels that a call uses."""
    seen, conv2d = [], F.conv2d

    def watched(x, weight, *rest):
        seen.append(weight.shape[2])
        return conv2d(x, weight, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(F, "conv2d", watched)
        network(x)
    return seen


def test_rows_are_computed_separately_only_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 4, 9, 9)
    assert heights(NarrowConv2d(4, 3, 7), x, monkeypatch) == [1]
    assert heights(NarrowConv2d(4, 8, 7), x, monkeypatch) == [7]
    with torch.autocast("cpu", torch.bfloat16):
        assert heights(NarrowConv2d(4, 3, 7), x, monkeypatch) == [7]
        assert NarrowConv2d(4, 3, 7)(x).dtype == torch.bfloat16


@pytest.mark.parametrize(("layer", "name"), [(NarrowConv2d(4, 3, 7), "conv2d"), (InstanceNorm2d(4), "instance_norm")])
def test_exported_layers_are_the_original_ones(layer, name) -> None:
    program = torch.export.export(nn.Sequential(layer), (torch.zeros(1, 4, 9, 9),))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called == [f"aten.{name}.default"]
