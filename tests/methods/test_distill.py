"""Distillation: what is compared, what is trained, and which teacher is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.distill_config import DistillConfig
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.networks.stored import StoredGenerators
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.methods.teachers import write_teacher
from tests.ranks import run_ranks

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return write_teacher(tmp_path_factory.mktemp("teacher") / "snapshot")


def config(teacher: Snapshot, **options: Any) -> DistillConfig:
    return DistillConfig(
        teacher=str(teacher.folder),
        teacher_sha256=teacher.digest(),
        generator=GeneratorConfig(ngf=4, n_blocks=1, separable=True),
        discriminator=DiscriminatorConfig(ndf=4, n_layers_D=1),
        **options,
    )


def step(config: DistillConfig, world: World = ALONE, **optim: Any) -> Step:
    torch.manual_seed(0)
    return Step(config.build(rank_seed=world.rank), OptimConfig(precision="fp64", **optim), world)


def images(n: int = 4, number: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(number)
    return {f"real_{d}": torch.rand(n, 3, 16, 16, generator=rng, dtype=torch.float64) * 2 - 1 for d in "AB"}


def test_the_loss_is_the_difference_to_what_the_teacher_makes(teacher: Snapshot) -> None:
    made, batch = step(config(teacher, lambda_pixel=3.0)), images()
    expected = {}
    with torch.no_grad():
        for way in ("AB", "BA"):
            x = batch[f"real_{way[0]}"]
            student = made.method.translators[way](x)
            expected[f"pixel_{way[1]}"] = float((student - teacher.generator(way).double()(x)).abs().mean())
    losses = {name: float(value) for name, value in made([batch], lr=0.0).items()}
    assert losses == pytest.approx({**expected, "G": 3 * sum(expected.values())}, rel=1e-12)


def test_a_student_of_the_teachers_weights_has_no_loss(teacher: Snapshot) -> None:
    same = config(teacher).__class__(
        teacher=str(teacher.folder),
        teacher_sha256=teacher.digest(),
        generator=GeneratorConfig(ngf=8, n_blocks=1),
        directions=("AB",),
    )
    made = step(same)
    made.method.networks["G_AB"].load_state_dict(teacher.generator("AB").state_dict())
    assert float(made([images()], lr=0.0)["pixel_B"]) < 1e-12


def test_it_learns_and_the_teacher_stays(teacher: Snapshot) -> None:
    made = step(config(teacher))
    losses = [float(made([images(number=n % 4)], lr=2e-3)["G"]) for n in range(40)]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert teacher.digest() == config(teacher).teacher_sha256
    assert not any("teacher" in name for name in made.method.networks.state_dict())


def test_one_direction_takes_images_of_one_domain_and_no_discriminator(teacher: Snapshot) -> None:
    method = config(teacher, directions=("BA",)).build(rank_seed=0)
    assert list(method.networks) == ["G_BA"] and list(method.translators) == ["BA"]
    assert set(method.players[0].inputs({"real_B": torch.rand(1, 3, 16, 16)})) == {"real_B", "taught_A"}


def test_the_adversarial_term_is_that_of_real_images_of_the_target(teacher: Snapshot) -> None:
    made = step(config(teacher, lambda_GAN=2.0, lambda_pixel=1.0, directions=("AB",), pool_size=0))
    losses = {name: float(value) for name, value in made([images()], lr=0.0).items()}
    assert set(losses) == {"G", "D", "pixel_B", "G_AB", "D_B"}
    assert losses["G"] == pytest.approx(losses["pixel_B"] + 2 * losses["G_AB"], rel=1e-12)
    D, G = made.method.networks["D_B"], made.method.networks["G_AB"]
    with torch.no_grad():
        fake, real = D(G(images()["real_A"])), D(images()["real_B"])
    expected = 0.5 * (((real - 1) ** 2).mean() + (fake**2).mean())
    assert losses["D_B"] == pytest.approx(float(expected), rel=1e-9)
    assert losses["G_AB"] == pytest.approx(float(((fake - 1) ** 2).mean()), rel=1e-9)


@pytest.mark.parametrize("fast", ["off", "on"])
def test_two_ranks_equal_one_and_the_fast_update_the_plain_one(teacher: Snapshot, fast: str) -> None:
    options = {"lambda_GAN": 1.0, "pool_size": 0}
    alone = step(config(teacher, **options))
    for number in range(6):
        alone([images(number=number)], lr=2.0**-10)

    def work(world: World) -> torch.Tensor:
        mine = step(config(teacher, **options), world, fast=fast)
        share = slice(2 * world.rank, 2 * world.rank + 2)
        for number in range(6):
            mine([{name: x[share] for name, x in images(number=number).items()}], lr=2.0**-10)
        mine.check()
        return torch.cat([p.detach().flatten() for p in mine.method.networks.parameters()])

    expected = torch.cat([p.detach().flatten() for p in alone.method.networks.parameters()])
    for found in run_ranks(work, 2):
        assert (found - expected).abs().max() < 1e-9


def test_a_resumed_run_continues_as_if_it_had_not_stopped(teacher: Snapshot) -> None:
    options = config(teacher, lambda_GAN=1.0, pool_size=3)
    whole, first, second = step(options), step(options), step(options)
    expected = [whole([images(number=n)], lr=1e-3) for n in range(8)]
    for number in range(5):
        first([images(number=number)], lr=1e-3)
    second.load_state_dict(first.state_dict())
    second.method.load_rank_state([first.method.rank_state()], 0, 1)
    for number in range(5, 8):
        assert second([images(number=number)], lr=1e-3) == expected[number]


def test_features_are_compared_and_named(teacher: Snapshot) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    options = config(teacher, lambda_feature=1e-3, features_size=32, directions=("AB",), lambda_pixel=0.0)
    assert options.trained_with == ("efficientnet_lite0",) and options.losses == ("G", "feature_B")
    made = step(options)
    losses = [float(made([images(number=n % 2)], lr=2e-3)["feature_B"]) for n in range(12)]
    assert sum(losses[-2:]) < sum(losses[:2])


def test_a_teacher_that_is_missing_or_was_replaced_is_refused(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "snapshot")
    options = config(teacher)
    card = teacher.folder / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "nimg": 2}))
    with pytest.raises(UsageError, match="was replaced"):
        step(options)([images()], lr=0.0)
    card.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        step(options)([images()], lr=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": ()}, "give AB, BA, or both"),
        ({"directions": ("AB", "AB")}, "give AB, BA, or both"),
        ({"lambda_pixel": 0.0}, "nothing compares"),
        ({"features": "resnet18"}, "vgg16:FILE or"),
        ({"lambda_feature": 1.0, "output_nc": 5}, "1 or 3 channels, not 5"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DistillConfig(**options)


def test_a_missing_teacher_is_said_where_no_launcher_has_completed_the_config() -> None:
    with pytest.raises(UsageError, match="needs a teacher"):
        StoredGenerators("", "")("AB", torch.zeros(1, 3, 8, 8))
