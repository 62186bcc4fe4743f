"""Promotion of generators. Every step leaves the registry consistent, and rerunning completes a killed promotion."""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cyclegan_dist.checkpoint.restore import read_shared
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.config import home
from cyclegan_dist.config.features import refuse_other_features
from cyclegan_dist.data.domain_names import refuse_exchanged
from cyclegan_dist.data.location import is_url
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.detectors import discriminator_won
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.training_state import STATE, TrainingState
from cyclegan_dist.promotion.approval import approval_of
from cyclegan_dist.promotion.evidence import write_evidence
from cyclegan_dist.promotion.gate import Gate, Verdict, decide
from cyclegan_dist.promotion.student import compare_with_teacher, teacher_of
from cyclegan_dist.registry.author import Author, find_author
from cyclegan_dist.registry.download import fetch_snapshot
from cyclegan_dist.registry.log import Event, PromotionLog
from cyclegan_dist.registry.models import STATE_SHA256, log_generators
from cyclegan_dist.registry.sources import open_source
from cyclegan_dist.registry.versions import CANDIDATE, CHAMPION, DIGEST, PREVIOUS, Registered
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.checked import DamagedError, read_checked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from cyclegan_dist.tracking.sender_state import SenderState
from cyclegan_dist.training.run_folder import read_config
from cyclegan_dist.training.sender import sync

WITH_STATE = Verdict(True, "it is champion already, and now has its training state")
PROMOTED, PROMOTED_FORMAT = "promoted", "%Y-%m-%dT%H:%M:%SZ"  # tag of a version: when it became champion


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
    """The version of a registered name that is champion after a promotion, and why."""

    name: str
    champion: str
    verdict: Verdict
    candidate: Evaluation | None = None
    before: Evaluation | None = None
    state_bytes: int = 0
    """Size of the training state that was registered too; 0 if none was."""
    proposed: str = ""
    """Version that waits for a second person's confirmation, who is not the one who has proposed it."""
    moved: bool = False
    """Whether the alias has moved to the candidate."""


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

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        gate: Gate,
        config: EvaluationConfig,
        world: World,
        *,
        with_state: bool = False,
        author: Author | None = None,
    ):
        refuse_other_features(gate.figure, config.features, "gate: figure")
        self.registered, self.gate = Registered(name), gate
        self.log, self.author = PromotionLog(name), author or find_author()
        self.manifest, self.config, self.world, self.with_state = manifest, config, world, with_state

    def __call__(self, candidate: Candidate, *, dry_run: bool = False) -> PromotionResult:
        """Evaluate a candidate and the champion on the same images; the better one is champion afterwards, or, if the
        name needs two people, is proposed. With `with_state`, a version comes with its training state, and a champion
        that has none is registered again.

        Raises:
            UsageError: if MLflow cannot be reached, another promotion is running, the two cannot be compared, or the
                run has no checkpoint of the candidate's step.
        """
        state = read_state(candidate) if self.with_state else None
        with self.registered.alone(home()):
            digest, aliases = candidate.snapshot.digest(), self.registered.aliases()
            champion = aliases.get(CHAMPION, "")
            approval = approval_of(self.log.read(), champion)
            same = [v for v in self.registered.versions() if v.tags.get(DIGEST) == digest]
            known = next((v for v in same if not state or STATE_SHA256 in v.tags), None)
            if known is not None and CHAMPION in known.aliases:
                return promotion_of_champion(self.registered, known.number)
            proposal = approval.proposal
            if known and proposal and (proposal.version, proposal.champion) == (known.number, champion):
                said = f"it is proposed already, by {proposal.user}"
                return PromotionResult(self.registered.name, champion, Verdict(True, said), proposed=known.number)
            best = open_source(f"models:/{self.registered.name}/{champion}") if champion else None
            if best is not None:
                ours, advice = candidate.snapshot, "give another --name, or train with the domains in the other order"
                refuse_exchanged(str(ours.folder), ours.domain_names, "the champion", best.domain_names, advice)
            evaluation = self.evaluated(candidate.snapshot, candidate.run_dir)
            before = self.evaluated(best, None) if best is not None else None
            if any(CHAMPION in v.aliases for v in same):
                verdict = WITH_STATE
            else:
                verdict = self.decide(candidate.snapshot, evaluation, before)
            proposed, moved = "", verdict.passed and not dry_run and not approval.four_eyes
            if verdict.passed and not dry_run:
                reason = verdict.reason
                number = known.number if known else self._register(candidate, digest, evaluation, reason, state)
                if approval.four_eyes:
                    proposed = self._propose(number, champion, digest, reason)
                else:
                    champion = self.make_champion(number, champion, digest, reason)
            elif not dry_run:
                self.log.append(Event.REFUSED, self.author, champion=champion, snapshot=digest, verdict=verdict.reason)
            state_bytes = state.nbytes if state else 0
            name = self.registered.name
            return PromotionResult(name, champion, verdict, evaluation, before, state_bytes, proposed, moved)

    def decide(self, snapshot: Snapshot, evaluation: Evaluation, before: Evaluation | None) -> Verdict:
        """As `decide`; a student must also be nearly as good as its teacher, on the same images."""
        verdict = decide(self.gate, evaluation, before)
        teacher = teacher_of(snapshot, self.config.size) if verdict.passed else None
        if teacher is None:
            return verdict
        near = compare_with_teacher(self.gate, snapshot, evaluation, self.evaluated(teacher, None))
        return Verdict(near.passed, f"{near.reason}; {verdict.reason}" if near.passed else near.reason)

    def evaluated(self, snapshot: Snapshot, run_dir: Path | None) -> Evaluation:
        evaluation = evaluate(snapshot, self.manifest, self.config, self.world, report=_say)
        if run_dir is not None:
            records = (record for record, _ in read_records(run_dir / JOURNAL, 0))
            evaluation.findings.extend(
                discriminator_won(records, read_config(run_dir).method.least_squares, evaluation.names)
            )
        return evaluation

    def _register(
        self, candidate: Candidate, digest: str, evaluation: Evaluation, reason: str, state: TrainingState | None
    ) -> str:
        card, name, sha256 = candidate.snapshot.card, f"{self.registered.name}-{digest[:8]}", ""
        with tempfile.TemporaryDirectory() as folder:
            files = write_evidence(
                Path(folder),
                self.registered.name,
                candidate.snapshot,
                candidate.config,
                evaluation,
                reason,
                with_state=state is not None,
                run_dir=candidate.run_dir,
            )
            if state is not None:
                files["state"] = Path(folder) / STATE
                name, sha256 = f"{name}-state", state.save(files["state"])
            uri = log_generators(
                candidate.run_id,
                candidate.snapshot.folder,
                card["step"],
                name=name,
                files=files,
                state_sha256=sha256,
            )
            text = files["model_card"].read_text()
        tags = {DIGEST: digest, "nimg": str(card["nimg"]), "reason": reason}
        tags |= {STATE_SHA256: sha256} if sha256 else {}
        tags |= {f"data.{data['name']}": data["digest"] for data in card.get("data", [])}
        tags |= {f"domain.{domain}": name for domain, name in candidate.snapshot.domain_names.items()}
        tags |= {key.replace("/", "."): f"{figure.value:.6g}" for key, figure in evaluation.figures.items()}
        return self.registered.register(uri, candidate.run_id, tags, text)

    def _propose(self, number: str, champion: str, digest: str, verdict: str) -> str:
        root = self.manifest.root
        place = root if is_url(root) else os.path.abspath(root)  # for a person who was not there
        rule = {"gate": asdict(self.gate), "what": asdict(self.config), "data": self.manifest.digest, "place": place}
        facts = {"version": number, "champion": champion, "snapshot": digest, "rule": rule}
        self.registered.refuse_lost_lock()
        self.registered.refuse_moved(champion)
        self.log.append(Event.PROPOSED, self.author, verdict=verdict, **facts)
        self._sign(number, "proposed")
        return number

    def make_champion(
        self, number: str, old: str, digest: str, verdict: str, confirms: Mapping[str, str] | None = None
    ) -> str:
        """Write the log, then move the aliases. If the process is killed between two steps, `champion` is a complete
        model and `previous` a former champion.
        """
        self.registered.refuse_lost_lock()
        self.registered.refuse_moved(old)
        facts = {"version": number, "champion": old, "snapshot": digest, **(confirms or {})}
        self.log.append(Event.PROMOTED, self.author, verdict=verdict, **facts)
        self.registered.point(CANDIDATE, number)
        if old:
            self.registered.point(PREVIOUS, old)
        self._sign(number, PROMOTED)
        self.registered.point(CHAMPION, number)
        self.registered.drop(CANDIDATE)
        return number

    def _sign(self, number: str, done: str) -> None:
        """Tag a version with who has `proposed` or `promoted` it, when and why."""
        self.registered.tag(number, done, time.strftime(PROMOTED_FORMAT, time.gmtime()))
        self.registered.tag(number, f"{done}_by", self.author.user)
        if self.author.reason:
            self.registered.tag(number, f"{done}_reason", self.author.reason)


