"""What the service and what computes for it tell each other."""

from dataclasses import dataclass
from typing import Literal

from cyclegan_dist.data.encode import EncodedImage


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one service takes.

    Attributes:
        max_bytes: of an image file.
        max_pixels: of an image, width times height.
        max_requests: that are read or answered at once; more are told to come again.
    """

    max_bytes: int
    max_pixels: int
    max_requests: int


@dataclass(frozen=True, kw_only=True)
class TranslationRequest:
    """An image to translate.

    Attributes:
        data: an image file, from anywhere: nothing about it is known but its length.
        direction: AB or BA.
        reconstruction: whether the translation is to be translated back as well.
        extension: png or jpg: what the answer shall be, where it has 1 or 3 channels.
    """

    data: bytes
    direction: str
    reconstruction: bool = False
    extension: Literal["png", "jpg"] = "png"


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What became of an image: its translation, and the reconstruction if it was asked for."""

    image: EncodedImage
    reconstruction: EncodedImage | None = None


class Refusal(Exception):  # noqa: N818 - an answer, and no error of the program's
    """A request that is not answered with images.

    Attributes:
        status: of HTTP.
        sentence: what is wrong, and what to do.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(status, sentence)  # both, so that it can be sent to another process
        self.status, self.sentence = status, sentence
