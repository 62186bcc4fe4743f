"""Where pydantic is not installed, a configuration is read as where it is."""

import sys
from typing import Any

import pytest

from cyclegan_dist.config.config import Config, check_config, load_config
from cyclegan_dist.config.shipped import shipped
from cyclegan_dist.errors import UsageError


def both(monkeypatch: pytest.MonkeyPatch, tree: dict[str, Any]) -> list[Config | str]:
    """What comes of `tree` with pydantic and without: a config, or the key of the error."""
    found: list[Config | str] = []
    for absent in (False, True):
        with monkeypatch.context() as patch:
            if absent:
                patch.setitem(sys.modules, "pydantic", None)
            try:
                found.append(check_config(tree, "file"))
            except UsageError as error:
                found.append(str(error).split(":")[1].strip())
    return found


@pytest.mark.parametrize("name", shipped("preset"))
def test_presets_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_config(name)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert load_config(name) == expected


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("optim.lr", "2e-4", 2e-4),
        ("optim.lr", 1, 1.0),
        ("optim.lr", "fast", None),
        ("optim.lr", 0, None),
        ("optim.lr", [1], None),
        ("optim.beta1", 1.0, None),
        ("optim.batch_size", 4.0, 4),
        ("optim.batch_size", "4", 4),
        ("optim.batch_size", 4.5, None),
        ("optim.batch_size", 0, None),
        ("optim.batch_size", None, None),
        ("optim.precision", "bf16", "bf16"),
        ("optim.precision", "fp8", None),
        ("optim.precision", [], None),
        ("data.flip", False, False),
        ("data.flip", "no", False),
        ("data.flip", 1, True),
        ("data.flip", 2, None),
        ("data.flip", [], None),
        ("data.path", "x", "x"),
        ("data.path", 3, None),
        ("data.max_bad_fraction", 1.5, None),
        ("data", 3, None),
        ("name", 3, None),
        ("world.num_workers", 2, 2),
        ("world.num_workers", [1, 2], (1, 2)),
        ("world.num_workers", [1, 2, 3], None),
        ("world.num_workers", [0, 2], None),
        ("world.num_workers", [1, 0], None),
        ("world.num_workers", "a", None),
        ("method.generator.ngf", 0, None),
    ],
)
def test_values_are_accepted_and_refused_alike(
    key: str, value: Any, accepted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree: Any = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    with_pydantic, without = both(monkeypatch, tree)
    assert with_pydantic == without
    if accepted is None:
        assert isinstance(without, str) and without.startswith(key)
    else:
        made: Any = without
        for part in key.split("."):
            made = getattr(made, part)
        assert made == accepted and type(made) is type(accepted)
