"""Every file against a schema: Ray's own for the launcher, own subsets of the published ones for the rest."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.cluster.files import COMPOSE, KUBERAY, LAUNCHER, documents, name_of

SCHEMAS = Path(__file__).parent / "schemas"
TREES = {path.name: yaml.safe_load(path.read_text()) for path in SCHEMAS.glob("*.yaml")}
REGISTRY = Registry().with_resources((name, DRAFT202012.create_resource(tree)) for name, tree in TREES.items())


def problems(document: Any, schema: str) -> list[str]:
    """What is wrong with a document, by the definition `FILE#NAME`."""
    file, _, name = schema.partition("#")
    validator = Draft202012Validator({"$ref": f"{file}#/$defs/{name}"}, registry=REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("name", sorted(TREES))
def test_the_schemas_are_schemas(name: str) -> None:
    for definition in TREES[name]["$defs"].values():
        Draft202012Validator.check_schema(definition)


@pytest.mark.parametrize("path", KUBERAY, ids=name_of)
def test_kubernetes(path: Path) -> None:
    for document in documents(path):
        file = "kuberay.yaml" if document["kind"] in TREES["kuberay.yaml"]["$defs"] else "kubernetes.yaml"
        assert problems(document, f"{file}#{document['kind']}") == []


def test_compose() -> None:
    assert problems(documents(COMPOSE)[0], "compose.yaml#file") == []


@pytest.mark.parametrize("path", LAUNCHER, ids=name_of)
def test_launcher(path: Path) -> None:
    # Not above: whether Ray asks for a token is decided where it is imported first, and other tests need one.
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(documents(path)[0]))


@pytest.mark.parametrize("path", LAUNCHER, ids=name_of)
def test_the_launcher_installs_nothing_of_its_own(path: Path) -> None:
    """Ray's defaults, which hold where a key is left out, would install a nightly Ray."""
    from ray.autoscaler._private.util import prepare_config

    commands = prepare_config(documents(path)[0])
    installs = [c for key in commands if key.endswith("setup_commands") for c in commands[key]]
    assert not [command for command in installs if "ray" in command]
