"""The available methods. Does not import torch, so that `--help` answers quickly."""

from typing import get_args

from cyclegan_dist.methods.bigan_config import BiGANConfig
from cyclegan_dist.methods.cogan_config import CoGANConfig
from cyclegan_dist.methods.cut_config import CUTConfig
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.distill_config import DistillConfig
from cyclegan_dist.methods.dual_cut_config import DualCUTConfig
from cyclegan_dist.methods.feature_gan_config import FeatureGANConfig
from cyclegan_dist.methods.pix2pix_config import Pix2PixConfig
from cyclegan_dist.methods.simgan_config import SimGANConfig

AnyMethodConfig = (
    CycleGANConfig
    | Pix2PixConfig
    | SimGANConfig
    | FeatureGANConfig
    | BiGANConfig
    | CoGANConfig
    | CUTConfig
    | DualCUTConfig
    | DistillConfig
)

METHODS: dict[str, type[AnyMethodConfig]] = {kind().name: kind for kind in get_args(AnyMethodConfig)}
DEFAULT = "cyclegan"  # method of configurations that do not name one
