"""Follows an alias of the registry while its model is served: a promotion or a rollback needs no restart."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import REGISTRY, open_source
from cyclegan_dist.service.messages import ServedModel


class FollowedModel:
    """The model that a source names now. Called, it returns that model.

    Args:
        source: a folder, or `models:/NAME@ALIAS`, of which the alias may move.
        model: what it named when it was opened.
        load: loads a snapshot where it will be used, or raises UsageError.
        report: called with a line when it names another model, or that cannot be loaded.
    """

    def __init__(
        self, source: str, model: ServedModel, load: Callable[[Snapshot], object], report: Callable[[str], object]
    ):
        self._source, self._model, self._load, self._report = source, model, load, report
        self._failure = ""  # which is reported once

    def __call__(self) -> ServedModel:
        return self._model

    @contextmanager
    def following(self, every_s: float) -> Iterator[None]:
        """Look every `every_s` seconds which version the alias names, until the block ends. What is not an alias is not
        followed, nor is anything with 0.
        """
        stopped = threading.Event()
        thread = threading.Thread(target=self._follow, args=(stopped, every_s), daemon=True)
        if every_s and self._source.startswith(REGISTRY) and "@" in self._source:
            thread.start()
        try:
            yield
        finally:
            stopped.set()

    def _follow(self, stopped: threading.Event, every_s: float) -> None:
        while not stopped.wait(every_s):
            try:
                self.look()
                self._failure = ""
            except Exception as error:  # of MLflow's store too: the next look may find it again
                failure = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
                if failure != self._failure:
                    self._report(f"{failure}; still serving {self._model.name}")
                self._failure = failure

    def look(self) -> None:
        """Take over another version, if the alias names one.

        Raises:
            UsageError: if the registry does not answer, or the version cannot be loaded. The one before is kept.
        """
        from cyclegan_dist.registry.download import exact_uri  # loads mlflow

        name = exact_uri(self._source)
        if name == self._model.name:
            return
        snapshot = open_source(name)
        snapshot.refuse_damaged()
        self._load(snapshot)
        self._model = ServedModel(name=name, snapshot=snapshot)
        self._report(f"{self._source} is {name} now")


def opened(source: str) -> ServedModel:
    """The model of a source, with the exact name of a registered one.

    Raises:
        UsageError: if there is none, or it is damaged.
    """
    snapshot = open_source(source)  # says what is wrong with the source as it was given
    name = snapshot.folder.name  # the path is nothing for people elsewhere
    if source.startswith(REGISTRY):
        from cyclegan_dist.registry.download import exact_uri

        name = exact_uri(source)
        snapshot = open_source(name)
    snapshot.refuse_damaged()
    return ServedModel(name=name, snapshot=snapshot)
