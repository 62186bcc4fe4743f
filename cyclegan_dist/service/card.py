"""The card of a model for people elsewhere, for whom folders of this machine mean nothing."""

from typing import Any

REGISTRY = "models:/"  # names of models there have a slash, too


def without_folders(fact: Any) -> Any:
    """A card, or one fact of it, in which paths and URLs are their last part: `horse2zebra` for `/data/horse2zebra`."""
    if isinstance(fact, dict):
        return {key: without_folders(value) for key, value in fact.items()}
    if isinstance(fact, list):
        return [without_folders(value) for value in fact]
    if isinstance(fact, str) and not fact.startswith(REGISTRY):
        return fact.partition("?")[0].replace("\\", "/").rstrip("/").rpartition("/")[2] if _is_path(fact) else fact
    return fact


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text
