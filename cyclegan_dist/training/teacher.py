"""The snapshot that a method learns from (`method.teacher`): found and checked by the launcher."""

from pathlib import Path

from cyclegan_dist.config.config import Config, with_values
from cyclegan_dist.data.domain_names import refuse_exchanged
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.values import refuse_other_values
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.models.snapshot import Snapshot, describe_directions
from cyclegan_dist.registry.sources import REGISTRY, open_source, read_store


def with_teacher(config: Config, kept: Config | None) -> Config:
    """The config with the folder, the digest and the name of the teacher that it names, which fits the run.

    Args:
        config: of a method that has one.
        kept: the config that the run was begun with, if it was begun.

    Raises:
        UsageError: if there is no such snapshot, it is not the one that the run was begun with, or does not fit.
    """
    taught = config.method.taught_by
    source, wanted = str(taught["folder"]), str(taught["sha256"])
    if not source:
        raise UsageError(
            f"method {config.method.name} needs a teacher: {pipeline_command('distill')} SOURCE, or --method.teacher "
            "with the folder of a run or a snapshot, or models:/NAME@ALIAS"
        )
    before = kept.method.taught_by if kept is not None else {}
    snapshot = open_teacher(source)
    digest = snapshot.digest()
    if before and digest != before["sha256"]:
        raise UsageError(
            f"run {config.name} learns from {before['source']} of digest {before['sha256'][:16]}, and {source} is now "
            f"{digest[:16]}: name that one, or choose another --name"
        )
    if wanted and digest != wanted:
        raise UsageError(f"teacher {source} has the digest {digest}, not the {wanted} of method.teacher_sha256")
    _refuse_unfit(config, snapshot)
    return with_values(
        config,
        {
            "method.teacher": str(snapshot.folder.absolute()),
            "method.teacher_sha256": digest,
            "method.teacher_name": before["source"] if before else str(_named(config, source, snapshot)),
            "method.teacher_trained_with": list(snapshot.trained_with),
        },
        "method.teacher",
    )


def open_teacher(source: str) -> Snapshot:
    """The snapshot of a source, which can be a teacher.

    Raises:
        UsageError: if there is none, or it does not translate with one pass of a network.
    """
    if not source.startswith(REGISTRY) and not Path(source).exists():
        raise UsageError(f"teacher {source} does not exist: restore it, or name another place of the same snapshot")
    snapshot = open_source(source)
    snapshot.refuse_damaged()
    if procedure := snapshot.generator_config.procedure:
        raise UsageError(f"{source} cannot be a teacher: its images are {procedure}")
    return snapshot


def refuse_other_domains(config: Config, manifest: Manifest) -> None:
    """Refuse a data set whose values mean something else than those that the teacher was trained on, or whose domains
    have its names exchanged.

    Args:
        config: with the teacher's folder.
        manifest: its data set, as it trains on it.

    Raises:
        UsageError: if a domain differs.
    """
    teacher = Snapshot.open(config.method.taught_by["folder"])
    wanted = {domain: teacher.values(domain) for domain in "AB"}
    refuse_other_values(config.data.path, manifest.values, f"teacher {teacher.folder}", wanted)
    refuse_exchanged(config.data.path, manifest.domain_names, f"teacher {teacher.folder}", teacher.domain_names)


def _named(config: Config, source: str, snapshot: Snapshot) -> str | Path:
    """The name for cards: an alias may move, so that a registered model is called by its version."""
    taught = config.method.taught_by
    if taught["source"] != taught["folder"]:
        return str(taught["source"])
    if not source.startswith(REGISTRY):
        return snapshot.folder.absolute()
    read_store()
    from cyclegan_dist.registry.download import exact_uri  # loads mlflow

    return exact_uri(source)


def _refuse_unfit(config: Config, teacher: Snapshot) -> None:
    """Refuse a teacher without a direction or with other channels, or crops that it cannot take."""
    method = config.method
    if missing := [direction for direction in method.directions if direction not in teacher.directions]:
        raise UsageError(
            f"teacher {teacher.folder} does not translate "
            f"{describe_directions(*missing, names=teacher.domain_names)}: give --method.directions "
            f"{' '.join(teacher.directions)}"
        )
    theirs = teacher.card["input_nc"], teacher.card["output_nc"]
    if tuple(method.channels[domain] for domain in "AB") != theirs:
        raise UsageError(
            f"teacher {teacher.folder} has {theirs[0]} channels in A and {theirs[1]} in B: give --method.input_nc "
            f"{theirs[0]} --method.output_nc {theirs[1]}"
        )
    if teacher.preprocess and config.data.direction != teacher.data_direction:
        raise UsageError(
            f"data.direction {config.data.direction}: the teacher was trained with {teacher.data_direction}: its "
            f"A is B here: give --data.direction {teacher.data_direction}"
        )
    multiple = teacher.generator_config.multiple
    if "crop" in config.data.preprocess and config.data.crop_size % multiple:
        raise UsageError(f"data.crop_size {config.data.crop_size}: the teacher takes multiples of {multiple}")
