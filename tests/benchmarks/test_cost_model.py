"""Tests of the cost model of a step, against counts by hand."""

import math

import pytest

from benchmarks.cost_model import BACKWARD_SHARE, BUCKET_BYTES, Link, Machine, Work, count
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig

SMALL = CycleGANConfig(
    generator=GeneratorConfig(ngf=4, n_blocks=2), discriminator=DiscriminatorConfig(ndf=4, n_layers_D=1)
)


def generator_flops(ngf: int, blocks: int, size: int, channels: int = 3) -> int:
    """Forward pass of one image: two operations per weight and output position (input position when up-sampling)."""
    full, half, quarter = size**2, (size // 2) ** 2, (size // 4) ** 2
    ends = 2 * 49 * channels * ngf * full
    downs = 9 * ngf * 2 * ngf * half + 9 * 2 * ngf * 4 * ngf * quarter
    ups = 9 * 4 * ngf * 2 * ngf * quarter + 9 * 2 * ngf * ngf * half
    return 2 * (ends + downs + blocks * 2 * 9 * (4 * ngf) ** 2 * quarter + ups)


def test_operations_equal_a_count_by_hand() -> None:
    alone = count(
        CycleGANConfig(generator=SMALL.generator, discriminator=SMALL.discriminator, lambda_GAN_AB=0, lambda_GAN_BA=0),
        32,
        1,
    )
    assert set(alone) == {"G"}
    # Six forward passes, and twice as much backward, except that the first layer of four passes (both fakes, both
    # identities) needs no gradient with respect to its input.
    first_layer = 2 * 49 * 3 * 4 * 32**2
    assert alone["G"].flops == 6 * 3 * generator_flops(4, 2, 32) - 4 * first_layer


def test_work_is_proportional_to_images_and_gradients_are_constant() -> None:
    one, four = count(SMALL, 32, 1), count(SMALL, 32, 4)
    for name in ("G", "D"):
        assert four[name].flops == 4 * one[name].flops
        assert four[name].gradient_bytes == one[name].gradient_bytes


def test_gradients_of_the_papers_networks_have_114_mb() -> None:
    work_by_player = count(CycleGANConfig(), 256, 1)
    assert sum(work.gradient_bytes for work in work_by_player.values()) == pytest.approx(114e6, rel=0.01)


def test_all_reduce_time_is_that_of_a_ring_or_a_tree() -> None:
    link = Link(bytes_per_s=1e9, latency_s=0)
    assert link.all_reduce_s(1e9, 1) == 0
    assert link.all_reduce_s(1e9, 2) == pytest.approx(1)
    assert link.all_reduce_s(1e9, 4) == pytest.approx(1.5)
    slow = Link(bytes_per_s=math.inf, latency_s=1)
    assert [slow.all_reduce_s(1, n) for n in (2, 4, 1024)] == [2, 6, 40]


def test_only_exchange_that_does_not_overlap_with_backward_costs_time() -> None:
    work = {"G": Work(flops=3000, gradient_bytes=BUCKET_BYTES * 5)}
    fast = Machine(1000, Link(BUCKET_BYTES * 1e3, 0))
    assert fast.step_s(work, 1) == 3
    assert fast.step_s(work, 2) == pytest.approx(3 + 1e-3)  # the last bucket
    no_overlap = Machine(1000, Link(BUCKET_BYTES * 1e3, 0), overlap=0)
    assert no_overlap.step_s(work, 2) == pytest.approx(3 + 5e-3)
    slow = Machine(1000, Link(BUCKET_BYTES, 0))
    assert slow.step_s(work, 2) == pytest.approx(3 + (4 - BACKWARD_SHARE * 3) + 1)


def test_efficiency_decreases_with_ranks_and_jitter() -> None:
    work_by_player = count(SMALL, 32, 1)
    steady, jittery = Machine(1e9, Link(1e9, 1e-5)), Machine(1e9, Link(1e9, 1e-5), jitter_s=1e-3)
    values = [steady.efficiency(work_by_player, n) for n in (1, 2, 8, 64)]
    assert values[0] == 1 and values == sorted(values, reverse=True)
    assert jittery.efficiency(work_by_player, 8) < steady.efficiency(work_by_player, 8)
