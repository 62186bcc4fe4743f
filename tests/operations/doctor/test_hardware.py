from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.operations.doctor import hardware
from cyclegan_dist.operations.doctor.footprint import loader_bytes
from cyclegan_dist.operations.doctor.hardware import Gpu, check_gpus, check_shared_memory, gpus_here, parse_gpus
from cyclegan_dist.operations.doctor.nodes import Node
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.world_config import WorldConfig
from tests.operations.doctor.fleets import findings, levels

LINE = "NVIDIA H100, 570.1, 81559, 4"
H100 = Gpu(name="NVIDIA H100", driver="570.1", memory=81559, used=4)
BUSY = Gpu(name="NVIDIA H100", driver="570.1", memory=81559, used=70000)
A100 = Gpu(name="NVIDIA A100", driver="570.1", memory=40000, used=4)
OLD_DRIVER = Gpu(name="NVIDIA H100", driver="550.1", memory=81559, used=4)
NODES = [Node(name="a", address="10.0.0.1", gpus=2)]


def install_smi(folder: Path, *lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi that prints these lines."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_what_nvidia_smi_prints_is_read() -> None:
    text = f"{LINE}\nNVIDIA GB10, 580.2, [N/A], [N/A]\nno devices\n"
    assert parse_gpus(text) == [H100, Gpu(name="NVIDIA GB10", driver="580.2", memory=0, used=0)]


def test_no_driver_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_here() == ([], 0)


@pytest.mark.parametrize(("usable", "seen"), [(True, 2), (False, 0)])
def test_gpus_are_counted_whatever_this_process_was_given(
    usable: bool, seen: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_smi(tmp_path, LINE, LINE, monkeypatch=monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    answer = f"[{usable}, 0 if 'CUDA_VISIBLE_DEVICES' in os.environ else 2]"
    monkeypatch.setattr(hardware, "TORCH", f"import json, os; print(json.dumps({answer}))")
    assert gpus_here() == ([H100, H100], seen)


@pytest.mark.parametrize(
    ("gpus", "seen", "level", "words"),
    [
        ([H100, H100], 2, "green", "2 x NVIDIA H100, 81559 MiB, driver 570.1"),
        ([H100, H100], 1, "red", "a: torch sees 1 of 2 GPUs"),
        ([H100] * 3, 3, "yellow", "a: Ray gives ranks 2 of 3 GPUs"),
        ([H100, BUSY], 2, "yellow", "a: 1 GPUs in use, up to 70000 MiB"),
        ([H100, A100], 2, "yellow", "NVIDIA A100, 40000 MiB, driver 570.1; NVIDIA H100, 81559 MiB"),
        ([H100, OLD_DRIVER], 2, "yellow", "driver 550.1; NVIDIA H100"),
    ],
)
def test_gpus(gpus: list[Gpu], seen: int, level: str, words: str) -> None:
    (found,) = findings(check_gpus, NODES, {"a": (gpus, seen)}, Config())
    assert found.level == level and words in found.found
    assert bool(found.advice) == (level != "green")


@pytest.mark.parametrize(("device", "level"), [("auto", "green"), ("cpu", "green"), ("cuda", "red")])
def test_no_gpu_is_red_only_if_one_is_required(device: str, level: str) -> None:
    config = Config(world=WorldConfig(device=device))  # pyright: ignore[reportArgumentType]
    assert levels(check_gpus, NODES, {"a": ([], 0)}, config) == [level]


@pytest.mark.parametrize(("free", "level"), [(2.0, "green"), (1.99, "yellow"), (1.0, "yellow"), (0.99, "red")])
@pytest.mark.parametrize("values", [{}, {"A": ValueRange("uint16", 0, 4095), "B": None}])
@pytest.mark.parametrize("ranks", [1, 2])
def test_shared_memory(free: float, level: str, ranks: int, values: dict[str, ValueRange | None]) -> None:
    """Two ranks on one node need twice as much, but share the batch."""
    config = Config(optim=OptimConfig(batch_size=2))
    need = ranks * loader_bytes(config, ranks, values)
    nodes = [Node(name="a", address="10.0.0.1", cpus=ranks)]
    assert levels(check_shared_memory, nodes, {"a": (int(free * need), 10 * need)}, config, values) == [level]


def test_shared_memory_is_measured() -> None:
    free, total = hardware.shared_memory_here()
    assert 0 <= free <= total
