"""Access to the cluster: its job API without a token, and the files that hold the token."""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.operations.doctor.report import Level, Report, first_line

OPEN, REFUSED = 200, (401, 403)
WRONG_TOKEN = "not-the-token-of-any-cluster"
TOKEN_PATH, DEFAULT_PATH = "RAY_AUTH_TOKEN_PATH", ".ray/auth_token"
USE_TOKEN = "Start every node with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or keep the port behind a firewall."


def check_job_api(report: Report, url: str, ask: Callable[[str, str], int]) -> None:
    """Check that the job API at a URL, if there is one, refuses requests without a token and with a wrong one, because
    it runs any command (CVE-2023-48022). `ask` returns the HTTP status of a request with a token.
    """
    if not url:
        report.add("green", "the cluster has no dashboard, and so no job API")
        return
    try:
        without, wrong = ask(url, ""), ask(url, WRONG_TOKEN)
    except OSError as error:
        advice = f"Run the doctor as a job (ray job submit), so that it asks from the head. {USE_TOKEN}"
        report.add("yellow", f"{url} does not answer: {first_line(error)}", advice)
        return
    figures = {"without": without, "wrong_token": wrong}
    if OPEN in (without, wrong):
        request = "without a token" if without == OPEN else "with a wrong token"
        found = f"{url} accepts requests {request}: anyone who can reach it can run commands on the cluster"
        report.add("red", found, USE_TOKEN, figures)
    elif without in REFUSED and wrong in REFUSED:
        found = f"{url} refuses requests without a token ({without}) and with a wrong one ({wrong})"
        report.add("green", found, figures=figures)
    else:
        found = f"{url} answers {without} without a token and {wrong} with a wrong one"
        report.add("yellow", found, "Set RAY_API_SERVER_ADDRESS to the address of the cluster's dashboard.", figures)


@dataclass(frozen=True, kw_only=True)
class TokenFiles:
    """The files in which Ray looks for its token, and their problems: level, text and advice."""

    files: list[str]
    problems: list[tuple[Level, str, str]]


def token_files_here() -> TokenFiles:
    """The file of RAY_AUTH_TOKEN_PATH and the one in the home folder. They are not read."""
    found = TokenFiles(files=[], problems=[])
    paths = [Path.home() / DEFAULT_PATH]
    if named := os.environ.get(TOKEN_PATH):
        paths.insert(0, Path(named).expanduser().absolute())
        if not paths[0].is_file():
            advice = f"Write the token there with mode 0600, or unset {TOKEN_PATH}."
            found.problems.append(("red", f"{TOKEN_PATH} names {paths[0]}, which does not exist", advice))
    for path in (path for path in paths if path.is_file()):
        mode = stat.S_IMODE(path.stat().st_mode)
        found.files.append(f"{path} mode {mode:04o}")
        if mode & stat.S_IROTH and all(above.stat().st_mode & stat.S_IXOTH for above in path.parents):
            problem = f"{path} has mode {mode:04o}: every user of the machine can read it"
            found.problems.append(("red", problem, f"chmod 600 {path}"))
        elif mode & 0o077:
            problem = f"{path} has mode {mode:04o}: not only its owner has access"
            found.problems.append(("yellow", problem, f"chmod 600 {path}"))
    return found


def check_token_files(report: Report, nodes: Mapping[str, TokenFiles]) -> None:
    """Check that only its owner can read the token, on every node."""
    for name, found in nodes.items():
        for level, text, advice in found.problems:
            report.add(level, f"{name}: {text}", advice)
    files = dict.fromkeys(file for found in nodes.values() for file in found.files)
    report.ok("; ".join(files) or "none: a token comes from the environment, if there is one")
