"""The style of a whole domain."""

from pathlib import Path

import pytest
import torch

from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.evaluation.images import DomainImages, whole_images
from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.style.collection import collected, evenly, shown, stacked
from cyclegan_dist.style.gram import gram

LAYERS = ("stem", "block1")
CPU = torch.device("cpu")


def test_positions_are_evenly_spaced() -> None:
    assert evenly(10, 4) == [0, 3, 6, 9] and evenly(10, 1) == [0]
    assert evenly(3, 0) == evenly(3, 3) == evenly(3, 8) == [0, 1, 2]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_the_mean_of_a_domain_and_its_two_most_typical_images(tmp_path: Path, dataset: Path, batch_size: int) -> None:
    images = DomainImages(open_manifest(str(dataset), (*READING, "name")), "B", 3, whole_images({}, 24), 4)
    network = FeatureLayers("efficientnet_lite0", LAYERS, CPU)
    options = {"device": CPU, "batch_size": batch_size, "file": tmp_path / "kept.safetensors"}
    mean, typical = collected(images, network, LAYERS, **options)
    single = [network(stacked(shown(images, [i]), CPU)) for i in range(len(images))]
    far = torch.zeros(len(images))
    for layer in LAYERS:
        each = torch.stack([gram(found[layer])[0] for found in single])
        torch.testing.assert_close(mean[layer], each.mean(0), rtol=1e-4, atol=1e-5)
        far += (each - mean[layer]).square().sum((1, 2)) / mean[layer].square().sum()
    assert typical == far.argsort()[:2].tolist()

    again = collected(images, lambda _: pytest.fail("it was kept"), LAYERS, **options)  # type: ignore[arg-type]
    assert again[1] == typical and all(torch.equal(again[0][layer], mean[layer]) for layer in LAYERS)
    options["file"].write_bytes(b"torn")
    assert collected(images, network, LAYERS, **options)[1] == typical
