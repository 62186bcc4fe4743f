import pytest
import torch

from cyclegan_dist.methods.history import HistoryBuffer


def images(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def values(x: torch.Tensor) -> list[float]:
    return x[:, 0, 0, 0].tolist()


def test_a_buffer_of_size_zero_returns_the_new_images() -> None:
    buffer = HistoryBuffer(0, seed=0)
    assert values(buffer.query(images(1, 2))) == [1, 2]
    assert buffer.images == []


def test_a_buffer_that_is_not_full_returns_the_new_images() -> None:
    buffer = HistoryBuffer(4, seed=0)
    assert values(buffer.query(images(1, 2))) == [1, 2]
    assert values(buffer.query(images(3, 4))) == [3, 4]
    assert len(buffer.images) == 4


def test_a_full_buffer_returns_an_old_image_half_of_the_time_and_loses_none() -> None:
    buffer, old = HistoryBuffer(50, seed=3), 0
    seen: list[float] = []
    for step in range(4000):
        (out,) = values(buffer.query(images(float(step))))
        seen.append(out)
        old += out != step
    assert old / (4000 - 50) == pytest.approx(0.5, abs=0.03)
    # Returned at once, stored, or returned later: each image is in one place at a time.
    stored = values(torch.stack(buffer.images))
    assert len(set(stored)) == 50
    late = [value for i, value in enumerate(seen) if value != i]
    assert len(late) == len(set(late))
    assert not set(late) & set(stored)


def test_the_mean_age_of_old_images_is_that_of_fifty_slots() -> None:
    buffer = HistoryBuffer(50, seed=1)
    ages = [step - values(buffer.query(images(float(step))))[0] for step in range(8000)]
    old = [age for age in ages[1000:] if age]
    assert sum(old) / len(old) == pytest.approx(100, rel=0.1)  # method guide, P10


def test_a_restored_buffer_makes_the_same_choices() -> None:
    one, two = HistoryBuffer(3, seed=5), HistoryBuffer(3, seed=99)
    for i in range(10):
        one.query(images(float(i)))
    two.load_state_dict(one.state_dict())
    assert [values(one.query(images(float(i)))) for i in range(50)] == [
        values(two.query(images(float(i)))) for i in range(50)
    ]


def test_different_seeds_make_different_choices() -> None:
    def choices(seed: int) -> list[list[float]]:
        buffer = HistoryBuffer(3, seed=seed)
        return [values(buffer.query(images(float(i)))) for i in range(40)]

    assert choices(0) != choices(1)
    assert choices(0) == choices(0)


def test_stored_images_are_copies() -> None:
    buffer, image = HistoryBuffer(2, seed=0), images(1.0).clone()
    buffer.query(image)
    image.zero_()
    assert values(buffer.images[0][None]) == [1]


def test_images_are_distributed_over_another_number_of_ranks() -> None:
    states = []
    for rank in range(2):
        buffer = HistoryBuffer(4, seed=rank)
        buffer.query(images(*(10.0 * rank + i for i in range(4))))
        states.append(buffer.state_dict())
    dealt = []
    for rank in range(3):
        buffer = HistoryBuffer(4, seed=rank)
        buffer.deal(states, rank, 3)
        dealt += values(torch.stack(buffer.images))
    assert sorted(dealt) == [0, 1, 2, 3, 10, 11, 12, 13]
    alone = HistoryBuffer(4, seed=0)
    alone.deal(states, 0, 1)
    assert len(alone.images) == 4


@pytest.mark.parametrize(("pool", "count"), [(1, 1), (1, 4), (3, 1), (3, 2), (3, 8), (50, 5)])
def test_choices_in_advance_give_the_same_results(pool: int, count: int) -> None:
    """Also where an image of the same batch is stored and returned at once, and after a resume in between."""
    one, two = HistoryBuffer(pool, seed=7), HistoryBuffer(pool, seed=7)
    for step in range(60):
        new = images(*(float(step * count + i) for i in range(count)))
        if step == 30:
            three = HistoryBuffer(pool, seed=0)
            three.load_state_dict(two.state_dict())
            two = three
        assert values(two.exchange(new, two.draw(count))) == values(one.query(new))
        assert [float(x[0, 0, 0]) for x in two.images] == [float(x[0, 0, 0]) for x in one.images]
    assert torch.equal(one.state_dict()["rng"], two.state_dict()["rng"])


def test_choices_for_several_micro_batches_can_be_made_before_the_first_exchange() -> None:
    one, two = HistoryBuffer(4, seed=7), HistoryBuffer(4, seed=7)
    for step in range(20):
        new = [images(float(4 * step + 2 * i), float(4 * step + 2 * i + 1)) for i in range(2)]
        choices = [two.draw(2) for _ in new]
        for batch, rows in zip(new, choices, strict=True):
            assert values(two.exchange(batch, rows)) == values(one.query(batch))


def test_a_buffer_can_be_queried_after_exchanges() -> None:
    one, two = HistoryBuffer(3, seed=7), HistoryBuffer(3, seed=7)
    for step in range(20):
        new = images(float(step))
        shown = two.query(new) if step % 4 == 3 else two.exchange(new, two.draw(1))
        assert values(shown) == values(one.query(new))


def test_a_saved_state_does_not_change_with_later_exchanges() -> None:
    buffer = HistoryBuffer(1, seed=0)
    buffer.exchange(images(1.0), buffer.draw(1))
    state = buffer.state_dict()
    for i in range(10):
        buffer.exchange(images(2.0 + i), buffer.draw(1))
    assert values(state["images"][0][None]) == [1]
