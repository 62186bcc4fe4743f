import re
from typing import Any

import pytest

from cyclegan_dist.config.config import Config, load_config, with_values
from cyclegan_dist.operations.doctor import at_start
from cyclegan_dist.operations.doctor.at_start import memory_warning, warn_of_memory
from cyclegan_dist.operations.doctor.footprint import footprint
from cyclegan_dist.operations.doctor.hardware import Gpu
from cyclegan_dist.operations.doctor.limits import SERVICES, Limits
from cyclegan_dist.operations.doctor.nodes import Node
from cyclegan_dist.operations.doctor.ranks import check_cores, check_memory
from tests.operations.doctor.fleets import findings

PAPER = with_values(load_config("horse2zebra"), {"method.generator.n_blocks": 1}, "test")
ROOMY = Limits(cores=64, memory=10**12, free=10**12)


def config(ranks: int = 2, **values: Any) -> Config:
    changes = {"world.num_workers": ranks, "optim.batch_size": ranks, "data.workers": 0}
    return with_values(PAPER, {**changes, **{key.replace("__", "."): value for key, value in values.items()}}, "test")


def nodes(*cpus: int, gpus: int = 0) -> list[Node]:
    return [Node(name=f"n{i}", address="10.0.0.1", cpus=count, gpus=gpus) for i, count in enumerate(cpus)]


@pytest.mark.parametrize(
    ("wanted", "cluster", "cores", "found"),
    [
        (config(2), nodes(2), 2, ("green", "2 ranks; 2 cores")),
        (config(4), nodes(2), 4, ("red", "4 ranks are more than 2 CPU cores")),
        (config(4), nodes(2, 2), 2, ("green", "4 ranks; 2 cores")),
        (config(2, data__workers=2), nodes(2), 4, ("yellow", "n0: 2 ranks with 1 thread and 2 loader processes each")),
        (config(2, world__threads=2), nodes(2), 3.5, ("yellow", "n0: 2 ranks with 2 threads and 0 loader")),
        (config(2), nodes(2), 1.5, ("yellow", "0 loader processes each on 1.5 cores")),  # a quota below the cores
        (config(0, optim__batch_size=6), nodes(4), 4, ("green", "3 ranks")),  # as many as can share a batch
        (config(2, optim__batch_size=1), nodes(4), 4, ("red", "batch_size 1 cannot be shared by 2 ranks")),
        (config(4), nodes(8, gpus=2), 8, ("red", "4 ranks are more than 2 GPUs")),
        (config(2, world__device="cuda"), nodes(8), 8, ("red", "2 ranks are more than 0 GPUs")),
        (config(4, data__workers=4), nodes(8, gpus=4), 8, ("yellow", "n0: 4 ranks with 1 thread and 4 loader")),
    ],
)
def test_places_and_cores(wanted: Config, cluster: list[Node], cores: float, found: tuple[str, str]) -> None:
    limits = {node.name: Limits(cores=cores, memory=10**12, free=10**12) for node in cluster}
    (one,) = findings(check_cores, cluster, limits, wanted)
    assert one.level == found[0] and found[1] in one.found
    assert bool(one.advice) == (one.level != "green")


def test_the_number_that_fits_is_named() -> None:
    limits = {"n0": Limits(cores=7, memory=1, free=1)}
    (cores,) = findings(check_cores, nodes(8), limits, config(8, data__workers=1))
    assert cores.figures["fit"] == 3 and "give --world.num_workers 2" in cores.advice  # 3 cannot share the batch
    (cores,) = findings(check_cores, nodes(8, 8), limits, config(8, data__workers=1))
    assert "start Ray there with --num-cpus=3" in cores.advice
    (places,) = findings(check_cores, nodes(3, 2), {}, config(8))
    assert "--world.num_workers 4, or add nodes" in places.advice


