import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor import versions
from cyclegan_dist.operations.doctor.versions import check_versions, judge, versions_here
from tests.operations.doctor.fleets import Forked, levels


def installs(folder: Path, name: str, version: str) -> Callable[[], None]:
    """A node on whose path another version is found first."""
    facts = folder / f"{name}-{version}.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True)
    facts.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return lambda: sys.path.insert(0, str(folder))


def test_equal_and_new_enough_is_green() -> None:
    (found,) = check_versions(Forked("a", "b"))
    assert found.level == "green"
    assert "alike on 2 nodes" in found.found and f"ray {versions_here()['ray']}" in found.found


@pytest.mark.parametrize(("name", "level"), [("torch", "red"), ("ray", "red"), ("mlflow", "yellow")])
def test_another_version_on_a_node_is_named(name: str, level: str, tmp_path: Path) -> None:
    mine = versions_here()[name]
    fleet = Forked("a", "b", prepare={"b": installs(tmp_path, name, f"{mine}.post9")})
    (found,) = [f for f in check_versions(fleet) if "here," in f.found]
    assert found.level == level
    assert found.found == f"{name} {mine} here, {mine}.post9 on b"


def test_another_checkout_on_a_node_is_red(tmp_path: Path) -> None:
    def other() -> None:
        versions.cyclegan_dist.__file__ = str(tmp_path / "__init__.py")

    (tmp_path / "__init__.py").write_text("# changed\n")
    (found,) = check_versions(Forked("a", "b", prepare={"b": other}))
    assert found.level == "red" and found.found.startswith("code ") and found.found.endswith(" on b")


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("torch", "2.9.1", ["red"]),
        ("torch", "2.11.0", ["yellow"]),  # safe, but not what pyproject asks for
        ("torch", "2.14.1+cu130", []),
        ("ray", "2.53.0", ["red"]),
        ("ray", "2.61.0", ["yellow"]),
        ("mlflow", "3.10.1", ["red"]),
        ("mlflow", "3.11.0", ["yellow"]),
        ("mlflow", "missing", ["red"]),
    ],
)
def test_holes_are_red_and_other_bounds_yellow(name: str, version: str, expected: list[str]) -> None:
    assert levels(judge(name, version)) == expected
