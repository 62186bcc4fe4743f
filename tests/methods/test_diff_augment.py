"""DiffAugment pixel by pixel, and where CycleGAN applies it."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.diff_augment import augment, draw_numbers
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig

ALL = ("colour", "translation", "cutout")
SMALL = {"generator": GeneratorConfig(ngf=2, n_blocks=0), "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1)}


def pixel_by_pixel(image: np.ndarray, numbers: np.ndarray, policy: tuple[str, ...]) -> np.ndarray:
    """One image, C x H x W, as the paper describes it."""
    image = image.copy()
    channels, height, width = image.shape
    if "colour" in policy:
        image = image + numbers[0] - 0.5
        for y, x in itertools.product(range(height), range(width)):
            grey = sum(image[:, y, x]) / channels
            image[:, y, x] = grey + 2 * numbers[1] * (image[:, y, x] - grey)
        image = image.mean() + (0.5 + numbers[2]) * (image - image.mean())
    if "translation" in policy:
        moved, most = np.zeros_like(image), [int(side / 8 + 0.5) for side in (height, width)]
        down, right = (math.floor(n * (2 * m + 1)) - m for n, m in zip(numbers[3:5], most, strict=True))
        for y, x in itertools.product(range(height), range(width)):
            if 0 <= y + down < height and 0 <= x + right < width:
                moved[:, y + down, x + right] = image[:, y, x]
        image = moved
    if "cutout" in policy:
        half = [int(side / 2 + 0.5) for side in (height, width)]
        ends = (side + (length % 2 == 0) for side, length in zip((height, width), half, strict=True))
        top, left = (math.floor(n * e) - h // 2 for n, e, h in zip(numbers[5:7], ends, half, strict=True))
        for y, x in itertools.product(range(top, top + half[0]), range(left, left + half[1])):
            if 0 <= y < height and 0 <= x < width:
                image[:, y, x] = 0
    return image


@pytest.mark.parametrize("policy", [("colour",), ("translation",), ("cutout",), ALL], ids=str)
def test_each_image_is_changed_as_its_numbers_say(policy: tuple) -> None:
    rng = np.random.default_rng(0)
    images, numbers = rng.uniform(-1, 1, (12, 3, 17, 24)), rng.random((12, 7))
    numbers[0], numbers[1] = 0.0, 1 - 2**-24  # the ends
    found = augment(torch.from_numpy(images), torch.from_numpy(numbers), policy).numpy()
    for image, row, result in zip(images, numbers, found, strict=True):
        assert result == pytest.approx(pixel_by_pixel(image, row, policy), abs=1e-12)


@pytest.mark.parametrize("policy", [("colour",), ("translation",), ("cutout",)], ids=str)
def test_all_are_differentiable_twice(policy: tuple) -> None:
    images = torch.rand(2, 2, 5, 8, dtype=torch.float64, requires_grad=True)
    numbers = torch.rand(2, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: augment(x, numbers, policy), images)
    assert torch.autograd.gradgradcheck(lambda x: augment(x, numbers, policy).square(), images)


def test_numbers_depend_on_the_seed_and_the_images_place_in_the_batch_only() -> None:
    choose = draw_numbers(["one", "other"])
    batch = {"real_A": torch.zeros(6, 3, 4, 4)}
    whole = choose(batch, 7, 0)
    parts = [choose({"real_A": x}, 7, first) for x, first in ((batch["real_A"][:2], 0), (batch["real_A"][2:], 2))]
    for name, numbers in whole.items():
        assert numbers.shape == (6, 7) and torch.equal(numbers, torch.cat([part[name] for part in parts]))
    assert not torch.equal(whole["one"], whole["other"])
    assert not torch.equal(whole["one"], choose(batch, 6, 0)["one"])
    assert len(whole["one"].unique()) == 42


def made(**options) -> tuple[CycleGAN, dict[str, Tensor]]:
    torch.manual_seed(0)
    method = CycleGAN(CycleGANConfig(**SMALL, diff_augment=ALL, lambda_identity=0.0, **options))
    images = {name: torch.rand(2, 3, 16, 16) for name in ("real_A", "real_B", "fake_A", "fake_B")}
    return method, {**images, **method.players[0].choose(images, 3, 0)}


def test_discriminators_see_augmented_images_only_each_with_its_own_numbers() -> None:
    method, images = made()
    generators, discriminators = method.players
    found = discriminators.module(**discriminators.recall(discriminators.inputs(images))).values
    for domain in "AB":
        D, kinds = method.networks[f"D_{domain}"], ("real", "fake")
        real, fake = (augment(images[f"{k}_{domain}"], images[f"augment_{k}_{domain}"], ALL) for k in kinds)
        assert torch.allclose(found[f"D_{domain}"], 0.5 * ((D(real) - 1).square().mean() + D(fake).square().mean()))
    found = generators.module(**generators.inputs(images)).values
    for direction in ("AB", "BA"):
        translated = method.translators[direction](images[f"real_{direction[0]}"])
        seen = augment(translated, images[f"augment_G_{direction[1]}"], ALL)
        assert torch.allclose(found[f"G_{direction}"], (method.networks[f"D_{direction[1]}"](seen) - 1).square().mean())
        back = method.translators[direction[::-1]](translated)  # the cycle is that of the image itself
        assert torch.allclose(found[f"cycle_{direction[0]}"], (back - images[f"real_{direction[0]}"]).abs().mean())


def test_the_history_keeps_images_without_changes() -> None:
    method, images = made(pool_size=5)
    discriminators = method.players[1]
    discriminators.module(**discriminators.recall(discriminators.inputs(images)))
    for domain in "AB":
        assert torch.equal(torch.stack(method.history[domain].images), images[f"fake_{domain}"])


def test_discriminators_of_reconstructions_have_numbers_of_their_own() -> None:
    method, images = made(lambda_GAN_cycle=1.0)
    names = {name for name in images if name.startswith("augment_")}
    assert names == {f"augment_{use}_{d}" for use in ("G", "real", "fake") for d in ("A", "B", "cycle_A", "cycle_B")}
    images |= method.players[0].module(**method.players[0].inputs(images)).images
    assert "D_cycle_A" in method.players[1].module(**method.players[1].inputs(images)).values
