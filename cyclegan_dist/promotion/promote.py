"""Promotion of generators. Every step leaves the registry consistent, and rerunning completes a killed promotion."""

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.config.config import home
from cyclegan_dist.config.features import refuse_other_features
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.detectors import discriminator_won
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.promotion.evidence import write_evidence
from cyclegan_dist.promotion.gate import Gate, Verdict, decide
from cyclegan_dist.registry.download import fetch_snapshot
from cyclegan_dist.registry.models import log_generators
from cyclegan_dist.registry.sources import open_source, store_in_use
from cyclegan_dist.registry.versions import CANDIDATE, CHAMPION, DIGEST, PREVIOUS, Registered, Version
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.checked import DamagedError, read_checked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from cyclegan_dist.tracking.sender_state import SenderState
from cyclegan_dist.training.run_folder import read_config
from cyclegan_dist.training.sender import sync


@dataclass(frozen=True)
class Candidate:
    """Generators that may become champion.

    Attributes:
        snapshot: of them.
        run_id: of their MLflow run.
        config: their run's configuration, YAML.
        run_dir: their run's folder, if it is here.
    """

    snapshot: Snapshot
    run_id: str
    config: str
    run_dir: Path | None = None


@dataclass(frozen=True)
class PromotionResult:
    """The version that is champion after a promotion, and why."""

    champion: str
    verdict: Verdict
    candidate: Evaluation | None = None
    before: Evaluation | None = None


def find_candidate(run: str) -> Candidate:
    """The best snapshot of a run's folder, or the newest if none was evaluated; or, of an MLflow run's id, the newest
    that it has.

    Raises:
        UsageError: if there is no such run, or MLflow cannot be reached.
    """
    run_dir = Path(run).absolute()
    if not run_dir.exists() and len(run) == 32:
        snapshot, config = fetch_snapshot(run, home() / "models")
        return Candidate(Snapshot.open(snapshot), run, config)
    snapshot = Snapshot.open(run_dir)
    best = RunFolder(run_dir).best
    if best.exists():
        try:
            snapshot = Snapshot.open(run_dir / str(read_checked(best)["snapshot"]))
        except (DamagedError, KeyError) as error:
            raise UsageError(
                f"{best} is damaged ({error}): run the training's command again, which writes it anew, or delete it to "
                "promote the newest snapshot"
            ) from error
    run_dir = run_dir if RunFolder(run_dir).config.exists() else snapshot.folder.parent.parent
    read_config(run_dir)
    done = threading.Event()
    done.set()
    sync(run_dir, done)  # creates the run in MLflow, if it does not exist
    return Candidate(snapshot, SenderState.read(run_dir).run_id, RunFolder(run_dir).config.read_text(), run_dir)


class Promotion:
    """One registered name, and the images on which candidates for it are evaluated."""

    def __init__(self, name: str, manifest: Manifest, gate: Gate, config: EvaluationConfig, world: World):
        refuse_other_features(gate.figure, config.features, "gate: figure")
        self.registered, self.gate = Registered(name), gate
        self.manifest, self.config, self.world = manifest, config, world

    def __call__(self, candidate: Candidate, *, dry_run: bool = False) -> PromotionResult:
        """Evaluate a candidate and the champion on the same images; the better one is champion afterwards.

        Raises:
            UsageError: if MLflow cannot be reached, another promotion is running, or the two cannot be compared.
        """
        with self.registered.alone(home()):
            digest, aliases = candidate.snapshot.digest(), self.registered.aliases()
            known = next((v for v in self.registered.versions() if v.tags.get(DIGEST) == digest), None)
            if known is not None and CHAMPION in known.aliases:
                if CANDIDATE in known.aliases:  # a promotion was killed before its last step
                    self.registered.drop(CANDIDATE)
                return PromotionResult(known.number, Verdict(True, "it is champion already"))
            evaluation, before = self._evaluated(candidate.snapshot, candidate.run_dir), None
            if CHAMPION in aliases:
                before = self._evaluated(open_source(f"models:/{self.registered.name}/{aliases[CHAMPION]}"), None)
            verdict = decide(self.gate, evaluation, before)
            champion = aliases.get(CHAMPION, "")
            if verdict.passed and not dry_run:
                number = known.number if known else self._register(candidate, digest, evaluation, verdict.reason)
                champion = self._make_champion(number, champion)
            return PromotionResult(champion, verdict, evaluation, before)

    def _evaluated(self, snapshot: Snapshot, run_dir: Path | None) -> Evaluation:
        evaluation = evaluate(snapshot, self.manifest, self.config, self.world)
        if run_dir is not None:
            records = (record for record, _ in read_records(run_dir / JOURNAL, 0))
            evaluation.findings.extend(discriminator_won(records, read_config(run_dir).method.least_squares))
        return evaluation

    def _register(self, candidate: Candidate, digest: str, evaluation: Evaluation, reason: str) -> str:
        card = candidate.snapshot.card
        with tempfile.TemporaryDirectory() as folder:
            files = write_evidence(
                Path(folder), self.registered.name, candidate.snapshot, candidate.config, evaluation, reason
            )
            uri = log_generators(
                candidate.run_id,
                candidate.snapshot.folder,
                card["step"],
                name=f"{self.registered.name}-{digest[:8]}",
                files=files,
            )
            text = files["model_card"].read_text()
        tags = {DIGEST: digest, "nimg": str(card["nimg"]), "reason": reason}
        tags |= {f"data.{data['name']}": data["digest"] for data in card.get("data", [])}
        tags |= {key.replace("/", "."): f"{figure.value:.6g}" for key, figure in evaluation.figures.items()}
        return self.registered.register(uri, candidate.run_id, tags, text)

    def _make_champion(self, number: str, old: str) -> str:
        """Move the aliases. If the process is killed between two steps, `champion` is a complete model and `previous` a
        former champion.
        """
        self.registered.point(CANDIDATE, number)
        if old:
            self.registered.point(PREVIOUS, old)
        self.registered.tag(number, "promoted", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        self.registered.point(CHAMPION, number)
        self.registered.drop(CANDIDATE)
        return number


def roll_back(name: str) -> tuple[str, str]:
    """Make the previous champion champion again. Returns the version that was and the one that is.

    Raises:
        UsageError: if there is none, or MLflow cannot be reached.
    """
    registered = Registered(name)
    with registered.alone(home()):
        aliases = registered.aliases()
        old, new = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if not old or not new or old == new:
            raise UsageError(
                f"{name} of {store_in_use()} has no champion before this one: there is nothing to roll back to"
            )
        registered.point(CHAMPION, new)
        registered.point(PREVIOUS, old)
    return old, new


def list_versions(name: str) -> list[Version]:
    """All versions of a name, newest first.

    Raises:
        UsageError: if there is none, or MLflow cannot be reached.
    """
    versions = Registered(name).versions()
    if not versions:
        raise UsageError(
            f"nothing is registered as {name} in {store_in_use()}: promote a run with "
            f"{pipeline_command('promote')} RUN_DIR"
        )
    return versions
