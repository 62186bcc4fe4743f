"""Who can read the cluster's token, and do the nodes ask for it."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.operations.doctor.findings import Finding
from cyclegan_dist.operations.doctor.fleet import Fleet, answered, once_per_host

CHECK = "token files"
PATH_NAME, DEFAULT = "RAY_AUTH_TOKEN_PATH", ".ray/auth_token"
SILENT = "See what keeps the node from answering: ray status, and its logs."


@dataclass(frozen=True, kw_only=True)
class TokenFile:
    """A file that may hold the token; it is never read.

    Attributes:
        path: where it is.
        mode: its permissions, or -1 if it is not there.
        is_reached: whether others may enter every folder above it.
        is_named: whether the environment names it.
    """

    path: str
    mode: int
    is_reached: bool
    is_named: bool


def token_files_here() -> list[TokenFile]:
    """The files that Ray would look for its token in."""
    named = os.environ.get(PATH_NAME)
    paths = [(Path(named).expanduser(), True)] if named else []
    return [_token_file(path, is_named) for path, is_named in (*paths, (Path.home() / DEFAULT, False))]


def _token_file(path: Path, is_named: bool) -> TokenFile:
    mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else -1
    above = path.absolute().parents
    is_reached = mode >= 0 and all(folder.stat().st_mode & stat.S_IXOTH for folder in above)
    return TokenFile(path=str(path), mode=mode, is_reached=is_reached, is_named=is_named)


def check_tokens(fleet: Fleet) -> list[Finding]:
    """Only its owner reads the token, on every host."""
    hosts = once_per_host(fleet)
    answers, findings = answered(CHECK, fleet.ask({name: (token_files_here, ()) for name in hosts}), SILENT)
    files = [(name, file) for name, found in answers.items() for file in found]
    findings += [finding for name, file in files for finding in judge(name, file)]
    if findings:
        return findings
    there = [f"{file.path} mode {file.mode:04o}" for _, file in files if file.mode >= 0]
    found = "; ".join(dict.fromkeys(there)) or "none: a token comes from the environment, if there is one"
    return [Finding(check=CHECK, level="green", found=found)]


def judge(name: str, file: TokenFile) -> list[Finding]:
    """What is wrong with a token's file, if something is."""
    if file.mode < 0:
        if not file.is_named:
            return []
        found = f"{name}: {PATH_NAME} names {file.path}, which is not there"
        advice = f"Write the token there with mode 0600, or unset {PATH_NAME}."
        return [Finding(check=CHECK, level="red", found=found, advice=advice)]
    if not file.mode & 0o077:
        return []
    found, advice = f"{name}: {file.path} has mode {file.mode:04o}", f"chmod 600 {file.path}"
    if file.mode & stat.S_IROTH and file.is_reached:
        return [
            Finding(check=CHECK, level="red", found=f"{found}: everybody on the machine can read it", advice=advice)
        ]
    return [Finding(check=CHECK, level="yellow", found=f"{found}: more than its owner may use it", advice=advice)]


def asks_for_token() -> bool:
    """Whether this process, and what was started like it, asks for a token."""
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
