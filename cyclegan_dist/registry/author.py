"""Who changes a registry, and why: as MLflow's server has signed them in, or as they say."""

from dataclasses import dataclass

from mlflow import get_registry_uri
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds, read_mlflow_creds
from mlflow.utils.rest_utils import http_request
from mlflow.utils.uri import is_http_uri

from cyclegan_dist.errors import UsageError
from cyclegan_dist.registry.sources import store_in_use
from cyclegan_dist.tracking.mlflow_places import user_of_process
from cyclegan_dist.tracking.sender_state import first_line

CURRENT_USER = "/api/2.0/mlflow/users/current"  # of MLflow's basic-auth app
LONGEST_USER, LONGEST_REASON = 100, 1000  # characters: an entry of the log must fit into a tag


@dataclass(frozen=True)
class Author:
    """A person who changes a registry.

    Attributes:
        user: their name.
        reason: why, in their words; may be empty.
        signed_in: whether a server has checked the name by a password or token. Otherwise it is a claim.
    """

    user: str
    reason: str = ""
    signed_in: bool = False

    def is_same_user(self, user: str) -> bool:
        return self.user.casefold() == user.casefold()


def find_author(user: str = "", reason: str = "") -> Author:
    """The name under which MLflow's server has signed this user in; where it does not, `user`, or else the name in
    MLFLOW_TRACKING_USERNAME or in MLflow's file of credentials, or else that of the process's user.

    Raises:
        UsageError: if `user` is another one than the server has signed in, it refuses or cannot be reached, or a text
            is too long.
    """
    user, reason = user.strip(), " ".join(reason.split())
    if len(reason) > LONGEST_REASON:
        raise UsageError(f"--reason has {len(reason)} characters: give at most {LONGEST_REASON}")
    if len(user) > LONGEST_USER or not user.isprintable():
        raise UsageError(f"--user: give at most {LONGEST_USER} printable characters")
    signed_in = _signed_in()
    if signed_in and user and user.casefold() != signed_in.casefold():
        raise UsageError(
            f"--user {user}: {store_in_use()} has signed you in as {signed_in}: leave out --user, or sign in as {user}"
        )
    name = signed_in or user or read_mlflow_creds().username or user_of_process()
    return Author(name, reason, bool(signed_in))


def _signed_in() -> str:
    """The user that the server has signed in by this process's credentials; empty if it knows no users.

    It is asked also where MLflow's variables give no credentials: those in the URL, in .netrc or of a certificate sign
    in as well, and must not leave the name to --user.
    """
    uri = get_registry_uri()
    if not is_http_uri(uri):
        return ""
    try:
        answer = http_request(get_default_host_creds(uri), CURRENT_USER, "GET")
    except (MlflowException, OSError) as error:
        raise UsageError(f"{store_in_use()}: {first_line(error)}") from error
    if answer is None:
        return ""
    if answer.status_code in (401, 403):
        raise UsageError(
            f"{store_in_use()} refuses user {read_mlflow_creds().username or '(none is given)'}: check "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    try:
        return str(answer.json()["user"]["username"]) if answer.ok else ""
    except (ValueError, KeyError, TypeError):  # a server, or a proxy before it, that has another page there
        return ""
