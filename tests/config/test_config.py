import dataclasses
import json
from pathlib import Path

import pytest

from cyclegan_dist.config.changes import SAFE_TO_CHANGE, refuse_changes
from cyclegan_dist.config.config import Config, check_config, dump_config, load_config, with_values
from cyclegan_dist.config.shipped import shipped
from cyclegan_dist.config.yaml_tree import flatten, read_tree
from cyclegan_dist.errors import UsageError
from cyclegan_dist.train import parse

FLAT = flatten(dataclasses.asdict(Config()))


@pytest.mark.parametrize("name", shipped("preset"))
def test_presets_resolve_and_are_small(name: str) -> None:
    config = load_config(name)
    assert check_config(read_tree(dump_config(config), "dump"), "dump") == config
    assert config.name == name


def test_ablation_presets_only_set_weights() -> None:
    for name in ("gan_alone", "cycle_alone", "forward_only", "backward_only"):
        changed = {key for key, value in flatten(dataclasses.asdict(load_config(name))).items() if value != FLAT[key]}
        assert all(key == "name" or key.startswith("method.lambda_") for key in changed)
        assert len(changed) > 1


def test_presets_join(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("method: {generator: {ngf: 16}}\noptim: {lr: 1e-3}\n")
    config = load_config(f"horse2zebra+gan_alone+{tmp_path}/mine.yaml")
    assert config.name == "horse2zebra-gan_alone-mine"
    assert (config.data.path, config.method.lambda_cycle_A, config.method.generator.ngf) == ("data/horse2zebra", 0, 16)
    assert config.optim.lr == 1e-3  # YAML 1.1 reads it as a string


def test_two_folders_take_the_place_of_the_path_of_a_preset(tmp_path: Path) -> None:
    for name, path in (("folders", ""), ("both", "made")):
        tree = {"data": {"A": "a", "B": "b"} | ({"path": path} if path else {})}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(tree))
        assert load_config(f"horse2zebra+{tmp_path}/{name}.yaml").data.path == path
    base = load_config("horse2zebra")
    assert with_values(base, {"data.A": "a", "data.B": "b"}, "options").data.path == ""
    for values in ({"data.A": "a", "data.B": "b", "data.path": "data/horse2zebra"}, {"data.A": "", "data.B": ""}):
        assert with_values(base, values, "options").data.path == "data/horse2zebra"
    options = ["horse2zebra+laptop", "--data.A=a", "--data.B", "b"]
    assert (parse(options).config.data.path, parse([*options, "--data.path", "made"]).config.data.path) == ("", "made")


