"""Atomic, durable writes, and locks between processes."""

import contextlib
import errno
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cyclegan_dist.errors import UsageError

LONGEST_NAME = 255  # bytes, on all common file systems
PROBE_S = 0.05  # after which a lock that `is_locked` held is free again
_locks: set[int] = set()  # descriptors of the locks that this process holds or waits for
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # from file systems that lack an operation


def write_atomic(path: Path, content: str | bytes, *, writer: str = "") -> None:
    """Replace a file. Readers see the old content or the new, also after a kill or a power cut.

    Args:
        path: the file.
        content: text is written as UTF-8.
        writer: as for `atomic`.

    Raises:
        OSError: if it cannot be written; the old file stays.
    """
    with atomic(path, writer=writer) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic(path: Path, *, writer: str = "", durable: bool = True) -> Iterator[Path]:
    """Give a hidden path next to `path`, with the same suffix, to write; rename it to `path` when the block ends.

    An exception removes the draft. A killed process leaves it, and the next write of `path` replaces it.

    Args:
        path: the file to replace.
        writer: must differ between processes that write `path` at the same time.
        durable: flush to disk first. Without, a power cut may lose the content, but a kill may not.

    Raises:
        OSError: if the rename fails; the old file stays.
    """
    draft = hidden(path, prefix=writer)
    draft.unlink(missing_ok=True)  # of a killed process; it may be a link
    try:
        yield draft
        if durable:
            sync(draft)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    if durable:
        sync(path.parent)


def hidden(path: Path, *, prefix: str = "", ending: str = "") -> Path:
    """A hidden path next to `path` for a draft of it, always the same. It is named `prefix`, the name of `path` and
    `ending`, or by their hash and the suffix where that would be too long a name.
    """
    name = f".{prefix}{path.name}{ending}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        suffix = ending or path.suffix
        suffix = suffix if len(os.fsencode(suffix)) < 16 else ""
        name = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}{suffix}"
    return path.with_name(name)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's names, to disk, where the file system supports it.

    Raises:
        OSError: if the flush fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (*UNSUPPORTED, errno.EACCES):  # a folder may be writable and not readable
            raise


@contextlib.contextmanager
def lock(path: Path, *, held: str = "", wait: bool = False, remove: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, until the block ends or the process dies. The file stays. Forked
    processes do not hold it.

    Args:
        path: created if it does not exist; its folder must exist.
        held: the message if another process holds the lock.
        wait: print `held`, if given, and wait for the lock instead of raising.
        remove: remove the file when the block ends. All that lock it must do so.

    Raises:
        UsageError: with the message `held`; or if the file system does not support locks.
        OSError: if `path` cannot be opened.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    _locks.add(descriptor)
    is_held = False
    try:
        try:
            free = _flock(descriptor, fcntl.LOCK_EX)
            if not free and not wait:
                time.sleep(PROBE_S)
                if not _flock(descriptor, fcntl.LOCK_EX):
                    raise UsageError(held or f"{path} is locked by another process: try again later")
            elif not free:
                if held:
                    print(held, file=sys.stderr)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            raise UsageError(
                f"{path} cannot be locked: {error.strerror}; choose a folder on a file system with file locks, or "
                "mount this one with them (Lustre: -o flock; NFS: a running lock server, or -o local_lock=flock)"
            ) from error
        is_held = True
        if remove and not _is_at(descriptor, path):  # the process that held it has removed it
            with lock(path, held=held, wait=wait, remove=True):
                yield
            return
        yield
    finally:
        if descriptor in _locks:  # not in a forked process
            if remove and is_held and _is_at(descriptor, path):
                path.unlink()
            _locks.remove(descriptor)
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock `path`; not on a file system without locks. Takes it for a moment to find out,
    which `lock` allows for.

    Raises:
        OSError: if `path` cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int) -> bool:
    """Take a lock that is free. Returns whether it was."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _drop_locks() -> None:
    """Close the locks of the parent in a forked process, which would hold them longer than the parent lives."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_drop_locks)
