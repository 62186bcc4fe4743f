"""Checks of the repository: packaging, documentation, declared dependencies."""

import ast
import importlib.metadata
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(lines) > 100
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)


def test_the_options_page_is_what_the_tree_says() -> None:
    maker = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))
    assert (ROOT / "docs" / "configuration.md").read_text() == maker["page"](), "run python docs/make_configuration.py"


def test_presets_state_only_differences() -> None:
    for path in (ROOT / "cyclegan_dist" / "config" / "presets").glob("*.yaml"):
        assert len(path.read_text().splitlines()) <= 20
        assert yaml.safe_load(path.read_text())["name"] == path.stem
        assert max(map(len, path.read_text().splitlines())) <= 120, path


def test_every_command_in_the_guides_exists() -> None:
    text = "".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    targets = set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", text)) | {"format", "lint", "test-fast"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    for module in set(re.findall(r"-m ((?:cyclegan_dist|pipelines|benchmarks|tests)(?:\.[a-z_]+)+)", text)):
        path = ROOT / module.replace("cyclegan_dist.pipelines", "pipelines").replace(".", "/")  # as in the wheel
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_packages_are_all_listed() -> None:
    listed = set(SETUPTOOLS["packages"])
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("cyclegan_dist/**/__init__.py")}
    assert listed == found | {"cyclegan_dist.pipelines"}
    assert SETUPTOOLS["package-dir"] == {"cyclegan_dist.pipelines": "pipelines"}


def test_files_that_are_not_python_are_listed() -> None:
    listed = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    tracked = subprocess.run(
        ["git", "ls-files", "cyclegan_dist", "pipelines"], cwd=ROOT, capture_output=True, text=True
    )
    assert {str(path.relative_to(ROOT)) for path in listed} == {
        name for name in tracked.stdout.splitlines() if not name.endswith(".py")
    }


def test_messages_name_pipelines_by_commands_that_work() -> None:
    """`python -m pipelines.NAME` does not exist where only a wheel is installed; `pipeline_command` handles both."""
    for path in [*ROOT.glob("cyclegan_dist/**/*.py"), *ROOT.glob("pipelines/*.py")]:
        tree = ast.parse(path.read_text())
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        texts.discard(ast.get_docstring(tree, clean=False) or "")
        spelled = [text for text in texts if re.search(r"-m pipelines\.[a-z]", text)]
        assert not spelled, f"{path.name}: {spelled}"


def test_everything_that_is_imported_is_declared() -> None:
    """What only comes along with another package here may be missing elsewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [need for needs in project["optional-dependencies"].values() for need in needs]
    declared = {re.split(r"[\[><=]", need)[0].lower() for need in [*project["dependencies"], *extras]}
    providers = importlib.metadata.packages_distributions()
    own = {"cyclegan_dist", "pipelines", "benchmarks", "tests"}
    for path in [*ROOT.glob("cyclegan_dist/**/*.py"), *ROOT.glob("pipelines/*.py"), *ROOT.glob("tests/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for top in {name.split(".")[0] for name in names} - own - sys.stdlib_module_names:
                found = {name.lower().replace("_", "-") for name in providers.get(top, [])}
                assert found & declared, f"{path.name} imports {top}, which pyproject.toml does not name"
