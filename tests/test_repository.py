"""What the project promises about itself."""

import ast
import importlib.metadata
import re
import runpy
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


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


def test_every_command_in_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"make ([a-z-]+)", text)) | {"format", "lint", "test-fast"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    for module in set(re.findall(r"python -m ([a-z_.]+)", text)):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def test_packages_are_all_listed() -> None:
    listed = set(re.findall(r'"(cyclegan_dist[a-z_.]*|pipelines)",', (ROOT / "pyproject.toml").read_text()))
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("cyclegan_dist/**/__init__.py")} | {
        "pipelines"
    }
    assert listed == found


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
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for top in {name.split(".")[0] for name in names} - own - sys.stdlib_module_names:
                found = {name.lower().replace("_", "-") for name in providers.get(top, [])}
                assert found & declared, f"{path.name} imports {top}, which pyproject.toml does not name"
