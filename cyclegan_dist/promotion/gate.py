"""Gates of promotion: the rule by which a candidate becomes champion, a small YAML file or these defaults."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from cyclegan_dist.config.yaml_tree import read_yaml, wording
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.detectors import VETOES
from cyclegan_dist.evaluation.figures import Figure, difference
from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.networks.bounds import Ge, Gt

Detector = Literal["do-nothing", "collapsed", "inverted", "discriminator-won", "minimal-change", "exchanged-classes"]


@checked(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Gate:
    """The rule by which a candidate becomes champion.

    Attributes:
        figure: that is compared; without a direction in its name, the mean over the model's directions.
        better: whether a lower or a higher figure is better.
        margin: by how much it must be better, beyond the 95 % interval of the difference.
        veto: findings that keep a candidate out, whatever its figure.
        teacher_ratio: of a distilled candidate, how many times its teacher's each kernel distance may be.
        most_gmac: of a distilled candidate, most billions of multiply-adds for 256 x 256 pixels; 0: any number.
    """

    figure: str = "kd/untrained"
    better: Literal["lower", "higher"] = "lower"
    margin: Annotated[float, Ge(0)] = 0.0
    veto: tuple[Detector, ...] = VETOES
    teacher_ratio: Annotated[float, Gt(0)] = 1.1
    most_gmac: Annotated[float, Ge(0)] = 3.0


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate passes, and why."""

    passed: bool
    reason: str
    lines: list[str] = field(default_factory=list)


def read_gate(path: str) -> Gate:
    """The gate of a YAML file, or the default one for no path.

    Raises:
        UsageError: if it cannot be read or has a key or value that does not fit.
    """
    if not path:
        return Gate()
    try:
        tree = read_yaml(Path(path).read_bytes(), f"gate {path}") or {}
    except OSError as error:
        raise UsageError(f"gate {path} cannot be read: {error.strerror}") from error
    return check_gate(tree, f"gate {path}")


def check_gate(tree: Any, source: str) -> Gate:
    """A gate of given keys; `source` begins the text of errors.

    Raises:
        UsageError: for a key or value that does not fit.
    """
    try:
        return TypeAdapter(Gate).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        text = wording(first["msg"])
        raise UsageError(
            f"{source}: {where}: {text}; a gate has figure, better, margin, veto, teacher_ratio, most_gmac"
        ) from error


def decide(gate: Gate, candidate: Evaluation, champion: Evaluation | None) -> Verdict:
    """Compare two evaluations on the same images. A first candidate passes if its figures are finite and not vetoed.

    Raises:
        UsageError: if the figure was not measured, has other directions for the champion, or has no interval; or if
            the two were measured on other images of each domain.
    """
    vetoes = [finding.text for finding in candidate.findings if finding.name in gate.veto]
    if vetoes:
        return Verdict(False, f"vetoed: {'; '.join(vetoes)}")
    ours = _deciding(gate, candidate)
    broken = [key for key, figure in candidate.figures.items() if not math.isfinite(figure.value)]
    if broken:
        return Verdict(False, f"figures are not finite: {', '.join(broken)}")
    if champion is None:
        return Verdict(True, "it is the first of this name")
    if candidate.facts.get("data") != champion.facts.get("data"):
        raise UsageError(
            "gate: candidate and champion were trained with opposite data.direction, so that AB of one is BA of the "
            "other: register the candidate under another name"
        )
    theirs = _deciding(gate, champion)
    if ours.keys() != theirs.keys():
        raise UsageError(
            f"gate: candidate and champion translate other directions: {', '.join(ours)} cannot be compared with "
            f"{', '.join(theirs)}; name one figure that both have"
        )
    changes = [difference(ours[key], theirs[key]) for key in ours]
    change = sum(figure.value for figure in changes) / len(changes)
    margin = math.sqrt(sum(figure.margin**2 for figure in changes)) / len(changes)
    if math.isnan(margin):
        raise UsageError(
            f"gate: {gate.figure} has no interval, which a comparison needs: choose a kernel distance or a mean"
        )
    gain = -change if gate.better == "lower" else change
    found = f"{gate.figure} {change:+.4g} +- {margin:.2g} against the champion"
    needs = f"at least {gate.margin:g} " if gate.margin else ""
    if gain - margin > gate.margin:
        return Verdict(True, f"{found}: better")
    return Verdict(False, f"{found}: not {needs}{gate.better} beyond the interval")


def _deciding(gate: Gate, evaluation: Evaluation) -> dict[str, Figure]:
    found = {key: figure for key, figure in evaluation.figures.items() if gate.figure in (key, key.rpartition("_")[0])}
    if gate.figure.startswith("class_rate/") and len(found) > 1:
        raise UsageError(f"gate: figure {gate.figure}: add _AB or _BA, since only one direction should raise it")
    if not found:
        names = sorted({key.rpartition("_")[0] for key in evaluation.figures})
        raise UsageError(f"gate: no figure {gate.figure}; measured were {', '.join(names)}")
    return found
