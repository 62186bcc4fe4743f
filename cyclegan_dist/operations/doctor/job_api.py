"""Does the cluster run what anybody sends it: Ray's job API, asked without a token and with a wrong one.

CVE-2023-48022: who reaches an open one runs commands on the cluster, and so do programs that look for such clusters.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor.findings import Finding, hidden, told

CHECK = "job API"
ALLOWED = "CYCLEGAN_DIST_INSECURE_CLUSTER"
TIMEOUT_S = 5.0
OPEN, REFUSED = 200, (401, 403)
WRONG_TOKEN = "not-the-token-of-any-cluster"
ADVICE = "Start every node with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or keep the port behind a firewall."


class _Stay(urllib.request.HTTPRedirectHandler):
    """A page to log in on is not the job API's answer."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


# Nor is a proxy's, whose 403 would look like the cluster's.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)


def api_url(dashboard: str) -> str:
    """Where the job API is: RAY_API_SERVER_ADDRESS, or the address of the cluster's dashboard; empty if it has none."""
    url = os.environ.get("RAY_API_SERVER_ADDRESS") or dashboard
    return url if not url or "://" in url else f"http://{url}"


def ask(url: str, token: str = "") -> int:
    """The status that a request for the list of jobs is answered with.

    Raises:
        OSError: if there is no answer.
    """
    if not url.startswith(("http://", "https://")):
        raise OSError(f"{url} is not the http address of a dashboard")
    request = urllib.request.Request(f"{url.rstrip('/')}/api/jobs/")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except HTTPException as error:  # what answers does not speak HTTP
        raise OSError(told(error)) from error


def check_job_api(url: str, ask_from: Callable[[str, str], int] = ask) -> list[Finding]:
    """Whether the job API refuses who has no token, and who has a wrong one.

    Args:
        url: of the dashboard; empty if the cluster has none.
        ask_from: asks with a token from where the dashboard can be reached.
    """
    if not url:
        return [Finding(check=CHECK, level="green", found="the cluster has no dashboard, and so no job API")]
    try:
        without, wrong = ask_from(url, ""), ask_from(url, WRONG_TOKEN)
    except OSError as error:
        found = f"{url} does not answer: {told(error)}"
        return [Finding(check=CHECK, level="yellow", found=found, advice=f"Ask it where it can be reached. {ADVICE}")]
    figures = {"without": without, "wrong_token": wrong}
    if OPEN in (without, wrong):
        who = "without a token" if without == OPEN else "with a wrong token"
        found = f"{url} answers {who}: whoever reaches it runs commands on the cluster"
        return [Finding(check=CHECK, level="red", found=found, advice=ADVICE, figures=figures)]
    if without in REFUSED and wrong in REFUSED:
        found = f"{url} refuses requests without a token ({without}) and with a wrong one ({wrong})"
        return [Finding(check=CHECK, level="green", found=found, figures=figures)]
    found = f"{url} answers {without} without a token and {wrong} with a wrong one"
    advice = "See whether RAY_API_SERVER_ADDRESS is the dashboard's address."
    return [Finding(check=CHECK, level="yellow", found=found, advice=advice, figures=figures)]


def refuse_open_job_api(dashboard: str) -> None:
    """Train on no cluster that runs what anybody sends it, unless CYCLEGAN_DIST_INSECURE_CLUSTER is 1.

    Args:
        dashboard: address of the cluster's dashboard; empty if it has none.

    Raises:
        UsageError: if its job API answers a request without a token.
    """
    url = api_url(dashboard)
    if not url or os.environ.get(ALLOWED) == "1":
        return
    try:
        status = ask(url)
    except OSError:  # who cannot be reached from here cannot be asked; that is no reason not to train
        return
    if status == OPEN:
        raise UsageError(
            f"the cluster's job API at {hidden(url)} runs what anybody sends it: start its nodes with "
            f"RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or set {ALLOWED}=1 if nobody else can reach it"
        )
