"""Messages between the HTTP service and the processes that translate for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # loads torch, which the launcher of the service has no time for
    from cyclegan_dist.data.encode import EncodedImage
    from cyclegan_dist.models.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one service.

    Attributes:
        max_bytes: of an image file.
        max_pixels: of an image, width times height.
        max_requests: that are read, answered or sent at once; further ones are refused with 503.
        max_requests_per_client: the same, of one client address.
        deadline_s: seconds for an answer, from the end of the request.
    """

    max_bytes: int
    max_pixels: int
    max_requests: int
    max_requests_per_client: int
    deadline_s: float


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What is served: its exact name, for people, and its snapshot."""

    name: str
    snapshot: "Snapshot"


@dataclass(frozen=True, kw_only=True)
class TranslationRequest:
    """An image to translate.

    Attributes:
        snapshot: folder of the generators; every process that translates can read it.
        data: an untrusted image file; only its length has been checked.
        direction: AB or BA.
        reconstruction: whether the translation is to be translated back as well.
        extension: png or jpg: format of the translation, where it has 1 or 3 channels and, for jpg, 8 bits.
    """

    snapshot: str = ""
    data: bytes
    direction: str
    reconstruction: bool = False
    extension: Literal["png", "jpg"] = "png"


@dataclass(frozen=True, kw_only=True)
class Translation:
    """The translation of an image, and its reconstruction if requested."""

    image: "EncodedImage"
    reconstruction: "EncodedImage | None" = None


class Refusal(Exception):  # noqa: N818 - a response, not an error of the program
    """The reason why a request is refused.

    Attributes:
        status: of HTTP.
        sentence: what is wrong, and what to do.
        retry_after: seconds after which the same request may succeed; sent with status 429 and 503.
        challenge: of the header WWW-Authenticate; empty: none is sent.
    """

    def __init__(self, status: int, sentence: str, retry_after: int = 1, challenge: str = ""):
        super().__init__(status, sentence, retry_after, challenge)  # all, so that it can be sent to another process
        self.status, self.sentence, self.retry_after, self.challenge = status, sentence, retry_after, challenge


Answerer = Callable[[TranslationRequest], Awaitable[Translation | Refusal]]
