"""Fleets for tests: nodes that are forked processes of this machine, each with an environment and a view of its own."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from cyclegan_dist.operations.doctor.fleet import Call, Node


class Forked:
    """Nodes `a`, `b`, ...: every call runs in a process of its own, all of them at once.

    Args:
        names: of the nodes.
        prepare: by name, what a node does before it answers.
        views: by name, the paths that a node has in the place of others: what is mounted there.
    """

    def __init__(
        self,
        *names: str,
        prepare: Mapping[str, Callable[[], Any]] | None = None,
        views: Mapping[str, Mapping[str, str]] | None = None,
    ):
        self.nodes = [Node(name=name, address="127.0.0.1", is_head=i == 0) for i, name in enumerate(names)]
        self._prepare, self._views = prepare or {}, views or {}

    def ask(self, calls: Mapping[str, Call], timeout_s: float = 60.0) -> dict[str, Any]:
        context = multiprocessing.get_context("fork")
        running = {}
        for name, call in calls.items():
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=self._run, args=(name, call, sending))
            process.start()
            sending.close()
            running[name] = (process, receiving)
        return {name: _answer(process, receiving, timeout_s) for name, (process, receiving) in running.items()}

    def _run(self, name: str, call: Call, answer: Connection) -> None:
        function, arguments = call
        view = self._views.get(name, {})
        try:
            self._prepare.get(name, lambda: None)()
            value = function(*(view.get(a, a) if isinstance(a, str) else a for a in arguments))
        except Exception as error:
            value = error
        answer.send(pickle.dumps(value))
        answer.close()
        os._exit(0)


def _answer(process: Any, receiving: Connection, timeout_s: float) -> Any:
    try:
        if not receiving.poll(timeout_s):
            return TimeoutError(f"no answer within {timeout_s:.0f} s")
        return pickle.loads(receiving.recv())
    except EOFError:
        return RuntimeError("the process died")
    finally:
        process.kill()
        process.join()


def levels(findings: list[Any]) -> list[str]:
    return [finding.level for finding in findings]
