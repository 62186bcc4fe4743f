"""The generators of a snapshot behind a service: from files that nobody vouches for to the files of answers."""

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.data.images import FORMATS, UnreadableImageError, read_image, with_channels
from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import DIRECTIONS, load_generator, read_card
from cyclegan_dist.models.tiled import translate_tiled
from cyclegan_dist.networks.build import Generator
from cyclegan_dist.networks.resnet import ResnetGenerator
from cyclegan_dist.service.messages import Refusal, Translation, TranslationRequest

WHOLE_PIXELS = 4_000_000  # of an image that is computed in one piece, for which the paper's network takes some 4 GB
TILE = 1024  # pixels of a tile's side


@dataclass(frozen=True, kw_only=True)
class Work:
    """A decoded image: C x H x W uint8, and what to do with it."""

    pixels: Tensor
    direction: str
    reconstruction: bool


class Translator:
    """Decodes, translates and encodes.

    Args:
        snapshot: folder of the generators.
        device: to compute on.
        max_pixels: of an image, width times height.

    Raises:
        UsageError: if `snapshot` is none, or a damaged one.
    """

    def __init__(self, snapshot: Path, device: torch.device, max_pixels: int):
        card = read_card(snapshot)
        self.channels = {"AB": card["input_nc"], "BA": card["output_nc"]}
        self.device, self.max_pixels = device, max_pixels
        self.networks = {way: load_generator(snapshot, way, device) for way in card.get("directions", DIRECTIONS)}

    def decode(self, request: TranslationRequest) -> Work:
        """Raise Refusal for what is no image, too large, or of other channels than the direction takes."""
        if request.direction not in self.networks:
            raise Refusal(422, f"direction {request.direction!r}: give {' or '.join(self.networks)}")
        if request.reconstruction and request.direction[::-1] not in self.networks:
            raise Refusal(422, "a reconstruction needs both generators, and this model holds one")
        _refuse_large(_size(request.data), self.max_pixels)
        try:
            pixels = read_image(request.data).pixels
        except UnreadableImageError as error:
            raise Refusal(422, f"this file cannot be read: {error}") from error
        _refuse_large((pixels.shape[2], pixels.shape[1]), self.max_pixels)
        wanted = self.channels[request.direction]
        if len(pixels) != wanted and not {len(pixels), wanted} <= set(PICTURES):
            raise Refusal(
                422, f"the image has {len(pixels)} channels, and direction {request.direction} takes {wanted}"
            )
        return Work(
            pixels=with_channels(pixels, wanted), direction=request.direction, reconstruction=request.reconstruction
        )

    def translate(self, batch: Sequence[Work]) -> list[list[Tensor]]:
        """For each image its translation and, if it was asked for, its reconstruction: C x H x W uint8.

        What an image becomes does not depend on what is in the batch with it, except on a GPU, in rounding.
        """
        answers: list[list[Tensor]] = [[] for _ in batch]
        for members in self._together(batch):
            first = batch[members[0]]
            images = [_translate(self.networks[first.direction], torch.stack([batch[i].pixels for i in members]))]
            if first.reconstruction:
                images.append(_translate(self.networks[first.direction[::-1]], images[0]))
            for place, member in enumerate(members):
                answers[member] = [image[place] for image in images]
        return answers

    def encode(self, images: Sequence[Tensor], request: TranslationRequest) -> Translation:
        """The files of what `translate` made of one image."""
        names = ("translation", "reconstruction")
        files = [encode_image(image, name, request.extension) for image, name in zip(images, names, strict=False)]
        return Translation(image=files[0], reconstruction=files[1] if len(files) > 1 else None)

    def _together(self, batch: Sequence[Work]) -> Iterable[list[int]]:
        """Which images of a batch are computed at once."""
        if self.device.type == "cpu":
            # Convolutions round otherwise for another batch size, in one value of 50,000 by a grey level, and are no
            # faster for it: the cores are busy with one image.
            return [[i] for i in range(len(batch))]
        groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for i, work in enumerate(batch):
            groups[(work.direction, work.reconstruction, work.pixels.shape)].append(i)
        return groups.values()


def _translate(network: Generator, images: Tensor) -> Tensor:
    """Of n x C x H x W uint8 images; large ones in tiles, which is the same to rounding."""
    if images[0, 0].numel() > WHOLE_PIXELS and isinstance(network, ResnetGenerator):
        return torch.stack([translate_tiled(network, image, TILE) for image in images])
    return translate(network, images)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height that the header of an image file promises; nothing of what is no such file, or an array, which
    is never larger than its file.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refusal(413, "the image has too many pixels: reduce it") from error
    except Exception:  # whatever it is, `read_image` says it in words
        return 0, 0


def _refuse_large(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise Refusal(413, f"{width}x{height} are more than the {max_pixels:,} pixels that are taken: reduce the image")
