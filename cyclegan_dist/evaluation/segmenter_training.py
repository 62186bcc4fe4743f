"""Training of a scoring network on the photos of a data set with pairs, from random weights."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.images import windowed
from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.evaluation.images import DomainImages
from cyclegan_dist.evaluation.segmentation import LabelMaps, confusion, scores_of
from cyclegan_dist.evaluation.segmenter import Segmenter, new_network, resized_photos, save_segmenter
from cyclegan_dist.evaluation.segmenter_config import SegmenterConfig
from cyclegan_dist.networks.feature_layers import for_imagenet
from cyclegan_dist.step.distributed import join

NONE = 255  # label of pixels that the loss leaves out
HELD_OUT = 10  # one of so many pairs, where no data set is given for it
AUXILIARY = 0.5  # weight of the loss of torchvision's auxiliary classifier, as in its own recipe


class LabelledPhotos:
    """Photos and their label maps: C x H x W and H x W uint8; photos may have other sizes than their maps."""

    def __init__(self, manifest: Manifest, palette: Palette, size: int):
        if not manifest.paired:
            raise UsageError(
                f"{manifest.root} has no pairs, and a scoring network learns from pairs of photos and label maps: "
                f"prepare it with {pipeline_command('prepare')} A_DIR B_DIR OUT --pairs names (or halves)"
            )
        domain = "A" if palette.domain == "B" else "B"
        geometry = DataConfig(preprocess="none", flip=False)
        if size:
            geometry = DataConfig(preprocess="resize_and_crop", load_size=size, crop_size=size, flip=False)
        self.maps, self.classes = LabelMaps(manifest, palette), len(palette.classes)
        self._photos = DomainImages(manifest, domain, 3, geometry, multiple=1)
        self._partner = manifest.selected("AtoB" if domain == "A" else "BtoA").partners()
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Pair number `index`, decoded once and then kept in memory."""
        if index not in self._kept:
            labels = self.maps[int(self._partner[index])]
            labels = torch.where(labels < self.classes, labels, NONE).to(torch.uint8)
            self._kept[index] = windowed(self._photos[index]), labels
        return self._kept[index]

    def batch(self, indices: Iterable[int]) -> tuple[Tensor, Tensor]:
        """Some pairs, photos in the size of their maps: n x 3 x H x W and n x H x W uint8.

        Raises:
            UsageError: if the maps have several sizes.
        """
        photos, labels = zip(*(self[index] for index in indices), strict=True)
        if len({found.shape for found in labels}) > 1:
            raise UsageError("label maps of several sizes cannot be trained on together: give --batch-size 1")
        resized = [resized_photos(photo[None], (labels[0].shape[0], labels[0].shape[1])) for photo in photos]
        return torch.cat(resized), torch.stack(labels)


def run(config: SegmenterConfig, report: Callable[[str], object] = print) -> dict[str, float]:
    """Train, write the file, and return the scores on pairs that were not trained on.

    Args:
        config: what to train on, and how.
        report: called with a line after each epoch.

    Raises:
        UsageError: if the data set has no pairs, its maps are of other colours or of one class, or the file cannot be
            written.
    """
    palette, device = open_palette(config.palette), join(config.device).device
    columns = (*READING, "name")
    manifest = open_manifest(config.data, columns)
    pairs = held_out = LabelledPhotos(manifest, palette, config.size)
    pairs.maps.refuse_one_class()
    trained, scored = list(range(len(pairs))), list(range(0, len(pairs), HELD_OUT))
    if config.held_out:
        held_out = LabelledPhotos(open_manifest(config.held_out, columns), palette, config.size)
        scored = list(range(len(held_out)))
    else:
        trained = [index for index in trained if index % HELD_OUT]
    if not trained:
        raise UsageError(f"{config.data} has one pair only, which would be held out: give more, or --held-out")
    network = train(pairs, trained, config, device, report)
    found = score(held_out, scored, Segmenter(config.network, network, device))
    card: dict[str, Any] = {
        "network": config.network,
        "classes": [[name, list(colour)] for name, colour in palette.classes.items()],
        **{key: getattr(config, key) for key in ("size", "epochs", "batch_size", "lr", "seed")},
        "data": {domain: manifest.domain_digest(domain) for domain in "AB"},
        "pairs": len(trained),
        "held_out": {"pairs": len(scored), **found},
    }
    save_segmenter(network, card, config.out)
    return found


def train(
    pairs: LabelledPhotos,
    trained: Sequence[int],
    config: SegmenterConfig,
    device: torch.device,
    report: Callable[[str], object],
) -> nn.Module:
    """A network trained on the pairs with the indices `trained`, with the cross-entropy of all pixels of a class."""
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        network = new_network(config.network, pairs.classes).to(device).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
        batches = -(-len(trained) // config.batch_size)
        for epoch in range(config.epochs):
            rng, total = np.random.default_rng([config.seed, epoch]), 0.0
            for number, some in enumerate(np.array_split(rng.permutation(np.array(trained)), batches)):
                optimizer.param_groups[0]["lr"] = config.lr * (1 - (epoch + number / batches) / config.epochs)
                photos, labels = (x.to(device) for x in pairs.batch(some.tolist()))
                if rng.random() < 0.5:
                    photos, labels = photos.flip(-1), labels.flip(-1)
                outputs = network(for_imagenet(photos))
                losses = {key: F.cross_entropy(x, labels.long(), ignore_index=NONE) for key, x in outputs.items()}
                loss = losses["out"] + AUXILIARY * losses.get("aux", 0.0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += float(loss.detach())
            report(f"epoch {epoch + 1} of {config.epochs}: loss {total / batches:.4f}")
    return network.eval().requires_grad_(False)


def score(pairs: LabelledPhotos, indices: Sequence[int], segmenter: Segmenter) -> dict[str, float]:
    """Pixel accuracy, class accuracy and class IoU of photos with known maps."""
    counts = torch.zeros(pairs.classes, pairs.classes, dtype=torch.int64)
    for index in indices:
        photo, labels = pairs[index]
        counts += confusion(labels.long(), segmenter(photo, (labels.shape[0], labels.shape[1])), pairs.classes)
    return {name: figure.value for name, figure in scores_of(counts, len(indices)).items()}
