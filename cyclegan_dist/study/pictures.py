"""The images of a study: translations and real images, as files that do not show which they are."""

import io
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.domain_names import refuse_exchanged, swapped
from cyclegan_dist.data.images import to_pillow, visible, windowed
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.images import DomainImages, whole_images
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.study.design import IMAGES, Algorithm, Protocol, Study


@dataclass(frozen=True)
class Source:
    """A model of the study, under the name that the report uses."""

    name: str
    snapshot: Snapshot


def make_images(
    folder: Path,
    sources: Sequence[Source],
    manifest: Manifest,
    direction: str,
    protocol: Protocol,
    *,
    size: int = 0,
    count: int = 0,
    device: str = "auto",
) -> Study:
    """Translate images with every model, and write these and real images into `folder`/images.

    All files are PNGs of one size in pixels and, because they are not compressed, in bytes; their names are random.

    Args:
        folder: of the study, which exists.
        sources: the models.
        manifest: of a data set that was not trained on, with the columns `name` and `sha256`.
        direction: AB or BA, in the domains of the data set.
        protocol: for the number of images that a session needs.
        size: pixels of both sides; 0: what the models were trained on.
        count: images of each domain, drawn evenly over the data set; 0: all.
        device: as of `Translator`.

    Raises:
        UsageError: if a model does not translate that way or has the names of the domains exchanged, sizes differ, or
            there are too few images.
    """
    ways = [source.snapshot.way(direction) for source in sources]
    side = size or _common_size(sources)
    if len({source.snapshot.channels(way)[1] for source, way in zip(sources, ways, strict=True)}) > 1:
        raise UsageError("the models make images of different numbers of channels: compare models of the same")
    (folder / IMAGES).mkdir()
    reals: list[str] = []
    algorithms: list[Algorithm] = []
    for source, way in zip(sources, ways, strict=True):
        snapshot = source.snapshot
        theirs = manifest.domain_names if snapshot.data_direction == "AtoB" else swapped(manifest.domain_names)
        refuse_exchanged(manifest.root, theirs, f"snapshot {snapshot.folder}", snapshot.domain_names)
        geometry, multiple = whole_images(snapshot.preprocess, side), snapshot.generator_config.multiple
        channels = snapshot.channels(way)
        inputs, targets = (
            DomainImages(manifest, domain, n, geometry, multiple) for domain, n in zip(direction, channels, strict=True)
        )
        pairs = _chosen(manifest, inputs, targets, count)
        need = protocol.practice + protocol.scored
        for domain, found in zip(direction, pairs, strict=True):
            if len(found) < need:
                raise UsageError(
                    f"{manifest.root}: a session shows {need} different images of domain {domain}, and there are "
                    f"{len(found)}: give more images, or a smaller --practice or --scored"
                )
        translator = Translator(snapshot, way, device)
        fakes = [write_opaque(folder, image) for image in _translated(translator, inputs, pairs[0])]
        algorithms.append(
            Algorithm(name=source.name, snapshot=str(snapshot.folder), digest=snapshot.digest(), fakes=fakes)
        )
        if not reals:
            reals = [write_opaque(folder, targets[index]) for index in pairs[1]]
    return Study(
        data=manifest.root,
        direction="AB" if direction == "AB" else "BA",
        paired=manifest.paired,
        size=side,
        protocol=protocol,
        algorithms=algorithms,
        reals=reals,
    )


def _common_size(sources: Sequence[Source]) -> int:
    sizes = {source.name: source.snapshot.preprocess.get("crop_size", 256) for source in sources}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UsageError(f"the models were trained on images of different sizes ({listed} pixels): give --size")
    return next(iter(sizes.values()))


def _chosen(manifest: Manifest, inputs: DomainImages, targets: DomainImages, count: int) -> tuple[list[int], list[int]]:
    """Indices of inputs and of real images; partners where there are pairs. Of files with equal content the first."""
    first = {domain.domain: _distinct(manifest, domain.domain) for domain in (inputs, targets)}
    if not manifest.paired:
        sources, reals = ([items[i] for i in _evenly(len(items), count)] for items in first.values())
        return sources, reals
    partners, real = targets.partners(), set(first[targets.domain])
    pairs = [(i, partners.get(inputs.name(i), -1)) for i in first[inputs.domain]]
    pairs = [pair for pair in pairs if pair[1] in real]
    chosen = [pairs[i] for i in _evenly(len(pairs), count)]
    return [pair[0] for pair in chosen], [pair[1] for pair in chosen]


def _distinct(manifest: Manifest, domain: str) -> list[int]:
    seen: dict[bytes, int] = {}
    for index, digest in enumerate(manifest.domains[domain]["sha256"].to_pylist()):
        seen.setdefault(digest, index)
    return list(seen.values())


def _evenly(n: int, count: int) -> list[int]:
    """`count` of n positions; all if `count` is 0 or larger."""
    if not 0 < count < n:
        return list(range(n))
    return np.linspace(0, n - 1, count).round().astype(int).tolist()


def _translated(translator: Translator, inputs: DomainImages, indices: Sequence[int]) -> Iterator[Tensor]:
    for index in indices:
        yield translator.translate_batch([inputs[index]])[0]


def write_opaque(folder: Path, image: Tensor) -> str:
    """Write an image under a random name, which is returned."""
    pixels = windowed(visible(image))
    if len(pixels) == 1:
        pixels = pixels.repeat(3, 1, 1)
    buffer = io.BytesIO()
    to_pillow(pixels.to(torch.uint8)).save(buffer, "PNG", compress_level=0)  # the size then tells nothing
    name = f"{secrets.token_hex(12)}.png"
    (folder / IMAGES / name).write_bytes(buffer.getvalue())
    return name
