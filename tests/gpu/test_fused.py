"""Fused layers on a GPU, at the sizes of training: against the layers of torch.nn, in 16 and 32 bits."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from cyclegan_dist.networks import fused
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig

pytestmark = pytest.mark.gpu
NHWC = torch.channels_last
PADS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zero": nn.ZeroPad2d}
LAYERS = [  # images, channels, side, slope, residual, padding, mode: what the paper's networks do, and odd sizes
    (2, 64, 256, 0.0, False, 0, "zero"),
    (2, 64, 256, 0.0, False, 3, "reflect"),
    (2, 128, 128, 0.0, False, 0, "zero"),
    (1, 256, 64, 0.0, False, 1, "reflect"),
    (1, 256, 64, 1.0, True, 1, "reflect"),
    (32, 256, 64, 1.0, True, 1, "reflect"),
    (3, 256, 61, 1.0, True, 1, "replicate"),
    (2, 256, 64, 1.0, True, 1, "zero"),
    (2, 512, 31, 0.2, False, 0, "zero"),
    (2, 512, 2, 0.2, False, 0, "zero"),
    (2, 37, 50, 0.2, True, 3, "replicate"),
    (1, 1, 33, 0.0, True, 2, "reflect"),
]


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Convolutions of 32 bits are not computed in TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def random(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(shape, generator=generator, device="cuda").to(dtype).contiguous(memory_format=NHWC)


def gradients(outputs: tuple[Tensor, ...], inputs: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    weights = [random(tuple(y.shape), 2 + i, dtype).to(y.dtype) for i, y in enumerate(outputs)]
    return [*outputs, *torch.autograd.grad(outputs, inputs, weights)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "channels", "side", "slope", "residual", "padding", "mode"), LAYERS)
def test_operations_equal_layers(n, channels, side, slope, residual, padding, mode, dtype) -> None:
    from cyclegan_dist.networks import norm_ops

    shape = (n, channels, side, side + 1)
    start = [3 * random(shape, 0, dtype) + 5, random(shape, 1, dtype)][: 1 + residual]

    def layers(kind: torch.dtype) -> list[Tensor]:
        inputs = [x.to(kind).requires_grad_() for x in start]
        y = nn.Sequential(nn.InstanceNorm2d(channels), nn.LeakyReLU(slope))(inputs[0])
        y = y + inputs[1] if residual else y
        return gradients((y, PADS[mode](padding)(y)) if padding else (y,), inputs, dtype)

    inputs = [x.clone(memory_format=torch.preserve_format).requires_grad_() for x in start]
    skip = inputs[1] if residual else None
    options = {"slope": slope, "residual": skip, "padding": padding, "mode": mode}
    both = norm_ops.instance_norm_and_padded(inputs[0], **options) if padding else ()
    alone = (norm_ops.instance_norm(inputs[0], **options),)
    ours = gradients(both or alone, inputs, dtype)
    assert all(value.is_contiguous(memory_format=NHWC) for value in ours)
    assert torch.equal(alone[0], ours[-len(inputs) - 1])
    exact, theirs = layers(torch.float64), layers(dtype)
    for mine, its, expected in zip(ours, theirs, exact, strict=True):
        assert relative(mine, expected) <= max(1.1 * relative(its, expected), 3e-6)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: build_generator(3, 3, GeneratorConfig(), InitConfig()),
    "resnet, narrow": lambda: build_generator(5, 2, GeneratorConfig(ngf=12, n_blocks=2), InitConfig()),
    "unet": lambda: build_generator(3, 3, GeneratorConfig(arch="unet"), InitConfig()),
    "patch": lambda: build_discriminator(3, DiscriminatorConfig(), InitConfig()),
    "pixel": lambda: build_discriminator(3, DiscriminatorConfig(arch="pixel"), InitConfig()),
}


def step(network: nn.Module, x: Tensor, *, bf16: bool = False) -> dict[str, Tensor]:
    """Output and gradients, all but those of biases before norms, which are 0 but for rounding."""
    network.zero_grad()
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        y = network(x)
    y.backward(random(tuple(y.shape), 1).to(y.dtype))
    assert x.grad is not None
    return {"y": y.detach(), "x": x.grad} | {k: p.grad for k, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_their_layers(name, by_rows, monkeypatch) -> None:
    monkeypatch.setattr(fused, "NARROW_BY_ROWS", by_rows)
    torch.manual_seed(0)
    network = NETWORKS[name]().cuda()
    ours = copy.deepcopy(network)
    fused.use_fused_layers(ours)
    channels = next(m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    x = random((2, channels, 256, 256), 0)
    exact = step(copy.deepcopy(network).double(), x.double())
    for bf16, factor, least in ((False, 4.0, 1e-4), (True, 3.0, 1e-2)):
        found, theirs = step(ours, x, bf16=bf16), step(network, x, bf16=bf16)
        for key, value in found.items():
            size = exact[key].norm()
            limit = factor * (theirs[key].double() - exact[key]).norm() / size + least
            assert (value.double() - exact[key]).norm() / size <= limit, (key, bf16)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_image_changes_its_layout(name) -> None:
    """cuDNN transposes images of another layout than its kernels have, in kernels with telling names."""
    network = NETWORKS[name]().cuda()
    fused.use_fused_layers(network)
    channels = next(m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    x = random((2, channels, 256, 256), 0)
    step(network, x, bf16=True)
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:  # without, torch 2.11 warns
        step(network, x, bf16=True)
        torch.cuda.synchronize()
    took = {event.key: event.self_device_time_total for event in profile.key_averages()}
    assert any("normalise_kernel" in kernel for kernel in took)
    # The U-Net's innermost images, of one or two pixels, have no other kernels.
    transposing = sum(us for kernel, us in took.items() if "nchwToNhwc" in kernel or "nhwcToNchw" in kernel)
    assert transposing <= (0.02 if name == "unet" else 0) * sum(took.values())


def test_a_graph_replays_the_same_results_bit_for_bit() -> None:
    network = build_generator(3, 3, GeneratorConfig(n_blocks=2), InitConfig()).cuda()
    fused.use_fused_layers(network)
    x = random((1, 3, 64, 64), 0)

    def forward() -> Tensor:
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            return network(x)

    expected = forward()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        forward()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = forward()
    for _ in range(3):
        y.zero_()
        graph.replay()
        torch.testing.assert_close(y, expected, rtol=0, atol=0)


def test_more_elements_than_32_bits_can_count() -> None:
    from cyclegan_dist.networks import norm_ops

    x = torch.empty(130, 64, 512, 512, device="cuda", dtype=torch.bfloat16, memory_format=NHWC)
    assert x.numel() > 2**31
    x.normal_()
    x.requires_grad_()
    y = norm_ops.instance_norm(x, slope=0.0, padding=1)
    y.backward(y.detach())
    assert x.grad is not None
    last = x.detach()[-1:].contiguous(memory_format=NHWC).requires_grad_()
    alone = norm_ops.instance_norm(last, slope=0.0, padding=1)
    alone.backward(alone.detach())
    assert last.grad is not None
    torch.testing.assert_close(y[-1:], alone, rtol=0.01, atol=0.01)
    torch.testing.assert_close(x.grad[-1:], last.grad, rtol=0.01, atol=0.01)
