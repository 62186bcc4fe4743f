"""`make release`: what it refuses, that two clones give the same bytes, and that what it builds works without a checkout."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
EPOCH = 1_700_000_000
# Every command answers from the installed files, which include all pages, presets, tables and palettes.
INSTALLED = """
import io, sys
from contextlib import redirect_stdout
from pathlib import Path
import cyclegan_dist
from cyclegan_dist.errors import pipeline_command
from cyclegan_dist.pipelines.__main__ import commands, run
assert Path(cyclegan_dist.__file__).parts[-3] == "site", cyclegan_dist.__file__
assert pipeline_command("demo") == "python -m cyclegan_dist.pipelines.demo"
for name in commands():
    sys.argv = ["cyclegan", name, "--help"]
    with redirect_stdout(io.StringIO()) as out:
        try:
            run()
        except SystemExit as end:
            assert not end.code
    assert "usage: " in out.getvalue(), name
"""
TRAIN = ["cyclegan_dist.train", "demo", "--launcher", "local", "--tracking.mlflow", "False", "--stop_after", "4"]
TRANSLATE = ["cyclegan_dist.pipelines.translate", "runs/demo", "images", "translated", "--direction", "AB"]


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    dates = {"GIT_AUTHOR_DATE": f"{EPOCH} +0000", "GIT_COMMITTER_DATE": f"{EPOCH} +0000"}
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | dates, check=True, capture_output=True, text=True)
    return done.stdout


def tracked() -> set[str]:
    return {name for name in git(ROOT, "ls-files").splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own, with one commit of the files as they are now, without those that no release has, but
    with one test.
    """
    folder = tmp_path_factory.mktemp("release") / "repository"
    for name in tracked():
        if not name.startswith(("tests/", "docs/", "benchmarks/")) or name == "tests/test_release.py":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    return folder


def script(repository: Path) -> Mapping[str, Any]:
    return runpy.run_path(str(repository / ".ci" / "release.py"))


def build(repository: Path, out: Path) -> Path:
    out.mkdir()
    script(repository)["build"](out, EPOCH)
    return out


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(repository, tmp_path_factory.mktemp("built") / "one")


def release(repository: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(repository / ".ci" / "release.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_commit_that_is_no_release_is_refused_in_one_line(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), "clone")

    def refused(*arguments: str) -> str:
        done = release(clone, *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        return done.stderr

    assert "has no tag: give it the tag v0.1.0" in refused()
    git(clone, "tag", "v9.0")
    assert "is version 0.1.0 and has the tag v9.0" in refused()
    git(clone, "tag", "v0.1.0")
    assert 'rename "Unreleased" to "0.1.0 - DATE"' in refused()
    changelog = clone / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased", "## Unreleased\n\n## 0.1.0 - 2026-11-27"))
    git(clone, "commit", "--quiet", "--all", "--message", "Release")
    git(clone, "tag", "--force", "v0.1.0")
    assert "cyclonedx_py is not installed" in refused()
    (clone / "Makefile").unlink()
    (clone / "new").touch()
    assert "2 files are not as committed, first" in refused("--untagged")
    git(clone, "reset", "--quiet", "--hard")
    (clone / "new").unlink()
    assert "cyclonedx_py is not installed" in refused("--untagged")


def test_a_folder_with_other_files_is_refused_and_left_alone(repository: Path, tmp_path: Path) -> None:
    parts = script(repository)
    for name in ("cyclegan_dist-0.0.9.tar.gz", "SHA256SUMS", "mine"):
        (tmp_path / name).touch()
    with pytest.raises(parts["RefusedError"], match="mine is not of a release: give an empty folder"):
        parts["empty"](tmp_path)
    assert len([*tmp_path.iterdir()]) == 3
    (tmp_path / "mine").unlink()
    parts["empty"](tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_two_clones_give_the_same_bytes(repository: Path, built: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    umask = os.umask(0o077)
    try:
        other = build(tmp_path / "clone", tmp_path / "out")
    finally:
        os.umask(umask)
    names = sorted(path.name for path in built.iterdir())
    assert names == ["cyclegan_dist-0.1.0-py3-none-any.whl", "cyclegan_dist-0.1.0.tar.gz"]
    for name in names:
        assert (other / name).read_bytes() == (built / name).read_bytes(), name


@pytest.mark.slow
def test_wheel_and_source_distribution_have_what_git_has(built: Path) -> None:
    packages = {name for name in tracked() if name.startswith(("cyclegan_dist/", "pipelines/"))}
    wheel = set(zipfile.ZipFile(built / "cyclegan_dist-0.1.0-py3-none-any.whl").namelist())
    about = {name for name in wheel if name.startswith("cyclegan_dist-0.1.0.dist-info/")}
    assert wheel - about == {name if name[0] == "c" else f"cyclegan_dist/{name}" for name in packages}
    assert "cyclegan_dist-0.1.0.dist-info/licenses/LICENSE" in about
    with tarfile.open(built / "cyclegan_dist-0.1.0.tar.gz") as source:
        names = {member.name.partition("/")[2] for member in source if member.isreg()}
        assert {member.mtime for member in source} == {EPOCH}
    assert packages | {"LICENSE", "CHANGELOG.md", "constraints.txt", "pyproject.toml"} <= names
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.slow
def test_what_a_wheel_installs_trains_and_translates(built: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(built / "cyclegan_dist-0.1.0-py3-none-any.whl").extractall(site)
    work = tmp_path / "work"
    (work / "images").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "demo.png", work / "images")

    def python(*arguments: str) -> str:
        """Run outside of any checkout."""
        environment = {k: v for k, v in os.environ.items() if k != "CYCLEGAN_DIST_HOME"} | {"PYTHONPATH": str(site)}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-c", INSTALLED)
    assert "python -m cyclegan_dist.pipelines" in python("-m", "cyclegan_dist.pipelines.prepare", "--help")
    python("-m", *TRAIN)
    python("-m", *TRANSLATE, "--preprocess", "resize_and_crop")
    assert (work / "translated" / "demo.png").is_file()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_checksums_can_be_checked_and_their_signature_verified(repository: Path, tmp_path: Path) -> None:
    key, out = tmp_path / "key", tmp_path / "out"
    out.mkdir()
    (out / "a.whl").write_bytes(b"wheel")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    script(repository)["write_sums"](out, key)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    (tmp_path / "signers").write_text(f"me@example.org {key.with_suffix('.pub').read_text()}")

    def verified() -> bool:
        command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "me@example.org", "-n", "file"]
        command += ["-s", str(out / "SHA256SUMS.sig")]
        with (out / "SHA256SUMS").open() as sums:
            return not subprocess.run(command, stdin=sums, capture_output=True).returncode

    assert verified()
    (out / "SHA256SUMS").write_text("changed")
    assert not verified()


def test_an_image_is_built_where_a_tool_runs_and_else_it_says_why_not(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    build_image = script(repository)["build_image"]
    monkeypatch.setenv("PATH", str(tmp_path))
    build_image("1.0")
    assert capfd.readouterr().out == "skipped: image of cluster/Dockerfile, no docker or podman or buildah\n"
    for tool, answer in (("docker", "echo no daemon >&2; exit 1"), ("podman", 'echo "$@"')):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / tool).chmod(0o755)
        build_image("1.0")
    skipped, builds, arguments = capfd.readouterr().out.splitlines()
    assert skipped == "skipped: image of cluster/Dockerfile, docker: no daemon"
    assert builds == "podman builds the image cyclegan_dist:1.0"
    assert arguments == "build --file cluster/Dockerfile --tag cyclegan_dist:1.0 ."
