"""The table of a step: nothing is measured that computes something else."""

import pytest
import torch

from benchmarks import step
from benchmarks.step import Measurement, difference, main

TINY = Measurement(size=32, ngf=2, n_blocks=0, steps=1, rounds=2, options=("fused", "bf16"), together=("fused", "bf16"))


def test_a_loss_that_is_not_finite_is_no_agreement() -> None:
    ours = {"G": torch.tensor(1.0), "D": torch.tensor(3.0)}
    assert difference(ours, {"G": torch.tensor(1.0), "D": torch.tensor(2.0)}) == 0.5
    assert difference(ours, {"G": torch.tensor(float("nan")), "D": torch.tensor(3.0)}) == float("inf")


def test_other_losses_than_the_yardsticks_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "disagreement", lambda what: 1e-3)
    with pytest.raises(RuntimeError, match="cannot be compared"):
        main(TINY)


def test_each_option_is_tried_and_its_losses_compared(capsys: pytest.CaptureFixture[str]) -> None:
    main(TINY)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["| yardstick", "| project, defaults", "| fused", "| bf16", "| fused + bf16"]
    assert rows[0][2] == "1.00 (1.00 - 1.00)"
    differences = [float(row[-1].strip(" |")) for row in rows[2:]]
    assert differences[0] < 1e-6 < differences[1] < 0.1
    assert differences[1] == differences[2]
