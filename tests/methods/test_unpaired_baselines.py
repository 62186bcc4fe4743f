"""SimGAN, feature loss + GAN and BiGAN against their orders of updates, written independently here, and on two ranks."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg
from torchvision.transforms import Normalize

from benchmarks.reference_step import ImagePool
from cyclegan_dist.config.config import check_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.deep_features import DeepFeatures
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.methods.test_parity import TorchRandom
from tests.ranks import run_ranks
from tests.training.trainings import differences

ALONE = World(0, 1, torch.device("cpu"))
NAMES = ["simgan", "feature_gan", "bigan"]
STEPS, BATCH, SIDE, POOL, RANK_SEED = 20, 2, 16, 3, 7


def build(name: str, world: World = ALONE, pool_size: int = POOL, **options: Any) -> Step:
    torch.manual_seed(0)
    small = {
        "generator": GeneratorConfig(ngf=4, n_blocks=1, dropout=True),
        "discriminator": DiscriminatorConfig(ndf=4, n_layers_D=1),
        "init": InitConfig(kind="xavier", gain=1.0),
        "pool_size": pool_size,
    }
    config = METHODS[name](**{**small, **options})
    if name == "feature_gan":
        config = replace(config, features_size=SIDE)  # pyright: ignore[reportCallIssue]
    return Step(config.build(rank_seed=RANK_SEED + world.rank), OptimConfig(precision="fp64"), world)


def images(number: int, count: int = BATCH) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(number)
    real = torch.rand(2, count, 3, SIDE, SIDE, dtype=torch.float64, generator=rng) * 2 - 1
    return {"real_A": real[0], "real_B": real[1]}


class Published:
    """Copies of a method's networks, an Adam for each, and pools of the published code."""

    def __init__(self, networks: nn.ModuleDict, pools: int):
        self.networks = copy.deepcopy(networks)
        self.adam = {
            name: torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for name, network in self.networks.items()
        }
        seeds = (pools * RANK_SEED + i for i in range(pools))
        self.pools = [ImagePool(POOL, TorchRandom(seed)) for seed in seeds]

    def move(self, name: str, loss: Tensor) -> None:
        """One Adam step of one network."""
        parameters = list(self.networks[name].parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        self.adam[name].step()


def towards(logits: Tensor, label: float) -> Tensor:
    return ((logits - label) ** 2).mean()


def content_gan(name: str) -> Callable[[Published, Tensor, Tensor], None]:
    """D on real images and on fakes of the pool, halved; then G against the D that has just moved."""
    features = DeepFeatures("efficientnet_lite0", size=SIDE)

    def update(at: Published, a: Tensor, b: Tensor) -> None:
        G, D = at.networks["G_AB"], at.networks["D_B"]
        fake = G(a)
        pooled = at.pools[0].query(fake.detach())
        at.move("D_B", (towards(D(b), 1) + towards(D(pooled), 0)) / 2)
        if name == "simgan":
            content = 10 * (fake - a).abs().mean()
        else:
            content = 6.2e-4 * (features(fake) - features(a)).abs().mean()
        at.move("G_AB", towards(D(fake), 1) + content)

    return update


def bigan(at: Published, a: Tensor, b: Tensor) -> None:
    """D on pairs of both pools, halved; then G towards 0, then E towards 1."""
    G, E, D = (at.networks[name] for name in ("G_AB", "G_BA", "D_AB"))
    of_A, of_B = torch.cat((a, G(a)), 1), torch.cat((E(b), b), 1)
    pooled_A, pooled_B = at.pools[0].query(of_A.detach()), at.pools[1].query(of_B.detach())
    at.move("D_AB", (towards(D(pooled_A), 1) + towards(D(pooled_B), 0)) / 2)
    at.move("G_AB", towards(D(of_A), 0))
    at.move("G_BA", towards(D(of_B), 1))


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_equal_the_published_order(name: str) -> None:
    step = build(name)
    update = bigan if name == "bigan" else content_gan(name)
    published = Published(step.method.networks, 2 if name == "bigan" else 1)
    probe = {key: images(99)["real_A"] for key in ("G_AB", "G_BA", "D_B")} | {
        "D_AB": torch.cat([*images(99).values()], 1)
    }
    start = {key: network.eval()(probe[key]) for key, network in published.networks.items()}
    published.networks.train()
    for number in range(STEPS):
        torch.manual_seed(number)
        step([images(number)], lr=2e-4)
        torch.manual_seed(number)
        update(published, *images(number).values())
    for key, network in step.method.networks.items():
        ours, theirs = (x.eval()(probe[key]) for x in (network, published.networks[key]))
        assert (ours - start[key]).abs().max() > 5e-3, f"{key} did not train"
        assert (ours - theirs).abs().max() < 1e-10, key


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_together_equal_one(name: str) -> None:
    def train(world: World) -> Tensor:
        step = build(name, world, pool_size=0, generator=GeneratorConfig(ngf=4, n_blocks=1))
        share = slice(world.rank * 4 // world.size, (world.rank + 1) * 4 // world.size)
        for number in range(3):
            step([{key: x[share] for key, x in images(number, 4).items()}], lr=2e-4)
        probe = images(99)["real_A"]
        return torch.cat([translator(probe).detach() for translator in step.translators.values()])

    alone = train(ALONE)
    for answer in run_ranks(train, 2):
        assert (answer - alone).abs().max() < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_same_in_every_bit(name: str) -> None:
    def go(step: Step, first: int, last: int) -> None:
        for number in range(first, last):
            torch.manual_seed(number)
            step([images(number)], lr=2e-4)

    whole, resumed = build(name), build(name)
    go(whole, 0, 3)
    state, ranks = copy.deepcopy(whole.state_dict()), copy.deepcopy(whole.method.rank_state())
    go(whole, 3, 6)
    resumed.load_state_dict(state)
    resumed.method.load_rank_state([ranks], 0, 1)
    go(resumed, 3, 6)
    assert not differences(whole.state_dict(), resumed.state_dict())
    assert not differences(whole.method.rank_state(), resumed.method.rank_state())


def test_pairs_stay_together_in_the_history() -> None:
    step = build("bigan")
    for number in range(4):
        step([images(number)], lr=2e-4)
    shown = [x for number in range(4) for x in images(number)["real_A"]]
    stored = step.method.rank_state()["A"]["images"]
    assert len(stored) == POOL and all(any(torch.equal(pair[:3], real) for real in shown) for pair in stored)
    shown = [x for number in range(4) for x in images(number)["real_B"]]
    assert all(any(torch.equal(pair[3:], real) for real in shown) for pair in step.method.rank_state()["B"]["images"])


def test_the_pretrained_network_is_neither_trained_nor_saved() -> None:
    step = build("feature_gan")
    assert set(step.method.networks) == {"G_AB", "D_B"}
    names = [name for player in step.method.players for name, _ in player.module.named_parameters()]
    assert {name.partition(".")[0] for name in names} == {"G_AB", "D_B"}
    assert {key.partition(".")[0] for key in step.state_dict()["networks"]} == {"G_AB", "D_B"}


def test_vgg_from_a_file_reads_relu4_2(tmp_path) -> None:
    torch.manual_seed(0)
    published = vgg.make_layers(vgg.cfgs["D"])[:21]
    file = tmp_path / "vgg16.pth"
    torch.save({f"features.{key}": value for key, value in published.state_dict().items()}, file)
    x = images(0)["real_A"]
    normalised = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))((x + 1) / 2)
    features = DeepFeatures(f"vgg16:{file}")(x)
    assert features.shape == (BATCH, 512, 2, 2)
    torch.testing.assert_close(features, 255 * 0.226 * published.double()(normalised))
    assert torch.equal(DeepFeatures(f"vgg16:{file}", size=SIDE)(x), features)
    assert DeepFeatures(f"vgg16:{file}", size=32)(x[:, :1]).shape == (BATCH, 512, 4, 4)
    torch.save({"features.0.weight": published.state_dict()["0.weight"]}, file)
    with pytest.raises(UsageError, match="are not those of torchvision's vgg16"):
        DeepFeatures(f"vgg16:{file}")(x)


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ({"name": "simgan", "output_nc": 1}, r"make input_nc 3 and output_nc 1 equal, or choose feature_gan, bigan"),
        ({"name": "feature_gan", "input_nc": 4}, r"1 or 3 channels, not input_nc 4 and output_nc 3: choose simgan"),
        ({"name": "feature_gan", "features": "vgg16"}, "features vgg16: give vgg16:FILE or efficientnet_lite0 or"),
        ({"name": "feature_gan", "features": "resnet18:x"}, "features resnet18:x: give vgg16:FILE or"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(method: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError, match=error) as caught:
        check_config({"method": method}, "x")
    assert "\n" not in str(caught.value)
