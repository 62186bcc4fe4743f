"""Commands in forked processes, which have torch already: a new process takes seconds to load it."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess

from cyclegan_dist.errors import run_command


def start_forked(
    main: Callable[[], int | None],
    *arguments: object,
    stdout: int,
    stderr: int,
    environment: Mapping[str, str],
    own_group: bool = False,
) -> BaseProcess:
    """Run a command's main function as from a shell.

    Args:
        main: of the command.
        arguments: its command line.
        stdout: file descriptor of its standard output.
        stderr: file descriptor of its standard error.
        environment: all variables of its environment.
        own_group: whether it has a process group of its own, which has the number of the process.
    """

    def work() -> None:
        if own_group:
            os.setpgid(0, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        sys.argv, sys.stdout, sys.stderr = ["command", *map(str, arguments)], os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.clear()
        os.environ.update(environment)
        run_command(main)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process
