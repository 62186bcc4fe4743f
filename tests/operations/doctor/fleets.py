"""Fleets for tests, whose nodes are forked processes with an environment and a view of the disk of their own; and the
findings of one check.
"""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from cyclegan_dist.operations.doctor.nodes import Call, Node, result_of
from cyclegan_dist.operations.doctor.report import Finding, Report


class ForkedFleet:
    """Nodes `a`, `b`, ..., the first of them the head: all calls run at once, each in a process of its own.

    Args:
        names: of the nodes.
        prepare: by name, what a node does before a call.
        views: by name, which path a node has in the place of another: what is mounted there.
    """

    def __init__(
        self,
        *names: str,
        prepare: Mapping[str, Callable[[], Any]] | None = None,
        views: Mapping[str, Mapping[str, str]] | None = None,
    ):
        self.nodes = [Node(name=name, address="127.0.0.1", is_head=i == 0) for i, name in enumerate(names)]
        self._prepare, self._views = prepare or {}, views or {}

    def call(self, calls: Mapping[str, Call], timeout_s: float = 60.0) -> dict[str, Any]:
        context = multiprocessing.get_context("fork")
        running = {}
        for name, call in calls.items():
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=self._run, args=(name, call, sending))
            process.start()
            sending.close()
            running[name] = (process, receiving)
        return {name: _answer(process, receiving, timeout_s) for name, (process, receiving) in running.items()}

    def _run(self, name: str, call: Call, answer: Any) -> None:
        function, arguments = call
        view = self._views.get(name, {})
        self._prepare.get(name, lambda: None)()
        seen = (view.get(a, a) if isinstance(a, str) else a for a in arguments)
        answer.send(pickle.dumps(result_of(function, *seen)))
        answer.close()
        os._exit(0)


def _answer(process: Any, receiving: Any, timeout_s: float) -> Any:
    try:
        return pickle.loads(receiving.recv()) if receiving.poll(timeout_s) else TimeoutError("no answer")
    except EOFError:
        return RuntimeError("the process died")
    finally:
        process.kill()
        process.join()


def findings(check: Callable[..., None], *arguments: Any, **named: Any) -> list[Finding]:
    """What a check adds to an empty report."""
    report = Report()
    check(report, *arguments, **named)
    return report.findings


def levels(check: Callable[..., None], *arguments: Any, **named: Any) -> list[str]:
    return [finding.level for finding in findings(check, *arguments, **named)]
