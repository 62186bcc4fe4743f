"""Follows an alias of the registry while its model is served: a promotion or a rollback needs no restart."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cyclegan_dist.data.domain_names import refuse_exchanged
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import REGISTRY, open_source, read_store
from cyclegan_dist.service.messages import ServedModel


class FollowedModel:
    """The model that a source names now. Called, it returns that model.

    Args:
        source: a folder, or `models:/NAME@ALIAS`, of which the alias may move.
        model: what it named when it was opened; None if it is an alias that was not set, which only a canary's may be.
        load: loads a snapshot where it will be used, or raises UsageError.
        report: called with a line when it names another model, or that cannot be loaded.
        kept: whether the model is still served after its alias has been deleted.
    """

    def __init__(
        self,
        source: str,
        model: ServedModel | None,
        load: Callable[[Snapshot], object],
        report: Callable[[str], object],
        *,
        kept: bool = True,
    ):
        self.source, self.current = source, model
        self._load, self._report, self._kept = load, report, kept
        self._failure = ""  # which is reported once
        self._wake = threading.Event()

    def __call__(self) -> ServedModel:
        assert self.current, f"{self.source} is not set"
        return self.current

    @contextmanager
    def following(self, every_s: float, *, notified: bool = False) -> Iterator[None]:
        """Look every `every_s` seconds which version the alias names, until the block ends. What is not an alias is not
        followed, nor is anything with 0 unless it is `notified`, by `look_soon`.
        """
        stopped = threading.Event()
        thread = threading.Thread(target=self._follow, args=(stopped, every_s), daemon=True)
        if (every_s or notified) and is_alias(self.source):
            thread.start()
        try:
            yield
        finally:
            stopped.set()
            self._wake.set()

    def load_first(self) -> None:
        """Load the model that was given. If that of an alias cannot be loaded, there is none until it can.

        Raises:
            UsageError: if another one cannot be loaded.
        """
        try:
            if self.current:
                self._load(self.current.snapshot)
        except UsageError as error:
            if not is_alias(self.source):
                raise
            self._report(f"{error}; nothing is served for {self.source}")
            self.current = None

    def look_soon(self) -> None:
        """Look at once in the thread that follows, without waiting for it."""
        self._wake.set()

    def _follow(self, stopped: threading.Event, every_s: float) -> None:
        while True:
            self._wake.wait(every_s or None)
            self._wake.clear()
            if stopped.is_set():
                return
            try:
                self.look()
                self._failure = ""
            except Exception as error:  # of MLflow's store too: the next look may find it again
                failure = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
                if failure != self._failure:
                    still = f"still serving {self.current.name}" if self.current else "nothing is served for it"
                    self._report(f"{failure}; {still}")
                self._failure = failure

    def look(self) -> None:
        """Take over another version, if the alias names one.

        Raises:
            UsageError: if the registry does not answer, the version cannot be loaded, or has the names of the domains
                exchanged. The one before is kept.
        """
        from cyclegan_dist.registry.download import alias_is_set, exact_uri  # loads mlflow

        if not self._kept and not alias_is_set(self.source):
            if self.current:
                self.current = None
                self._report(f"{self.source} is not set any more")
            return
        name = exact_uri(self.source)
        if self.current and name == self.current.name:
            return
        snapshot = open_source(name)
        snapshot.refuse_damaged()
        if self.current:  # clients ask for AB and BA
            before, advice = self.current, f"give {self.source} another version, or start the service again"
            refuse_exchanged(name, snapshot.domain_names, before.name, before.snapshot.domain_names, advice)
        self._load(snapshot)
        self.current = ServedModel(name=name, snapshot=snapshot)
        self._report(f"{self.source} is {name} now")


def looking_soon(followed: Sequence[FollowedModel]) -> Callable[[str], bool]:
    """A function that has those of a source look at once, and returns whether there are any."""

    def moved(source: str) -> bool:
        named = [one for one in followed if one.source == source]
        for one in named:
            one.look_soon()
        return bool(named)

    return moved


def is_alias(source: str) -> bool:
    """Whether a source is an alias of the registry, which may move."""
    return source.startswith(REGISTRY) and "@" in source


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


def opened_canary(source: str, report: Callable[[str], object]) -> ServedModel | None:
    """As `opened`, but None for an alias that is not set or names a model that cannot be loaded, which is reported: it
    may be set later, and must not keep the first model from being served.

    Raises:
        UsageError: for anything else that cannot be opened.
    """
    if not is_alias(source):
        return opened(source)
    from cyclegan_dist.registry.download import alias_is_set

    read_store()
    if not alias_is_set(source):
        report(f"{source} is not set: it is served from when it is")
        return None
    try:
        return opened(source)
    except UsageError as error:
        report(f"{error}; nothing is served for it")
        return None


def report(line: str) -> None:
    """Print a line about what is served."""
    print(line, file=sys.stderr, flush=True)
