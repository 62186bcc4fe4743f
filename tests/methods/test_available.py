"""What a method's configuration promises about the method, for every method that there is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.networks.config import AnyGeneratorConfig, CoupledConfig, DiscriminatorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.methods.teachers import needed_options

STEPS, BATCH = 3, 2


@pytest.mark.parametrize("name", METHODS)
def test_a_configuration_agrees_with_its_method(name: str, tmp_path: Path) -> None:
    small = {"generator": small_generator(name), "discriminator": DiscriminatorConfig(ndf=4, n_layers_D=1)}
    config = METHODS[name](**small, **needed_options(name, tmp_path))  # pyright: ignore[reportCallIssue] - all methods have these two
    smaller = {"pool_size": 2, "features_size": 16}  # a history that is full at the end
    config = replace(config, **{key: value for key, value in smaller.items() if hasattr(config, key)})
    assert config.name == name
    method = config.build(rank_seed=0)
    assert tuple(method.translators) == config.directions
    step = Step(method, OptimConfig(), World(0, 1, torch.device("cpu")))
    for _ in range(STEPS):
        images = {f"real_{domain}": torch.rand(BATCH, n, 16, 16) * 2 - 1 for domain, n in config.channels.items()}
        losses = step([images], lr=2e-4)
    assert set(losses) == set(config.losses)
    shown = [loss for panel in config.panels.values() for loss in panel]
    assert len(shown) == len(set(shown)) and set(shown) <= set(config.losses)
    assert config.least_squares.keys() <= set(config.losses)
    assert set(config.least_squares.values()) <= set(config.directions)
    stored = sum(tensor.numel() for tensor in images_in(method.rank_state()))
    assert stored == sum(count * config.channels[domain] * 16 * 16 for domain, count in config.stored_images.items())


def small_generator(name: str, **options: Any) -> AnyGeneratorConfig:
    """A method's default architecture, or a ResNet where it has the choice, with four channels and one block."""
    default = METHODS[name]().generator
    arch = {} if isinstance(default, CoupledConfig) else {"arch": "resnet", "dropout": False, **options}
    return replace(default, ngf=4, n_blocks=1, **arch)


def images_in(state: object) -> list[torch.Tensor]:
    """The N- or C x H x W tensors in a tree of plain values."""
    if isinstance(state, torch.Tensor):
        return [state] if state.ndim >= 3 else []
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for value in values for tensor in images_in(value)]
