"""What is signed, by the scheme that the service checks of MLflow."""

import pytest

from cyclegan_dist.alerts.signature import is_signed, signature
from tests.service.test_webhook import SECRET, signed

NOW = 1_800_000_000


def test_it_is_the_signature_of_mlflow() -> None:
    headers = signed('{"a": 1}', when=str(NOW), delivery="one")
    assert signature(SECRET, "one", str(NOW), b'{"a": 1}') == headers["X-MLflow-Signature"]


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        ({}, True),
        ({"now": NOW + 300}, True),
        ({"now": NOW + 301}, False),
        ({"now": NOW - 301}, False),
        ({"secret": "other"}, False),
        ({"delivery": "two"}, False),
        ({"timestamp": str(NOW + 1)}, False),
        ({"timestamp": "soon"}, False),
        ({"body": b"other"}, False),
    ],
)
def test_any_other_part_is_refused(given: dict, valid: bool) -> None:
    own = {"secret": SECRET, "delivery": "one", "timestamp": str(NOW), "body": b"body"}
    how = own | {"given": signature(**own), "now": NOW} | given
    assert is_signed(**how) == valid
