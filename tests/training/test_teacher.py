"""A run that learns from a snapshot: which one it finds, and that it resumes with no other."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.training.run_folder import read_config
from tests.conftest import named
from tests.methods.teachers import write_teacher
from tests.training.trainings import differences, final_state, go

Distilled = Callable[..., Config]


@pytest.fixture
def teacher(tmp_path: Path) -> Snapshot:
    return write_teacher(tmp_path / "teacher", trained_with=["efficientnet_lite2"])


@pytest.fixture
def distilled(tiny_run: Callable[..., Config], teacher: Snapshot) -> Distilled:
    """Opens a run that learns from `teacher`, of 16 images."""
    method = {
        "name": "distill",
        "teacher": str(teacher.folder),
        "lambda_GAN": 1.0,
        "pool_size": 3,
        "generator": {"ngf": 4, "n_blocks": 1},
        "discriminator": {"ndf": 4, "n_layers_D": 1},
    }

    def run(**changes: object) -> Config:
        options = {key.removeprefix("method__"): changes.pop(key) for key in [*changes] if key.startswith("method__")}
        return tiny_run(method={**method, **options}, stop_after=16, **changes)

    return run


def test_digest_and_name_are_found_and_written_on_the_card(distilled: Distilled, teacher: Snapshot) -> None:
    config = distilled()
    assert read_config(config.run_dir).method.taught_by == {
        "folder": str(teacher.folder),
        "sha256": teacher.digest(),
        "source": str(teacher.folder),
        "trained_with": ("efficientnet_lite2",),
    }
    assert go(config) == "FINISHED"
    card = Snapshot.open(config.run_dir).card
    assert card["teacher"] == {"source": str(teacher.folder), "sha256": teacher.digest()}
    assert card["trained_with"] == ["efficientnet_lite2"] and card["method"] == "distill"


def test_a_resumed_run_equals_an_uninterrupted_one_though_its_teacher_has_moved(
    distilled: Distilled, teacher: Snapshot
) -> None:
    whole = distilled(name="whole")
    go(whole)
    first = distilled(name="halves")
    go(replace(first, stop_after=8))
    moved = teacher.folder.with_name("moved")
    shutil.move(teacher.folder, moved)
    go(distilled(name="halves", method__teacher=str(moved)))
    assert differences(final_state(whole, 1), final_state(first, 1)) == []


def test_another_teacher_is_refused_on_resume(distilled: Distilled, teacher: Snapshot, tmp_path: Path) -> None:
    distilled()
    card = teacher.folder / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "nimg": 2}))
    with pytest.raises(UsageError, match=r"^run tiny learns from .*, and .* is now [0-9a-f]{16}: .*--name$"):
        distilled()
    shutil.rmtree(teacher.folder)
    with pytest.raises(UsageError, match=r"teacher .* does not exist"):
        distilled()


def test_teachers_that_do_not_fit_are_refused(
    distilled: Distilled, teacher: Snapshot, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="needs a teacher"):
        distilled(method__teacher="")
    with pytest.raises(UsageError, match=r"not the 00 of method.teacher_sha256"):
        distilled(method__teacher_sha256="00")
    with pytest.raises(UsageError, match="has 3 channels in A and 3 in B"):
        distilled(method__output_nc=1)
    one = write_teacher(tmp_path / "one", ("BA",), preprocess={"direction": "BtoA"})
    with pytest.raises(UsageError, match=r"does not translate A to B: give --method.directions BA"):
        distilled(method__teacher=str(one.folder))
    with pytest.raises(UsageError, match="was trained with BtoA"):
        distilled(method__teacher=str(one.folder), method__directions=["BA"])
    deep = write_teacher(tmp_path / "deep", values={"A": {"dtype": "uint16", "black": 0, "white": 4095}})
    with pytest.raises(UsageError, match="domain A has 8 bits, and that of teacher"):
        distilled(method__teacher=str(deep.folder))
    rainy = write_teacher(tmp_path / "rainy", domain_names={"A": "rain", "B": "sun"})
    data = named(dataset, tmp_path / "named", "sun rain")
    with pytest.raises(UsageError, match=r"named: domain A is sun, which is domain B of teacher .*/rainy: the domains"):
        distilled(method__teacher=str(rainy.folder), data__path=str(data))


def test_what_the_teacher_was_trained_with_cannot_evaluate_the_student(distilled: Distilled, dataset: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    with pytest.raises(UsageError, match="was trained with efficientnet_lite2"):
        distilled(
            held_out__data=str(dataset), held_out__features="efficientnet_lite2", held_out__best="kd/efficientnet_lite2"
        )
