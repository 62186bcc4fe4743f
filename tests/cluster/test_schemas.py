"""Tests of every file against a schema: Ray's own for the launcher, subsets of the published schemas for the rest."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.cluster.files import COMPOSE, KUBERAY, LAUNCHER, documents, kinds, name_of

SCHEMAS = Path(__file__).parent / "schemas"
TREES = {path.name: yaml.safe_load(path.read_text()) for path in SCHEMAS.glob("*.yaml")}
REGISTRY = Registry().with_resources((name, DRAFT202012.create_resource(tree)) for name, tree in TREES.items())


def problems(document: Any, schema: str) -> list[str]:
    """Violations of the definition `FILE#NAME` in a document."""
    file, _, name = schema.partition("#")
    validator = Draft202012Validator({"$ref": f"{file}#/$defs/{name}"}, registry=REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("name", sorted(TREES))
def test_the_schemas_are_valid(name: str) -> None:
    for definition in TREES[name]["$defs"].values():
        Draft202012Validator.check_schema(definition)


@pytest.mark.parametrize("path", KUBERAY, ids=name_of)
def test_kubernetes_files_match_the_schema(path: Path) -> None:
    for document in documents(path):
        file = "kuberay.yaml" if document["kind"] in TREES["kuberay.yaml"]["$defs"] else "kubernetes.yaml"
        assert problems(document, f"{file}#{document['kind']}") == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using extra keyword arguments:DeprecationWarning")  # ray.serve, when imported
def test_the_served_application_exists_and_takes_its_arguments() -> None:
    from ray.serve.schema import ServeDeploySchema

    from cyclegan_dist.orchestration import ray_service

    for document in kinds("RayService"):
        config = ServeDeploySchema.model_validate(yaml.safe_load(document["spec"]["serveConfigV2"]))
        (application,) = config.applications
        module, _, name = application.import_path.partition(":")
        assert module == ray_service.__name__ and callable(getattr(ray_service, name))
        arguments = ray_service.ServiceArguments.model_validate(application.args)
        assert f"{document['metadata']['name']}-serve-svc" in arguments.allowed_hosts
        (group,) = document["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        assert group["replicas"] >= arguments.gpus * (arguments.replicas + bool(arguments.canary))


def test_the_compose_file_matches_the_schema() -> None:
    assert problems(documents(COMPOSE)[0], "compose.yaml#file") == []


@pytest.mark.parametrize("path", LAUNCHER, ids=name_of)
def test_launcher_files_match_the_schema(path: Path) -> None:
    # Imported here, because Ray decides at its first import whether it requires a token, and other tests need one.
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(documents(path)[0]))


@pytest.mark.parametrize("path", LAUNCHER, ids=name_of)
def test_the_launcher_installs_nothing_of_its_own(path: Path) -> None:
    """Ray's defaults for missing keys would install a nightly version of Ray."""
    from ray.autoscaler._private.util import prepare_config

    commands = prepare_config(documents(path)[0])
    installs = [c for key in commands if key.endswith("setup_commands") for c in commands[key]]
    assert not [command for command in installs if "ray" in command]
