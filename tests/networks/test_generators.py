import pytest
import torch

from cyclegan_dist.networks.build import build_generator, count_parameters
from cyclegan_dist.networks.config import GeneratorConfig, InitConfig


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (GeneratorConfig(n_blocks=9), 11_378_179),
        (GeneratorConfig(n_blocks=6), 7_837_699),
        (GeneratorConfig(ngf=24, separable=True), 294_147),
        (GeneratorConfig(arch="unet", n_downs=8), 54_409_603),
        (GeneratorConfig(arch="unet", n_downs=7), 41_825_667),
    ],
)
def test_parameter_counts(config: GeneratorConfig, parameters: int) -> None:
    with torch.device("meta"):
        assert count_parameters(build_generator(3, 3, config, InitConfig())) == parameters


@pytest.mark.parametrize("padding", ["reflect", "replicate", "zero"])
@pytest.mark.parametrize("size", [(16, 16), (20, 36)])
def test_resnet_keeps_the_size_of_any_image_whose_sides_are_multiples_of_four(padding, size) -> None:
    generator = build_generator(1, 3, GeneratorConfig(ngf=4, n_blocks=1, padding=padding), InitConfig())
    out = generator(torch.rand(2, 1, *size) * 2 - 1)
    assert out.shape == (2, 3, *size)
    assert out.abs().max() <= 1


def test_unet_keeps_the_size() -> None:
    generator = build_generator(3, 1, GeneratorConfig(arch="unet", ngf=2, n_downs=5), InitConfig())
    assert generator.multiple == 32
    assert generator(torch.rand(1, 3, 32, 64)).shape == (1, 1, 32, 64)


def test_unet_skip_connections_bypass_the_bottleneck() -> None:
    generator = build_generator(3, 3, GeneratorConfig(arch="unet", ngf=2, n_downs=5), InitConfig())
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    middle = generator.ups[:-1]
    for up in middle:  # cut everything below the outermost skip
        torch.nn.init.zeros_(up[1].weight)
    generator(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_residual_blocks_use_reflection_padding() -> None:
    """A constant image stays constant with reflection padding; with zero padding its borders differ."""

    def borders_differ(padding: str) -> bool:
        torch.manual_seed(0)
        block = build_generator(3, 3, GeneratorConfig(ngf=4, n_blocks=1, padding=padding), InitConfig()).model[10]
        out = block.conv_block[:2](torch.full((1, 16, 8, 8), 0.7))
        return not torch.allclose(out, out[:, :, 4:5, 4:5].expand_as(out))

    assert not borders_differ("reflect")
    assert borders_differ("zero")


def test_dropout_is_optional() -> None:
    def count(dropout: bool, **config) -> int:
        network = build_generator(3, 3, GeneratorConfig(ngf=2, dropout=dropout, **config), InitConfig())
        return sum(isinstance(m, torch.nn.Dropout) for m in network.modules())

    assert count(False, n_blocks=2) == 0
    assert count(True, n_blocks=2) == 2
    assert count(False, arch="unet") == 0
    assert count(True, arch="unet") == 3


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
def test_initial_weights_have_the_expected_deviation(kind) -> None:
    torch.manual_seed(0)
    network = build_generator(3, 3, GeneratorConfig(ngf=32, n_blocks=1), InitConfig(kind=kind, gain=0.02))
    weight, bias = network.model[10].conv_block[1].weight, network.model[10].conv_block[1].bias
    fan = weight.shape[1] * 9
    expected = {
        "normal": 0.02,
        "xavier": 0.02 * fan**-0.5,
        "kaiming": (2 / fan) ** 0.5,
        "orthogonal": 0.02 * fan**-0.5,
    }[kind]
    assert weight.std().item() == pytest.approx(expected, rel=0.05)
    assert bias.abs().max() == 0
    if kind == "orthogonal":
        rows = weight.flatten(1)
        assert torch.allclose(rows @ rows.T, 0.02**2 * torch.eye(len(rows)), atol=1e-6)


def test_a_separable_block_is_a_depthwise_and_a_pointwise_convolution() -> None:
    """Equal to one convolution whose kernel is the product of both."""
    block = build_generator(3, 3, GeneratorConfig(ngf=2, n_blocks=1, separable=True), InitConfig(gain=0.5)).model[10]
    pad, depthwise, pointwise, norm = (block.conv_block[i] for i in range(4))
    x = torch.rand(1, 8, 6, 6)
    together = torch.einsum("oi,ikl->oikl", pointwise.weight[:, :, 0, 0], depthwise.weight[:, 0])
    expected = torch.nn.functional.conv2d(pad(x), together, pointwise.bias)
    assert torch.allclose(norm(pointwise(depthwise(pad(x)))), norm(expected), atol=1e-5)
