"""The description of the service for programs: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from collections.abc import Sequence
from typing import Any

from cyclegan_dist import __version__
from cyclegan_dist.service import canary, webhook
from cyclegan_dist.service.forms import FORM
from cyclegan_dist.service.messages import Limits
from cyclegan_dist.service.requests import JsonRequest

MODEL_HEADER = "X-Model"  # of an answer: the exact name of the model that made it
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "npy": "application/octet-stream"}

_TEXT: dict[str, Any] = {"type": "string"}
_JSON = "application/json"
_UNSIGNED = f"The notification is not signed with the service's secret, or is older than {webhook.MAX_AGE_S} seconds"
_REASONS = {
    "400": "The body is damaged",
    "401": "The token is missing, unknown, revoked or expired",
    "403": "The request was sent by a page of another site",
    "404": "There is no such page, or notifications are off",
    "405": "The page does not take this method",
    "408": "The body arrived too slowly",
    "413": "The file or the image is too large, or would take longer than the deadline; the sentence names the limit",
    "415": "The Content-Type is none that this page takes",
    "421": "The Host is not allowed",
    "422": "This is no image that the model takes, or an option does not exist",
    "429": "The token has sent all requests that it may in a minute: try again after Retry-After seconds",
    "500": "The service failed on this request",
    "503": "The service is busy, is being stopped, or missed the deadline: try again after Retry-After seconds",
}


def openapi(
    title: str, directions: Sequence[str], limits: Limits, *, locked: bool = False, root_path: str = ""
) -> dict[str, Any]:
    """The document.

    Args:
        title: what is served.
        directions: that it translates.
        limits: of requests.
        locked: whether a token is needed.
        root_path: prefix of all paths.
    """
    private = {"security": [{"token": []}]} if locked else {}
    unknown = ("401", "429") if locked else ()
    direction = {**_TEXT, "enum": list(directions), "default": directions[0]}
    form = {
        "type": "object",
        "properties": {
            "image": {**_TEXT, "contentMediaType": "application/octet-stream"},
            "direction": direction,
            "format": {**_TEXT, "enum": ["png", "jpeg"], "default": "png"},
        },
        "required": ["image"],
        "additionalProperties": False,
    }
    wish = {
        "name": canary.HEADER,
        "in": "header",
        "description": "Whether the canary is to answer, if there is one, instead of a random choice.",
        "schema": {**_TEXT, "enum": ["always", "never"]},
    }
    translating = (*unknown, "400", "403", "408", "413", "415", "421", "422", "500", "503")
    sized = f"At most {limits.max_bytes / 1e6:g} megabytes and {limits.max_pixels:,} pixels."
    of_model = {
        MODEL_HEADER: {"description": "Exact name of the model that has answered, percent-encoded.", "schema": _TEXT}
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Translations by {title}",
            "version": __version__,
            "description": f"Images are translated by a generator, in at most {limits.deadline_s:g} seconds.",
        },
        **({"servers": [{"url": root_path}]} if root_path else {}),
        "paths": {
            "/translate": {
                "post": {
                    **private,
                    "operationId": "translate",
                    "summary": "Translate an image file",
                    "description": "The file is the body, or the field image of a form. The header "
                    "Accept: image/jpeg asks for a JPEG. Images of other than 1 or 3 channels, or of floating-point "
                    f"numbers, are answered with NumPy arrays. {sized}",
                    "parameters": [
                        {"name": "direction", "in": "query", "description": "Of the translation.", "schema": direction},
                        wish,
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {kind: {} for kind in MEDIA_TYPES.values()}
                        | {FORM: {"schema": form, "encoding": {"image": {"contentType": "image/png, image/jpeg"}}}},
                    },
                    "responses": {
                        "200": {
                            "description": "The translation",
                            "headers": of_model,
                            "content": {kind: {} for kind in MEDIA_TYPES.values()},
                        },
                        **_errors(*translating),
                    },
                }
            },
            "/v1/translate": {
                "post": {
                    **private,
                    "operationId": "translateJson",
                    "summary": "Translate an image in JSON",
                    "description": f"The image is in base64. {sized}",
                    "parameters": [wish],
                    "requestBody": {"required": True, "content": {_JSON: {"schema": _reference("JsonRequest")}}},
                    "responses": {
                        "200": {
                            "description": "The translation, and the reconstruction if it was requested",
                            "headers": of_model,
                            "content": {_JSON: {"schema": _reference("Translation")}},
                        },
                        **_errors(*translating),
                    },
                }
            },
            "/health": _page("health", "Whether the service runs, and what it serves", _JSON, _reference("Health")),
            "/ready": _page("ready", "Whether a process can translate now", _JSON, _reference("Ready"), "503"),
            "/card": _page("card", "Card of the model", _JSON, {"type": "object"}, *unknown, **private),
            "/metrics": _page(
                "metrics", "Counts and durations of requests, for Prometheus", "text/plain", _TEXT, *unknown, **private
            ),
            "/openapi.json": _page("openapi", "This document", _JSON, {"type": "object"}),
            "/docs": _page("docs", "This document as a page", "text/html", _TEXT),
            "/": _page("page", "A page to translate images with", "text/html", _TEXT),
            "/hooks/mlflow": {
                "post": {
                    "operationId": "notify",
                    "summary": "Notification of an MLflow server that an alias has moved",
                    "description": "The alias is looked up at once, if it is served.",
                    "parameters": [
                        {"name": name, "in": "header", "required": True, "schema": _TEXT, "description": what}
                        for name, what in (
                            (webhook.SIGNATURE, "v1, and the HMAC in base64, with a comma between them."),
                            (webhook.TIMESTAMP, "Seconds since 1970."),
                            (webhook.DELIVERY, "Identifier of the delivery."),
                        )
                    ],
                    "requestBody": {"required": True, "content": {_JSON: {"schema": _reference("Notification")}}},
                    "responses": {
                        "202": {
                            "description": "The notification was accepted",
                            "content": {_JSON: {"schema": _reference("Accepted")}},
                        },
                        **_errors("401", "403", "404", "408", "413", "421", "422", "500", **{"401": _UNSIGNED}),
                    },
                }
            },
        },
        "components": {
            **({"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if locked else {}),
            "schemas": {
                "JsonRequest": _json_request(direction),
                "Translation": _object(
                    ("model", "media_type", "image"),
                    model={**_TEXT, "description": "Exact name of the model that has answered."},
                    media_type={**_TEXT, "enum": list(MEDIA_TYPES.values())},
                    image={**_TEXT, "contentEncoding": "base64"},
                    reconstruction_media_type={**_TEXT, "enum": list(MEDIA_TYPES.values())},
                    reconstruction={**_TEXT, "contentEncoding": "base64"},
                ),
                "Health": _object(
                    ("status", "model"),
                    status={"const": "ok"},
                    model={**_TEXT, "description": "Exact name of the model that is served."},
                    canary={
                        "type": ["string", "null"],
                        "description": "Exact name of the canary; null if it is not set.",
                    },
                    canary_share={"type": "number", "minimum": 0, "maximum": 1},
                ),
                "Ready": _object(("ready",), ready={"const": True}),
                "Notification": _object(("entity", "data"), closed=False, entity=_TEXT, data={"type": "object"}),
                "Accepted": _object(
                    ("served",), served={"type": "boolean", "description": "Whether the alias is served here."}
                ),
                "Error": _object(("error",), error={**_TEXT, "description": "What is wrong, and what to do."}),
            },
        },
    }


def _json_request(direction: dict[str, Any]) -> dict[str, Any]:
    """The schema of a JSON body, as it is checked, with the directions of the model."""
    schema = JsonRequest.model_json_schema()
    schema["properties"]["direction"] |= direction
    schema["properties"]["image"]["contentEncoding"] = "base64"
    return schema


def _object(required: Sequence[str], *, closed: bool = True, **properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of a JSON object."""
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return schema | ({"additionalProperties": False} if closed else {})


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _errors(*statuses: str, **reasons: str) -> dict[str, Any]:
    """Answers to requests that are refused, some for other reasons than those of all operations."""
    answers: dict[str, Any] = {
        status: {"description": (_REASONS | reasons)[status], "content": {_JSON: {"schema": _reference("Error")}}}
        for status in sorted(statuses)
    }
    for status in answers.keys() & {"429", "503"}:
        seconds = {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}
        answers[status] |= {"headers": {"Retry-After": seconds}}
    if "401" in answers and not reasons:
        scheme = {"description": "Bearer, and what is wrong.", "schema": _TEXT}
        answers["401"] |= {"headers": {"WWW-Authenticate": scheme}}
    return answers


def _page(
    name: str, summary: str, media_type: str, schema: dict[str, Any], *errors: str, **options: Any
) -> dict[str, Any]:
    """The entry of a page that is read with GET."""
    found = {"description": summary, "content": {media_type: {"schema": schema}}}
    responses = {"200": found, **_errors("403", "421", "500", *errors)}
    return {"get": {**options, "operationId": name, "summary": summary, "responses": responses}}
