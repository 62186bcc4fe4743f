"""Tests of the deployment files' security: token authentication, no secrets, no public ports, no root processes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.commands import command_lines, parse
from tests.cluster.files import (
    CLUSTER,
    COMPOSE,
    FILES,
    LAUNCHER,
    README,
    SLURM,
    Pod,
    documents,
    kinds,
    name_of,
    pods,
    ray_clusters,
)

SECRET_KEY = re.compile(r"(password|passwd|secret|token|credential|access_key|api_key)", re.IGNORECASE)
# Long hexadecimal or base64 words, cloud keys, private keys, and passwords in URLs.
LOOKS_SECRET = re.compile(
    r"\b[0-9a-f]{24,}\b|\b[A-Za-z0-9+/]{32,}={0,2}\b|\bAKIA[A-Z0-9]{12,}|\bghp_\w+|BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@"
)
SERVICES = documents(COMPOSE)[0]["services"]
POLICIES = kinds("NetworkPolicy")


def values(tree: Any, key: str = "") -> list[tuple[str, str]]:
    """Each scalar of a document with its key; the key of `{name: N, value: V}` is N."""
    if isinstance(tree, list):
        return [pair for item in tree for pair in values(item, key)]
    if isinstance(tree, dict) and "name" in tree and "value" in tree:
        return [(tree["name"], str(tree["value"]))]
    if isinstance(tree, dict):
        return [pair for k, v in tree.items() for pair in values(v, k)]
    return [(key, str(tree))]


ALLOWED = re.compile(
    r"/run/secrets/\w+|token|false|False|(ray-token|service-tokens|stores|ray_token|[a-z]+_password|store_user)|~/.ray/auth_token|required"
    r"|\$\{[A-Z_]+:\?see \.env\.example\}"
)


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".yaml"], ids=name_of)
def test_keys_of_secrets_have_no_secret_values(path: Path) -> None:
    """Allowed values are a mode, a path, or the name of a Secret or of one of its keys."""
    for document in documents(path):
        assert [f"{k}: {v}" for k, v in values(document) if SECRET_KEY.search(k) and not ALLOWED.fullmatch(v)] == []
        assert document.get("kind") != "Secret"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_looks_like_a_secret(path: Path) -> None:
    words = [w for w in LOOKS_SECRET.findall(path.read_text()) if "/" not in w]
    assert words == []


def test_compose_does_not_start_without_secrets() -> None:
    files = [secret["file"] for secret in documents(COMPOSE)[0]["secrets"].values()]
    needed = [re.fullmatch(r"\$\{([A-Z_]+):\?.+\}", file) for file in files]
    example = re.findall(r"^([A-Z_]+)=(.*)$", (CLUSTER / ".env.example").read_text(), re.MULTILINE)
    assert [match[1] for match in needed if match] == [name for name, _ in example]
    assert {value for _, value in example} == {""}
    documented = re.findall(r"\b([A-Z_]+_FILE)=secrets/(\w+)", README.read_text())
    (made,) = re.findall(r"for name in ([\w ]+); do openssl", README.read_text())
    assert sorted(name for name, _ in documented) == sorted(name for name, _ in example)
    assert sorted(file for _, file in documented) == sorted(made.split())


def test_secret_files_are_excluded_from_git_and_the_image() -> None:
    assert {".env", "secrets/"} <= set((CLUSTER / ".gitignore").read_text().split())
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*" and not [line for line in ignored if line.startswith("!") and "cluster" in line]


def test_compose_sets_token_mode() -> None:
    nodes = [service for service in SERVICES.values() if "ray start" in service.get("command", "")]
    assert len(nodes) == 2
    for node in nodes:
        assert node["environment"]["RAY_AUTH_MODE"] == "token" and "ray_token" in node["secrets"]
        assert node["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"


@pytest.mark.parametrize("owner", sorted(ray_clusters()))
def test_kuberay_sets_token_mode(owner: str) -> None:
    assert ray_clusters()[owner]["authOptions"] == {"mode": "token", "secretName": "ray-token"}


@pytest.mark.parametrize("path", LAUNCHER, ids=name_of)
def test_the_launcher_sets_token_mode(path: Path) -> None:
    document = documents(path)[0]
    starts = [c for key in ("head", "worker") for c in document[f"{key}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2 and all(start.startswith("RAY_AUTH_MODE=token ") for start in starts)
    assert document["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}


@pytest.mark.parametrize("path", [p for p in SLURM if "ray " in p.read_text()], ids=name_of)
def test_slurm_scripts_set_token_mode(path: Path) -> None:
    starts_ray = "ray symmetric-run" in path.read_text()
    assert starts_ray == ("export RAY_AUTH_MODE=token\n" in path.read_text())
    assert starts_ray == ("RAY_AUTH_TOKEN_PATH=$(umask 077 && mktemp" in path.read_text())


def test_the_image_sets_token_mode_and_does_not_run_as_root() -> None:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    assert "ENV RAY_AUTH_MODE=token" in lines
    assert [line for line in lines if line.startswith("USER")][-1] == "USER ray"
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_the_readme_creates_every_secret() -> None:
    """openssl generates every token and password, and the Secrets have the keys that pods refer to."""
    made = dict(re.findall(r"--from-literal=(\w+)=\"(\$\(openssl rand -hex \d+\))\"", README.read_text()))
    required = {
        env["valueFrom"]["secretKeyRef"]["key"]
        for pod in pods()
        for container in pod.containers
        for env in container.get("env", [])
        if "valueFrom" in env
    }
    assert set(made) == required | {"auth_token"}  # KubeRay's key for the token
    for name, keys in (("ray-token", {"auth_token"}), ("stores", required)):
        (line,) = re.findall(rf"kubectl create secret generic {name} (.*)", README.read_text())
        assert set(re.findall(r"--from-literal=(\w+)=", line)) == keys


def test_the_service_needs_a_token_of_a_secret_that_the_readme_creates() -> None:
    (service,) = kinds("RayService")
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    file = Path(application["args"]["tokens"])
    (worker,) = [pod for pod in pods() if pod.owner == f"{service['metadata']['name']} gpu"]  # none runs on the head
    (volume,) = [volume for volume in worker.spec["volumes"] if "secret" in volume]
    (mount,) = [mount for mount in worker.containers[0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert (mount["mountPath"], mount["readOnly"]) == (str(file.parent), True)
    assert volume["secret"]["defaultMode"] == 0o440  # read by the pod's group: the file is root's
    create = f"kubectl create secret generic {volume['secret']['secretName']} --from-file={file.name}"
    assert f"{create}\n" in README.read_text() and f"tokens create {file.name} " in README.read_text()


def test_compose_publishes_ports_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("path", LAUNCHER, ids=name_of)
def test_the_launchers_dashboard_is_on_loopback(path: Path) -> None:
    text = "\n".join(documents(path)[0]["head_start_ray_commands"])
    (start,) = [line for line in command_lines(text) if line[1] == "start"]
    assert parse(start)["dashboard_host"] == "127.0.0.1"


def test_aws_allows_only_ssh_from_one_address() -> None:
    group = documents(CLUSTER / "launcher" / "aws.yaml")[0]["provider"]["security_group"]
    assert [(p["FromPort"], p["ToPort"]) for p in group["IpPermissions"]] == [(22, 22)]
    assert "0.0.0.0/0" not in json.dumps(group)


def test_kubernetes_exposes_no_service() -> None:
    types = [d["spec"].get("type", "ClusterIP") for d in kinds("Service")]
    types += [spec["headGroupSpec"].get("serviceType", "ClusterIP") for spec in ray_clusters().values()]
    assert set(types) == {"ClusterIP"} and not kinds("Ingress")
    (deny,) = [d["spec"] for d in POLICIES if d["metadata"]["name"] == "deny-all"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert not [d for d in POLICIES if any("from" not in rule for rule in d["spec"].get("ingress", []))]


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: pod.owner)
def test_pods_are_restricted(pod: Pod) -> None:
    """Pods meet the Pod Security Standard `restricted`, which the namespace enforces."""
    whole = pod.spec["securityContext"]
    assert whole["runAsNonRoot"] and whole["runAsUser"] and whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.spec["automountServiceAccountToken"] is False
    for container in pod.containers:
        closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == closed
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"} and container["resources"]["limits"]
