"""The second person's part of a promotion: the evidence is measured again, then the proposed version is champion."""

import sys

from cyclegan_dist.config.config import home
from cyclegan_dist.config.yaml_tree import check_tree
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.promotion.approval import approval_of, confirmed, place_of, refuse_unconfirmable, rules_of
from cyclegan_dist.promotion.gate import check_gate
from cyclegan_dist.promotion.promote import WITH_STATE, Promotion, PromotionResult, promotion_of_champion
from cyclegan_dist.registry.author import Author, find_author
from cyclegan_dist.registry.log import Entry, Event, PromotionLog
from cyclegan_dist.registry.sources import open_source
from cyclegan_dist.registry.versions import CHAMPION, Registered
from cyclegan_dist.step.distributed import World


def confirm(name: str, version: str, data: str, world: World, author: Author | None = None) -> PromotionResult:
    """Evaluate a proposed version and the champion again, on the same images and by the same gate and options as in the
    proposal; the version is champion if it passes again.

    Args:
        name: registered name.
        version: that is proposed.
        data: data set that the proposal was evaluated on.
        world: this rank among all.
        author: another user than the one who has proposed it.

    Raises:
        UsageError: if it is not proposed, was proposed by the same user, is outdated, or the data set is another one;
            or if MLflow cannot be reached, or another promotion is running.
    """
    author, registered, log = author or find_author(), Registered(name), PromotionLog(name)
    with registered.alone(home()):
        champion = registered.aliases().get(CHAMPION, "")
        now = approval_of(log.read(), champion)
        if now.proposal is None and champion == version:  # a confirmation was killed after it had moved the alias
            return promotion_of_champion(registered, champion)
        refuse_unconfirmable(log, now, version, champion, author)
        proposal = now.proposal
        if proposal is None or not proposal.rule:
            raise UsageError(f"version {version} of {name} cannot be confirmed: its proposal names no gate")
        if rules := rules_of(proposal):
            print(f"by the proposal's own rules: {rules}", file=sys.stderr, flush=True)
        promotion = _as_proposed(proposal, registered, data, world, author)
        candidate = open_source(f"models:/{name}/{version}")
        if candidate.digest() != proposal.snapshot:
            raise UsageError(
                f"version {version} of {name} has other weights than were proposed, of sha256 "
                f"{proposal.snapshot[:16]}: propose it again"
            )
        best = open_source(f"models:/{name}/{champion}") if champion else None
        evaluation = promotion.evaluated(candidate, None)
        before = promotion.evaluated(best, None) if best is not None else None
        digest = proposal.snapshot
        if best is not None and best.digest() == digest:
            verdict = WITH_STATE
        else:
            verdict = promotion.decide(candidate, evaluation, before)
        if verdict.passed:
            champion = promotion.make_champion(version, champion, digest, verdict.reason, confirmed(now))
        else:
            facts = {"version": version, "champion": champion, "snapshot": digest}
            log.append(Event.REFUSED, author, verdict=verdict.reason, **facts)
        return PromotionResult(name, champion, verdict, evaluation, before, moved=verdict.passed)


def _as_proposed(proposal: Entry, registered: Registered, data: str, world: World, author: Author) -> Promotion:
    """The promotion of a proposal: its gate, its options of the evaluation, its images."""
    rule, source = proposal.rule, f"the proposal of version {proposal.version}"
    manifest = open_manifest(data, (*READING, "name"))
    if manifest.digest != rule["data"]:
        raise UsageError(
            f"{data} is not the data set of {source}, which was {place_of(proposal)}, with a manifest of the digest "
            f"{rule['data'][:16]}: give that one with --data and --split"
        )
    config, gate = check_tree(rule["what"], EvaluationConfig, source), check_gate(rule["gate"], source)
    promotion = Promotion(registered.name, manifest, gate, config, world, author=author)
    promotion.registered = registered  # which holds the lock
    return promotion
