"""Evaluation of one direction: translations of a domain's images and the scores of each, shared among ranks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cyclegan_dist.config.features import not_trained_with
from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.images import visible, windowed
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.class_rate import class_index
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.content import Structure, edge_correlation
from cyclegan_dist.evaluation.features import FeatureNetwork, feature_network
from cyclegan_dist.evaluation.images import DomainImages, describe_size, whole_images
from cyclegan_dist.evaluation.scores import Scores, comparable, correlation, grey, l1, paired, ssim
from cyclegan_dist.evaluation.segmentation import LabelMaps, Segmentation, summed
from cyclegan_dist.evaluation.segmenter import open_segmenter
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import open_translators
from cyclegan_dist.networks.pretrained import PACKAGED
from cyclegan_dist.step.distributed import World

PROGRESS_S = 10.0  # between two lines that say how far it is
SHOWN = 8  # first images of each direction, for a report


@dataclass(frozen=True)
class Direction:
    """Results for one direction, of all ranks, in the order of the images.

    Attributes:
        name: AB or BA.
        scores: for each image; those whose key has a slash are reported.
        real: n x D features of the images, by the network's name.
        fake: n x D features of their translations, by the network's name.
        confusions: pixels by true and found class, if there are label maps: `AB` of the translations, `real_B` of the
            real photos that they are compared with.
        names: of the first images.
        shown: these images, C x H x W uint8: input, translation and, where there are any, reconstruction and truth.
    """

    name: str
    scores: Scores
    real: dict[str, Tensor]
    fake: dict[str, Tensor]
    confusions: dict[str, Tensor]
    names: list[str]
    shown: dict[str, list[Tensor]]


@dataclass(frozen=True)
class _Result:
    """Results for one image."""

    scores: dict[str, float]
    features: tuple[dict[str, Tensor], dict[str, Tensor]]
    confusions: dict[str, Tensor]
    pictures: dict[str, Tensor]


class Evaluator:
    """The generators of a snapshot, and everything they are evaluated with.

    Attributes:
        networks: whose features are compared, in the order of the config.
        left_out: those of the config that took part in the training.
        size: how images are brought to the generators' size, in words.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        manifest: Manifest,
        config: EvaluationConfig,
        world: World,
        report: Callable[[str], object] = lambda line: None,
    ):
        self.config, self.world, self._report = config, world, report
        wanted = set(config.metrics)
        self.networks: tuple[FeatureNetwork, ...] = ()
        self._structures: tuple[Structure, ...] = ()
        self.left_out: tuple[str, ...] = ()
        if "distances" in wanted or config.class_rate:
            kept = not_trained_with(config.features, snapshot.trained_with, f"snapshot {snapshot.folder}")
            self.networks = tuple(feature_network(one, world.device, config.features_sha256) for one in kept)
            self.left_out = tuple(one for one in config.features if one not in kept)
        if "content" in wanted:
            others = not_trained_with((*config.features, "untrained"), snapshot.trained_with, "")
            packaged = [one for one in others if one.partition(":")[0] in PACKAGED]
            self._structures = tuple(Structure(one, world.device) for one in packaged)
        for name in config.class_rate:
            class_index(name)  # an unknown one is refused before images are translated
        if config.class_rate and self.classifier is None:
            raise UsageError(
                f"class_rate: {' and '.join(self.left_out)} took part in the training of snapshot {snapshot.folder}: "
                f"give another of {' and '.join(PACKAGED)}"
            )
        self.segmentation: Segmentation | None = None
        if "segmentation" in wanted and config.palette:
            self.segmentation = _segmentation(snapshot, manifest, config, world)
        self.translators = open_translators(snapshot, world.device)
        geometry, multiple = whole_images(snapshot.preprocess, config.size), snapshot.generator_config.multiple
        self.size = describe_size(geometry)
        direction = snapshot.directions[0]
        self.channels = dict(zip(direction, snapshot.channels(direction), strict=True))
        self.images = {d: DomainImages(manifest, d, self.channels[d], geometry, multiple) for d in "AB"}
        # Images that are not all of one size are computed one by one.
        self.batch_size = config.batch_size if geometry.preprocess == "resize_and_crop" else 1
        self.pairs = manifest.paired and bool(wanted & {"paired", "segmentation"})

    def direction(self, name: str) -> Direction:
        """Evaluate one direction. All ranks call it and all get the whole."""
        partners = self.images[name[1]].partners() if self.pairs else {}
        found: list[_Result] = self._shared(name[0], lambda indices: self._evaluate(name, indices, partners))
        pictures = [result.pictures for result in found[:SHOWN]]
        return Direction(
            name,
            {key: [result.scores[key] for result in found] for key in found[0].scores},
            _stacked([result.features[0] for result in found]),
            _stacked([result.features[1] for result in found]),
            summed([result.confusions for result in found]),
            [self.images[name[0]].name(i) for i in range(len(pictures))],
            {kind: [shown[kind] for shown in pictures] for kind in pictures[0]},
        )

    def count(self, domain: str) -> int:
        """How many images of a domain are evaluated."""
        return min(len(self.images[domain]), self.config.count or len(self.images[domain]))

    @property
    def classifier(self) -> FeatureNetwork | None:
        """The first network that knows ImageNet's classes."""
        return next((network for network in self.networks if network.head is not None), None)

    def real_features(self, domain: str) -> dict[str, Tensor]:
        """N x D features, by the network's name, of the real images of a domain that no direction starts from;
        `Direction.real` holds the others'. All ranks call it and all get the whole.
        """
        if not self.networks:
            return {}
        return _stacked(self._shared(domain, lambda indices: self._features(self._stacked(domain, indices))))

    def _shared(self, domain: str, evaluate: Callable[[Sequence[int]], list[Any]]) -> list[Any]:
        """The results of `evaluate` for all images of a domain, in their order; each rank evaluates its share, batch by
        batch.
        """
        n = self.count(domain)
        mine = range(self.world.rank, n, self.world.size)
        found: dict[int, Any] = {}
        said = time.monotonic()
        for start in range(0, len(mine), self.batch_size):
            indices = mine[start : start + self.batch_size]
            found |= dict(zip(indices, evaluate(indices), strict=True))
            if time.monotonic() - said > PROGRESS_S:
                self._report(f"evaluated {len(found)} of {len(mine)} images of domain {domain}")
                said = time.monotonic()
        everything = {i: result for rank in self.world.gather(found) for i, result in rank.items()}
        return [everything[i] for i in range(n)]

    def _stacked(self, domain: str, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.images[domain][i] for i in indices])

    def _evaluate(self, name: str, indices: Sequence[int], partners: Mapping[str, int]) -> list[_Result]:
        """Some images of one size; `partners` are indices of the other domain by name, if there are pairs."""
        pictures = self._translated(name, indices)
        truths = [partners[self.images[name[0]].name(i)] for i in indices] if partners else []
        if truths:
            pictures["truth"] = self._stacked(name[1], truths)
        scores = self._scores(name, pictures)
        real, fake = (self._features(pictures[kind]) for kind in ("input", "translation"))
        confusions: list[dict[str, Tensor]] = [{} for _ in indices]
        if self.segmentation is not None:
            each = [{kind: x[k] for kind, x in pictures.items()} for k in range(len(indices))]
            pairs = zip(indices, truths or [None] * len(indices), each, strict=True)
            confusions = [self.segmentation.confusions(name, own, partner, shown) for own, partner, shown in pairs]
        return [
            _Result(
                {key: values[k] for key, values in scores.items()},
                (real[k], fake[k]),
                confusions[k],
                {kind: windowed(x[k]) for kind, x in pictures.items() if kind != "identity"} if i < SHOWN else {},
            )
            for k, i in enumerate(indices)
        ]

    def _translated(self, name: str, indices: Sequence[int]) -> dict[str, Tensor]:
        """Input, translation and, if the snapshot also translates back, reconstruction and identity: n x C x H x W, of
        the bits that users of the files get: uint8, or float32 in [-1, 1] in a domain with a value range.
        """
        real = self._stacked(name[0], indices)
        fake = torch.stack(self.translators[name].translate_batch(real))
        pictures = {"input": real, "translation": fake}
        if back := self.translators.get(name[::-1]):
            if "cycle" in self.config.metrics:
                pictures["reconstruction"] = torch.stack(back.translate_batch(fake))
            if "identity" in self.config.metrics and self.channels["A"] == self.channels["B"]:
                pictures["identity"] = torch.stack(back.translate_batch(real))  # `back` makes images of this domain
        return pictures

    def _scores(self, name: str, pictures: Mapping[str, Tensor]) -> Scores:
        real, fake, rec = pictures["input"], pictures["translation"], pictures.get("reconstruction")
        domain, wanted, found = name[0], self.config.metrics, {"correlation": correlation(grey(real), grey(fake))}
        if comparable(real.shape[1], fake.shape[1]):
            found |= {"change": l1(real, fake), "kept": correlation(real, fake)}
        if rec is not None and "cycle" in wanted:
            found |= {f"eval/cycle_l1_{domain}": l1(real, rec), f"eval/cycle_ssim_{domain}": ssim(real, rec)}
        if "identity" in pictures:
            found[f"eval/identity_l1_{domain}"] = l1(real, pictures["identity"])
        if "content" in wanted:
            found[f"eval/content_ssim_{name}"] = ssim(grey(real), grey(fake))
            found[f"eval/content_edges_{name}"] = edge_correlation(real, fake)
            for structure in self._structures:
                change = structure.change(*(windowed(visible(images)) for images in (real, fake)))
                found[f"structure/{structure.name}_{name}"] = change
        if "truth" in pictures and "paired" in wanted:
            found |= {f"paired/{key}_{name}": values for key, values in paired(fake, pictures["truth"]).items()}
        return found

    def _features(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Of each image, by the network's name."""
        shown = windowed(visible(images)).to(self.world.device) if self.networks else images
        found = {network.name: network.of(shown) for network in self.networks}
        return [{name: features[k] for name, features in found.items()} for k in range(len(images))]


def _stacked(features: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Features of each image as n x D features, by the network's name."""
    return {name: torch.stack([one[name] for one in features]) for name in features[0]}


def _segmentation(snapshot: Snapshot, manifest: Manifest, config: EvaluationConfig, world: World) -> Segmentation:
    """What label maps are scored with, after checks that take no translation.

    Raises:
        UsageError: if palette, maps or scoring network do not fit each other, or nothing could be scored.
    """
    palette = open_palette(config.palette)
    if snapshot.data_direction == "BtoA":  # the palette names a domain of the data set, `manifest` has them exchanged
        palette = replace(palette, domain="A" if palette.domain == "B" else "B")
    labels = LabelMaps(manifest, palette)
    labels.refuse_one_class(config.count)
    if not manifest.paired and not config.segmenter:
        raise UsageError(
            f"palette {config.palette}: {manifest.root} has no pairs, so translations to label maps have no truth: "
            "prepare it with --pairs names (or halves), or give a segmenter for those to photos"
        )
    return Segmentation(labels, open_segmenter(config.segmenter, palette, world.device) if config.segmenter else None)
