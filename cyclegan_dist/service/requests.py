"""Parsing of HTTP requests to images to translate, with bounded memory."""

import asyncio
import base64
import binascii
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from cyclegan_dist.config.yaml_tree import wording
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.forms import FORM, FORM_BYTES, read_form
from cyclegan_dist.service.messages import Refusal, TranslationRequest

READ_SECONDS = 60  # for a body to arrive: a slower client would hold a place for others
IDLE_SECONDS = 10  # for its first part; further ones must keep up `READ_RATE`
READ_RATE = 20_000  # bytes a second
_JSON_BYTES = 4096  # of a JSON body, without its image


class JsonRequest(BaseModel):
    """A JSON body: an image in base64, and how it is to be translated."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str
    direction: str = ""
    reconstruction: bool = False
    format: Literal["png", "jpeg"] = "png"


async def read_file_request(request: Request, snapshot: Snapshot, max_bytes: int) -> TranslationRequest:
    """An image file as the body, with the direction in the query and the answer's format in `Accept`; or a form, whose
    fields say it as well.

    Raises:
        Refusal: if it is neither.
    """
    direction = _checked(request.query_params.get("direction", ""), snapshot)
    extension = "jpg" if prefers_jpeg(request.headers.get("accept", "")) else "png"
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() == FORM:
        form = await asyncio.to_thread(read_form, kind, await read_body(request, max_bytes + FORM_BYTES, max_bytes))
        if len(form.image) > max_bytes:
            raise _too_large(max_bytes)
        if form.direction:
            direction = _checked(form.direction, snapshot)
        if form.format:
            extension = "jpg" if form.format == "jpeg" else "png"
        return TranslationRequest(data=form.image, direction=direction, extension=extension)
    if kind.lower().startswith(("multipart/", "text/")):
        raise Refusal(415, "send the image file itself as the body: curl --data-binary @image.png")
    data = await read_body(request, max_bytes, max_bytes)
    if not data:
        raise Refusal(422, "the body is empty: send an image file")
    return TranslationRequest(data=data, direction=direction, extension=extension)


async def read_json_request(request: Request, snapshot: Snapshot, max_bytes: int) -> TranslationRequest:
    """A JSON body: `image` in base64, `direction`, `reconstruction`, `format`.

    Raises:
        Refusal: if it is not.
    """
    # Other content types can be sent by a page of any origin without a CORS preflight.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "send JSON, with the header Content-Type: application/json")
    raw = await read_body(request, -(-max_bytes // 3) * 4 + _JSON_BYTES, max_bytes)
    try:
        body = JsonRequest.model_validate_json(raw)
        data = base64.b64decode(body.image, validate=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refusal(
            422 if where else 400, f"{where}: {wording(first['msg'])}" if where else wording(first["msg"])
        ) from None
    except (binascii.Error, ValueError):
        raise Refusal(422, "image: this is not base64, or not only base64") from None
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return TranslationRequest(
        data=data,
        direction=_checked(body.direction, snapshot),
        reconstruction=body.reconstruction,
        extension="jpg" if body.format == "jpeg" else "png",
    )


def prefers_jpeg(accept: str) -> bool:
    """Whether an `Accept` header ranks JPEG above PNG (RFC 9110, 12.5.1)."""
    quality: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        values = [text[2:] for text in parameters if text.startswith("q=")]
        try:
            quality[kind] = float(values[0]) if values else 1.0
        except ValueError:
            quality[kind] = 0.0
    others = quality.get("image/*", quality.get("*/*", 0.0))
    return quality.get("image/jpeg", others) > quality.get("image/png", others)


def _checked(text: str, snapshot: Snapshot) -> str:
    """The requested direction, given as such or by the domains' names, or else the first of the model."""
    directions, direction = snapshot.directions, snapshot.direction(text)
    if direction and direction not in directions:
        choice = " or ".join(directions)
        raise Refusal(422, f"direction {text[:20]!r}: this model translates {snapshot.described()} only; give {choice}")
    return direction or directions[0]


async def read_body(request: Request, limit: int, max_bytes: int) -> bytes:
    """The body, of which no more than `limit` bytes are held.

    Raises:
        Refusal: if it is longer, which is told as a file of more than `max_bytes`, or arrives too slowly.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > 2 * limit:
        raise _too_large(max_bytes)
    body, size = bytearray(), 0
    start = asyncio.get_running_loop().time()
    timer = asyncio.timeout_at(start + IDLE_SECONDS)
    try:
        async with timer:
            async for chunk in request.stream():
                size += len(chunk)
                timer.reschedule(start + min(READ_SECONDS, IDLE_SECONDS + size / READ_RATE))
                if size > 2 * limit:
                    break
                if size > limit:
                    body.clear()  # keep reading for a while: a client that is still sending does not read the answer
                else:
                    body += chunk
    except TimeoutError:
        if not timer.expired():
            raise
        seconds = asyncio.get_running_loop().time() - start
        raise Refusal(408, f"the body arrives too slowly: {size} bytes in {seconds:.0f} seconds") from None
    if size > limit:
        raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the file exceeds the limit of {max_bytes / 1e6:g} megabytes: reduce the image")
