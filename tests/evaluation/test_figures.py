import math

import pytest
import scipy.stats

from cyclegan_dist.evaluation.figures import Figure, difference, student_t


def test_the_interval_is_students() -> None:
    figure = Figure.mean([1.0, 2.0, 3.0, 4.0, 5.0])
    assert figure.value == 3 and figure.n == 5
    assert figure.margin == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)  # t of 4 degrees of freedom


@pytest.mark.parametrize("degrees", [*range(1, 12), 119, 140, 9999])
def test_students_t_is_scipys(degrees: int) -> None:
    assert student_t(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-9)


def test_one_part_has_no_interval() -> None:
    assert math.isnan(Figure.mean([1.0]).margin) and math.isnan(Figure(1.0).margin)


def test_what_two_figures_share_cancels_out() -> None:
    noise = [0.0, 10.0, -10.0, 5.0, -5.0]
    one, two = Figure.mean(noise), Figure.mean([x + 1 for x in noise])
    gap = difference(two, one)
    assert gap.value == pytest.approx(1) and gap.margin == pytest.approx(0)
    assert one.margin > 5


def test_figures_of_other_parts_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different parts"):
        difference(Figure.mean([1.0, 2.0]), Figure.mean([1.0, 2.0, 3.0]))
