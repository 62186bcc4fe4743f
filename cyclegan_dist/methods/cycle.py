"""The images of CycleGAN's cycles, computed as far as loss terms ask for them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.patch_nce import translate
from cyclegan_dist.networks.frozen_features import FrozenFeatures
from cyclegan_dist.networks.resnet import ResnetGenerator


class Cycle:
    """The images of one micro-batch, each computed at most once and only if a term needs it.

    With `joined`, identity images, where they are asked for, are computed in one call with translations. `given` has
    what some terms need besides: pairs, numbers of DiffAugment, the factor of the cycle weights, positions of patches.
    `layers` are those of the encoders whose features translating keeps. `network` computes the features of
    `features_of`.
    """

    def __init__(
        self,
        real_A: Tensor,
        real_B: Tensor,
        G_AB: nn.Module,
        G_BA: nn.Module,
        identity: tuple[bool, bool],
        joined: bool = True,
        given: Mapping[str, Tensor] | None = None,
        layers: Sequence[int] = (),
        network: FrozenFeatures | None = None,
    ):
        self.given = given or {}
        self.real_A, self.real_B, self.G_AB, self.G_BA = real_A, real_B, G_AB, G_BA
        self._joins_idt_A, self._joins_idt_B = (joined and asked for asked in identity)
        self._layers, self._network = layers, network
        self._made: dict[str, list[Tensor]] = {}

    def _once(self, key: str, network: Callable[[Tensor], Tensor], *inputs: Tensor) -> list[Tensor]:
        if key not in self._made:
            self._made[key] = _together(network, list(inputs))
        return self._made[key]

    def _keeping(self, domain: str, G: nn.Module, count: int) -> Callable[[Tensor], Tensor]:
        """The generator, which keeps the features of the first `count` images of its first call, those of `domain`."""
        if not self._layers:
            return G
        assert isinstance(G, ResnetGenerator)

        def translated(x: Tensor) -> Tensor:
            made, features = translate(G, x, self._layers)
            self._made.setdefault(f"encoded_{domain}", [one[:count] for one in features])
            return made

        return translated

    def _of_domain_B(self) -> list[Tensor]:
        G_AB = self._keeping("A", self.G_AB, len(self.real_A))
        return self._once("B", G_AB, self.real_A, *([self.real_B] if self._joins_idt_B else []))

    def _of_domain_A(self) -> list[Tensor]:
        G_BA = self._keeping("B", self.G_BA, len(self.real_B))
        return self._once("A", G_BA, self.real_B, *([self.real_A] if self._joins_idt_A else []))

    @property
    def fake_B(self) -> Tensor:
        return self._of_domain_B()[0]

    @property
    def fake_A(self) -> Tensor:
        return self._of_domain_A()[0]

    @property
    def idt_B(self) -> Tensor:
        return self._of_domain_B()[1] if self._joins_idt_B else self._once("idt_B", self.G_AB, self.real_B)[0]

    @property
    def idt_A(self) -> Tensor:
        return self._of_domain_A()[1] if self._joins_idt_A else self._once("idt_A", self.G_BA, self.real_A)[0]

    @property
    def rec_A(self) -> Tensor:
        return self._once("rec_A", self.G_BA, self.fake_B)[0]

    @property
    def rec_B(self) -> Tensor:
        return self._once("rec_B", self.G_AB, self.fake_A)[0]

    def encoded(self, domain: str) -> list[Tensor]:
        """The features of the images of a domain in the generator that translates them, of each of `layers`."""
        _ = self.fake_B if domain == "A" else self.fake_A
        return self._made[f"encoded_{domain}"]

    def features_of(self, name: str) -> list[Tensor]:
        """Features of a real or generated image in the frozen network."""
        assert self._network is not None
        if not name.startswith("real_"):
            return self._network(getattr(self, name))
        if name not in self._made:  # which the cycle and the identity loss compare with
            with torch.no_grad():
                self._made[name] = self._network(getattr(self, name))
        return self._made[name]


def _together(network: Callable[[Tensor], Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Apply a network to several inputs, in one call if their shapes agree: without batch norm each sample is treated
    separately, so the outputs are the same.
    """
    if len({x.shape for x in inputs}) > 1:
        return [network(x) for x in inputs]
    made: Any = network(torch.cat(inputs))
    return list(made.split([len(x) for x in inputs]))
