import pytest

from cyclegan_dist.service.requests import prefers_jpeg


@pytest.mark.parametrize(
    ("accept", "jpeg"),
    [
        ("", False),
        ("*/*", False),
        ("image/jpeg", True),
        ("image/png, image/jpeg", False),
        ("IMAGE/JPEG;q=0.9, image/png;q=0.8", True),
        ("image/jpeg;q=0.5, */*;q=0.8", False),
        ("image/jpeg, */*;q=0.8", True),
        ("image/png;q=0, image/*", True),
        ("image/jpeg;q=x, image/png;q=0.1", False),
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", False),
    ],
)
def test_accept_headers_are_ranked(accept: str, jpeg: bool) -> None:
    assert prefers_jpeg(accept) is jpeg
