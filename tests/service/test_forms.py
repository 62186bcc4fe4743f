"""Bodies of forms, as clients send them and damaged."""

import pytest
import requests

from cyclegan_dist.service.forms import ImageForm, read_form
from cyclegan_dist.service.messages import Refusal

IMAGE = bytes(range(256)) * 3 + b"\r\n--x\r\n\n"


def form(*fields: tuple[str, object]) -> tuple[str, bytes]:
    """As `requests` sends it."""
    named = [(name, value if isinstance(value, tuple) else (None, value)) for name, value in fields]
    made = requests.Request("POST", "http://localhost", files=named).prepare()
    assert isinstance(made.body, bytes)
    return made.headers["Content-Type"], made.body


def test_the_bytes_of_the_image_are_those_that_were_sent() -> None:
    found = read_form(*form(("direction", "BA"), ("image", ("a.png", IMAGE)), ("format", "jpeg")))
    assert found == ImageForm(image=IMAGE, direction="BA", format="jpeg")
    assert read_form(*form(("image", IMAGE))) == ImageForm(image=IMAGE)  # without a name of a file


@pytest.mark.parametrize(
    ("content_type", "body", "status", "sentence"),
    [
        ("multipart/form-data", b"", 400, "boundary"),
        ("multipart/form-data; boundary=", b"", 400, "boundary"),
        ("multipart/form-data; boundary=x", b"", 400, "damaged"),
        ("multipart/form-data; boundary=x", b"no form", 400, "damaged"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: image/png\r\n\r\nabc\r\n--x--", 400, "damaged"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422, "lacks a file"),
        (
            "multipart/form-data; boundary=y",
            b"--y\r\nContent-Disposition: form-data; name=image\r\n\r\nab",
            400,
            "ends",
        ),
        (*form(("image", b"")), 422, "lacks a file"),
        (*form(("direction", "AB")), 422, "lacks a file"),
        (*form(("file", IMAGE)), 422, "a field 'file': give image, direction, format only"),
        (*form(("image", IMAGE), ("image", IMAGE)), 422, "one image at a time"),
        (*form(("image", IMAGE), ("format", "gif")), 422, "give png or jpeg"),
    ],
)
def test_what_is_no_form_with_one_image_is_refused(content_type: str, body: bytes, status: int, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence) as refusal:
        read_form(content_type, body)
    assert refusal.value.status == status
