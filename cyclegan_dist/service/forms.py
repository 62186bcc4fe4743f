"""Parsing of forms with a file, as HTML forms and `curl -F` send them (multipart/form-data, RFC 7578)."""

from dataclasses import dataclass

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from cyclegan_dist.service.messages import Refusal

FORM = "multipart/form-data"
FORM_BYTES = 4096  # of a form, without its image
FIELDS = ("image", "direction", "format")


@dataclass(frozen=True, kw_only=True)
class ImageForm:
    """The fields of a form; empty if they are missing, but for the image."""

    image: bytes
    direction: str = ""
    format: str = ""


def read_form(content_type: str, body: bytes) -> ImageForm:
    """The fields of a form's body.

    Raises:
        Refusal: if it is no form, lacks an image, or has fields that there are not.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary or not boundary.isascii():
        raise Refusal(400, "the form's Content-Type lacks its boundary: let the client's library write this header")
    fields: dict[str, bytes] = {}
    name = ""
    decoder = MultipartDecoder(boundary.encode(), max_parts=len(FIELDS))
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, Field | File):
                name = event.name
                if name not in FIELDS:
                    raise Refusal(422, f"the form has a field {str(name)[:20]!r}: give {', '.join(FIELDS)} only")
                if name in fields:
                    raise Refusal(422, f"the form has more than one field {name}: send one image at a time")
                fields[name] = b""
            elif isinstance(event, Data):
                fields[name] += event.data
    except RequestEntityTooLarge:
        raise Refusal(422, f"the form has too many fields: give {', '.join(FIELDS)} only") from None
    except ValueError:  # UnicodeDecodeError among them
        raise Refusal(400, "the form is damaged, or ends too early") from None
    if not fields.get("image"):
        raise Refusal(422, "image: the form lacks a file of this name: curl -F image=@image.png")
    words = {key: value.decode(errors="replace") for key, value in fields.items() if key != "image"}
    if words.get("format", "") not in ("", "png", "jpeg"):
        raise Refusal(422, f"format {words['format'][:20]!r}: give png or jpeg")
    return ImageForm(image=fields["image"], **words)
