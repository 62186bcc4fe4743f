"""The gate of small generators: what a student must be, compared with the teacher that its card names."""

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.distances import nearly_equal
from cyclegan_dist.evaluation.images import describe_size, whole_images
from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.models.cost import SIDE, multiply_adds
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.promotion.gate import Gate, Verdict
from cyclegan_dist.registry.sources import open_source


def teacher_of(student: Snapshot, size: int) -> Snapshot | None:
    """The snapshot that a card names as teacher; None for what was not distilled.

    Args:
        student: snapshot of the small generators.
        size: pixels of a side that both are evaluated at; 0: what each was trained on.

    Raises:
        UsageError: if it is gone, another one, or evaluated at another size, where distances cannot be compared.
    """
    taught = student.card.get("teacher")
    if not taught:
        return None
    try:
        teacher = open_source(taught["source"])
    except UsageError as error:
        raise UsageError(f"the teacher of {student.folder} is needed for comparison: {error}") from error
    if (digest := teacher.digest()) != taught["sha256"]:
        raise UsageError(
            f"the teacher of {student.folder}, {taught['source']}, was replaced: its digest is {digest[:16]}, not "
            f"{taught['sha256'][:16]}"
        )
    own, other = (describe_size(whole_images(one.preprocess, size)) for one in (student, teacher))
    if own != other:
        raise UsageError(
            f"{student.folder} is evaluated on images {own}, and its teacher on images {other}, so that their "
            "distances cannot be compared: give --size, in pixels"
        )
    return teacher


def name_of(student: Snapshot) -> str:
    """The registered name of a student: that of its teacher, if that is registered, with -small; or nothing."""
    source = str(student.card.get("teacher", {}).get("source", ""))
    name = source.removeprefix("models:/")
    return f"{name.partition('/')[0]}-small" if name != source else ""


def compare_with_teacher(gate: Gate, student: Snapshot, figures: Evaluation, teachers: Evaluation) -> Verdict:
    """Whether a student is small, and its kernel distances, of every evaluator and direction, are at most
    `gate.teacher_ratio` times the teacher's, as `nearly_equal` says.

    Args:
        gate: with the limits.
        student: snapshot of the small generators.
        figures: of the student.
        teachers: of the teacher, on the same images.

    Raises:
        UsageError: if no kernel distance was measured.
    """
    size = max(multiply_adds(student.channels(way), student.generator_config) for way in student.directions) / 1e9
    if gate.most_gmac and size > gate.most_gmac:
        return Verdict(
            False, f"{size:.3g} G multiply-adds for {SIDE} x {SIDE} pixels, more than the {gate.most_gmac:g} G allowed"
        )
    compared = {key: figure for key, figure in figures.figures.items() if key.startswith(("kd/", "kid"))}
    if not compared:
        raise UsageError("gate: a student is compared with its teacher by kernel distances: measure distances")
    found, passed = list[str](), True
    for key, ours in compared.items():
        near = nearly_equal(ours, teachers.figures[key], gate.teacher_ratio)
        passed, theirs = passed and near, teachers.figures[key].value
        ratio = f"{ours.value / theirs:.3g} times" if theirs > 0 else f"{ours.value:.3g} against"
        found.append(f"{key} {ratio} the teacher's {theirs:.3g}{'' if near else ', too much'}")
    return Verdict(passed, f"{size:.3g} G multiply-adds; {'; '.join(found)}; allowed: {gate.teacher_ratio:g} times")
