"""Build a release of the commit that is checked out: wheel, source distribution, bill of materials, checksums.

    python .ci/release.py [--untagged] [--sign KEY] [--out build/release]

Needs the packages of .ci/release.txt. With the same ones, two clones of a commit give the same bytes: everything is
built from `git archive`, and all times are the commit's. The image of cluster/Dockerfile is built where a tool for it
runs.
"""

import argparse
import copy
import gzip
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BACKEND = "import sys, setuptools.build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])"
NEEDED = ("setuptools", "cyclonedx_py")
IMAGE_TOOLS = ("docker", "podman", "buildah")
SUMS = "SHA256SUMS"
NAMESPACE = "file"  # of ssh-keygen's signatures: what is signed


class RefusedError(Exception):
    """A release cannot be built from this state of the repository."""


def git(*arguments: str) -> str:
    """The output of a git command."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RefusedError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def checked_version(untagged: bool) -> str:
    """The version of the commit that is checked out.

    Raises:
        RefusedError: if files are not as committed or, unless `untagged`, the commit has not the tag of its version or
            no section in the changelog.
    """
    if changed := git("status", "--porcelain").splitlines():
        raise RefusedError(f"{len(changed)} files are not as committed, first {changed[0]!r}: commit or remove them")
    (version,) = re.findall(r'^__version__ = "(.+)"$', git("show", "HEAD:cyclegan_dist/__init__.py"), re.MULTILINE)
    if untagged:
        return version
    if f"v{version}" not in (tags := git("tag", "--points-at", "HEAD").splitlines()):
        found = f"has the tag {', '.join(tags)}" if tags else "has no tag"
        raise RefusedError(
            f"this commit is version {version} and {found}: give it the tag v{version}, or correct __version__ in "
            "cyclegan_dist/__init__.py; --untagged (make release UNTAGGED=1) builds without"
        )
    # Only "Unreleased", without a line, may come before this version's section.
    before, found, _ = git("show", "HEAD:CHANGELOG.md").partition(f"\n## {version} - ")
    if not found or before.partition("\n## ")[2].strip() not in ("", "Unreleased"):
        raise RefusedError(f'CHANGELOG.md begins with other changes: rename "Unreleased" to "{version} - DATE"')
    return version


def empty(out: Path) -> None:
    """Remove an earlier release from a folder, or create it.

    Raises:
        RefusedError: if there are other files.
    """
    out.mkdir(parents=True, exist_ok=True)
    earlier = {path for pattern in ("cyclegan_dist-*.*", f"{SUMS}*") for path in out.glob(pattern)}
    if other := set(out.iterdir()) - earlier:
        raise RefusedError(f"{min(other)} is not of a release: give an empty folder, or a new one")
    for path in earlier:
        path.unlink()


def build(out: Path, epoch: int) -> None:
    """Build the source distribution from the committed files, and the wheel from the source distribution."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        archive, source = Path(folder, "source.tar"), Path(folder, "source")
        git("-c", "tar.umask=0022", "archive", "--output", str(archive), "HEAD")
        for hook in ("build_sdist", "build_wheel"):
            with tarfile.open(archive) as tar:
                tar.extractall(source, filter="data")
            top = source if hook == "build_sdist" else next(source.iterdir())
            done = subprocess.run(
                [sys.executable, "-c", BACKEND, hook, str(out)],
                cwd=top,
                env=environment,
                umask=0o022,  # a wheel holds the modes of its files
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RefusedError(f"{hook} failed:\n{done.stderr}")
            if hook == "build_sdist":
                (archive,) = out.glob("*.tar.gz")
                with_fixed_times(archive, epoch)
                shutil.rmtree(source)


def with_fixed_times(archive: Path, epoch: int) -> None:
    """Write a .tar.gz again, with times, owners and order that depend on nothing but its files."""
    draft = archive.with_suffix(".draft")
    with (
        tarfile.open(archive) as old,
        draft.open("wb") as file,
        gzip.GzipFile("", "wb", 9, file, epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            fixed = copy.copy(member)
            fixed.mtime, fixed.uid, fixed.gid, fixed.uname, fixed.gname, fixed.pax_headers = epoch, 0, 0, "", "", {}
            fixed.mode = 0o755 if member.isdir() else 0o644
            new.addfile(fixed, old.extractfile(member) if member.isreg() else None)
    draft.replace(archive)


def write_bill(out: Path, version: str, epoch: int) -> None:
    """Write the CycloneDX list of all pinned packages, with their hashes: those for development too."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "pyproject.toml")  # with the version, which the tool does not look up
        text = (ROOT / "pyproject.toml").read_text()
        project.write_text(text.replace('dynamic = ["version"]', f'version = "{version}"'))
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "cyclonedx_py",
            "requirements",
            str(ROOT / ".ci" / "hashes.txt"),
        ]
        command += ["--pyproject", str(project), "--output-reproducible", "--output-format", "JSON"]
        done = subprocess.run(
            [*command, "--output-file", str(out / f"cyclegan_dist-{version}.cdx.json")],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RefusedError(f"the bill of materials: {done.stderr.strip()}")


def write_sums(out: Path, key: Path | None) -> None:
    """Write the SHA-256 of each file, as `sha256sum --check` reads it, and sign that list with an SSH key."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(out.iterdir())]
    (out / SUMS).write_text("".join(lines))
    print("".join(lines), end="")
    if key is None:
        print(f"skipped: signature, no key (--sign KEY, in make: SIGN=KEY); {SUMS} is not signed")
        return
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(out / SUMS)]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise RefusedError(f"ssh-keygen cannot sign with {key}: give a private SSH key")
    print(f"signed: {SUMS}.sig")


def build_image(version: str) -> None:
    """Build the image of cluster/Dockerfile with the first tool that runs here, or say why not."""
    found = [tool for tool in IMAGE_TOOLS if shutil.which(tool)]
    asked = {tool: subprocess.run([tool, "info"], capture_output=True, text=True) for tool in found}
    running = [tool for tool, answer in asked.items() if not answer.returncode]
    if not running:
        why = "; ".join(f"{tool}: {(answer.stderr.splitlines() or ['fails'])[-1]}" for tool, answer in asked.items())
        print(f"skipped: image of cluster/Dockerfile, {why or 'no ' + ' or '.join(IMAGE_TOOLS)}")
        return
    name = f"cyclegan_dist:{version}"
    print(f"{running[0]} builds the image {name}")
    if subprocess.run([running[0], "build", "--file", "cluster/Dockerfile", "--tag", name, "."], cwd=ROOT).returncode:
        raise RefusedError(f"{running[0]} build failed, see above; the other files are complete")


def main() -> int:
    """Read the command line and build. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--untagged", action="store_true", help="build a commit without a tag and changelog section")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="private SSH key that signs the checksums")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "release", help="folder; an earlier release in it is replaced"
    )
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    try:
        version = checked_version(arguments.untagged)
        if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
            raise RefusedError(f"{missing[0]} is not installed for this Python: give `make release`, which installs it")
        if arguments.sign and not arguments.sign.is_file():
            raise RefusedError(f"no key {arguments.sign}: give a private SSH key")
        epoch = int(git("show", "--no-patch", "--format=%ct", "HEAD"))
        print(f"version {version}, commit {git('rev-parse', 'HEAD')}, in {out}")
        empty(out)
        build(out, epoch)
        write_bill(out, version, epoch)
        shutil.copyfile(ROOT / "constraints.txt", out / f"cyclegan_dist-{version}-constraints.txt")
        write_sums(out, arguments.sign)
        build_image(version)
    except RefusedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
