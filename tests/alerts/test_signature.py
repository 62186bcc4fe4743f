"""What is signed, by the scheme that the service checks of MLflow."""

import time
from pathlib import Path
from typing import Any

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


def test_the_verifier_of_the_documentation_agrees() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    now = str(int(time.time()))
    own = (SECRET, "one", now, signature(SECRET, "one", now, b"body"))
    assert names["is_signed"](*own, b"body") and not names["is_signed"](*own, b"other")
    old = str(int(now) - 400)
    assert not names["is_signed"](SECRET, "one", old, signature(SECRET, "one", old, b"body"), b"body")
