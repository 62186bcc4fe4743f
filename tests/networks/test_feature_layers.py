"""Features of pretrained networks at named layers."""

from pathlib import Path

import pytest
import torch
from torchvision.models import vgg
from torchvision.transforms.v2 import Normalize

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.efficientnet_lite import read_efficientnet_lite
from cyclegan_dist.networks.feature_layers import FeatureLayers, read_layers
from cyclegan_dist.networks.pretrained import CONTENT_LAYERS, PACKAGED

CPU = torch.device("cpu")
IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).sin().reshape(2, 3, 32, 32)


def vgg_file(path: Path, name: str, convolutions: int) -> Path:
    """torchvision's weights of the first blocks would do, but a state dict of all of them is what people have."""
    torch.manual_seed(0)
    network = vgg.make_layers(vgg.cfgs[{"vgg16": "D", "vgg19": "E"}[name]])
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network) == convolutions
    torch.save({f"features.{key}": value for key, value in network.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(("name", "convolutions", "indices"), [("vgg16", 13, (1, 18, 29)), ("vgg19", 16, (1, 20, 35))])
def test_vgg_layers_are_torchvisions(tmp_path: Path, name: str, convolutions: int, indices: tuple[int, ...]) -> None:
    file = vgg_file(tmp_path / "weights.pth", name, convolutions)
    layers = ("relu1_1", "relu4_1", f"relu5_{3 if name == 'vgg16' else 4}")
    network = FeatureLayers(f"{name}:{file}", layers, CPU)
    published = vgg.make_layers(vgg.cfgs[{"vgg16": "D", "vgg19": "E"}[name]]).requires_grad_(False)
    published.load_state_dict({k.removeprefix("features."): v for k, v in torch.load(file).items()})
    found = network(IMAGES)
    normalised = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))((IMAGES + 1) / 2)
    for layer, index in zip(layers, indices, strict=True):
        torch.testing.assert_close(found[layer], published[: index + 1](normalised))
    assert network.name.startswith(f"{name}-") and len(network.name) == 14
    with pytest.raises(
        UsageError, match=r"have no layer relu4_9: did you mean relu4_\d\? there are relu1_1, relu1_2, "
    ):
        FeatureLayers(f"{name}:{file}", ["relu4_9"], CPU)
    other = {"vgg16": "vgg19", "vgg19": "vgg16"}[name]
    with pytest.raises(UsageError, match=f"are not those of torchvision's {other}"):
        FeatureLayers(f"{other}:{file}", ["relu1_1"], CPU)


@pytest.mark.parametrize("name", PACKAGED)
def test_efficientnet_layers_are_its_blocks(name: str) -> None:
    content = CONTENT_LAYERS[name]
    published, wanted = read_efficientnet_lite(name).eval().requires_grad_(False), {}
    x = published._swish(
        published._bn0(published._conv_stem(((IMAGES[:, :1].expand(-1, 3, -1, -1) + 1) * 127.5 - 127) / 128))
    )
    wanted["stem"] = x
    for i, block in enumerate(published._blocks, 1):
        x = wanted[f"block{i}"] = block(x)
    network = FeatureLayers(name, ["stem", content], CPU)
    found = network(IMAGES[:, :1])  # grey
    assert list(found) == ["stem", content] and network.name == name
    for layer, features in found.items():
        torch.testing.assert_close(features, wanted[layer])
    assert found[content].shape[2:] == (4, 4)  # stride 8, and the last of that
    assert wanted[f"block{int(content.removeprefix('block')) + 1}"].shape[2:] == (2, 2)
    _, cut = read_layers(name, last=content)
    assert [layer for layer, _ in cut.named_children()][-1] == content
