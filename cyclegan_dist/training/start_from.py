"""Weights that a new run starts from (`init_from`): read and checked by the launcher, kept in the run's folder, and
loaded by the ranks before the first step.

The copy in the run's folder makes a run independent of its source, which may be gone or changed when it is resumed.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cyclegan_dist.checkpoint.restore import read_shared
from cyclegan_dist.checkpoint.storage import storage_at
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.domain_names import Names
from cyclegan_dist.data.manifest import Manifest, open_manifest
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.contract import Method
from cyclegan_dist.models.reference_weights import published_files, read_published, read_published_discriminator
from cyclegan_dist.models.snapshot import CARD, Snapshot, describe_directions, weights_name
from cyclegan_dist.models.training_state import STATE, TrainingState, file_sha256
from cyclegan_dist.networks.config import AnyGeneratorConfig
from cyclegan_dist.registry.sources import REGISTRY, open_source
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.training.run_folder import read_config


@dataclass(frozen=True)
class Source:
    """What `init_from` names.

    Attributes:
        state: all that it has.
        sha256: of each file that was read.
        method: that trained it; empty if that is not known.
        generator: architecture of its generators.
    """

    state: TrainingState
    sha256: Mapping[str, str]
    method: str
    generator: AnyGeneratorConfig
    direction: str = ""
    """`data.direction` of that training; empty if that is not known."""
    values: Mapping[str, ValueRange | None] | None = None
    """The value range of each domain of its data; None if that is not known."""
    trained_with: tuple[str, ...] = ()
    """Pretrained networks that took part in that training."""
    names: Names = field(default_factory=dict[str, str])
    """Of the domains of its data; empty if they have none."""


def read_start(config: Config) -> TrainingState:
    """The parts of `init_from` that `init_parts` chooses, with facts for journal and card.

    Raises:
        UsageError: if there is no such source, or it does not fit the networks of the run, saying how it differs.
    """
    method = names_and_shapes(config)
    source = _open(config, method)
    if source.method and source.method != config.method.name:
        raise UsageError(f"{_named(config)} was trained with the method {source.method}, not {config.method.name}")
    state, translated = source.state, _translators(method)
    generators = {n: x for n, x in state.networks.items() if n.partition(".")[0] in translated.values()}
    others = {n: x for n, x in state.networks.items() if n.partition(".")[0] in method.networks and n not in generators}
    _refuse_missing_directions(config, translated, generators)
    _refuse_other_generators(config, source.generator, method, generators)
    if config.init_parts == "generators":
        others = {}
    elif others or config.init_parts != "auto":
        _refuse_other_discriminators(config, method, others, generators)
    moments, average = (state.moments, state.average) if config.init_parts == "all" else ({}, {})
    if config.init_parts == "all" and not any(moments.values()):
        raise UsageError(f"{_named(config)} has no moments of Adam: give --init_parts networks, generators or auto")
    networks = {**generators, **others}
    facts = {
        "source": config.init_from,
        "sha256": dict(source.sha256),
        "parts": [*dict.fromkeys(name.partition(".")[0] for name in networks)]
        + ["moments"] * bool(moments)
        + ["average"] * bool(average),
        "other_data": _other_data(config, source),
        **({"trained_with": list(source.trained_with)} if source.trained_with else {}),
    }
    return TrainingState(networks, moments, average, facts)


def _other_data(config: Config, source: Source) -> list[str]:
    """How the source's data differ from the run's in what its networks have learned; that may be meant."""
    found: list[str] = []
    if source.direction and source.direction != config.data.direction:
        found.append(f"data.direction was {source.direction}, and is {config.data.direction}")
    manifest = _manifest(config)
    if source.values is not None and manifest is not None:
        for domain, before in source.values.items():
            if (now := manifest.values.get(domain)) != before:
                found.append(f"domain {domain} had {before or '8 bits'}, and has {now or '8 bits'}")
    names = manifest.domain_names if manifest is not None else {}
    if names and source.names and names != source.names:
        found += [f"domain {domain} was {source.names[domain]}, and is {names[domain]}" for domain in "AB"]
    return found


def _manifest(config: Config) -> Manifest | None:
    """A run's data set, as it trains on it; None if it is not there."""
    with contextlib.suppress(UsageError):
        return open_manifest(config.data.path, ()).selected(config.data.direction)
    return None


