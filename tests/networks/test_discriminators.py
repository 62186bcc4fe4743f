import pytest
import torch
from torch import nn

from cyclegan_dist.networks.build import build_discriminator, count_parameters
from cyclegan_dist.networks.config import DiscriminatorConfig, InitConfig
from cyclegan_dist.networks.discriminator import receptive_field


def make(**config) -> nn.Module:
    return build_discriminator(3, DiscriminatorConfig(**config), InitConfig())


def test_the_papers_patchgan_has_the_expected_number_of_parameters() -> None:
    assert count_parameters(make()) == 2_764_737


@pytest.mark.parametrize(
    ("config", "field"), [({}, 70), ({"n_layers_D": 1}, 16), ({"n_layers_D": 4}, 142), ({"arch": "pixel"}, 1)]
)
def test_receptive_field_is_the_patch_that_a_logit_depends_on(config, field) -> None:
    """Compared with the gradient of one logit, without norms, which depend on the whole image."""
    network = make(ndf=2, **config)
    assert receptive_field(network) == field
    for i, layer in enumerate(network.model):
        if isinstance(layer, nn.InstanceNorm2d | nn.LeakyReLU):
            network.model[i] = nn.Identity()
    for p in network.parameters():
        nn.init.ones_(p)
    x = torch.zeros(1, 3, 256, 256, requires_grad=True)
    logits = network(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert x.grad is not None
    nonzero = x.grad[0, 0].nonzero()
    assert (nonzero.amax(0) - nonzero.amin(0) + 1).tolist() == [field, field]


def test_logits_are_a_map_without_sigmoid() -> None:
    assert make(ndf=4)(torch.rand(2, 3, 64, 64)).shape == (2, 1, 6, 6)
    assert make(arch="pixel", ndf=4)(torch.rand(2, 3, 16, 20)).shape == (2, 1, 16, 20)
    assert not any(isinstance(m, nn.Sigmoid) for m in make().modules())
