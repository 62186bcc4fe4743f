import dataclasses
import re
from pathlib import Path

import pytest
import torch

from cyclegan_dist.config.config import Config, check_config, load_config, with_values
from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.operations.doctor.footprint import footprint, loader_bytes, saved_bytes
from cyclegan_dist.operations.sizing.figures import image_shapes
from cyclegan_dist.step.config import OptimConfig
from tests.conftest import TINY
from tests.methods.teachers import needed_options
from tests.methods.test_available import small_generator

DEEP = ValueRange("uint16", 0, 4095)
PAPER = load_config("horse2zebra")


def really_saved(config: Config, images: int) -> int:
    """As `saved_bytes`, of real images of one player after the other."""
    torch.manual_seed(0)
    method = config.method.build(rank_seed=0)
    batch = {name: torch.rand(shape) for name, shape in image_shapes(config, images).items()}
    for player in method.players:
        batch |= player.choose(batch, 0, 0)
    weights = {p.data_ptr() for p in method.networks.parameters()}
    most = 0
    for player in method.players:
        kept: dict[int, tuple[int, torch.Tensor]] = {}

        def keep(x: torch.Tensor, kept: dict[int, tuple[int, torch.Tensor]] = kept) -> torch.Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = (storage.nbytes(), x)  # with the tensor, so that no other has its address
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            output = player.module(**player.inputs(batch))
        most = max(most, sum(size for size, _ in kept.values()))
        batch |= output.images
    return most


@pytest.mark.parametrize("changes", [{}, {"method.gan_mode": "wgangp"}, {"method.generator.norm": "batch"}])
def test_what_is_kept_for_the_backward_pass_is_what_real_images_keep(changes: dict[str, str]) -> None:
    config = with_values(check_config(TINY, "test"), changes, "test")
    assert saved_bytes(config, 2, "cpu") == pytest.approx(really_saved(config, 2), rel=0.02)


def test_blocks_that_are_computed_again_keep_their_inputs() -> None:
    config = with_values(check_config(TINY, "test"), {"method.generator.n_blocks": 4}, "test")
    again = with_values(config, {"optim.activation_checkpointing": True}, "test")
    side, width = config.data.crop_size // 4, 4 * config.method.generator.ngf
    feature_map = 4 * width * side * side  # bytes of an image
    # Six calls of generators, of two images each: translation, identity and reconstruction in two directions.
    inputs = 6 * 2 * 4 * feature_map
    plain, found = saved_bytes(config, 2, "cpu"), saved_bytes(again, 2, "cpu")
    none = saved_bytes(with_values(config, {"method.generator.n_blocks": 0}, "test"), 2, "cpu")
    a_block = 4 * 10 * feature_map  # at most ten of each of four images, computed together
    assert none + inputs < found < none + inputs + a_block < plain


@pytest.mark.parametrize("name", ["high_512", "high_1024"])
def test_presets_for_large_images_fit_80_gigabytes(name: str) -> None:
    """With the figures of their comments."""
    config = load_config(name)
    written = re.search(r"says\n# ([\d.]+) GiB", read_shipped(name, "preset")[0].decode())
    assert written is not None
    need = footprint(config, 1, {}, on_gpu=True).card
    assert need / 2**30 == pytest.approx(float(written.group(1)), abs=0.06)
    assert need < 80e9


@pytest.mark.parametrize("name", [*METHODS, "few_pairs"])
def test_every_method_can_be_estimated(name: str, tmp_path: Path) -> None:
    """With the choices, pairs and pretrained networks that its losses take."""
    kind, options = ("cyclegan", {"lambda_pair": 1.0}) if name == "few_pairs" else (name, {})
    method = {"name": kind, "generator": dataclasses.asdict(small_generator(kind)), **options}
    method |= {"features_size": 16} if name == "feature_gan" else {}
    method |= needed_options(kind, tmp_path)
    tree = {**TINY, "method": {**method, "discriminator": {"ndf": 4, "n_layers_D": 1}}}
    config = check_config(tree, "test")
    assert saved_bytes(config, 2, "cpu") == pytest.approx(really_saved(config, 2), rel=0.1)


def test_batches_with_pairs_are_twice_as_large() -> None:
    config = with_values(Config(), {"method.lambda_pair": 1.0}, "test")
    assert loader_bytes(config, 1, {}) == 2 * loader_bytes(Config(), 1, {})


def test_the_measured_memory_of_a_gpu() -> None:
    """17.9 GiB with bf16 and 34.2 with fp32 for 16 images, without `optim.fast` (docs/benchmarks.md)."""
    for precision, measured in (("bf16", 17.9), ("fp32", 34.2)):
        optim = OptimConfig(batch_size=16, precision=precision)  # pyright: ignore[reportArgumentType]
        need = footprint(dataclasses.replace(PAPER, optim=optim), 1, {}, on_gpu=True)
        assert 0.95 < need.card / 2**30 / measured < 1.2
        assert need.rank < 2e9


def test_the_measured_memory_of_a_cpu() -> None:
    """Resident bytes of torchrun's ranks as `python -m benchmarks.rank_memory` measured them, by their number."""
    values = {"data.load_size": 128, "data.crop_size": 128, "data.workers": 1, "optim.batch_size": 4}
    config = with_values(PAPER, {**values, "method.generator.ngf": 16, "method.discriminator.ndf": 16}, "test")
    for ranks, measured in {1: 1.61e9, 2: 2.51e9, 4: 4.29e9}.items():
        need = footprint(config, ranks, {}, on_gpu=False)
        assert need.on_node(ranks) == pytest.approx(measured, rel=0.2)
        assert need.ranks_in(need.on_node(ranks)) == ranks and need.ranks_in(need.on_node(ranks) - 1) == ranks - 1


def test_what_loaders_keep_in_memory() -> None:
    """2 workers x 4 batches and one in use, of 4 images of each domain, 256 x 256 x 3 bytes."""
    config, pixels = Config(optim=OptimConfig(batch_size=8)), 256 * 256
    assert loader_bytes(config, 2, {}) == 9 * 4 * 2 * pixels * 3
    assert loader_bytes(Config(optim=OptimConfig(batch_size=8, micro_batch=1)), 2, {}) == 9 * 2 * pixels * 3
    assert loader_bytes(Config(data=DataConfig(workers=0)), 1, {}) == 0
    # Domain A as float32, with five bands.
    five = with_values(config, {"method.input_nc": 5, "method.lambda_identity": 0.0}, "test")
    assert loader_bytes(five, 2, {"A": DEEP, "B": None}) == 9 * 4 * pixels * (4 * 5 + 3)
