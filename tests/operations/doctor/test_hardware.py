import resource
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.operations.doctor import hardware
from cyclegan_dist.operations.doctor.fleet import Node
from cyclegan_dist.operations.doctor.hardware import (
    Gpu,
    check_files,
    check_gpus,
    check_memory,
    gpus_here,
    judge_gpus,
    judge_memory,
    loaders_need,
    parse_gpus,
)
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.world_config import WorldConfig
from tests.operations.doctor.fleets import Forked, levels

H100 = Gpu(name="NVIDIA H100", driver="570.1", memory=81559, used=4)
NODE = Node(name="a", address="127.0.0.1", gpus=2)


def smi(folder: Path, *lines: str) -> str:
    """A folder with an nvidia-smi that says so."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    return str(folder)


def test_what_nvidia_smi_prints_is_read() -> None:
    text = "NVIDIA H100, 570.1, 81559, 4\nNVIDIA GB10, 580.2, [N/A], [N/A]\nno devices\n"
    assert parse_gpus(text) == [H100, Gpu(name="NVIDIA GB10", driver="580.2", memory=0, used=0)]


def test_gpus_that_torch_does_not_see_are_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that shows two, on a machine whose torch can use none."""
    line = "NVIDIA H100, 570.1, 81559, 4"
    monkeypatch.setenv("PATH", smi(tmp_path / "bin", line, line), prepend=":")
    monkeypatch.setattr(hardware, "TORCH", "print('[false, 2]')")
    assert gpus_here() == ([H100, H100], 0)
    (found,) = check_gpus(Forked("a"), Config())
    assert found.level == "red" and found.found == "a: torch sees 0 of 2 GPUs"


def test_gpus_are_counted_whatever_this_process_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", smi(tmp_path / "bin", "NVIDIA H100, 570.1, 81559, 4"), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code = "import os; print('[true, 0]' if 'CUDA_VISIBLE_DEVICES' in os.environ else '[true, 1]')"
    monkeypatch.setattr(hardware, "TORCH", code)
    assert gpus_here() == ([H100], 1)


@pytest.mark.parametrize(
    ("gpus", "seen", "expected"),
    [
        ([H100, H100], 2, []),
        ([H100, H100], 1, ["red"]),
        ([H100] * 3, 3, ["yellow"]),  # Ray was given two
        ([H100, Gpu(name="NVIDIA H100", driver="570.1", memory=81559, used=70000)], 2, ["yellow"]),
    ],
)
def test_the_gpus_of_a_node_are_judged(gpus: list[Gpu], seen: int, expected: list[str]) -> None:
    assert levels(judge_gpus(NODE, gpus, seen)) == expected


def test_unlike_gpus_and_drivers_are_yellow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bins = {name: smi(tmp_path / name, line) for name, line in (("a", "H100, 1, 80, 0"), ("b", "A100, 2, 40, 0"))}
    monkeypatch.setattr(hardware, "TORCH", "print('[true, 1]')")

    class WithGpus(Forked):
        def __init__(self) -> None:
            super().__init__("a", "b", prepare={n: lambda n=n: monkeypatch.setenv("PATH", bins[n], ":") for n in bins})
            self.nodes = [Node(name=n, address="127.0.0.1", gpus=1) for n in bins]

    found = check_gpus(WithGpus(), Config())
    assert levels(found) == ["yellow", "yellow"]
    assert [f.found for f in found] == ["unlike: A100 40 MiB, H100 80 MiB", "drivers 1, 2"]


@pytest.mark.parametrize(("device", "level"), [("auto", "green"), ("cpu", "green"), ("cuda", "red")])
def test_no_gpu_is_red_only_where_one_is_asked_for(
    device: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    config = Config(world=WorldConfig(device=device))  # pyright: ignore[reportArgumentType]
    assert levels(check_gpus(Forked("a"), config)) == [level]


def test_what_loaders_keep_ready() -> None:
    """2 workers x 4 batches and one in use, of 4 images of each domain, 256 x 256 x 3 bytes."""
    config = Config(optim=OptimConfig(batch_size=8))
    assert loaders_need(config, 2) == 9 * 4 * 2 * 256 * 256 * 3
    assert loaders_need(Config(optim=OptimConfig(batch_size=8, micro_batch=1)), 2) == 9 * 2 * 256 * 256 * 3
    assert loaders_need(Config(data=DataConfig(workers=0)), 1) == 0


@pytest.mark.parametrize(("free", "expected"), [(200, []), (199, ["yellow"]), (100, ["yellow"]), (99, ["red"])])
def test_shared_memory_is_judged(free: int, expected: list[str]) -> None:
    assert levels(judge_memory("a", free, 300, 100)) == expected


def test_shared_memory_is_that_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = check_memory(Forked("a"), Config())
    assert found.level == "green" and "3.54 MB on a host of one rank" in found.found
    big = Config(data=DataConfig(load_size=200_000, crop_size=200_000))
    (found,) = check_memory(Forked("a"), big)
    assert found.level == "red" and "/dev/shm" in found.found


@pytest.mark.parametrize(("limit", "level"), [(10000, "green"), (8191, "yellow"), (1000, "red")])
def test_the_limit_of_open_files(limit: int, level: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    prepare = {"a": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))}
    (found,) = check_files(Forked("a", prepare=prepare))
    assert found.level == level and f"{limit} for a process" in found.found
