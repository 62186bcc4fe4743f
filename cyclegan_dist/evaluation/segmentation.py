"""Scores of label maps: per-pixel accuracy, per-class accuracy and class IoU, and with a scoring network the FCN score
(Long et al. 2015; section 5.1.1 of the paper), as in its published scripts.

All is scored at the size of the true map, as the data set has it. In translations to label maps, which are resized to
that size by nearest neighbour, each pixel has the class of the nearest colour. Translations to photos are resized to it
bilinearly, segmented by the network, and compared with the map they were made from. So are the real photos, after they
were reduced to the generators' size: the score that perfect translations would have.
"""

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.images import windowed
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.images import DomainImages
from cyclegan_dist.evaluation.segmenter import Segmenter

_STORED = DataConfig(preprocess="none", flip=False)  # the size and the colours that the data set has
EPSILON = 1e-12


class LabelMaps:
    """The true label maps of a data set by index, H x W int64, of the size that they are stored with."""

    def __init__(self, manifest: Manifest, palette: Palette):
        self.palette = palette
        self._images = DomainImages(manifest, palette.domain, 3, _STORED, multiple=1)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        """Raises UsageError if the image is damaged, or no map of the palette."""
        image = windowed(self._images[index])[None]
        name = f"image {self._images.name(index)} of domain {self.palette.domain}"
        self.palette.refuse_other_colours(image, name)
        return self.palette.labels(image)[0]

    def refuse_one_class(self, count: int = 0) -> None:
        """Refuse maps that hold a single class, of which every score would be perfect or meaningless.

        Args:
            count: maps that are scored, the first ones; 0: all.

        Raises:
            UsageError: naming the class.
        """
        seen: set[int] = set()
        for index in range(min(len(self), count or len(self))):
            seen |= {label for label in self[index].unique().tolist() if label < len(self.palette.classes)}
            if len(seen) > 1:
                return
        found = next((name for label, name in enumerate(self.palette.classes) if label in seen), "no class")
        raise UsageError(
            f"the label maps hold {found} only, so that scores would say nothing: give maps of two classes or more"
        )


class Segmentation:
    """What the label maps of a data set are scored with."""

    def __init__(self, labels: LabelMaps, segmenter: Segmenter | None):
        self.labels, self.palette, self.segmenter = labels, labels.palette, segmenter

    def confusions(self, name: str, own: int, partner: int | None, pictures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pixels of one image by true and found class: `AB` those of its translation, `real_B` those of the real
        photo that is the translation's truth. Empty where the true map or the network is missing.

        Args:
            name: of the direction.
            own: index of the image in its domain.
            partner: that of its partner in the other one, if there is one.
            pictures: C x H x W: `translation`, and `truth` if there is a partner.
        """
        shown = {kind: windowed(pictures[kind]) for kind in ("translation", "truth") if kind in pictures}
        if name[1] == self.palette.domain and partner is not None:
            truth = self.labels[partner]
            maps = F.interpolate(shown["translation"][None], tuple(truth.shape), mode="nearest-exact")
            return {name: confusion(truth, self.palette.found(maps)[0], len(self.palette.classes))}
        if name[0] != self.palette.domain or self.segmenter is None:
            return {}
        truth = self.labels[own]
        keys = {"translation": name, "truth": f"real_{name[1]}"}
        return {
            keys[kind]: confusion(
                truth, self.segmenter(photo, (truth.shape[0], truth.shape[1])), len(self.palette.classes)
            )
            for kind, photo in shown.items()
        }


def confusion(truth: Tensor, found: Tensor, classes: int) -> Tensor:
    """Pixels by true (row) and found (column) class; those whose true label is no class are left out."""
    kept = truth < classes
    return torch.bincount(truth[kept] * classes + found[kept], minlength=classes**2).view(classes, classes)


def scores_of(counts: Tensor, images: int) -> Mapping[str, Figure]:
    """Pixel accuracy, class accuracy and class IoU; the latter two are means over all classes, of which those that do
    not occur count 0, as in the published scripts.
    """
    right, true, predicted = counts.diag().double(), counts.sum(1).double(), counts.sum(0).double()
    values = {
        "pixel_accuracy": right.sum() / (true.sum() + EPSILON),
        "class_accuracy": (right / (true + EPSILON)).mean(),
        "class_iou": (right / (true + predicted - right + EPSILON)).mean(),
    }
    return {name: Figure(float(value), n=images) for name, value in values.items()}


def summed(counts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Confusions of many images by their keys."""
    keys = dict.fromkeys(itertools.chain.from_iterable(counts))
    return {key: torch.stack([of[key] for of in counts if key in of]).sum(0) for key in keys}
