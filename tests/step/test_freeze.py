"""Weights that are not trained, alone and over ranks, with DistributedDataParallel and without."""

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.pix2pix_config import Pix2PixConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.freeze import freeze
from cyclegan_dist.step.update import Step
from tests.ranks import run_ranks
from tests.step.test_update import ALONE, batch

SMALL = {"generator": GeneratorConfig(ngf=4, n_blocks=1), "discriminator": DiscriminatorConfig(ndf=4, n_layers_D=1)}


def trained(world: World, patterns: tuple[str, ...], *, fast: str = "off", kind: str = "cyclegan", **optim) -> set[str]:
    """The names of the weights that three steps change, all equal on all ranks."""
    torch.manual_seed(0)
    config = CycleGANConfig(**SMALL, pool_size=2) if kind == "cyclegan" else Pix2PixConfig(**SMALL)
    method = config.build(rank_seed=world.rank)
    freeze(method, patterns)
    step = Step(method, OptimConfig(fast=fast, **optim), world)  # pyright: ignore[reportArgumentType]
    before = {name: x.clone() for name, x in method.networks.state_dict().items()}
    share = 4 // world.size
    for number in range(3):
        a, b = (x[world.rank * share : (world.rank + 1) * share] for x in batch(number, torch.float32))
        losses = step([{"real_A": a, "real_B": b}], lr=2e-3)
    step.check()
    assert {"G", "D"} <= losses.keys()
    if world.size > 1:
        digests = world.gather([float(x.double().sum()) for x in method.networks.state_dict().values()])
        assert digests[0] == digests[1]
    frozen = {name for name, p in method.networks.named_parameters() if not p.requires_grad}
    changed = {name for name, x in method.networks.state_dict().items() if not torch.equal(x, before[name])}
    assert not changed & frozen
    assert changed | frozen == before.keys()
    return changed


CASES = [("G_AB.model.1.*", "D_A.*"), ("D_*",), ("G_*",), ("G_AB.*",)]


@pytest.mark.parametrize("patterns", CASES)
@pytest.mark.parametrize("fast", ["on", "off"])
def test_frozen_weights_stay_and_all_others_move(patterns: tuple[str, ...], fast: str) -> None:
    changed = trained(ALONE, patterns, fast=fast, ema_half_life_images=20.0)
    assert {name.partition(".")[0] for name in changed} == {
        CASES[0]: {"G_AB", "G_BA", "D_B"},
        CASES[1]: {"G_AB", "G_BA"},
        CASES[2]: {"D_A", "D_B"},
        CASES[3]: {"G_BA", "D_A", "D_B"},
    }[patterns]


@pytest.mark.parametrize("fast", ["on", "off"])
def test_over_ranks_too(fast: str) -> None:
    def work(world: World) -> list[set[str]]:
        return [trained(world, patterns, fast=fast) for patterns in CASES]

    alone = [trained(ALONE, patterns) for patterns in CASES]
    assert run_ranks(work, 2) == [alone, alone]


@pytest.mark.parametrize("pattern", ["D_B.*", "G_AB.*"])
def test_a_player_that_is_updated_in_turn_can_be_frozen(pattern: str) -> None:
    assert len(trained(ALONE, (pattern,), kind="pix2pix")) > 3


def test_the_other_weights_get_the_same_update_as_without() -> None:
    """In the first step, in which the frozen weights have not moved anyway."""
    found = []
    for patterns in ((), ("G_AB.model.4.*",)):
        torch.manual_seed(0)
        method = CycleGAN(CycleGANConfig(**SMALL, pool_size=0))
        freeze(method, patterns)
        step = Step(method, OptimConfig(), ALONE)
        a, b = batch(0, torch.float32)
        step([{"real_A": a, "real_B": b}], lr=2e-3)
        found.append(method.networks.state_dict())
    assert {name for name in found[0] if not torch.equal(found[0][name], found[1][name])} == {
        "G_AB.model.4.weight",
        "G_AB.model.4.bias",
    }


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (("G_AC.*",), r"freeze G_AC\.\*: no weight has such a name; did you mean G_A?B"),
        (("D_*", "G_AB.modle.1.*"), r"freeze G_AB\.modle\.1\.\*: .* did you mean G_AB\.model\.1"),
        (("*",), "nothing is left to train"),
    ],
)
def test_patterns_without_a_match_and_for_everything_are_refused(patterns: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        freeze(CycleGAN(CycleGANConfig(**SMALL)), patterns)


def test_running_statistics_of_frozen_layers_stay() -> None:
    config = CycleGANConfig(
        generator=GeneratorConfig(ngf=4, n_blocks=1, norm="batch"), discriminator=SMALL["discriminator"]
    )
    method = config.build(rank_seed=0)
    freeze(method, ["G_AB.*"])
    before = {name: x.clone() for name, x in method.networks.state_dict().items() if "running" in name}
    a, b = batch(0, torch.float32)
    Step(method, OptimConfig(), ALONE)([{"real_A": a, "real_B": b}], lr=2e-3)
    changed = {name for name, x in before.items() if not torch.equal(x, method.networks.state_dict()[name])}
    assert changed and all(name.startswith("G_BA.") for name in changed)
