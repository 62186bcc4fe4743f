"""Tests of references between Kubernetes documents, and of connections that network policies allow."""

from typing import Any

import pytest

from tests.cluster.files import RAY_PODS, README, Pod, documents, kinds, pods, ray_clusters

PODS = {pod.owner: pod for pod in pods()}
POLICIES = [document["spec"] for document in kinds("NetworkPolicy")]
OTHER_PODS = {
    "operator": ({"app.kubernetes.io/name": "kuberay-operator"}, "kuberay-system"),
    "dns": ({"k8s-app": "kube-dns"}, "kube-system"),
    "ingress": ({"app.kubernetes.io/name": "ingress-nginx"}, "ingress-nginx"),
    "other": ({}, "default"),
}


def selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def identity(name: str) -> tuple[dict[str, str], str]:
    """Labels and namespace of a pod."""
    return OTHER_PODS.get(name) or (PODS[name].labels, "cyclegan")


def reaches(source: str, target: str, port: int) -> bool:
    """Whether the policies allow a connection: egress of the source and ingress of the target."""
    return _allows(source, target, port, "Egress", "to") and _allows(target, source, port, "Ingress", "from")


def _allows(one: str, other: str, port: int, direction: str, peers: str) -> bool:
    labels, namespace = identity(one)
    if namespace != "cyclegan":  # policies apply to their own namespace only
        return True
    their_labels, their_namespace = identity(other)
    for policy in POLICIES:
        if direction not in policy["policyTypes"] or not selected(policy["podSelector"], labels):
            continue
        for rule in policy.get(direction.lower(), []):
            if "ports" in rule and port not in [p["port"] for p in rule["ports"]]:
                continue
            for peer in rule[peers]:
                place = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": "cyclegan"}})
                if selected(place, {"kubernetes.io/metadata.name": their_namespace}) and selected(
                    peer.get("podSelector", {}), their_labels
                ):
                    return True
    return False


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("cyclegan gpu", "cyclegan head", 6379),
        ("cyclegan head", "cyclegan gpu", 10002),
        ("train gpu", "train gpu", 29500),
        ("train", "train head", 8265),
        ("sweep", "sweep head", 8265),
        ("operator", "cyclegan head", 8265),
        ("cyclegan head", "mlflow", 5000),
        ("train gpu", "mlflow", 5000),
        ("mlflow", "postgres", 5432),
        ("mlflow", "store", 9000),
        ("bucket", "store", 9000),
        ("ingress", "translate gpu", 8000),
        ("translate gpu", "mlflow", 5000),
        ("operator", "translate head", 8265),
        *((name, "dns", 53) for name in PODS),
    ],
)
def test_required_connections_are_allowed(source: str, target: str, port: int) -> None:
    assert reaches(source, target, port)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        *(("other", name, port) for name in PODS for port in (5000, 5432, 6379, 8000, 8265, 9000)),
        ("ingress", "translate head", 8265),
        ("ingress", "translate gpu", 6379),
        ("operator", "cyclegan head", 6379),
        ("operator", "mlflow", 5000),
        ("train", "train head", 6379),
        ("train", "mlflow", 5000),
        ("cyclegan head", "postgres", 5432),
        ("train gpu", "store", 9000),
        ("mlflow", "cyclegan head", 8265),
        ("bucket", "postgres", 5432),
        *((name, "other", 443) for name in PODS),
    ],
)
def test_other_connections_are_denied(source: str, target: str, port: int) -> None:
    assert not reaches(source, target, port)


def test_every_policy_selects_a_pod() -> None:
    """A misspelt label would deny all connections, which looks like a network fault."""
    identities = [identity(name) for name in (*PODS, *OTHER_PODS)]
    for policy in POLICIES:
        rules = [
            peer
            for key, peers in (("ingress", "from"), ("egress", "to"))
            for r in policy.get(key, [])
            for peer in r[peers]
        ]
        for selector in [policy["podSelector"], *(peer["podSelector"] for peer in rules)]:
            assert any(selected(selector, labels) for labels, _ in identities), selector


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_volumes_exist_and_are_mounted(pod: Pod) -> None:
    claims = {document["metadata"]["name"] for document in kinds("PersistentVolumeClaim")}
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    for document in kinds("StatefulSet"):
        if document["metadata"]["name"] == pod.owner:
            volumes |= {t["metadata"]["name"]: {} for t in document["spec"]["volumeClaimTemplates"]}
    mounted = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
    assert mounted == set(volumes)
    assert {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v} <= claims


def test_all_ray_nodes_share_one_folder_and_one_environment() -> None:
    (environment,) = kinds("ConfigMap")
    (shared,) = [d["spec"] for d in kinds("PersistentVolumeClaim") if d["metadata"]["name"] == "shared"]
    assert shared["accessModes"] == ["ReadWriteMany"]
    for pod in PODS.values():
        if RAY_PODS.items() <= pod.labels.items():
            (node,) = pod.containers
            assert {"name": "shared", "mountPath": environment["data"]["CYCLEGAN_DIST_HOME"]} in node["volumeMounts"]
            assert node["envFrom"] == [{"configMapRef": {"name": environment["metadata"]["name"]}}]


def test_services_target_existing_ports() -> None:
    addresses = set()
    for service in kinds("Service"):
        (pod,) = [p for p in PODS.values() if service["spec"]["selector"].items() <= p.labels.items()]
        ports = {port["name"]: port["containerPort"] for c in pod.containers for port in c["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
            addresses.add(f"{service['metadata']['name']}:{port['port']}")
    text = str(documents())
    assert {name for name in addresses if f"//{name}" in text or f"@{name}" in text} == addresses


def test_selectors_select_their_own_pods() -> None:
    for document in kinds("Deployment", "StatefulSet"):
        assert selected(document["spec"]["selector"], document["spec"]["template"]["metadata"]["labels"])


def test_nodes_wait_for_a_head_with_persistent_state() -> None:
    """A head that persists its state needs nodes that try to reconnect for minutes."""
    settings = {}
    for owner, spec in ray_clusters().items():
        head, node = (
            {env["name"]: env["value"] for env in group["template"]["spec"]["containers"][0]["env"]}
            for group in (spec["headGroupSpec"], spec["workerGroupSpecs"][0])
        )
        settings[owner] = ("RAY_gcs_storage" in head, int(node["RAY_gcs_rpc_server_reconnect_timeout_s"]))
        if owner != "translate":  # which has no jobs
            assert int(head["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60
    assert settings == {"cyclegan": (True, 300), "translate": (False, 10), "train": (False, 10), "sweep": (False, 10)}


def test_the_readme_applies_every_file() -> None:
    applied = {word for line in README.read_text().splitlines() if "kubectl apply" in line for word in line.split()}
    assert {word for word in applied if word.endswith(".yaml")} == {
        f"cluster/kuberay/{path}" for path in ("namespace.yaml", "shared.yaml", "stores.yaml", "mlflow.yaml")
    } | {f"cluster/kuberay/{path}.yaml" for path in ("raycluster", "rayjob-train", "rayjob-sweep", "rayservice")}
