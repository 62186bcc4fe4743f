"""Table files: the shipped ones, and mistakes in others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cyclegan_dist.config.shipped import shipped
from cyclegan_dist.errors import UsageError
from cyclegan_dist.paper.tables import load_tables

GOOD: dict[str, Any] = {
    "title": "Mine",
    "base": "streets",
    "images": 100,
    "columns": {"accuracy": {"direction": "AtoB", "metric": "seg/pixel_accuracy"}, "people": {"direction": "BtoA"}},
    "rows": {"one": {"paper": [0.1, None]}, "two": {"preset": "gan_alone"}},
    "checks": [{"says": "one wins", "row": "one", "column": "accuracy", "above": "two"}],
}


def write(folder: Path, name: str = "mine", **changes: Any) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return str(path)


def test_the_papers_tables_can_be_trained_together() -> None:
    names = {"table1", "table2", "table3", "table4", "table5", "figure8"}
    others = [load_tables(name)[name] for name in shipped("table") if name not in names]
    tables = load_tables("+".join(sorted(names)))
    for table in (*tables.values(), *others):
        assert len(table.seeds) >= 3
        assert all(row.status != "not in the paper" or not row.paper for row in table.rows.values())
    assert all(row.status for table in tables.values() for row in table.rows.values())


def test_figures_are_those_of_the_guide() -> None:
    tables = load_tables("table2+table3+table4+table5")
    assert [tables[name].rows["CycleGAN"].paper[:3] for name in ("table2", "table3", "table4", "table5")] == [
        (0.52, 0.17, 0.11),
        (0.58, 0.22, 0.16),
    ] * 2
    assert tables["table5"].rows["GAN + backward"].paper[:3] == (0.01, 0.06, 0.01)
    assert tables["table5"].rows["GAN + backward"].status == "unverified"
    assert load_tables("table1")["table1"].rows["SimGAN"].paper == (0.7, 2.6, None, None)


def test_domains_are_exchanged_together() -> None:
    table = load_tables("table5")["table5"]
    other = table.exchanged()
    assert (other.maps, other.direction, other.directions) == ("A", "AtoB", ("BtoA",))
    assert other.exchanged() == table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [1]}, "unknown key seed, did you mean seeds?"),
        ({"rows": {"one": {"preste": "x"}}}, "unknown key preste, did you mean preset?"),
        ({"rows": {"one": {"paper": [1]}}}, "one figure for each of the 2 columns"),
        ({"rows": {"first": {}}}, "no row 'one'"),
        ({"columns": {"accuracy": {"direction": "up"}}}, "direction"),
        ({"seeds": [1, 1]}, "none twice"),
        ({"images": 0}, "images"),
        ({"rows": {"one": {"cost": 0}}}, "cost"),
        ({"rows": {"one": {}, "two": {"baseline": "on"}}}, "no other row 'on': did you mean one?"),
        ({"class_rate": ["zebra"]}, "class_rate needs a classifier"),
        ({"checks": [{"says": "s", "row": "one", "column": "people", "at_most": 1}]}, "no column 'people'"),
        ({"checks": [{"says": "s", "row": "one", "column": "accuracy", "between": ["two"]}]}, "give one of above"),
        (
            {"checks": [{"says": "s", "row": "one", "column": "accuracy", "between": ["two", "six"], "at_least": 0.5}]},
            "no row 'six'",
        ),
        (
            {"checks": [{"says": "s", "row": "one", "column": "accuracy", "above": "two", "at_least": 1}]},
            "give one of above",
        ),
        ({"checks": [{"says": "s", "row": "one", "column": "accuracy"}]}, "give one of above"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as raised:
        load_tables(write(tmp_path, **changes))
    assert "\n" not in str(raised.value)


def test_tables_that_differ_are_not_joined(tmp_path: Path) -> None:
    one = write(tmp_path)
    with pytest.raises(UsageError, match="different images"):
        load_tables(f"{one}+{write(tmp_path, 'longer', images=200)}")
    with pytest.raises(UsageError, match=r"row two of .* is trained otherwise"):
        load_tables(f"{one}+{write(tmp_path, 'other', rows={'one': {}, 'two': {'preset': 'cycle_alone'}})}")
