import pytest

from cyclegan_dist.operations.sizing.layout import Layout, Training, efficiencies, layouts, most_useful
from cyclegan_dist.operations.sizing.link import Link

TRAINING = Training(images=3600, batch=1, noise_scale=9, gradient_bytes=1_000_000)


def test_images_grow_with_batch_plus_noise_scale() -> None:
    assert TRAINING.images_at(1) == 3600
    assert TRAINING.images_at(11) == 7200  # (11 + 9) / (1 + 9)


def test_a_layout_equals_a_count_by_hand() -> None:
    layout = Layout(training=TRAINING, gpus=4, images_per_gpu=2, compute_s=0.3, exchange_s=0.1)
    assert (layout.batch, layout.step_s) == (8, pytest.approx(0.4))
    assert layout.images_per_s == pytest.approx(20)
    assert layout.schedule_hours == pytest.approx(180 / 3600)
    assert layout.quality_hours == pytest.approx(180 * 1.7 / 3600)
    assert layout.needed_bytes_per_s == pytest.approx(1.5 * 1e6 / 0.03)


def test_the_images_per_gpu_are_those_that_reach_the_quality_first() -> None:
    # One GPU: 1 image in 1 s: 3600 s. 4 images in 2 s: 3600 * 1.3 / 2 = 2340 s. 16 in 6.4 s: 3600 * 2.5 / 2.5 = 3600 s.
    one, two, three = layouts(TRAINING, 3, {1: 1.0, 4: 2.0, 16: 6.4}, None)
    assert [layout.gpus for layout in (one, two, three)] == [1, 2, 3]
    assert (one.images_per_gpu, one.exchange_s) == (4, 0)
    assert one.quality_hours == pytest.approx(2340 / 3600)
    # Two: 3600 * 1.1 / 2 = 1980 s with 1 image each, 3600 * 1.7 / 4 = 1530 s with 4.
    assert two.quality_hours == pytest.approx(1530 / 3600)
    assert efficiencies([one, two]) == [1, pytest.approx(2340 / (2 * 1530))]


def test_the_exchange_of_the_number_of_ranks_is_added() -> None:
    link = Link(bytes_per_s=1e6, latency_s=0)
    assert [layout.step_s for layout in layouts(TRAINING, 4, {1: 1.0}, link)] == pytest.approx([1, 2, 2.5])


def test_the_most_useful_layout_has_the_most_gpus_that_are_efficient_and_faster() -> None:
    found = layouts(TRAINING, 64, {1: 1.0}, None)
    # Hours on n GPUs are proportional to (n + 9) / n, so the efficiency is 10 / (n + 9).
    assert efficiencies(found) == pytest.approx([10 / (n + 9) for n in (1, 2, 4, 8, 16, 32, 64)])
    assert most_useful(found, 0.5).gpus == 8
    assert most_useful(found, 0.4).gpus == 16
    assert most_useful(found, 1).gpus == 1
    slow = layouts(TRAINING, 64, {1: 1.0}, Link(bytes_per_s=1, latency_s=0))
    assert most_useful(slow, 1e-9).gpus == 1