def test_presets_beyond_the_paper_join_in_any_order() -> None:
    both, other = (load_config(f"horse2zebra+{names}") for names in ("stable+few_images", "few_images+stable"))
    assert dataclasses.replace(both, name="x") == dataclasses.replace(other, name="x")
    method = both.method
    assert (method.lambda_cycle_A, method.gradient_penalty.at, len(method.diff_augment)) == (5, "mix", 3)
    assert method.discriminator.spectral_norm
    assert both.optim.betas("discriminator") == (0.5, 0.99)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"generator": {"arch": "unet"}}, "which method.generator.arch unet has not"),
        ({"generator": {"norm": "batch"}}, "which batch norm would count"),
        ({"generator": {"dropout": True}}, "give optim.fast off"),
    ],
)
def test_what_cannot_be_computed_again_is_refused(method: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_config({"method": method, "optim": {"activation_checkpointing": True}}, "test")


def test_the_tree_stays_small() -> None:
    assert len(FLAT) <= 116


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metod: {}", "unknown key metod, did you mean method"),
        ("method: {generator: {nfg: 3}}", "unknown key method.generator.nfg, did you mean method.generator.ngf"),
        ("method: {gradient_penalty: real}", "method.gradient_penalty: must be a mapping of options"),
        ("optim: {lr: fast}", "optim.lr"),
        ("world: {device: mps}", "world.device: must be 'auto', 'cpu' or 'cuda': torch cannot exchange gradients"),
        ("world: {device: gpu}", "world.device: must be 'auto', 'cpu' or 'cuda'"),
        ("optim: {lr: -1}", "optim.lr: must be greater than 0"),
        ("method: {gan_mode: lsgen}", "method.gan_mode"),
        ("data: {load_size: 64, crop_size: 128}", "load_size at least 128"),
        ("name: ../x", "give letters, digits"),
        ("schedule: {n_epochs: 0, n_epochs_decay: 0}", "nothing to train"),
        ("a: [", "not YAML"),
        ("- a", "must be a YAML mapping"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_bad_yaml_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        load_config(f"{tmp_path}/x.yaml")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("horse2zebr", "did you mean horse2zebra? "),
        ("zebra", "did you mean horse2zebra? "),
        ("horse2zebra+stabel", "did you mean stable? "),
        ("pix", "did you mean pix2pix or pix2pix_resnet? "),
        ("nosuch", ""),
        ("", ""),
    ],
)
def test_an_unknown_preset_names_the_nearest_ones_in_few_words(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(name)
    few = f"there are {len(shipped('preset'))}, demo and horse2zebra among them, which python -m cyclegan_dist.train"
    assert str(caught.value) == f"no preset {name.split('+')[-1]!r}: {near}{few} --help lists; or name a .yaml file"


def moved(value: object, key: str) -> object:
    """Another valid value of the same field."""
    choices = {
        "method.generator.arch": "unet",
        "method.generator.padding": "zero",
        "method.generator.norm": "batch",
        "method.discriminator.norm": "none",
        "method.discriminator.arch": "pixel",
        "method.init.kind": "xavier",
        "method.gan_mode": "vanilla",
        "data.preprocess": "crop",
        "data.direction": "BtoA",
        "data.pairing": "serial",
        "optim.lr_scaling": "sqrt",
        "optim.precision": "bf16",
        "optim.fast": "off",
        "schedule.policy": "cosine",
        "schedule.timing": "start",
        "method.gradient_penalty.at": "real",
        "method.diff_augment": ("colour", "cutout"),
        "method.cycle_distance": "both",
        "method.cycle_features": "efficientnet_lite2",
        "method.projected.features": "efficientnet_lite2",
        "method.projected.size": 64,
        "world.device": "cpu",
        "world.node_labels": ("pool=fast",),
        "data.crop_size": 128,
        "method.input_nc": 1,
        "method.output_nc": 1,
        "optim.beta1": 0.9,
        "optim.beta2": 0.9,
        "held_out.features": ("efficientnet_lite0",),
        "init_parts": "all",
        "freeze": ("D_*",),
        "alerts.webhook": "https://example.org/alerts",
        "alerts.email": ("ops@example.org",),
        "alerts.email_from": "runs@example.org",
        "alerts.smtp": "relay.example.org:25",
    }
    if key in choices:
        return choices[key]
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}x"


@pytest.mark.parametrize("key", [key for key in FLAT if key != "method.name"])
def test_every_field_can_be_changed_and_its_change_is_safe_or_refused(key: str) -> None:
    tree: dict = {}
    node = tree
    *parents, leaf = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[leaf] = moved(FLAT[key], key)
    if key == "method.gradient_penalty.weight":
        tree["method"]["gradient_penalty"]["at"] = "real"
    if key == "method.lambda_cycle_end":
        tree["method"]["cycle_ramp_images"] = 1
    if key == "method.lambda_cycle_features":
        tree["method"]["cycle_distance"] = "features"
    if key in ("data.A", "data.B"):
        tree["data"] = {"A": "x", "B": "x"}
    if key in ("method.input_nc", "method.output_nc"):
        tree["method"]["lambda_identity"] = 0
    changed = check_config(tree, "test")
    assert flatten(dataclasses.asdict(changed))[key] == node[leaf]
    if any(key == safe or key.startswith(f"{safe}.") for safe in SAFE_TO_CHANGE):
        refuse_changes(Config(), changed)
    else:
        with pytest.raises(UsageError, match=rf"{key}: "):
            refuse_changes(Config(), changed)


def test_options_of_older_versions_are_ignored_with_one_line(capsys) -> None:
    config = check_config({"optim": {"fused": True, "compile": False, "lr": 0.5}}, "old.yaml")
    assert config == check_config({"optim": {"lr": 0.5}}, "new.yaml")
    assert capsys.readouterr().err == (
        "old.yaml: optim.fused, optim.compile no longer exist and are ignored: optim.fast decides\n"
    )


def test_another_method_is_a_change() -> None:
    with pytest.raises(UsageError, match=r"method\.name: cyclegan -> pix2pix"):
        refuse_changes(Config(), check_config({"method": {"name": "pix2pix"}}, "x"))