def names_and_shapes(config: Config) -> Method:
    """The method of a config, with weights that have names and shapes only."""
    with torch.device("meta"):
        return config.method.build(rank_seed=0)


def _named(config: Config) -> str:
    return f"init_from {config.init_from}"


def _translators(method: Method) -> dict[str, str]:
    """For each direction, the name of its network."""
    names = {id(network): name for name, network in method.networks.items()}
    return {direction: names[id(network)] for direction, network in method.translators.items()}


def _open(config: Config, method: Method) -> Source:
    """Read the source: a registered model, published files, a snapshot or a run."""
    path = Path(config.init_from)
    if config.init_from.startswith(REGISTRY):
        snapshot = open_source(config.init_from, with_state=True)
        return _of_model(snapshot, method)
    if not path.exists():
        raise UsageError(
            f"{_named(config)} does not exist: give the folder of a run or a snapshot, a published .pth file or a "
            f"folder of them, or a registered model {REGISTRY}NAME@ALIAS"
        )
    files = published_files(path)
    if path.is_file() or (files and not (path / CARD).exists()):
        return _of_published(config, files)
    if RunFolder(path).config.exists():
        found = _of_run(path)
        if found is not None:
            return found
    return _of_snapshot(Snapshot.open(path), method)


def _of_run(path: Path) -> Source | None:
    """The newest valid checkpoint of the run in the folder `path`, which may have been moved."""
    config = read_config(path)
    kept = config.checkpoint_path if config.checkpoints else str(RunFolder(path).checkpoints)
    found = read_shared(storage_at(kept))
    if found is None:
        return None
    shared, manifest = found
    state = TrainingState.of_step(shared["step"], {})
    name = f"step {manifest['step']}, shared.pt"
    sha256 = {name: manifest["files"]["shared.pt"]["sha256"]}
    method, before = config.method, shared.get("initialised_from", {}).get("trained_with", [])
    data = _manifest(config)
    known = (None, {}) if data is None else (data.values, data.domain_names)
    facts = (config.data.direction, known[0], (*method.trained_with, *before), known[1])
    return Source(state, sha256, method.name, method.generator, *facts)


def _of_model(snapshot: Snapshot, method: Method) -> Source:
    """A registered model: its training state, if it was promoted with one, else its generators."""
    path = snapshot.folder / STATE
    if not path.exists():
        return _of_snapshot(snapshot, method)
    return _source(TrainingState.read(path), {STATE: file_sha256(path)}, snapshot)


def _of_snapshot(snapshot: Snapshot, method: Method) -> Source:
    translated, networks = _translators(method), dict[str, Tensor]()
    for direction in snapshot.directions:
        state = snapshot.generator(direction).state_dict()
        # A direction that the method lacks is left out.
        networks |= {f"{translated[direction]}.{n}": x for n, x in state.items() if direction in translated}
    sha256 = {name: file_sha256(snapshot.folder / name) for name in map(weights_name, snapshot.directions)}
    return _source(TrainingState(networks), sha256, snapshot)


def _source(state: TrainingState, sha256: Mapping[str, str], snapshot: Snapshot) -> Source:
    values = {domain: snapshot.values(domain) for domain in "AB"}
    facts = (snapshot.preprocess.get("direction", ""), values, snapshot.trained_with, snapshot.domain_names)
    return Source(state, sha256, snapshot.method, snapshot.generator_config, *facts)


