"""Notices that a node will be taken away: the run saves a checkpoint at once, and loses nothing since the last one.

Ray learns of them from clouds and Kubernetes, through its autoscaler, and from `ray drain-node`.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from ray._private.state import state

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import append

POLL_S = 1.0


@contextlib.contextmanager
def checkpoint_before_preemption(run_dir: Path) -> Iterator[None]:
    """While this is entered, ask the ranks of a run for a checkpoint whenever Ray begins to drain a node."""
    done = threading.Event()

    def watch() -> None:
        known = set[str]()
        while not done.wait(POLL_S):
            if not (new := draining_nodes() - known):
                continue
            try:
                RunFolder(run_dir).save.touch()
                append(run_dir, "message", text="a node will be taken away: asking for a checkpoint")
            except OSError:  # of storage that does not answer now: again at the next look
                continue
            known |= new

    thread = threading.Thread(target=watch, name="preemption", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(5 * POLL_S)  # a lost head may answer late or never


def draining_nodes() -> set[str]:
    """Ids of the nodes that Ray is draining; none while its head does not answer."""
    try:
        return set(state.get_draining_nodes())  # Ray has no public function for it
    except Exception:  # of several kinds; the training itself notices a lost head
        return set()
