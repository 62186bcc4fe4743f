"""Handling requests of the service: from untrusted image files to the files of their translations."""

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.data.files import FORMATS
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.models.snapshot import Snapshot, describe_directions
from cyclegan_dist.models.translator import open_translators
from cyclegan_dist.service.messages import Refusal, Translation, TranslationRequest

WHOLE_PIXELS = 4_000_000  # of an image that is computed in one piece, for which the paper's network takes some 4 GB
TILE = 1024  # pixels of a tile's side


@dataclass(frozen=True, kw_only=True)
class DecodedRequest:
    """A request with its image, as `Translator.decode` returns it."""

    pixels: Tensor
    direction: str
    reconstruction: bool


class RequestHandler:
    """Decodes requests, translates them in batches, and encodes the results.

    Args:
        snapshot: of the generators.
        device: to compute on.
        max_pixels: of an image, width times height.

    Raises:
        UsageError: if the snapshot is damaged.
    """

    def __init__(self, snapshot: Snapshot, device: torch.device, max_pixels: int):
        self.device, self.max_pixels = device, max_pixels
        tile = TILE if snapshot.generator_config.arch == "resnet" else 0
        self.translators = open_translators(snapshot, device, tile=tile, whole_pixels=WHOLE_PIXELS)

    def decode(self, request: TranslationRequest) -> DecodedRequest:
        """Raise Refusal for a file that is not an image, is too large, or has another number of channels."""
        if request.reconstruction and request.direction[::-1] not in self.translators:
            ways = describe_directions(*self.translators)
            raise Refusal(422, f"a reconstruction needs both directions, and this model translates {ways} only")
        _refuse_large(image_size(request.data), self.max_pixels)
        translator = self.translators[request.direction]
        try:
            picture = translator.read(request.data)
        except UnreadableImageError as error:
            raise Refusal(422, f"this file cannot be read: {error}") from error
        _refuse_large((picture.pixels.shape[2], picture.pixels.shape[1]), self.max_pixels)
        try:
            pixels = translator.decode(picture)
        except UnreadableImageError as error:
            raise Refusal(422, str(error)) from error
        return DecodedRequest(pixels=pixels, direction=request.direction, reconstruction=request.reconstruction)

    def translate(self, batch: Sequence[DecodedRequest]) -> list[list[Tensor]]:
        """For each image its translation and, if requested, its reconstruction, as `Translator.translate_batch`.

        The result for an image does not depend on the rest of the batch, except on a GPU, by rounding.
        """
        results: list[list[Tensor]] = [[] for _ in batch]
        for members in self.groups(batch):
            direction, reconstruction = batch[members[0]].direction, batch[members[0]].reconstruction
            images = [self.translators[direction].translate_batch([batch[i].pixels for i in members])]
            if reconstruction:
                images.append(self.translators[direction[::-1]].translate_batch(images[0]))
            for place, member in enumerate(members):
                results[member] = [image[place] for image in images]
        return results

    def encode(self, images: Sequence[Tensor], request: TranslationRequest) -> Translation:
        """The files of one result of `translate`."""
        names = ("translation", "reconstruction")
        there = self.translators[request.direction]
        values = (there.values_out, there.values_in)
        files = [
            encode_image(image, name, request.extension, values=range_)
            for image, name, range_ in zip(images, names, values, strict=False)
        ]
        return Translation(image=files[0], reconstruction=files[1] if len(files) > 1 else None)

    def groups(self, batch: Sequence[DecodedRequest]) -> Iterable[list[int]]:
        """Positions of the images that are computed at once."""
        if self.device.type == "cpu":
            # With another batch size convolutions round differently (one value in 50,000 by one grey level), and are
            # not faster, because one image keeps all cores busy.
            return [[i] for i in range(len(batch))]
        groups: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for i, request in enumerate(batch):
            groups[request.direction, request.reconstruction].append(i)
        return groups.values()


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in the header of an image file; zeros for other files and for arrays, which are never larger
    than their file.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refusal(413, "the image has too many pixels: reduce it") from error
    except Exception:  # `read_image` reports the reason
        return 0, 0


def _refuse_large(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise Refusal(413, f"{width}x{height} exceed the limit of {max_pixels:,} pixels: reduce the image")
