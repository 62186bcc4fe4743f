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


@pytest.mark.parametrize(("name", "letter", "after"), [("vgg16", "D", 17), ("vgg19", "E", 19)])
def test_vgg_layers_are_torchvisions(tmp_path: Path, name: str, letter: str, after: int) -> None:
    """Up to the first of block 4, with a file that has no more, so that the test is quick."""
    torch.manual_seed(0)
    published = vgg.make_layers(vgg.cfgs[letter][: vgg.cfgs[letter].index(512) + 1]).requires_grad_(False)
    file = tmp_path / "weights.pth"
    torch.save({f"features.{key}": value for key, value in published.state_dict().items()}, file)
    layers = ("relu4_1", "relu1_1")
    network = FeatureLayers(f"{name}:{file}", layers, CPU)
    found = network(IMAGES)
    normalised = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))((IMAGES + 1) / 2)
    assert list(found) == [*layers] and isinstance(published[after + 1], torch.nn.ReLU) and len(published) == after + 2
    torch.testing.assert_close(found["relu1_1"], published[:2](normalised))
    torch.testing.assert_close(found["relu4_1"], published(normalised))
    assert network.name.startswith(f"{name}-") and len(network.name) == 14
    with pytest.raises(
        UsageError, match=r"have no layer relu4_9: did you mean relu4_\d\? there are relu1_1, relu1_2, "
    ):
        FeatureLayers(f"{name}:{file}", ["relu4_9"], CPU)
    with pytest.raises(UsageError, match=f"are not those of torchvision's {name}"):
        FeatureLayers(f"{name}:{file}", ["relu4_2"], CPU)


@pytest.mark.parametrize("name", PACKAGED)
def test_efficientnet_layers_are_those_of_its_blocks(name: str) -> None:
    content = CONTENT_LAYERS[name]
    published = read_efficientnet_lite(name).eval().requires_grad_(False)
    grey = IMAGES[:, :1]
    x = ((grey.expand(-1, 3, -1, -1) + 1) * 127.5 - 127) / 128
    x = published._swish(published._bn0(published._conv_stem(x)))
    wanted = {"stem": x}
    for i, block in enumerate(published._blocks[:9], 1):
        wide = x if i == 1 else block._swish(block._bn0(block._expand_conv(x)))  # the first does not expand
        wanted[f"block{i}.wide"] = wide
        x = wanted[f"block{i}"] = block(x)
    layers = [content, "stem", "block1.wide", "block3.wide"]
    network = FeatureLayers(name, layers, CPU)
    for _ in range(2):  # nothing is left of the first call
        found = network(grey)
        assert list(found) == layers and network.name == name
        for layer, features in found.items():
            torch.testing.assert_close(features, wanted[layer])
    assert found[content].shape[2:] == (4, 4)  # stride 8, and the last of that
    assert wanted[f"block{int(content.removeprefix('block')) + 1}"].shape[2:] == (2, 2)
    _, cut = read_layers(name, ["stem", "block2.wide"])
    assert [layer for layer, _ in cut.named_children()] == ["stem", "block1", "block2"]
    with pytest.raises(UsageError, match=r"have no layer block99: .*there are stem, block1, .*block1\.wide, "):
        read_layers(name, ["block99"])
