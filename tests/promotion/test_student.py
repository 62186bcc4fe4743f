"""The gate of students: size, and distance compared with the teacher's."""

import json
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.promotion.gate import Gate
from cyclegan_dist.promotion.student import compare_with_teacher, name_of, teacher_of
from tests.methods.teachers import write_teacher


def evaluation(**values: float) -> Evaluation:
    figures = {f"kd/{key}": Figure.mean([value - 0.01, value + 0.01]) for key, value in values.items()}
    return Evaluation({**figures, "fd/untrained_AB": Figure(9.0)}, [], {}, [])


@pytest.fixture
def teacher(tmp_path: Path) -> Snapshot:
    return write_teacher(tmp_path / "teacher")


def student(teacher: Snapshot, folder: Path, source: str = "", **facts: Any) -> Snapshot:
    taught = {"source": source or str(teacher.folder), "sha256": teacher.digest()}
    return write_teacher(folder, teacher=taught, **facts)


@pytest.mark.parametrize(
    ("ours", "theirs", "passed"),
    [
        ({"a_AB": 1.1, "b_AB": 0.9}, {"a_AB": 1.0, "b_AB": 1.0}, True),
        ({"a_AB": 1.1, "b_AB": 1.2}, {"a_AB": 1.0, "b_AB": 1.0}, False),  # each evaluator counts
        ({"a_AB": 1.0, "a_BA": 1.2}, {"a_AB": 1.0, "a_BA": 1.0}, False),  # and each direction
        ({"a_AB": 0.0}, {"a_AB": -0.01}, True),  # neither can be told from real images
        ({"a_AB": 0.5}, {"a_AB": -0.01}, False),
    ],
)
def test_each_kernel_distance_is_compared(
    teacher: Snapshot, ours: dict[str, float], theirs: dict[str, float], passed: bool
) -> None:
    verdict = compare_with_teacher(Gate(), teacher, evaluation(**ours), evaluation(**theirs))
    assert verdict.passed == passed
    assert all(f"kd/{key}" in verdict.reason for key in ours) and ("too much" in verdict.reason) != passed


def test_large_students_are_refused_and_the_limits_can_be_changed(teacher: Snapshot) -> None:
    ours, theirs = evaluation(a_AB=1.4), evaluation(a_AB=1.0)
    verdict = compare_with_teacher(Gate(most_gmac=0.1), teacher, theirs, theirs)
    assert not verdict.passed and "more than the 0.1 G allowed" in verdict.reason
    assert compare_with_teacher(Gate(teacher_ratio=1.5, most_gmac=0), teacher, ours, theirs).passed
    with pytest.raises(UsageError, match="measure distances"):
        compare_with_teacher(Gate(), teacher, evaluation(), evaluation())


def test_a_card_names_its_teacher_which_must_be_the_same(teacher: Snapshot, tmp_path: Path) -> None:
    assert teacher_of(teacher, 0) is None and name_of(teacher) == ""
    small = student(teacher, tmp_path / "small")
    found = teacher_of(small, 0)
    assert found is not None and found.folder == teacher.folder and name_of(small) == ""
    assert name_of(student(teacher, tmp_path / "registered", "models:/horse2zebra/3")) == "horse2zebra-small"
    card = teacher.folder / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "nimg": 2}))
    with pytest.raises(UsageError, match="was replaced"):
        teacher_of(small, 0)
    with pytest.raises(UsageError, match="is needed for comparison"):
        teacher_of(student(teacher, tmp_path / "gone", str(tmp_path / "nowhere")), 0)


def test_a_student_of_another_size_is_compared_at_one_that_is_given(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher", preprocess={"load_size": 286, "crop_size": 256})
    alike = student(teacher, tmp_path / "alike", preprocess={"load_size": 256, "crop_size": 256})
    assert teacher_of(alike, 0) is not None
    smaller = student(teacher, tmp_path / "smaller", preprocess={"load_size": 143, "crop_size": 128})
    with pytest.raises(UsageError, match=r"resized to 128 x 128 pixels.* to 256 x 256 pixels.*give --size"):
        teacher_of(smaller, 0)
    assert teacher_of(smaller, 128) is not None
