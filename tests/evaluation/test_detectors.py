import pytest
import torch

from cyclegan_dist.evaluation.detectors import (
    DETECTORS,
    VETOES,
    collapsed,
    discriminator_won,
    diversity,
    do_nothing,
    exchanged_classes,
    inverted,
    minimal_change,
)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    real = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert not do_nothing("AB", 30) and not inverted("AB", 0.4) and not collapsed("AB", real * 0.8, real)
    assert not minimal_change("AB", 0.9, 0.99), "far enough"
    assert not minimal_change("AB", 0.1, 0.3), "much was changed, and wrongly"
    assert not exchanged_classes("AB", [], 0.4, 0.4)


def test_each_finding_has_its_figure_and_advice() -> None:
    real = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    found = [*do_nothing("AB", 1.26), *inverted("BA", -0.8), *collapsed("AB", real * 0.01, real)]
    found += [*minimal_change("AB", 0.123, 0.97), *minimal_change("BA", -0.2, 0.9)]
    found += exchanged_classes("AB", [["tree", "house"], ["a", "b", "c"]], 0.4, 0.93)
    names = ["do-nothing", "inverted", "collapsed", "minimal-change", "minimal-change", "exchanged-classes"]
    assert [finding.name for finding in found] == names and set(names) < set(DETECTORS) and set(VETOES) < set(DETECTORS)
    assert "1.3 grey levels" in found[0].text and "-0.80" in found[1].text and "1 %" in found[2].text
    assert "A to B" in found[3].text and "0.97" in found[3].text and "12 % of the way" in found[3].text
    assert "0 % of the way" in found[4].text
    assert (
        "tree as house, house as tree, a as b, b as c, c as a" in found[5].text
        and "0.93 instead of 0.40" in found[5].text
    )


@pytest.mark.parametrize(
    ("loss", "least_squares", "names"),
    [(0.001, {"D_B": "AB", "D_A": "BA"}, ["AB"]), (0.2, {"D_B": "AB", "D_A": "BA"}, []), (0.001, {}, [])],
)
def test_the_discriminator_that_won(loss: float, least_squares: dict[str, str], names: list[str]) -> None:
    journal = [{"kind": "message", "text": "x"}]
    journal += [{"kind": "metrics", "values": {"loss/D_A": 0.25, "loss/D_B": 0.2}}] * 30
    journal += [{"kind": "metrics", "values": {"loss/D_A": 0.25, "loss/D_B": loss}}] * 20
    assert [finding.direction for finding in discriminator_won(journal, least_squares)] == names


def test_diversity_is_a_share_of_the_real_images_spread() -> None:
    real = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert diversity(real * 0.5 + 3, real) == pytest.approx(0.5)
    assert diversity(torch.ones(50, 8), real) == 0
