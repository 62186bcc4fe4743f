"""Budgets of the runs of a table."""

import dataclasses

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.paper.data import Parts, draw_streets, open_parts
from cyclegan_dist.paper.runs import plan
from cyclegan_dist.paper.tables import Row, load_tables
from cyclegan_dist.sweep.config import VARIANT


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    path = tmp_path_factory.mktemp("streets")
    draw_streets(path, 32, smoke=True)  # 24 images of each domain
    return open_parts(str(path))


def configs(data: Parts, rows: dict[str, Row], **overrides: int) -> dict[str, Config]:
    table = dataclasses.replace(load_tables("switches")["switches"], rows=rows, checks=(), images=240)
    spec = plan({"t": table}, data, "t", overrides).spec
    return {name: spec.config({VARIANT: name}) for name in spec.variants}


def test_a_row_that_costs_more_sees_fewer_images(data: Parts) -> None:
    found = configs(
        data, {"one": Row(), "slow": Row(cost=1.25), "own": Row(cost=1.25, values={"data.max_samples": 12})}
    )
    epochs = {name: config.schedule.total_epochs for name, config in found.items()}
    assert epochs == {"one": 10, "slow": 8, "own": 16}  # 192 images of the last two: in epochs of 24 and of 12 images
    assert {name: config.every.snapshot for name, config in found.items()} == {"one": 60, "slow": 48, "own": 48}


def test_the_command_line_decides_for_all_rows(data: Parts) -> None:
    found = configs(data, {"one": Row(), "slow": Row(cost=2)}, **{"schedule.n_epochs": 7})
    assert {config.schedule.n_epochs for config in found.values()} == {7}
