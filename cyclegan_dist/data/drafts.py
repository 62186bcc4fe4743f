"""Where a data set is written until it is complete: a hidden folder next to OUT, or a URL without a manifest.

A folder is renamed to its name when its manifest is written. An object store has no rename: there shards are uploaded
to where they stay, and the manifest last. Complete shards are recorded, so that an interrupted preparation goes on
after them.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from cyclegan_dist.data.folder_draft import FolderDraft
from cyclegan_dist.data.location import is_url, scratch
from cyclegan_dist.data.url_draft import UrlDraft
from cyclegan_dist.data.workers import WorkersLostError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import lock

Draft = FolderDraft | UrlDraft


@contextlib.contextmanager
def claim(out: str | Path) -> Iterator[None]:
    """Keep other processes of this machine, or of those that share the folder, from preparing `out`.

    Raises:
        UsageError: if another process does so.
    """
    path = scratch(out, ".lock")
    with _write_errors(out):
        path.parent.mkdir(parents=True, exist_ok=True)
    held = f"another process prepares {out}: wait until it has ended, or give another OUT"
    with contextlib.ExitStack() as stack:
        with _write_errors(out):
            stack.enter_context(lock(path, held=held, remove=True))
        yield


@contextlib.contextmanager
def open_draft(out: str | Path, key: str, *, overwrite: bool, report: Callable[[str], object]) -> Iterator[Draft]:
    """A draft of the data set `out`, which goes on with one that was interrupted. It is removed if an error of the user
    ends the block; what other errors leave is there for the next time.

    Args:
        out: folder or URL.
        key: equal for equal data sets; nothing goes on if it is empty.
        overwrite: another data set may be replaced.
        report: called with a line if an interrupted preparation is continued or begun again.

    Raises:
        UsageError: if `out` cannot be written.
    """
    draft = UrlDraft(str(out), key) if is_url(out) else FolderDraft(Path(out), key)
    with _write_errors(out, draft):
        try:
            draft.begin(overwrite=overwrite, report=report)
            yield draft
        except BaseException as error:
            if not draft.kept or (isinstance(error, UsageError) and not isinstance(error, WorkersLostError)):
                draft.remove()
            raise


@contextlib.contextmanager
def _write_errors(out: str | Path, draft: Draft | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kept = "run the same command again, which continues, " if draft is not None and draft.kept else ""
        raise UsageError(
            f"cannot write {out}: {error.strerror or error}; free space {f'and {kept}' if kept else ''}or choose "
            "another folder"
        ) from error
