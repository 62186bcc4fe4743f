"""The drawn truth, the figures of the last long run, and a short run."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from cyclegan_dist.evaluation.detectors import REACHED_SHARE
from tests.limitations import drawing
from tests.limitations.cases import CASES
from tests.limitations.drawing import Scene, held_out
from tests.limitations.measuring import Outcome, measured
from tests.limitations.page import FIGURES, LEARNED, PAGE, read, render

CLASSES = np.array(list(drawing.LABELS.classes.values()))


def due(scene: Scene) -> np.ndarray:
    return np.abs(scene.A.astype(int) - scene.B).max(-1) > 0


@pytest.mark.parametrize("name", ["colour", "texture", "squares", "large", "turned"])
def test_domains_differ_in_the_shape_only(name: str) -> None:
    scenes = held_out(CASES[name].draw, 0, 20)
    assert all(0.01 < due(scene).mean() < 0.5 for scene in scenes)
    assert len({scene.A.tobytes() for scene in scenes}) == 20
    again = held_out(CASES[name].draw, 0, 20)
    assert all((one.A == two.A).all() and (one.B == two.B).all() for one, two in zip(scenes, again, strict=True))


def test_discs_and_squares_have_one_colour_and_one_area() -> None:
    scenes = held_out(drawing.squares, 0, 200)
    areas = [[(image[..., 0] > 150).mean() for image in (scene.A, scene.B)] for scene in scenes]
    assert np.subtract(*np.mean(areas, 0)) == pytest.approx(0, abs=0.002)
    colours = [[image[image[..., 0] > 150].mean(0) for image in (scene.A, scene.B)] for scene in scenes]
    assert np.abs(np.subtract(*np.mean(colours, 0))).max() < 1


def test_a_rider_is_the_same_in_both_domains_and_on_the_shape() -> None:
    for scene, alone in zip(held_out(drawing.rider, 0, 20), held_out(drawing.texture, 0, 20), strict=True):
        assert (scene.A[scene.marked] == scene.B[scene.marked]).all() and scene.marked.sum() > 30
        assert (scene.A[~scene.marked] == alone.A[~scene.marked]).all()
        assert due(alone)[scene.marked].mean() > 0.5


def test_two_classes_are_alike() -> None:
    scenes = held_out(drawing.classes, 0, 400)
    found = np.array([(s.B[:, :, None] == CLASSES).all(-1).astype(float) for s in scenes])
    assert found.sum(-1).min() == 1  # every pixel has one class
    tree, house = found[..., 2], found[..., 3]
    shares = [x.mean((1, 2)) for x in (tree, house)]
    assert np.mean(shares[0]) == pytest.approx(np.mean(shares[1]), rel=0.05)
    assert np.std(shares[0]) == pytest.approx(np.std(shares[1]), rel=0.15)
    rows = [(x.sum(2) * np.arange(drawing.SIZE)).sum() / x.sum() for x in (tree, house)]
    assert rows[0] == pytest.approx(rows[1], abs=1.5)  # neither is above the other: a standard error is 0.5


def test_the_page_is_what_the_figures_say() -> None:
    facts = json.loads(FIGURES.read_text())["facts"]
    assert PAGE.read_text() == render(*read(), facts)


def test_the_page_names_the_trainings_that_are_missing() -> None:
    outcomes, real = read()
    assert real is not None and all(len(case.seeds) > 1 for case in CASES.values())
    page = PAGE.read_text()
    for name, case in CASES.items():
        for seed in case.seeds:
            known = any((o.case, o.seed) == (name, seed) for o in outcomes)
            assert (f"{name} with seed {seed}" in page.partition("\n## ")[0]) == (not known)


def last(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those of the last snapshot of each training."""
    newest = {(o.case, o.seed): o for o in sorted(outcomes, key=lambda o: o.nimg)}
    return list(newest.values())


def check_learned(outcome: Outcome) -> None:
    """A change of colour or texture is learned, and no alarm is given."""
    for way in ("AB", "BA"):
        assert outcome.figures[f"due_{way}"] > 0.6
        assert outcome.figures[f"reached_{way}"] > REACHED_SHARE + 0.2
    assert not any(finding.startswith("minimal-change") for finding in outcome.findings)


def test_colour_and_texture_were_learned() -> None:
    for outcome in last(read()[0]):
        if outcome.case in LEARNED:
            check_learned(outcome)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_change_of_colour_is_learned(tmp_path: Path) -> None:
    (outcome,) = last(measured("colour", 0, tmp_path))
    check_learned(outcome)
