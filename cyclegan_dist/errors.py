"""Errors that a user can fix, and how a command reports them."""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class UsageError(Exception):
    """A mistake in what the user gave. The message says what is wrong and what to do; commands print it and end with 2.

    Not a ValueError: config classes raise it, and pydantic and tyro would wrap those in words of their own.
    """


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main function and exit with its code; a UsageError becomes one line on standard error and code
    2.
    """
    try:
        code = main() or 0
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def pipeline_command(name: str) -> str:
    """How a pipeline is run here: `python -m pipelines.NAME` where the repository's folder `pipelines` can be imported,
    and `python -m cyclegan_dist.pipelines.NAME` where a wheel is installed.
    """
    package = Path(__file__).parent
    found = importlib.util.find_spec("pipelines")
    own = found is not None and found.origin == str(package.parent / "pipelines" / "__init__.py")
    in_repository = own and not (package / "pipelines").exists()
    return f"python -m {'' if in_repository else 'cyclegan_dist.'}pipelines.{name}"


def without_passwords(text: str) -> str:
    """`text` without the names and passwords of URLs in it."""
    return re.sub(r"://[^/@\s]*@", "://", text)


def refuse_password(url: str, key: str) -> None:
    """Refuse a URL with a secret in it: what a run is given stands in its config, its snapshots and in MLflow.

    Raises:
        UsageError: which names `key` and does not repeat the URL.
    """
    if re.search(r"://([^/@\s]*:[^/@\s]*@|[^?\s]*\?)", url):
        raise UsageError(
            f"{key}: a URL with a password or a query would be written down with the run; leave it out, and give the "
            "storage's library its secret by the environment, such as AWS_SECRET_ACCESS_KEY or FSSPEC_FTP_PASSWORD"
        )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise what a storage library raises in here as OSError: each has exceptions of its own for a server's bad day."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
