"""The comparison of the paper: translations beside style transfer from single images and from the whole domain."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from cyclegan_dist.data.augment import Augment
from cyclegan_dist.data.domain_names import refuse_exchanged
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.images import decode, to_bytes, visible, windowed
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.values import refuse_other_values
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.images import DomainImages, whole_images
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.style.collection import collected, evenly, shown, stacked
from cyclegan_dist.style.gram import Style, content_distance, mean_style, style_distance
from cyclegan_dist.style.options import StyleOptions
from cyclegan_dist.style.pictures import Pictures, digest
from cyclegan_dist.style.transfer import transfer

INPUT, COLLECTION, TRANSLATION = "input", "collection", "translation"
STAND_FOR_ALL = 4  # images of the collection that are shown


@dataclass(frozen=True)
class Column:
    """Pictures of one kind.

    Attributes:
        kind: `input`, `style 1`, `style 2`, ..., `collection` or `translation`.
        files: of the pictures.
        styles: files of images whose style they were given.
        distances: mean over pictures, by name: `content`, to the inputs; `collection`, of style; and of style transfer
            `style`, to the style they were given, and `style_before`, of the inputs. Nothing if it was not measured.
    """

    kind: str
    files: list[Path]
    styles: list[Path]
    distances: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """All pictures.

    Attributes:
        names: of the inputs.
        columns: as they are shown.
        network: name of the feature network.
        images: number of images in the collection.
    """

    names: list[str]
    columns: list[Column]
    network: str
    images: int


class Comparer:
    """Makes a comparison.

    Args:
        snapshot: of the model.
        direction: AB or BA, in the domains of the data sets.
        inputs: data set of the inputs, opened with its column `name`.
        collection: data set whose domain that the direction leads to is the collection; likewise.
        options: of the style transfer.
        size: pixels of both sides of all images; 0: what the model was trained on.
        pictures: where they are kept.
        device: where they are computed.

    Raises:
        UsageError: if the model does not translate that way, the data sets do not fit it, the weights of the feature
            network cannot be read, or it has no such layer.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        direction: str,
        inputs: Manifest,
        collection: Manifest,
        options: StyleOptions,
        *,
        size: int,
        pictures: Pictures,
        device: torch.device,
    ):
        self.way, self.snapshot, self.options, self.device = snapshot.way(direction), snapshot, options, device
        inputs, collection = (manifest.selected(snapshot.data_direction) for manifest in (inputs, collection))
        for manifest in (inputs, collection):
            of, wanted = f"snapshot {snapshot.folder}", {domain: snapshot.values(domain) for domain in "AB"}
            refuse_other_values(manifest.root, manifest.values, of, wanted)
            refuse_exchanged(manifest.root, manifest.domain_names, of, snapshot.domain_names)
        self.network = FeatureLayers(options.features, options.layers, device, options.features_sha256)
        geometry, multiple = whole_images(snapshot.preprocess, size), snapshot.generator_config.multiple
        self.pictures, self._resize = pictures, Augment(geometry, multiple).resize
        if geometry.preprocess != "resize_and_crop":  # images are not all of one size
            self.pictures = replace(pictures, batch_size=1)
        channels = snapshot.channels(self.way)
        self.inputs, self.collection = (
            DomainImages(manifest, domain, n, geometry, multiple)
            for manifest, domain, n in zip((inputs, collection), self.way, channels, strict=True)
        )
        self._input_facts, self._collection_facts = (
            [manifest.domain_digest(domain), n, asdict(geometry), multiple]
            for manifest, domain, n in zip((inputs, collection), self.way, channels, strict=True)
        )

    def compare(self, style_files: Sequence[Path], count: int) -> Comparison:
        """Make the pictures that are missing, and measure all.

        Args:
            style_files: images whose styles are taken one by one; none: two typical ones of the collection.
            count: inputs, evenly spaced over their domain; 0: all.

        Raises:
            UsageError: if an image cannot be read.
            OSError: if something cannot be written.
        """
        given = [self._read_style(path) for path in style_files]
        numbers, pictures = evenly(len(self.inputs), count), self.pictures
        inputs = pictures.made(INPUT, self._input_facts, numbers, lambda some: shown(self.inputs, some))
        facts = [self._collection_facts, self.network.name, self.options.style]
        together, typical = collected(
            self.collection,
            self.network,
            self.options.style,
            device=self.device,
            batch_size=pictures.batch_size,
            file=pictures.folder / f"{COLLECTION}-{digest(facts)}.safetensors",
        )
        targets: dict[str, tuple[Any, Style, list[Path]]] = {}
        for i, image in enumerate(given or shown(self.collection, typical), 1):
            own = hashlib.sha256(image.numpy().tobytes()).hexdigest()
            style = mean_style(self.network, self.options.style, [stacked([image], self.device)])
            files = pictures.made("style image", own, [i], lambda _, image=image: [image])
            targets[f"style {i}"] = own, style, files
        examples = evenly(len(self.collection), STAND_FOR_ALL)
        files = pictures.made(
            "collection image", self._collection_facts, examples, lambda some: shown(self.collection, some)
        )
        targets[COLLECTION] = facts, together, files
        transferred = {kind: self._transferred(kind, *target[:2], numbers) for kind, target in targets.items()}
        translations = self._translations(numbers)
        columns = [Column(INPUT, inputs, [], self._distances(inputs, inputs, together))]
        for kind, (_, style, styles) in targets.items():
            distances = self._distances(transferred[kind], inputs, together, style)
            columns.append(Column(kind, transferred[kind], styles, distances))
        helped = self.options.features.partition(":")[0] in self.snapshot.trained_with
        distances = {} if helped else self._distances(translations, inputs, together)
        columns.append(Column(TRANSLATION, translations, [], distances))
        return Comparison([self.inputs.name(i) for i in numbers], columns, self.network.name, len(self.collection))

    def _read_style(self, path: Path) -> Tensor:
        """A style image as those of the data set: 3 x H x W uint8."""
        try:
            return self._resize(decode(path, 3))
        except UnreadableImageError as error:
            raise UsageError(f"style image {printable(path)}: {error}") from error

    def _transferred(self, kind: str, facts: Any, style: Style, numbers: Sequence[int]) -> list[Path]:
        options = {key: value for key, value in asdict(self.options).items() if not key.startswith("features")}
        layers = [self.options.content, self.options.style]

        def make(some: Sequence[int]) -> list[Tensor]:
            inputs = stacked(shown(self.inputs, some), self.device)
            return list(to_bytes(transfer(self.network, inputs, style, self.options, some)))

        return self.pictures.made(kind, [self._input_facts, facts, self.network.name, layers, options], numbers, make)

    def _translations(self, numbers: Sequence[int]) -> list[Path]:
        translator = Translator(self.snapshot, self.way, self.device)

        def make(some: Sequence[int]) -> list[Tensor]:
            return [windowed(visible(x)) for x in translator.translate_batch([self.inputs[i] for i in some])]

        facts = [self._input_facts, self.snapshot.digest(), self.way]
        return self.pictures.made(TRANSLATION, facts, numbers, make)

    @torch.no_grad()
    def _distances(
        self, files: Sequence[Path], inputs: Sequence[Path], together: Style, own: Style | None = None
    ) -> dict[str, float]:
        """Means over the pictures as they are in their files."""
        found: dict[str, list[float]] = {}
        for file, source in zip(files, inputs, strict=True):
            picture, before = (self.network(stacked([decode(path, 3)], self.device)) for path in (file, source))
            content = self.options.content
            values = {
                "content": content_distance(picture[content], before[content]),
                "collection": style_distance(picture, together),
                **({"style": style_distance(picture, own), "style_before": style_distance(before, own)} if own else {}),
            }
            for name, value in values.items():
                found.setdefault(name, []).append(float(value))
        return {name: mean(values) for name, values in found.items()}
