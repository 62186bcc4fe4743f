import pytest

from cyclegan_dist.config.config import Config, check_config, dump_config
from cyclegan_dist.config.yaml_tree import read_tree, read_yaml
from cyclegan_dist.errors import UsageError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: &x [1]\nb: *x", "aliases are not supported: repeat the value"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("[" * 2000, "nested too deeply"),
        (f"a: {'9' * 5000}", "4300 digits"),
        ("a: [", "expected the node content"),
        ("[1, 2]", "must be a YAML mapping"),
    ],
)
def test_yaml_that_is_not_a_plain_mapping_is_refused_in_one_line(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=r"file is not YAML|file must be") as told:
        read_tree(text, "file")
    assert sentence in str(told.value) and "\n" not in str(told.value)


def test_plain_values_are_read() -> None:
    assert read_yaml("[1, two, 3.5, null, true, {a: &x b}]", "file") == [1, "two", 3.5, None, True, {"a": "b"}]
    assert read_yaml("{fast: on, other: OFF, name: no, last: False, trueish: Yes}", "file") == {
        "fast": "on",  # the value of an option
        "other": "OFF",
        "name": "no",
        "last": False,
        "trueish": "Yes",
    }
    assert read_tree("", "file") == {}


def test_written_configs_can_be_read() -> None:
    """Equal parts of a config must not become aliases."""
    assert check_config(read_tree(dump_config(Config()), "file"), "file") == Config()
