"""The description of the service: valid, complete, and true of what it answers."""

import base64
from typing import Any

import pytest
import requests
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from starlette.routing import Route

from cyclegan_dist.service.messages import Limits
from cyclegan_dist.service.openapi import openapi
from tests.service.running import LIMITS, picture, post, post_json

METHODS = ("get", "post")


@pytest.fixture(scope="module")
def document(service: str) -> dict[str, Any]:
    return requests.get(f"{service}openapi.json", timeout=10).json()


def conforms(document: dict[str, Any], schema: Any, value: object) -> bool:
    """Whether a value is of a schema of the document."""
    return Draft202012Validator({**schema, "components": document["components"]}).is_valid(value)


def schemas(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All schemas, wherever they are."""
    found: list[dict[str, Any]] = list(document["components"]["schemas"].values())
    todo: list[Any] = [document["paths"]]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            found += [one["schema"]] if isinstance(one.get("schema"), dict) else []
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found


def test_it_is_valid(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    found = schemas(document)
    assert len(found) > 20
    for schema in found:
        Draft202012Validator.check_schema(schema)
        name = schema.get("$ref", "").removeprefix("#/components/schemas/")
        assert not name or name in document["components"]["schemas"]
    operations = [one[method] for one in document["paths"].values() for method in METHODS if method in one]
    assert len({one["operationId"] for one in operations}) == len(operations)


def test_it_has_all_pages_and_methods(document: dict[str, Any], routes: list[Route]) -> None:
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.path, method) for route in routes for method in route.methods or () if method != "HEAD"}


def test_what_is_answered_is_what_is_described(service: str, document: dict[str, Any]) -> None:
    image = base64.b64encode(picture()).decode()
    bodies: dict[str, list[tuple[object, int]]] = {
        "/v1/translate": [
            ({"image": image}, 200),
            ({"image": image, "direction": "BA", "reconstruction": True, "format": "jpeg"}, 200),
            ({"image": image, "direction": "AC"}, 422),
            ({"image": image, "path": "/etc"}, 422),
            ({"image": 3}, 422),
            ({}, 422),
        ]
    }
    post_of = document["paths"]["/v1/translate"]["post"]
    for body, status in bodies["/v1/translate"]:
        assert conforms(document, post_of["requestBody"]["content"]["application/json"]["schema"], body) == (
            status == 200
        )
        answer = post_json(service, body)
        assert answer.status_code == status
        assert conforms(
            document, post_of["responses"][str(status)]["content"]["application/json"]["schema"], answer.json()
        )
    for path in ("/health", "/ready", "/card"):
        (schema,) = document["paths"][path]["get"]["responses"]["200"]["content"].values()
        assert conforms(document, schema["schema"], requests.get(service.rstrip("/") + path, timeout=10).json())
    refused = post(f"{service}translate", data=b"no image")
    described = document["paths"]["/translate"]["post"]["responses"][str(refused.status_code)]
    assert conforms(document, described["content"]["application/json"]["schema"], refused.json())


def test_it_follows_the_model_and_the_limits() -> None:
    limits = Limits(**{**vars(LIMITS), "max_bytes": 3_000_000})
    found = openapi("zebra", ("BA",), limits)["paths"]["/translate"]["post"]
    assert "3 megabytes and 40,000 pixels" in found["description"]
    assert found["parameters"][0]["schema"] == {"type": "string", "enum": ["BA"], "default": "BA"}


def test_the_page_shows_all_of_it_without_scripts(service: str, document: dict[str, Any]) -> None:
    one, two = (requests.get(f"{service}docs", timeout=10) for _ in range(2))
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in one.text
    for name in document["components"]["schemas"]:
        assert f'<h3 id="schema-{name}">' in one.text and f'href="#schema-{name}"' in one.text
    assert "<script" not in one.text and "http" not in one.text.replace(service, "")
    policy = one.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert one.text.count(f'nonce="{nonce}"') == 1 and nonce not in two.text
