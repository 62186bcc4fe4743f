import importlib.metadata
import sys
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor.versions import check_versions, versions_here
from tests.operations.doctor.fleets import findings

HERE = versions_here()


def test_equal_versions_are_green() -> None:
    (found,) = findings(check_versions, {"a": HERE, "b": HERE})
    assert found.level == "green" and found.found.endswith("the same on 2 nodes")
    assert found.figures == HERE
    assert f"torch {importlib.metadata.version('torch')}" in found.found


@pytest.mark.parametrize(
    ("program", "level"), [("python", "red"), ("code", "red"), ("torch", "red"), ("ray", "red"), ("mlflow", "yellow")]
)
def test_another_version_is_named_with_its_nodes(program: str, level: str) -> None:
    other = {**HERE, program: "0.1"}
    (found,) = findings(check_versions, {"a": HERE, "b": other, "c": other})
    assert (found.level, found.found) == (level, f"{program} {HERE[program]} here, 0.1 on b, c")


def test_changed_code_and_a_missing_package_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "__init__.py").write_text("# changed\n")
    monkeypatch.setattr("cyclegan_dist.__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(sys, "path", [])
    changed = versions_here()
    assert changed["code"] != HERE["code"] and changed["ray"] == "missing"
    (*_, found) = findings(check_versions, {})
    assert found.level == "red" and found.found == "mlflow is not installed here"