def _of_published(config: Config, files: Mapping[str, Path]) -> Source:
    if not files:
        raise UsageError(
            f"{_named(config)} is no published file that is known by its name: give one that ends in net_G_A.pth or "
            "net_G_B.pth, or the folder of latest_net_G_A.pth and latest_net_G_B.pth"
        )
    networks: dict[str, Tensor] = {}
    generator = None
    for name, path in files.items():
        if name.startswith("G"):
            read = read_published(path)
            generator, state = read.config, read.network.state_dict()
        elif config.init_parts == "generators":
            continue
        else:
            state = read_published_discriminator(path)
        networks |= {f"{name}.{key}": value for key, value in state.items()}
    if generator is None:
        raise UsageError(f"{_named(config)} holds no generator")
    sha256 = {path.name: file_sha256(path) for path in files.values()}
    return Source(TrainingState(networks), sha256, "", generator)


def _refuse_missing_directions(config: Config, translated: Mapping[str, str], generators: Mapping[str, Tensor]) -> None:
    there = {name.partition(".")[0] for name in generators}
    missing = [direction for direction, name in translated.items() if name not in there]
    if missing:
        raise UsageError(
            f"{_named(config)} does not translate {describe_directions(*missing)}, which the method "
            f"{config.method.name} needs too: give a source with both directions, for published files their folder"
        )


def _refuse_other_generators(
    config: Config, theirs: AnyGeneratorConfig, method: Method, generators: Mapping[str, Tensor]
) -> None:
    """Refuse generators of another architecture or with other channels."""
    ours, needless = config.method.generator, {"resnet": "n_downs", "unet": "n_blocks", "coupled": "z_steps"}
    if "coupled" in (ours.arch, theirs.arch) and ours.arch != theirs.arch:
        raise UsageError(
            f"{_named(config)} has generators of arch {theirs.arch}, not {ours.arch}: choose another source"
        )
    before, after = dataclasses.asdict(theirs), dataclasses.asdict(ours)
    # Dropout of a U-Net has no weights, and moves none.
    same = {needless[ours.arch], *(["dropout"] if ours.arch == "unet" else [])}
    differing = [key for key in after if before[key] != after[key] and key not in same]
    if differing:
        found = ", ".join(f"{key} {before[key]}, not {after[key]}" for key in differing)
        options = " ".join(f"--method.generator.{key} {before[key]}" for key in differing)
        raise UsageError(f"{_named(config)} has generators of {found}: give {options}")
    if wrong := _differences(method, generators, generators):
        raise UsageError(
            f"{_named(config)} has generators of other channels or layers than method.input_nc "
            f"{config.method.channels['A']} and method.output_nc {config.method.channels['B']}: {wrong}"
        )


def _refuse_other_discriminators(
    config: Config, method: Method, others: Mapping[str, Tensor], generators: Mapping[str, Tensor]
) -> None:
    needed = {n: x for n, x in method.networks.state_dict().items() if n not in generators}
    if wrong := _differences(method, others, needed):
        raise UsageError(
            f"{_named(config)} has no discriminators of this run's kind: {wrong}; give method.discriminator its "
            "options, or --init_parts generators"
        )


def _differences(method: Method, there: Mapping[str, Tensor], needed: Mapping[str, Any]) -> str:
    """How the weights that are there differ from this run's networks of the same names, in one line, or nothing."""
    ours = method.networks.state_dict()
    networks = {name.partition(".")[0] for name in needed}
    wanted = {name: tuple(x.shape) for name, x in ours.items() if name.partition(".")[0] in networks}
    found = {name: tuple(x.shape) for name, x in there.items()}
    for name, shape in wanted.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != shape:
            return f"{name} has the shape {'x'.join(map(str, found[name]))}, not {'x'.join(map(str, shape))}"
    unknown = next((name for name in found if name not in wanted), "")
    return f"{unknown} is unknown" if unknown else ""
