"""Errors that a user can fix, and how commands report them."""

import difflib
import errno
import importlib.util
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

# Not an error of the program: permissions, and storage that fails or is gone.
OF_STORAGE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENOSPC, errno.EDQUOT)
}


STOPS_WITH_INPUT = "CYCLEGAN_DIST_STOPS_WITH_INPUT"  # in the environment of a training whose parent holds its input


class UsageError(Exception):
    """An error in the user's input. The message states the problem and the fix; commands print it and exit with code 2.

    Not a ValueError: config classes raise it, and pydantic and tyro would wrap a ValueError in messages of their own.
    """

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the line that a command prints, instead of a page of source code."""
        return [f"error: {self}"]


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main function and exit with its code. A UsageError, a package that is not installed, and an error
    of the storage under a path become one line on standard error and code 2. Output that is piped to a program which
    ends before, such as `head`, ends the command without a word.
    """
    if not (os.isatty(1) and os.isatty(2)):
        # Notebooks and CI set it, and Rich then writes all frames of a progress bar into a pipe, as into a terminal.
        os.environ.pop("FORCE_COLOR", None)
    try:
        code = main() or 0
        _flush_output()
    except BrokenPipeError:
        if not _nothing_reads_output():
            raise
        code = 128 + signal.SIGPIPE
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "cyclegan_dist", "pipelines"):
            raise
        print(missing_package(package), file=sys.stderr)
        code = 2
    except OSError as error:
        if error.errno not in OF_STORAGE or error.filename is None:
            raise
        advice = "restore access or free space, and run the same command again"
        print(f"error: {error.filename}: {error.strerror}; {advice}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    try:
        _flush_output()
    except OSError:  # the same as above, or of less interest than the error above
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter writes the rest as it exits
    sys.exit(code)


def _flush_output() -> None:
    """Write what standard output holds back, if there is one: a program may be started without.

    Raises:
        OSError: that names it, if it cannot be written.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def _nothing_reads_output() -> bool:
    """Whether standard output is a pipe that is closed at its other end."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):  # a stream without a descriptor, or none
        return False


def pipeline_command(name: str) -> str:
    """How a pipeline is run here: `cyclegan NAME` if that is how this program was started, `python -m pipelines.NAME`
    where the repository's folder `pipelines` can be imported, and `python -m cyclegan_dist.pipelines.NAME` where a
    wheel is installed.
    """
    if _is_entry():
        return f"cyclegan {name}"
    package = Path(__file__).parent
    found = importlib.util.find_spec("pipelines")
    own = found is not None and found.origin == str(package.parent / "pipelines" / "__init__.py")
    in_repository = own and not (package / "pipelines").exists()
    return f"python -m {'' if in_repository else 'cyclegan_dist.'}pipelines.{name}"


def train_command() -> str:
    """How a training is started here: `cyclegan train`, as for pipelines, or `python -m cyclegan_dist.train`."""
    return "cyclegan train" if _is_entry() else "python -m cyclegan_dist.train"


def _is_entry() -> bool:
    return Path(sys.argv[0]).name == "cyclegan"


def without_passwords(text: str) -> str:
    """`text` with user names and passwords removed from URLs."""
    return re.sub(r"://[^/@\s]*@", "://", text)


def refuse_password(url: str, key: str) -> None:
    """Refuse a URL that contains a secret, because options are saved in the run's config, its snapshots and MLflow.

    Raises:
        UsageError: with `key`, but without the URL.
    """
    if re.search(r"://([^/@\s]*:[^/@\s]*@|[^?\s]*\?)", url):
        raise UsageError(
            f"{key}: a URL with a password or a query would be written down with the run; leave it out, and give the "
            "storage's library its secret by the environment, such as AWS_SECRET_ACCESS_KEY or FSSPEC_FTP_PASSWORD"
        )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Convert exceptions of storage libraries to OSError, because each library has its own for server errors."""
    try:
        yield
    except (OSError, UsageError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def missing_package(name: str) -> str:
    """The line of a command for a package that is not installed. Where no virtual environment is active, that is most
    likely why.
    """
    first = "source .venv/bin/activate, or " if sys.prefix == sys.base_prefix else ""
    return f"error: this needs the package {name}: {first}pip install {name}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean NAME? `, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""
