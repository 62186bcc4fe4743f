"""PatchNCE: the contrastive loss between patches of an image and of its translation (Park et al. 2020, section 3.2).

A patch is one position of a feature map. A query is a patch of the translation; its key is the patch of the input at
the same position, its negatives are the input's other patches. Layers are numbered as `ResnetGenerator.features` does.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.methods.contract import Images
from cyclegan_dist.methods.losses import info_nce
from cyclegan_dist.networks.config import GeneratorConfig, InitConfig
from cyclegan_dist.networks.init import init_weights
from cyclegan_dist.networks.resnet import ResnetGenerator

WIDTH = 256  # of the heads' layers, as published
PIXELS, DOWN_1, DOWN_2 = 0, 4, 7  # the image itself, and the outputs of the two strided convolutions, before their norm
_STRIDES = {PIXELS: 1, DOWN_1: 2}  # of feature maps; 4 of all others


def contrast_layers(n_blocks: int, *, pixels: bool) -> tuple[int, ...]:
    """The published choice: the pixels (with `pixels`), both strided convolutions, and the first and fifth residual
    block (or the last, if there are fewer).
    """
    blocks = sorted({1, min(5, n_blocks)}) if n_blocks else []
    return (*([PIXELS] if pixels else []), DOWN_1, DOWN_2, *(DOWN_2 + 2 + block for block in blocks))


class PatchHeads(nn.Module):
    """Two-layer perceptrons, one for each layer, that map patches to unit vectors, for features of one encoder.

    Args:
        channels: of the encoder's images.
        generator: architecture of the encoder.
        layers: that the features are of.
        init: initial weights.
    """

    def __init__(self, channels: int, generator: GeneratorConfig, layers: Sequence[int], init: InitConfig):
        super().__init__()
        widths = {PIXELS: channels, DOWN_1: 2 * generator.ngf}
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(widths.get(layer, 4 * generator.ngf), WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            for layer in layers
        )
        init_weights(self, init)

    def forward(self, features: Sequence[Tensor], positions: Sequence[Tensor]) -> list[Tensor]:
        """N x P x 256 for each layer: the patches of its N x C x h x w at P positions, which count row by row."""
        chosen = (f.flatten(2).index_select(2, p).transpose(1, 2) for f, p in zip(features, positions, strict=True))
        return [F.normalize(head(patches), dim=2) for head, patches in zip(self.heads, chosen, strict=True)]


def translate(G: ResnetGenerator, image: Tensor, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """The translation of an image, and the features of the image in the encoder on the way."""
    *features, made = G.features(image, (*layers, len(G.model) - 1))
    return made, features


def patch_nce(queries: Sequence[Tensor], keys: Sequence[Tensor], tau: float) -> Tensor:
    """The mean of `info_nce` over layers."""
    losses = [info_nce(one, other, tau) for one, other in zip(queries, keys, strict=True)]
    return torch.stack(losses).mean()


class DualContrast:
    """PatchNCE between images and their translations, where each domain has an encoder and heads of its own: the first
    half of the generator that takes its images (Han et al. 2021, arXiv 2104.07689). A translation is encoded as an
    image of the domain it was made for.

    It is no module, so that a module that uses it has the networks once.

    Args:
        encoders: the generator that takes the images of each domain.
        heads: of each domain.
        layers: positions of layers, as `contrast_layers` returns them.
        tau: temperature.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        layers: Sequence[int],
        tau: float,
    ):
        self.layers = tuple(layers)
        self._encoders, self._heads, self._tau = encoders, heads, tau

    def __call__(self, domain: str, features: Sequence[Tensor], made: Tensor, choices: Mapping[str, Tensor]) -> Tensor:
        """The loss of the translation `made` of an image of `domain`, whose encoder has made `features` of that image;
        `choices` has the positions of `choose_patches`.
        """
        positions, other = chosen_patches(domain, self.layers, choices), "B" if domain == "A" else "A"
        encoder = self._encoders[other]
        assert isinstance(encoder, ResnetGenerator)
        queries = self._heads[other](encoder.features(made, self.layers), positions)
        with torch.no_grad():  # keys are targets
            keys = self._heads[domain](features, positions)
        return patch_nce(queries, keys, self._tau)


def choose_patches(domains: Sequence[str], layers: Sequence[int], count: int) -> Callable[[Images, int, int], Images]:
    """The `choose` of a player: for each domain's input images and each layer `count` positions, or all if there are
    fewer, without repetition and equal for all images of an update.
    """

    def choose(images: Images, seed: int, first: int) -> Images:
        rng, chosen = torch.Generator().manual_seed(seed), Images()
        for domain in domains:
            height, width = images[f"real_{domain}"].shape[-2:]
            for layer, name in zip(layers, patch_names(domain, layers), strict=True):
                stride = _STRIDES.get(layer, 4)
                places = (height // stride) * (width // stride)
                chosen[name] = torch.randperm(places, generator=rng, device="cpu")[:count]
        return chosen

    return choose


def patch_names(domain: str, layers: Sequence[int]) -> list[str]:
    """The names of the positions that `choose_patches` chooses for a domain."""
    return [f"patches_{domain}_{layer}" for layer in layers]


def chosen_patches(domain: str, layers: Sequence[int], images: Mapping[str, Tensor]) -> list[Tensor]:
    """The positions that `choose_patches` has chosen for a domain, by layer."""
    return [images[name] for name in patch_names(domain, layers)]
