"""Tests of the step benchmark: it compares only candidates that compute the same losses."""

import pytest
import torch

from benchmarks import step
from benchmarks.step import Measurement, loss_difference, main

TINY = Measurement(size=32, ngf=2, n_blocks=0, steps=1, rounds=2, options=("fast", "bf16"), together=("fast", "bf16"))


def test_a_non_finite_loss_is_an_infinite_difference() -> None:
    losses = {"G": torch.tensor(1.0), "D": torch.tensor(3.0)}
    assert loss_difference(losses, {"G": torch.tensor(1.0), "D": torch.tensor(2.0)}) == 0.5
    assert loss_difference(losses, {"G": torch.tensor(float("nan")), "D": torch.tensor(3.0)}) == float("inf")


def test_losses_that_differ_from_the_baselines_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "difference_from_baseline", lambda workload: 1e-3)
    with pytest.raises(RuntimeError, match="cannot be compared"):
        main(TINY)


def test_each_option_is_measured_and_its_losses_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    main(TINY)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["| baseline", "| project, defaults", "| fast", "| bf16", "| fast + bf16"]
    assert rows[0][2] == "1.00 (1.00 - 1.00)"
    differences = [float(row[-1].strip(" |")) for row in rows[2:]]
    assert differences[0] < 1e-6 < differences[1] < 0.1
    assert differences[1] == differences[2]
