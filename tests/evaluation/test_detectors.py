import pytest
import torch

from cyclegan_dist.evaluation.detectors import collapsed, discriminator_won, diversity, do_nothing, inverted


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    real = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert not do_nothing("AB", 30) and not inverted("AB", 0.4) and not collapsed("AB", real * 0.8, real)


def test_each_finding_has_its_figure_and_advice() -> None:
    real = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    found = [*do_nothing("AB", 1.26), *inverted("BA", -0.8), *collapsed("AB", real * 0.01, real)]
    assert [finding.name for finding in found] == ["do-nothing", "inverted", "collapsed"]
    assert "1.3 grey levels" in found[0].text and "-0.80" in found[1].text and "1 %" in found[2].text


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
