"""Tests of the benchmark for GPUs, which runs on a CPU too."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_cells
from benchmarks.gpu import flop_per_pair, parse, run
from benchmarks.gpu_cells import BASELINE, FAST, NOT_REACHED, OUT_OF_MEMORY, VARIANTS, Candidate, measure
from benchmarks.gpu_tables import details, suspicious
from benchmarks.step_bench import Bench, Workload

TINY = ["--size", "32", "--ngf", "2", "--n_blocks", "0", "--steps", "1", "--timings", "1", "--profile"]
WORKLOAD = Workload(size=32, ngf=2, n_blocks=0)


@pytest.fixture(autouse=True)
def few_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for losses to differ: without a graph nothing is recorded after the warm-up."""
    monkeypatch.setattr(gpu_cells, "WARM_UP", 1)
    monkeypatch.setattr(gpu_cells, "COMPARED", 2)


def always() -> bool:
    return True


def test_all_variants_are_measured_on_a_bare_gpu_machine(tmp_path: Path) -> None:
    """Neither the launcher's packages nor those of command lines and configs are there."""
    path = tmp_path / "figures.json"
    code = (
        "import sys\n"
        "for name in ('ray', 'mlflow', 'webdataset', 'pydantic', 'tyro', 'annotated_types', 'pyarrow', 'rich', 'yaml'):\n"
        "    sys.modules[name] = None\n"
        "from benchmarks import gpu, gpu_cells\n"
        "gpu.PROFILED_STEPS, gpu_cells.WARM_UP, gpu_cells.COMPARED = 1, 1, 2\n"
        f"sys.argv = ['gpu', *{[*TINY, '1', '--batches', '2', '1', '--json', str(path)]}]\n"
        "raise SystemExit(gpu.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert [(cell["variant"], cell["batch"]) for cell in found["cells"]] == [
        (variant.name, batch) for batch in (2, 1) for variant in VARIANTS
    ]
    for cell in found["cells"]:
        assert len(cell["ms"]) == 1 and cell["ready_s"] > 0 and not cell["status"]
        if cell["variant"] in (BASELINE, "fp32, fast on", FAST):
            assert cell["first_difference"] < 1e-5 and cell["last_difference"] < 1e-4
        if cell["variant"] == "bf16, fast off":
            assert 1e-4 < cell["first_difference"] < 0.1
    assert list(found["profiles"]) == ["1"]
    profile = found["profiles"]["1"]
    assert sum(profile["kinds"].values()) == pytest.approx(profile["step_ms"])
    assert f"| {BASELINE} | " in done.stdout and "| batch 1 | batch 2 |" in done.stdout
    assert "Profile at batch 1" in done.stdout


def test_operations_of_the_paper_s_step() -> None:
    assert flop_per_pair(Workload(size=256, ngf=64, n_blocks=9)) == 1_879_217_012_736


@pytest.mark.parametrize("part", ["build", "timing"])
def test_a_variant_without_memory_is_measured_alone(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    build, timing = gpu_cells.build, Candidate.timing

    def lacking(variant: str) -> None:
        calls.append(variant)
        if variant == FAST and calls.count(FAST) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def lacking_build(bench: Any, variant: Any, cell: Any) -> Candidate:
        lacking(variant.name)
        return build(bench, variant, cell)

    def lacking_timing(self: Candidate, steps: int = 0) -> float:
        lacking(self.variant.name)
        return timing(self, steps)

    if part == "build":
        monkeypatch.setattr(gpu_cells, "build", lacking_build)
    else:
        monkeypatch.setattr(Candidate, "timing", lacking_timing)
    cells = measure(Bench(WORKLOAD), VARIANTS[:2], 2, 1, always)
    assert [(cell.status, len(cell.ms), cell.alone) for cell in cells] == [("", 2, False), ("", 2, True)]
    assert "alone" in details(cells, heading=False).splitlines()[1]


def test_cells_that_cannot_be_measured_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = gpu_cells.build

    def failing(bench: Any, variant: Any, cell: Any) -> Candidate:
        if variant.name == BASELINE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if variant.name == FAST:
            raise TypeError("no kernel\nof that kind")
        return build(bench, variant, cell)

    monkeypatch.setattr(gpu_cells, "build", failing)
    monkeypatch.setattr(gpu, "VARIANTS", VARIANTS[:3])
    assert run(parse([*TINY, "--batches", "1"])) == 1
    out = capsys.readouterr().out
    assert f"| {BASELINE} | {OUT_OF_MEMORY} |" in out
    assert f"| {FAST} | failed: TypeError: no kernel of that kind |" in out
    assert f"**{FAST}, batch 1: failed: TypeError" in out


def test_what_was_measured_before_the_device_failed_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = iter([1e12])

    def failing(device: torch.device, side: int) -> float:
        try:
            return next(rates)
        except StopIteration:
            raise RuntimeError("CUDA error: an illegal memory access was encountered") from None

    monkeypatch.setattr(gpu, "matrix_rate", failing)
    monkeypatch.setattr(gpu, "VARIANTS", VARIANTS[2:3])
    assert run(parse([*TINY, "--batches", "1", "2"])) == 0
    out, err = capsys.readouterr()
    assert "| step | batch 1 |" in out and "illegal memory access" in err
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(parse([*TINY, "--batches", "1"]))


def test_nothing_is_begun_when_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(parse([*TINY, "--batches", "1", "4", "--minutes", "0"])) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if NOT_REACHED in line]
    assert len(rows) == 3 * len(VARIANTS)  # two batch sizes, and the summary


def test_wrong_losses_are_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = dataclasses.replace(VARIANTS[1], options={**(VARIANTS[1].options or {}), "lr_D": 0.5})
    monkeypatch.setattr(gpu, "VARIANTS", (wrong, VARIANTS[3]))
    assert run(parse([*TINY, "--batches", "1"])) == 1
    out = capsys.readouterr().out
    assert "**differs**" in out and "its losses are not those that it should have" in out


def test_losses_that_are_not_finite_are_suspicious() -> None:
    cell = gpu_cells.Cell(FAST, 1, first_difference=0.0, last_difference=float("inf"))
    assert suspicious(cell)
    assert not suspicious(gpu_cells.Cell(FAST, 1))