@pytest.mark.parametrize(("memory", "free", "level"), [(1.0, 1.0, "green"), (1.0, 0.99, "yellow"), (0.99, 0.5, "red")])
def test_memory(memory: float, free: float, level: str) -> None:
    wanted = config(3)
    one = footprint(wanted, 3, {}, on_gpu=False, standby=True)
    need = one.on_node(3) + SERVICES
    limits = Limits(cores=3, memory=round(memory * need), free=round(free * need))
    (found,) = findings(check_memory, nodes(3), {"n0": limits}, {}, wanted, {})
    assert found.level == level
    if level != "green":
        assert found.figures["fit"] == (2 if level == "red" else 3) and found.found.startswith("n0: 3 ranks need about")


def test_ranks_without_a_place_are_said_to_be_not_counted() -> None:
    (found,) = findings(check_memory, nodes(2), {"n0": ROOMY}, {}, config(8), {})
    assert (found.level, found.figures) == ("yellow", {"ranks": 8, "room": 2})
    assert found.found.startswith("6 of 8 ranks have no place and are not counted; they need")
    assert "--world.num_workers 2" in found.advice


def test_standby_processes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a gigabyte beside each rank, unless they are switched off or nothing is restarted."""

    def need(wanted: Config) -> float:
        (found,) = findings(check_memory, nodes(3), {"n0": Limits(cores=3, memory=1, free=1)}, {}, wanted, {})
        assert ("CYCLEGAN_DIST_STANDBY=0" in found.advice) == wanted.world.has_standby
        return found.figures["need"]

    with_standby, without = need(config(3)), need(config(3, world__max_failures=0))
    assert with_standby - without == 3 * 500_000_000
    monkeypatch.setenv("CYCLEGAN_DIST_STANDBY", "0")
    assert need(config(3)) == without


def test_the_memory_of_a_gpu() -> None:
    small = Gpu(name="RTX", driver="1", memory=1500, used=0)
    large = Gpu(name="H100", driver="1", memory=81559, used=0)
    unknown = Gpu(name="GB10", driver="1", memory=0, used=0)
    wanted, cluster = config(2), nodes(8, gpus=2)
    for cards, level in (([large, large], "green"), ([large, small], "red"), ([unknown], "green")):
        (found,) = findings(check_memory, cluster, {"n0": ROOMY}, {"n0": (cards, 2)}, wanted, {})
        assert found.level == level
    (found,) = findings(check_memory, cluster, {"n0": ROOMY}, {"n0": ([small], 2)}, wanted, {})
    assert "GB of the 1.57 GB of RTX" in found.found
    on_cpu = config(2, world__device="cpu")  # the GPU is not used
    assert [f.level for f in findings(check_memory, cluster, {"n0": ROOMY}, {"n0": ([small], 2)}, on_cpu, {})] == [
        "green"
    ]


def test_a_training_that_does_not_fit_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    small = Limits(cores=8, memory=16 * 10**9, free=16 * 10**9)
    warning = memory_warning(config(8), 8, small)
    assert re.match(
        r"warning: 8 ranks need about 18\.\d GB of the 16 GB here; [67] fit\. Give --world\.num_workers 4, ", warning
    )
    assert "\n" not in warning
    assert memory_warning(config(2), 2, small) == ""
    for name in (
        "demo",
        "horse2zebra",
        "pix2pix",
        "speedrun",
        "few_pairs",
        "dual_cut",
    ):  # the quick bound is above the estimate
        shipped = load_config(name)
        need = footprint(shipped, 1, {}, on_gpu=False, standby=True)
        limits = Limits(cores=1, memory=need.on_node(1) + SERVICES - 1, free=0)
        assert memory_warning(shipped, 1, limits, standby=True)
    warn_of_memory(config(10_000), 10_000, standby=False)
    assert capsys.readouterr().err.count("\n") == 1
    warn_of_memory(config(10_000, world__device="cuda"), 10_000, standby=False)
    assert capsys.readouterr().err == ""


def test_nothing_is_estimated_where_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cyclegan_dist.operations.doctor.footprint.footprint", lambda *_, **__: pytest.fail("estimated")
    )
    assert at_start.memory_warning(config(8), 8, ROOMY) == ""
