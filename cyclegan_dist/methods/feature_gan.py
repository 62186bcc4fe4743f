"""Feature loss + GAN: SimGAN whose translations are compared with their inputs by features of a pretrained network
(a baseline of Zhu et al. 2017, section 5.1.2; features after Johnson et al. 2016, arXiv 1603.08155).
"""

import torch
from torch import Tensor

from cyclegan_dist.methods.contract import Images, Term
from cyclegan_dist.methods.feature_gan_config import FeatureGANConfig
from cyclegan_dist.methods.losses import l1
from cyclegan_dist.methods.simgan import SimGAN
from cyclegan_dist.networks.deep_features import DeepFeatures


class FeatureGAN(SimGAN):
    """Feature loss + GAN as a method. The pretrained network is not one of `networks`: it is not trained and not saved.

    Raises:
        UsageError: at the first update, if the network's weights cannot be read.
    """

    def __init__(self, config: FeatureGANConfig, *, rank_seed: int = 0):
        features = DeepFeatures(config.features, config.features_sha256, config.features_size)

        def change(images: Images) -> Tensor:
            with torch.no_grad():
                expected = features(images["real_A"])
            return l1(features(images["fake_B"]), expected)

        super().__init__(config, Term("feature_B", config.lambda_feature, change), rank_seed=rank_seed)
