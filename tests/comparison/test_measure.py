import pytest

from cyclegan_dist.comparison.measure import apart, from_first
from cyclegan_dist.evaluation.figures import Figure


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [((1.0, 1.1, 1.2), "higher"), ((-1.0, -1.1, -1.2), "lower"), ((-1.0, 1.0, 0.5), "no"), ((1.0,), "")],
)
def test_a_difference_is_apart_from_0_if_its_interval_is(parts: tuple[float, ...], wanted: str) -> None:
    assert apart(Figure.mean(parts)) == wanted


def test_only_figures_of_the_same_parts_are_compared() -> None:
    first = {"a": Figure.mean([1, 2]), "b": Figure.mean([1, 2]), "c": Figure.mean([1, 2])}
    other = {"a": Figure.mean([4, 2]), "b": Figure.mean([1, 2, 3])}
    assert from_first(first, other) == {"a": Figure.mean([3, 0])}
