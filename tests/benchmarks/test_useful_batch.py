"""Tests of the measurement of the useful batch."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import useful_batch
from benchmarks.useful_batch import Run, UsefulBatch, best_points, crossing, easier, fit, main, points, train
from cyclegan_dist.errors import UsageError


def run(batch: int, scaling: str, seed: int, images: float | None) -> Run:
    return Run(batch=batch, scaling=scaling, seed=seed, images=images, errors=[], seconds=1.0)


def test_the_target_is_crossed_between_two_evaluations() -> None:
    assert crossing([(0, 30.0), (64, 20.0), (128, 10.0)], 12.5) == 112
    assert crossing([(0, 30.0), (64, 20.0)], 12.5) is None


def test_the_fit_finds_the_noise_scale_of_exact_images() -> None:
    exact = [(batch, 300 * (1 + batch / 20)) for batch in (1, 4, 16, 64)]
    found = fit(exact)
    assert found.noise_scale == pytest.approx(20, rel=0.01)
    assert found.low == pytest.approx(20, rel=0.02) and found.high == pytest.approx(20, rel=0.02)


def test_the_interval_contains_the_noise_scale_and_is_open_where_images_do_not_grow() -> None:
    noisy = [(b, 300 * (1 + b / 20) * f) for b in (1, 4, 16, 64) for f in (0.8, 1.25)]
    found = fit(noisy)
    assert 5 < found.low < 20 < found.high < 80
    assert fit([(b, 300.0 * f) for b in (1, 4) for f in (0.8, 1.25)]).high == math.inf


def test_too_few_trainings_have_no_fit() -> None:
    with pytest.raises(UsageError, match="three trainings"):
        fit([(1, 300.0), (4, 400.0)])


def test_points_are_of_trainings_that_reached_the_target() -> None:
    runs = [
        *(run(4, "none", 0, 500.0), run(16, "none", 0, 900.0), run(16, "sqrt", 0, 700.0), run(64, "none", 0, None)),
        *(run(64, "none", 1, 2000.0), run(64, "sqrt", 0, 2500.0)),
    ]
    assert points(runs, "none") == [(4, 500.0), (16, 900.0), (64, 2000.0)]
    assert points(runs, "sqrt") == [(4, 500.0), (16, 700.0), (64, 2500.0)]
    assert best_points(runs) == [(4, 500.0), (16, 700.0), (64, 2500.0)]


def test_an_easier_target_is_reached_earlier() -> None:
    curve = Run(batch=4, scaling="none", seed=0, images=180.0, errors=[30.0, 20.0, 10.0, 8.0], seconds=1.0)
    assert easier(curve, 15, every=64).images == 96
    assert easier(curve, 7, every=64).images is None


def test_a_training_ends_at_its_images_and_is_evaluated_on_the_way() -> None:
    options = UsefulBatch(size=16, target=0.0, every=8, most_images=16)
    one, again = (train(4, "sqrt", 0, options) for _ in range(2))
    assert one.images is None and len(one.errors) == 3
    assert one.errors == again.errors != train(4, "sqrt", 1, options).errors


def test_what_the_file_has_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[tuple[int, str, int]] = []

    def fake(batch: int, scaling: str, seed: int, options: UsefulBatch) -> Run:
        trained.append((batch, scaling, seed))
        return run(batch, scaling, seed, 100.0 * batch)

    monkeypatch.setattr(useful_batch, "train", fake)
    out = tmp_path / "out.json"
    main(UsefulBatch(seeds=1, batches=(4, 16), out=out))
    assert trained == [(4, "none", 0), (16, "none", 0), (16, "sqrt", 0)]
    main(UsefulBatch(seeds=2, batches=(4,), out=out))
    assert trained[3:] == [(4, "none", 1)]
    assert len(json.loads(out.read_text())["runs"]) == 4
    assert "| 4 | none | 400, 400 | 400 | 100 |" in capsys.readouterr().out
    with pytest.raises(UsageError, match="other options"):
        main(UsefulBatch(target=5.0, out=out))
