import pytest

from cyclegan_dist.tracking.quantities import duration, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.14, "3.1 s"), (80, "80 s"), (150, "2.5 min"), (9e4, "25 h"), (3e5, "3.5 days"), (1.6e8, "5.1 years")],
)
def test_durations_have_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (12_500_000, "12.5 MB"), (1.67e9, "1.67 GB"), (2e15, "2,000 TB")]
)
def test_sizes(count: float, words: str) -> None:
    assert size(count) == words
