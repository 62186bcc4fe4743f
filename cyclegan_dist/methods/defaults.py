"""Answers of a `MethodConfig` that are the same for most methods. Does not import torch."""

from typing import Any, Literal

from cyclegan_dist.networks.config import DiscriminatorConfig


class MethodDefaults:
    """Inherited by a method's options, which override what differs: one architecture for all generators and one for all
    discriminators, unpaired images, translation from A to B only.
    """

    input_nc: int
    output_nc: int
    generator: Any  # AnyGeneratorConfig, of which each method has its own kind
    discriminator: DiscriminatorConfig

    @property
    def channels(self) -> dict[str, int]:
        return {"A": self.input_nc, "B": self.output_nc}

    @property
    def multiple(self) -> int:
        return self.generator.multiple

    @property
    def smallest_side(self) -> int:
        return self.discriminator.smallest_side

    @property
    def directions(self) -> tuple[str, ...]:
        return ("AB",)

    @property
    def pairing(self) -> Literal["none", "some", "all"]:
        return "none"

    @property
    def stored_images(self) -> dict[str, int]:
        return {}

    @property
    def trained_with(self) -> tuple[str, ...]:
        return ()

    @property
    def taught_by(self) -> dict[str, Any]:
        return {}

    @property
    def double_backward(self) -> bool:
        return False

    @property
    def batch_norm(self) -> bool:
        return "batch" in (getattr(self.generator, "norm", ""), self.discriminator.norm)  # coupled ones have none
