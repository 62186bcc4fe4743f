import os
import socket
import subprocess
import sys

from cyclegan_dist.registry.versions import _is_dead


def test_the_holder_of_a_lock_is_dead_only_if_its_process_is_known_to_have_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = socket.gethostname()
    assert _is_dead(f"{here} process {ended.pid}")
    for holder in (f"{here} process {os.getpid()}", f"{here} process 1", f"elsewhere process {ended.pid}", here, ""):
        assert not _is_dead(holder), holder
