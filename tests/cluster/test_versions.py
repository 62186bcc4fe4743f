"""Tests that versions in cluster/ are those of constraints.txt, and that Ray has the settings used."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.cluster.files import CLUSTER, COMPOSE, FILES, LAUNCHER, documents, name_of, pinned, pods, ray_clusters

PINNED = pinned()
OURS = re.compile(rf"([\w.:-]+/)*cyclegan_dist:ray{re.escape(PINNED['ray'])}-py311-(cpu|cu128)")
THEIRS = ("postgres:17.6", "minio/minio:RELEASE.2025-09-07T16-13-09Z")
RAY_TAG = re.compile(r"rayproject/ray:(\S+)|cyclegan_dist:ray([\d.]+)-|rayVersion: \"?([\d.]+)|RAY_VERSION=([\d.]+)")
SETTING = re.compile(r"\bRAY_[A-Za-z_]*[A-Za-z]\b(?![_*])")
OWN = {"RAY_HEAD_IP", "RAY_TOKEN_FILE", "RAY_VERSION", "RAY_ADDRESS"}


def images() -> dict[str, str]:
    """The image of every container, by its place."""
    found = {f"compose {name}": service["image"] for name, service in documents(COMPOSE)[0]["services"].items()}
    found |= {f"{pod.owner} {c['name']}": c["image"] for pod in pods() for c in pod.containers}
    return found | {name_of(path): documents(path)[0]["docker"]["image"] for path in LAUNCHER}


@pytest.mark.parametrize(("where", "image"), images().items(), ids=lambda x: x)
def test_images_are_pinned(where: str, image: str) -> None:
    assert OURS.fullmatch(image) or image in THEIRS or image == f"ghcr.io/mlflow/mlflow:v{PINNED['mlflow']}-full"


def test_image_names_match_their_build_arguments() -> None:
    for service in documents(COMPOSE)[0]["services"].values():
        if "build" in service:
            assert service["image"].endswith(f"-{service['build']['args']['ACCELERATOR']}")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_version_of_ray_is_the_pinned_one(path: Path) -> None:
    named = ["".join(groups) for groups in RAY_TAG.findall(path.read_text())]
    assert {version for version in named if not version.startswith("$")} <= {PINNED["ray"]}


def test_the_image_has_the_pinned_ray_and_packages() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    assert f"ARG RAY_VERSION={PINNED['ray']}\n" in text and "FROM rayproject/ray:${RAY_VERSION}-py311-" in text
    assert text.count("pip install") == text.count("pip install --no-cache-dir --constraint constraints.txt") == 1


def test_kuberay_has_the_pinned_version_of_ray() -> None:
    assert {spec["rayVersion"] for spec in ray_clusters().values()} == {PINNED["ray"]}


def test_rays_settings_exist() -> None:
    """Ray ignores misspelt settings silently."""
    named = {name for path in FILES for name in SETTING.findall(path.read_text())} - OWN
    known = (ray_file("core/src/ray/gcs/gcs_server") + ray_file("core/src/ray/raylet/raylet")).decode("latin-1")
    known += "".join(
        ray_file(name).decode()
        for name in (
            "dashboard/modules/job/job_supervisor.py",
            "scripts/symmetric_run.py",
            "_common/usage/usage_constants.py",
        )
    )
    words = set(re.findall(r"[A-Za-z_]{6,}", known))
    assert len(named) > 10
    assert [n for n in sorted(named) if n not in words and not (n[4:5].islower() and n[4:] in words)] == []


def ray_file(name: str) -> bytes:
    return Path(str(distribution("ray").locate_file(f"ray/{name}"))).read_bytes()
