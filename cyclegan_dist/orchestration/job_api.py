"""Ray's job API, and the refusal to train on a cluster that accepts jobs without a token (CVE-2023-48022)."""

import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from cyclegan_dist.errors import UsageError, without_passwords

ALLOWED = "CYCLEGAN_DIST_INSECURE_CLUSTER"
TIMEOUT_S = 5.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keeps the status of a redirect: a login page's 200 is not an answer of the job API."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def job_api_url(dashboard: str) -> str:
    """URL of the job API: RAY_API_SERVER_ADDRESS, or the cluster's dashboard; empty if it has none."""
    url = os.environ.get("RAY_API_SERVER_ADDRESS") or dashboard
    return url if not url or "://" in url else f"http://{url}"


def ask_job_api(url: str, token: str = "") -> int:
    """The HTTP status of a request for the list of jobs.

    Raises:
        OSError: if there is no answer.
    """
    if not url.startswith(("http://", "https://")):
        raise OSError(f"{url} is not the http address of a dashboard")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/api/jobs/", headers=headers)
    # No proxy: its 403 would be taken for the cluster's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except HTTPException as error:
        raise OSError(f"no HTTP server: {type(error).__name__}: {error}") from error


def refuse_open_job_api(dashboard: str) -> None:
    """Refuse a cluster that takes jobs without a token, unless CYCLEGAN_DIST_INSECURE_CLUSTER is 1.

    Args:
        dashboard: address of the cluster's dashboard; empty if it has none.

    Raises:
        UsageError: if its job API answers a request without a token.
    """
    url = job_api_url(dashboard)
    if not url or os.environ.get(ALLOWED) == "1":
        return
    try:
        status = ask_job_api(url)
    except OSError:  # it cannot be reached from here, perhaps because it is protected
        return
    if status == 200:
        raise UsageError(
            f"the cluster's job API at {without_passwords(url)} accepts jobs without a token: start its nodes with "
            f"RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or set {ALLOWED}=1 if no one else can reach it"
        )
