"""Shares of images that a classifier calls by a name."""

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.class_rate import IMAGENET_CLASSES, class_index, class_rate, class_rate_key
from cyclegan_dist.evaluation.features import FeatureNetwork
from cyclegan_dist.evaluation.figures import Figure, Share, difference


def network(head: nn.Module | None) -> FeatureNetwork:
    """Its features are its images; as a classifier it calls them by their first value."""
    return FeatureNetwork("given", lambda images: images, head)


class FirstValue(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.one_hot(features[:, 0].long(), 1000).float()


def test_the_share_of_a_class() -> None:
    features = torch.tensor([[340.0], [340.0], [339.0], [340.0]])
    share = class_rate(network(FirstValue()), features, "zebra")
    assert share.value == 0.75 and share.n == 4 and share.parts == (1, 1, 0, 1)
    assert class_rate(network(FirstValue()), features, "339").value == 0.25
    with pytest.raises(UsageError, match="network given has no classes"):
        class_rate(network(None), features, "zebra")


def test_classes_are_given_by_name_or_index() -> None:
    assert class_index("zebra") == class_index("340") == 340 and class_index("sorrel") == 339
    assert len(set(IMAGENET_CLASSES)) == 1000
    for name, message in (("zebre", "class_rate zebre: did you mean zebra[?]"), ("1000", "give a class of ImageNet")):
        with pytest.raises(UsageError, match=message):
            class_index(name)


def test_keys_can_be_names_of_metrics_and_differ() -> None:
    assert class_rate_key(network(None), "340") == "class_rate/given/zebra"
    assert class_rate_key(network(None), "jack-o'-lantern") == "class_rate/given/jack-o-lantern"
    assert len({class_rate_key(network(None), name) for name in IMAGENET_CLASSES}) == 1000


@pytest.mark.parametrize(("hits", "n"), [(5, 10), (0, 10), (10, 10), (133, 140), (1, 1)])
def test_the_interval_is_wilsons(hits: int, n: int) -> None:
    share = Share.mean([1.0] * hits + [0.0] * (n - hits))
    theirs = scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert share.interval == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= share.interval[0] < share.interval[1] <= 1


def test_shares_of_the_same_images_are_compared_image_by_image() -> None:
    one, two = Share.mean([1.0, 1.0, 0.0, 1.0]), Share.mean([1.0, 0.0, 0.0, 1.0])
    gap = difference(one, two)
    assert gap.value == 0.25 and gap.parts == (0, 1, 0, 0) and type(gap) is Figure