def promotion_of_champion(registered: Registered, champion: str) -> PromotionResult:
    """The promotion of the version that is champion already. Takes the last step of one that was killed before it."""
    if registered.aliases().get(CANDIDATE) == champion:
        registered.drop(CANDIDATE)
    return PromotionResult(registered.name, champion, Verdict(True, "it is champion already"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def read_state(candidate: Candidate) -> TrainingState:
    """The training state of a candidate, out of its run's checkpoint of the same step.

    Raises:
        UsageError: if the run's folder is not here, or has no valid checkpoint of that step.
    """
    if candidate.run_dir is None:
        raise UsageError("the training state is in the checkpoints of the run: give its folder, not its MLflow id")
    config, step = read_config(candidate.run_dir), candidate.snapshot.card["step"]
    kept = config.checkpoint_path if config.checkpoints else str(RunFolder(candidate.run_dir).checkpoints)
    try:
        storage = storage_at(kept)
        found, steps = read_shared(storage, step), storage.steps()
    except OSError as error:
        raise UsageError(f"the checkpoints at {kept} cannot be read: {error}") from error
    if found is None:
        raise UsageError(
            f"{candidate.snapshot.folder} is of step {step}, and {kept} has no valid checkpoint of it, only of "
            f"{', '.join(map(str, steps)) or 'none'}: name a snapshot of such a step, or leave out --with-state"
        )
    facts = {"run": candidate.snapshot.card["run"], "step": step, "nimg": candidate.snapshot.card["nimg"]}
    return TrainingState.of_step(found[0]["step"], facts)
