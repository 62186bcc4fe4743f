"""CUT and DCLGAN against the published order of updates, written independently here, and their choice of patches."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cut_config import CUTConfig
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.dual_cut_config import DualCUTConfig
from cyclegan_dist.methods.losses import info_nce
from cyclegan_dist.methods.patch_nce import choose_patches, contrast_layers
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step

STEPS, BATCH, SIDE, PATCHES = 20, 2, 16, 8
LAYERS = {"cut": (0, 4, 7, 10, 14), "dual_cut": (4, 7, 10, 14)}  # of `model`; 0: the image
SMALL = {
    "generator": GeneratorConfig(ngf=2, n_blocks=5),
    "discriminator": DiscriminatorConfig(ndf=2, n_layers_D=1),
    "init": InitConfig(kind="xavier", gain=1.0),
    "nce_patches": PATCHES,
}
Networks = Mapping[str, nn.Module]
Positions = Callable[[str, int], Tensor]


def build(kind: type[CUTConfig | DualCUTConfig], **options: object) -> Step:
    torch.manual_seed(0)
    method = kind(**{**SMALL, **options}).build(rank_seed=0)  # pyright: ignore
    return Step(method, OptimConfig(precision="fp64"), World(0, 1, torch.device("cpu")))


def images(number: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1000 + number)
    real = torch.rand(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=rng)
    return real[0] * 2 - 1, real[1] * 2 - 1


def encoded(G: nn.Module, x: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
    """Features of a separate pass, layer by layer."""
    found = [x] if 0 in wanted else []
    for position, layer in enumerate(G.model):  # pyright: ignore
        x = layer(x)
        if position and position in wanted:
            found.append(x)
    return found


def contrast(
    ways: tuple[nn.Module, nn.Module],
    heads: tuple[nn.Module, nn.Module],
    pair: tuple[Tensor, Tensor],
    layers: tuple[int, ...],
    positions: list[Tensor],
) -> Tensor:
    """The published loss of (input, translation): a positive in front of all negatives, itself masked among them."""
    total, found = 0.0, [encoded(G, x, layers) for G, x in zip(ways, pair, strict=True)]
    for number, at in enumerate(positions):
        vectors = []
        for head, features in zip(heads, found, strict=True):
            patches = features[number].permute(0, 2, 3, 1).flatten(1, 2)[:, at, :]
            out = head.heads[number](patches)  # pyright: ignore
            vectors.append(out / out.pow(2).sum(2, keepdim=True).sqrt())
        key, query = vectors[0].detach(), vectors[1]
        positive = (query * key).sum(2, keepdim=True)
        negative = torch.einsum("npc,nqc->npq", query, key)
        negative = negative.masked_fill(torch.eye(len(at), dtype=torch.bool), -10.0)
        logits = torch.cat([positive, negative], 2).flatten(0, 1) / 0.07
        total = total + F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
    return total / len(positions)  # pyright: ignore


def test_cyclegan_adds_the_contrast_of_both_directions() -> None:
    torch.manual_seed(0)
    small = {name: SMALL[name] for name in ("generator", "discriminator", "init")}
    method = CycleGANConfig(**small, lambda_NCE=3.0).build(rank_seed=0)
    method.networks.double()
    real = dict(zip("AB", images(0), strict=True))
    player = method.players[0]
    batch = {f"real_{domain}": x for domain, x in real.items()}
    batch |= player.choose(batch, 7, 0)
    loss, values, _ = player.module(**player.inputs(batch))
    n, layers = method.networks, LAYERS["dual_cut"]
    for domain, other in ("AB", "BA"):
        at = [batch[f"patches_{domain}_{layer}"] for layer in layers]
        encoders = n[f"G_{domain}{other}"], n[f"G_{other}{domain}"]
        made = encoders[0](real[domain])
        expected = contrast(encoders, (n[f"F_{domain}"], n[f"F_{other}"]), (real[domain], made), layers, at)
        torch.testing.assert_close(values[f"NCE_{domain}"], expected.detach())
    cycle = 10 * (values["cycle_A"] + values["cycle_B"]) + 5 * (values["idt_A"] + values["idt_B"])
    rest = values["G_AB"] + values["G_BA"] + cycle
    torch.testing.assert_close(loss.detach(), rest + 3 * (values["NCE_A"] + values["NCE_B"]))
    loss.backward()
    assert all(p.grad is not None for name in ("F_A", "F_B") for p in n[name].parameters())


def against(D: nn.Module, fake: Tensor) -> Tensor:
    return (D(fake) - 1).square().mean()


def halved(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (D(fake.detach()).square().mean() + (D(real) - 1).square().mean())


def cut_losses(n: Networks, a: Tensor, b: Tensor, at: Positions) -> tuple[Tensor, Callable[[], Tensor]]:
    G, D, H, layers = n["G_AB"], n["D_B"], n["F_A"], LAYERS["cut"]
    made = G(torch.cat([a, b]))
    fake, same = made[: len(a)], made[len(a) :]

    def generator() -> Tensor:
        terms = [
            contrast((G, G), (H, H), pair, layers, [at(domain, layer) for layer in layers])
            for domain, pair in (("A", (a, fake)), ("B", (b, same)))
        ]
        return against(D, fake) + 0.5 * (terms[0] + terms[1])

    return halved(D, b, fake), generator


def dual_losses(n: Networks, a: Tensor, b: Tensor, at: Positions) -> tuple[Tensor, Callable[[], Tensor]]:
    G, back, layers = n["G_AB"], n["G_BA"], LAYERS["dual_cut"]
    fake_B, fake_A = G(a), back(b)

    def generators() -> Tensor:
        at_A, at_B = ([at(domain, layer) for layer in layers] for domain in "AB")
        first = contrast((G, back), (n["F_A"], n["F_B"]), (a, fake_B), layers, at_A)
        second = contrast((back, G), (n["F_B"], n["F_A"]), (b, fake_A), layers, at_B)
        identity = (G(b) - b).abs().mean() + (back(a) - a).abs().mean()
        return against(n["D_B"], fake_B) + against(n["D_A"], fake_A) + 2 * (first + second) + identity

    return halved(n["D_B"], b, fake_B) + halved(n["D_A"], a, fake_A), generators


@pytest.mark.parametrize(("kind", "losses"), [(CUTConfig, cut_losses), (DualCUTConfig, dual_losses)])
def test_twenty_steps_equal_the_published_order(kind, losses) -> None:
    step = build(kind)
    networks = copy.deepcopy(step.method.networks)
    groups = [[n for n in networks if n.startswith(letter)] for letter in "GDF"]  # an Adam for each, as published
    adams = [
        torch.optim.Adam([p for n in group for p in networks[n].parameters()], lr=2e-4, betas=(0.5, 0.999))
        for group in groups
    ]
    choose = step.method.players[1].choose
    probe = images(99)[0]
    start = step.method.networks["G_AB"](probe)
    for number in range(STEPS):
        a, b = images(number)
        step([{"real_A": a, "real_B": b}], lr=2e-4, seed=number)
        chosen = choose({"real_A": a, "real_B": b}, number, 0)
        loss_D, of_generators = losses(networks, a, b, lambda d, layer, chosen=chosen: chosen[f"patches_{d}_{layer}"])
        networks.zero_grad()
        loss_D.backward(retain_graph=True)
        adams[1].step()
        networks.zero_grad()
        of_generators().backward()
        adams[0].step()
        adams[2].step()
    ours = step.method.networks
    assert (ours["G_AB"](probe) - start).abs().max() > 1e-2, "it did not train"
    for name in [n for n in networks if n[0] in "GD"]:
        assert (ours[name](probe) - networks[name](probe)).abs().max() < 1e-10, name
    layers = LAYERS[step_name := kind().name]
    at = [torch.arange(PATCHES)] * len(layers)
    features = encoded(ours["G_AB"], probe, layers)
    for one, other in zip(ours["F_A"](features, at), networks["F_A"](features, at), strict=True):
        assert (one - other).abs().max() < 1e-10, step_name


def test_the_loss_is_that_of_a_classifier_among_the_patches_of_one_image() -> None:
    rng = torch.Generator().manual_seed(0)
    queries, keys = (F.normalize(torch.randn(3, 8, 5, generator=rng), dim=2) for _ in range(2))
    by_image = [
        F.cross_entropy(q @ k.T / 0.07, torch.arange(8)) for q, k in zip(queries, keys, strict=True)
    ]  # no negatives of other images
    assert info_nce(queries, keys, 0.07).item() == pytest.approx(torch.stack(by_image).mean().item(), rel=1e-6)
    assert info_nce(keys, keys, 0.01).item() == pytest.approx(0.0, abs=1e-3)
    assert info_nce(queries.bfloat16(), keys.bfloat16(), 0.07).dtype == torch.float32


def test_patches_are_chosen_without_repetition_by_the_seed_alone() -> None:
    layers = contrast_layers(9, pixels=True)
    assert layers == LAYERS["cut"] and contrast_layers(9, pixels=False) == LAYERS["dual_cut"]
    assert contrast_layers(0, pixels=False) == (4, 7) and contrast_layers(3, pixels=False) == (4, 7, 10, 12)
    choose = choose_patches("AB", layers, 256)
    real = {"real_A": torch.zeros(2, 3, 64, 32), "real_B": torch.zeros(1, 3, 32, 32)}
    one, same, other = (choose(real, seed, first) for seed, first in ((7, 0), (7, 5), (8, 0)))
    counts = {0: (2048, 1024), 4: (512, 256), 7: (128, 64), 10: (128, 64), 14: (128, 64)}
    for layer, places in counts.items():
        for domain, most in zip("AB", places, strict=True):
            positions = one[f"patches_{domain}_{layer}"]
            assert len(set(positions.tolist())) == min(256, most) and 0 <= positions.min() <= positions.max() < most
            assert torch.equal(positions, same[f"patches_{domain}_{layer}"])
    assert not torch.equal(one["patches_A_0"], other["patches_A_0"])
    assert not torch.equal(one["patches_A_7"], one["patches_A_10"])


def test_weights_switch_the_identity_half_and_the_discriminator_off() -> None:
    a, b = images(0)
    found = {
        options: set(build(CUTConfig, **dict(options))([{"real_A": a, "real_B": b}], lr=2e-4))
        for options in ((), (("nce_idt", False),), (("lambda_GAN", 0.0),))
    }
    assert list(found.values()) == [
        {"D", "G", "D_B", "G_AB", "NCE_A", "NCE_B"},
        {"D", "G", "D_B", "G_AB", "NCE_A"},
        {"G", "NCE_A", "NCE_B"},
    ]
    fast = CUTConfig(lambda_NCE=10.0, nce_idt=False)
    assert (fast.weight_NCE_A, fast.weight_NCE_B) == (10.0, 0.0)


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^method cut compares features of a ResNet: give method.generator.arch res"):
        CUTConfig(generator=GeneratorConfig(arch="unet"))
    with pytest.raises(UsageError, match=r"make input_nc 1 and output_nc 3 equal$"):
        CUTConfig(input_nc=1)
    with pytest.raises(UsageError, match=r"or lambda_identity 0$"):
        DualCUTConfig(input_nc=1)
    step = build(DualCUTConfig, input_nc=1, lambda_identity=0.0)
    a, b = images(0)
    assert "idt_A" not in step([{"real_A": a[:, :1], "real_B": b}], lr=2e-4)
