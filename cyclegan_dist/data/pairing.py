"""The images of a domain that are prepared, their names in the data set, and which of them are partners."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from cyclegan_dist.data.domain_files import DomainFiles
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError

CITYSCAPES = {"A": "_leftImg8bit.png", "B": "_gtFine_color.png"}  # ends of the names of its photos and colour maps


def image_names(config: PrepareConfig, domain: str, files: DomainFiles, report: Callable[[str], object]) -> list[str]:
    """The images to take of a domain; reports which kinds of files are skipped."""
    if config.pairs == "cityscapes":
        names = [name for name in files.names if name.endswith(CITYSCAPES[domain])]
        part = {"A": "leftImg8bit", "B": "gtFine"}[domain]
        if not names or any(Path(name).parts[0] in ("train", "val", "test") for name in names):
            raise UsageError(
                f"{files.given} is no part of Cityscapes with files *{CITYSCAPES[domain]}: give {part}/train or "
                f"{part}/val"
            )
        return names
    if files.skipped:
        kinds = ", ".join(f"{n} with {kind}" for kind, n in files.skipped.most_common(5))
        report(f"skipped in {printable(files.given)}, not images by their names: {kinds}")
    return files.names


def stored_name(config: PrepareConfig, domain: str, name: str) -> str:
    """The name that the data set has for a file: partners have the same one, except for its extension."""
    return name.removesuffix(CITYSCAPES[domain]) + ".png" if config.pairs == "cityscapes" else name


def pair_name(config: PrepareConfig, domain: str, name: str) -> str:
    """The name of the pair that a file is of."""
    return str(Path(stored_name(config, domain, name)).with_suffix(""))


def refuse_unpaired(config: PrepareConfig, names: Mapping[str, list[str]]) -> None:
    """Check that images have the partners that `config.pairs` requires.

    Raises:
        UsageError: with one that has none, or several.
    """
    a, b = (Counter(pair_name(config, domain, name) for name in names[domain]) for domain in "AB")
    if config.pairs == "some":
        if several := sorted(name for name in a & b if max(a[name], b[name]) > 1):
            raise UsageError(
                f"--pairs some: {printable(several[0])} has several partners with its name "
                f"({len(several)} such names): remove or rename them"
            )
        if not a & b:
            raise UsageError("--pairs some: no name of A_DIR is also one of B_DIR: give both images of a pair one name")
        return
    if alone := sorted((a - b) | (b - a) | Counter(name for name in a if a[name] > 1)):
        raise UsageError(
            f"--pairs {config.pairs}: {printable(alone[0])} has no partner with its name, or several "
            f"({len(alone)} such names): remove or rename them"
            + (", or give --pairs some" if config.pairs == "names" else "")
        )
