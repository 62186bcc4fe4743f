"""Promoting generators, in steps each of which leaves the registry whole: the same command after a kill goes on."""

import json
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.config.config import home
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.detectors import discriminator_won
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.models.snapshot import find_snapshot, read_card
from cyclegan_dist.promotion.evidence import digest_of, write_evidence
from cyclegan_dist.promotion.gate import Gate, Verdict, decide
from cyclegan_dist.registry.models import fetch_snapshot, log_generators
from cyclegan_dist.registry.sources import open_source
from cyclegan_dist.registry.versions import CANDIDATE, CHAMPION, PREVIOUS, Registered, Version
from cyclegan_dist.step.distributed import World
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from cyclegan_dist.tracking.sender_state import SenderState
from cyclegan_dist.training.run_folder import BEST, CONFIG_NAME, read_config
from cyclegan_dist.training.sender import sync

DIGEST = "cyclegan_dist.snapshot"  # tag of a version


@dataclass(frozen=True)
class Candidate:
    """Generators that want to become champion.

    Attributes:
        snapshot: folder of them.
        run_id: of their MLflow run.
        config: their run's configuration, YAML.
        run_dir: their run's folder, if it is here.
    """

    snapshot: Path
    run_id: str
    config: str
    run_dir: Path | None = None


@dataclass(frozen=True)
class PromotionResult:
    """What came of a promotion: the version that is champion now, and why."""

    champion: str
    verdict: Verdict
    candidate: Evaluation | None = None
    before: Evaluation | None = None


def find_candidate(run: str) -> Candidate:
    """The best snapshot of a run's folder, or the newest if none was evaluated; or, of an MLflow run's id, the newest
    that it has.

    Raises:
        UsageError: if there is no such run, or MLflow is away.
    """
    run_dir = Path(run).absolute()
    if not run_dir.exists() and len(run) == 32:
        snapshot, config = fetch_snapshot(run, home() / "models")
        return Candidate(snapshot, run, config)
    snapshot = find_snapshot(run_dir)
    best = run_dir / BEST
    if best.exists():
        snapshot = find_snapshot(run_dir / json.loads(best.read_text())["snapshot"])
    run_dir = run_dir if (run_dir / CONFIG_NAME).exists() else snapshot.parent.parent
    read_config(run_dir)
    done = threading.Event()
    done.set()
    sync(run_dir, done)  # makes the run in MLflow, if it is not there
    return Candidate(snapshot, SenderState.read(run_dir).run_id, (run_dir / CONFIG_NAME).read_text(), run_dir)


class Promotion:
    """One name, and the images by which candidates for it are judged."""

    def __init__(self, name: str, manifest: Manifest, gate: Gate, config: EvaluationConfig, world: World):
        self.registered, self.gate = Registered(name), gate
        self.manifest, self.config, self.world = manifest, config, world

    def __call__(self, candidate: Candidate, *, dry_run: bool = False) -> PromotionResult:
        """Evaluator a candidate beside the champion and make it champion if it is better.

        Raises:
            UsageError: if MLflow is away, another promotion is going on, or the two cannot be compared.
        """
        with self.registered.alone(home()):
            digest, aliases = digest_of(candidate.snapshot), self.registered.aliases()
            known = next((v for v in self.registered.versions() if v.tags.get(DIGEST) == digest), None)
            if known is not None and CHAMPION in known.aliases:
                if CANDIDATE in known.aliases:  # a promotion was killed before its last step
                    self.registered.drop(CANDIDATE)
                return PromotionResult(known.number, Verdict(True, "it is champion already"))
            evaluation, before = self._judged(candidate.snapshot, candidate.run_dir), None
            if CHAMPION in aliases:
                before = self._judged(open_source(f"models:/{self.registered.name}/{aliases[CHAMPION]}"), None)
            verdict = decide(self.gate, evaluation, before)
            champion = aliases.get(CHAMPION, "")
            if verdict.passed and not dry_run:
                number = known.number if known else self._register(candidate, digest, evaluation, verdict.reason)
                champion = self._make_champion(number, champion)
            return PromotionResult(champion, verdict, evaluation, before)

    def _judged(self, snapshot: Path, run_dir: Path | None) -> Evaluation:
        evaluation = evaluate(snapshot, self.manifest, self.config, self.world)
        if run_dir is not None:
            records = (record for record, _ in read_records(run_dir / JOURNAL, 0))
            evaluation.findings.extend(discriminator_won(records, read_config(run_dir).method.gan_mode))
        return evaluation

    def _register(self, candidate: Candidate, digest: str, evaluation: Evaluation, reason: str) -> str:
        card = read_card(candidate.snapshot)
        with tempfile.TemporaryDirectory() as folder:
            files = write_evidence(
                Path(folder), self.registered.name, candidate.snapshot, candidate.config, evaluation, reason
            )
            uri = log_generators(
                candidate.run_id,
                candidate.snapshot,
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
        """The order matters: killed between any two, champion is a whole pair, and previous none that was never it."""
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
        UsageError: if there is none, or MLflow is away.
    """
    registered = Registered(name)
    with registered.alone(home()):
        aliases = registered.aliases()
        old, new = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if not old or not new or old == new:
            raise UsageError(f"{name} has no champion before this one: there is nothing to roll back to")
        registered.point(CHAMPION, new)
        registered.point(PREVIOUS, old)
    return old, new


def list_versions(name: str) -> list[Version]:
    """All versions of a name, newest first.

    Raises:
        UsageError: if there is none, or MLflow is away.
    """
    versions = Registered(name).versions()
    if not versions:
        raise UsageError(f"nothing is registered as {name}: promote a run with {pipeline_command('promote')} RUN_DIR")
    return versions
