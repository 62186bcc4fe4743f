import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from cyclegan_dist.evaluation import scores

X = torch.randint(0, 256, (3, 3, 24, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
Y = torch.randint(0, 256, (3, 3, 24, 20), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_l1_is_in_grey_levels() -> None:
    assert scores.l1(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)) == [
        51,
        51,
    ]


def test_ssim_and_psnr_are_torchmetrics_image_by_image() -> None:
    for i in range(3):
        x, y = X[i : i + 1].float(), Y[i : i + 1].float()
        assert scores.ssim(X, Y)[i] == pytest.approx(
            float(StructuralSimilarityIndexMeasure(data_range=255.0)(x, y)), abs=1e-6
        )
        assert scores.psnr(X, Y)[i] == pytest.approx(float(PeakSignalNoiseRatio(data_range=255.0)(x, y)), abs=1e-4)
    assert scores.ssim(X, X) == pytest.approx([1, 1, 1]) and scores.psnr(X, X) == [100, 100, 100]


def test_pixel_accuracy_requires_every_channel_to_be_near() -> None:
    one = torch.zeros(1, 3, 1, 4, dtype=torch.uint8)
    two = torch.tensor([[[[0, 5, 6, 0]], [[0, 0, 0, 11]], [[5, 0, 0, 0]]]], dtype=torch.uint8)
    assert scores.pixel_accuracy(one, two, 5) == [0.5]
    assert scores.pixel_accuracy(one, two, 10) == [0.75]


def test_correlation_of_equal_opposite_and_constant_images() -> None:
    grey = X[:1].float().mean(1, keepdim=True).round().to(torch.uint8)
    assert scores.correlation(grey, grey) == pytest.approx([1])
    assert scores.correlation(grey, 255 - grey) == pytest.approx([-1])
    assert scores.correlation(grey, torch.full_like(grey, 7)) == [0]


def test_correlation_is_of_colours_and_not_of_their_means() -> None:
    darker = X // 2 + torch.tensor([10, 90, 50], dtype=torch.uint8).view(1, 3, 1, 1)
    assert scores.correlation(X, darker) == pytest.approx([1, 1, 1], abs=1e-3)
    assert max(scores.correlation(X, X.flip(1))) < 0.6  # of the same grey, but for the weights
    x, y = X[:1].double(), Y[:1].double()
    x, y = (z - z.mean((2, 3), keepdim=True) for z in (x, y))
    assert scores.correlation(X, Y)[0] == pytest.approx(float((x * y).sum() / (x.norm() * y.norm())), abs=1e-6)


def test_floats_are_compared_in_grey_levels_without_rounding() -> None:
    one, two = (torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in (0, 1))
    levels = [((x + 1) * 127.5).round().to(torch.uint8) for x in (one, two)]
    for name in ("l1", "psnr", "ssim", "correlation"):
        score = getattr(scores, name)
        assert score(one, two) == pytest.approx(score(*levels), rel=0.01, abs=1e-3)
    assert scores.l1(one, one + 0.001) == pytest.approx([0.1275] * 2, rel=1e-3)  # less than a level
    assert scores.l1(one, levels[0])[0] < 0.5
