"""CoGAN: the order of updates, written independently here, shared weights, and translation by optimising z."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cogan import CoGAN
from cyclegan_dist.methods.cogan_config import CoGANConfig
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.networks.config import CoupledConfig, DiscriminatorConfig, InitConfig
from cyclegan_dist.networks.coupled import CoupledGenerator
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from cyclegan_dist.training.hooks.samples import translation_grid

STEPS, BATCH, SIDE = 20, 2, 24


def config(**options: int) -> CoGANConfig:
    return CoGANConfig(
        generator=CoupledConfig(**{"ngf": 2, "n_blocks": 1, "n_z": 4, **options}),
        discriminator=DiscriminatorConfig(ndf=2),
        init=InitConfig(kind="xavier", gain=1.0),
    )


def test_sample_images_take_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass: other ranks wait meanwhile, for seconds at most."""
    monkeypatch.setattr(CoupledGenerator, "_latent", None)
    translators, images = build().translators, {"real_A": torch.zeros(4, 3, 16, 16)}
    grid = translation_grid(translators, images)
    assert grid.shape == (3, 2 * 18 + 2, 4 * 18 + 2) and torch.equal(grid, translation_grid(translators, images))


def build(**options: int) -> CoGAN:
    torch.manual_seed(0)
    return config(**options).build(rank_seed=0)


def images(number: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1000 + number)
    real = torch.rand(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=rng) * 2 - 1
    return {"real_A": real[0], "real_B": real[1]}


def test_twenty_steps_equal_an_independent_order_with_separate_networks() -> None:
    """Without shared modules: each network is whole, and gradients of what they share are added by hand."""
    step = Step(build(), OptimConfig(precision="fp64"), World(0, 1, torch.device("cpu")))
    ours = step.method.networks
    trunk, up = copy.deepcopy(ours["G_AB"].shared), {}
    up["A"], up["B"] = copy.deepcopy(ours["G_AB"].source), copy.deepcopy(ours["G_AB"].target)
    D = {"A": copy.deepcopy(ours["D_A"].model), "B": copy.deepcopy(ours["D_B"].model)}
    adam_G = torch.optim.Adam([p for m in (trunk, *up.values()) for p in m.parameters()], lr=2e-4, betas=(0.5, 0.999))
    adam_D = torch.optim.Adam([*D["A"].parameters(), *D["B"].parameters()], lr=2e-4, betas=(0.5, 0.999))
    z = torch.randn(1, 4, SIDE // 4, SIDE // 4, dtype=torch.float64)
    start = ours["G_AB"].pair(z)
    for number in range(STEPS):
        real = images(number)
        step([real], lr=2e-4, seed=number)
        chosen = step.method.players[1].choose(real, number, 0)["z"]
        fake = {domain: layers(trunk(chosen)) for domain, layers in up.items()}
        adam_D.zero_grad()
        for d, network in D.items():
            judged = network(fake[d].detach()), network(real[f"real_{d}"])
            (0.5 * (judged[0].square().mean() + (judged[1] - 1).square().mean())).backward()
        for one, other in zip(D["A"][5:].parameters(), D["B"][5:].parameters(), strict=True):
            one.grad = other.grad = one.grad + other.grad  # pyright: ignore - equal moments follow
        adam_D.step()
        adam_G.zero_grad()
        sum((D[d](fake[d]) - 1).square().mean() for d in "AB").backward()  # pyright: ignore
        adam_G.step()
    for mine, theirs, first in zip(ours["G_AB"].pair(z), (up["A"](trunk(z)), up["B"](trunk(z))), start, strict=True):
        assert (mine - first).abs().max() > 1e-2, "it did not train"
        assert (mine - theirs).abs().max() < 1e-10
    for d in "AB":
        judged = ours[f"D_{d}"](images(99)[f"real_{d}"])
        assert (judged - D[d](images(99)[f"real_{d}"])).abs().max() < 1e-10


def test_directions_share_weights_and_discriminators_their_last_layers() -> None:
    networks = build().networks
    assert {id(p) for p in networks["G_AB"].parameters()} == {id(p) for p in networks["G_BA"].parameters()}
    assert networks["G_AB"].source is networks["G_BA"].target
    own = [
        {id(p) for p in layers.parameters()} - {id(p) for p in other.parameters()}
        for layers, other in ((networks["D_A"], networks["D_B"]), (networks["D_B"], networks["D_A"]))
    ]
    assert [len(found) for found in own] == [4, 4]  # weight and bias of C64 and C128
    assert len(list(networks["D_A"].parameters())) == 10


def test_z_belongs_to_the_image_in_the_whole_batch() -> None:
    method, real = build(), {"real_A": torch.zeros(4, 3, 16, 24)}
    whole = method._choose(real, 5, 0)["z"]
    assert whole.shape == (4, 4, 4, 6) and len({float(z.sum()) for z in whole}) == 4
    second = method._choose({"real_A": torch.zeros(2, 3, 16, 24)}, 5, 2)["z"]
    assert torch.equal(second, whole[2:]) and not torch.equal(method._choose(real, 6, 3)["z"][0], whole[0])
    assert method._choose(real, 2**63 - 1, 0)["z"].isfinite().all()


def test_translating_finds_a_latent_whose_image_is_near_and_shows_it_in_the_other_domain() -> None:
    torch.manual_seed(0)
    G = CoupledGenerator(3, 1, CoupledConfig(ngf=4, n_blocks=1, n_z=4, z_steps=100))
    z = torch.randn(2, 4, 6, 6)
    wanted, other = (x.detach() for x in G.pair(z))
    with torch.inference_mode():
        made = G(wanted)
    assert made.shape == (2, 1, 24, 24) and not made.requires_grad
    far = (other - other.flip(0)).abs().mean()
    assert (made - other).abs().mean() < 0.5 * far, "no closer than the translation of another image"
    assert all(p.grad is None for p in G.parameters())
    assert torch.equal(made[1:], G(wanted[1:]))


def test_a_snapshot_says_how_it_translates_and_refuses_tiles_and_damage(tmp_path: Path) -> None:
    method = build(z_steps=3)
    folder = save_snapshot(tmp_path / "snapshot", method.translators, config(z_steps=3), {"nimg": 1})
    snapshot = Snapshot.open(folder)
    assert snapshot.card["translation"] == "translated by optimisation of the latent, 3 steps"
    image = torch.rand(3, 18, 22) * 2 - 1
    translated = [Translator(snapshot, way, "cpu").translate_batch([image])[0] for way in ("AB", "BA")]
    assert [x.shape for x in translated] == [(3, 18, 22)] * 2 and not torch.equal(*translated)
    with pytest.raises(UsageError, match=r"^tile: only ResNet generators are computed in tiles"):
        Translator(snapshot, "AB", "cpu", tile=64)
    card = (folder / "card.json").read_text()
    (folder / "card.json").write_text(card.replace('"n_z": 4', '"n_y": 4'))
    with pytest.raises(UsageError, match="unknown key n_y, did you mean n_z"):
        Snapshot.open(folder)
    (folder / "card.json").write_text(card.replace('"n_z": 4', '"n_z": 5'))
    with pytest.raises(UsageError, match="is damaged"):
        Snapshot.open(folder).generator("AB")
