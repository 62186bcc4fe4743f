"""Readers of the files in cluster/: YAML documents, pods, containers and shell text."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file() and "secrets" not in path.parts)
README = CLUSTER / "README.md"
COMPOSE = CLUSTER / "compose.yaml"
KUBERAY = sorted(CLUSTER.glob("kuberay/*.yaml"))
LAUNCHER = sorted(CLUSTER.glob("launcher/*.yaml"))
SLURM = sorted(CLUSTER.glob("slurm/*.sbatch"))
RAY_PODS = {"ray.io/is-ray-node": "yes"}  # KubeRay's own labels


def name_of(path: Path) -> str:
    return str(path.relative_to(CLUSTER))


def pinned() -> dict[str, str]:
    """The versions of constraints.txt."""
    return dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


@functools.cache
def documents(*paths: Path) -> list[dict[str, Any]]:
    """The YAML documents of the files, by default of all files in kuberay/. They are cached: do not change them."""
    return [document for path in paths or KUBERAY for document in yaml.safe_load_all(path.read_text())]


def kinds(*wanted: str) -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] in wanted]


@dataclass(frozen=True)
class Pod:
    """A pod that a document creates."""

    owner: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return self.spec["containers"]


def ray_clusters() -> dict[str, dict[str, Any]]:
    """The specs of all Ray clusters, by the name of the RayCluster, RayService or RayJob."""
    found = {d["metadata"]["name"]: d["spec"] for d in kinds("RayCluster")}
    found |= {d["metadata"]["name"]: d["spec"]["rayClusterConfig"] for d in kinds("RayService")}
    return found | {d["metadata"]["name"]: d["spec"]["rayClusterSpec"] for d in kinds("RayJob")}


def pods() -> list[Pod]:
    """All pods: those of Kubernetes' own kinds, those that KubeRay creates, and job submitters."""
    found = []
    for document in kinds("Deployment", "StatefulSet", "Job", "RayJob"):
        owner = document["metadata"]["name"]
        template = document["spec"].get("template") or document["spec"]["submitterPodTemplate"]
        found.append(Pod(owner, template["metadata"]["labels"], template["spec"]))
    for owner, spec in ray_clusters().items():
        head = spec["headGroupSpec"]["template"]["spec"]
        found.append(Pod(f"{owner} head", {**RAY_PODS, "ray.io/node-type": "head"}, head))
        for group in spec["workerGroupSpecs"]:
            labels = {**RAY_PODS, "ray.io/node-type": "worker"}
            found.append(Pod(f"{owner} {group['groupName']}", labels, group["template"]["spec"]))
    return found


def code_blocks() -> list[str]:
    """The shell commands of README.md, section by section."""
    return re.findall(r"^```bash\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def shell_texts() -> Iterator[tuple[str, str]]:
    """All shell text, with the name of its place."""
    for number, block in enumerate(code_blocks()):
        yield f"README.md block {number + 1}", block
    for name, service in documents(COMPOSE)[0]["services"].items():
        command = service.get("command", "")
        # In compose files, $$ stands for a dollar sign.
        yield f"compose.yaml {name}", (command if isinstance(command, str) else "\n".join(command)).replace("$$", "$")
    for document in kinds("RayJob"):
        yield f"RayJob {document['metadata']['name']}", document["spec"]["entrypoint"]
    for path in LAUNCHER:
        document = documents(path)[0]
        for key in sorted(k for k in document if k.endswith("_commands")):
            yield f"{name_of(path)} {key}", "\n".join(document[key])
    for pod in pods():
        for container in pod.containers:
            if container.get("command", ["ray"])[0] != "ray":
                yield f"pod {pod.owner}", " ".join([*container["command"][:2], *container.get("args", [])])
