"""Where a data set or a part of it is. Loads nothing, so that a wrong path is refused at once."""

from pathlib import Path

from cyclegan_dist.data.config import MANIFEST
from cyclegan_dist.errors import UsageError, pipeline_command

SYNTHETIC = "synthetic"  # the demo's data set, which is drawn


def data_path(data: str, split: str = "") -> str:
    """Where the data set, or its part `split`, is.

    Raises:
        UsageError: if there is none in a local folder. URLs are looked at when they are opened.
    """
    path = f"{data.rstrip('/')}/{split}" if split else data
    if is_data_set(path):
        return path
    if not split:
        raise no_data_set(path)
    whole, is_prepared = Path(data).parent, _is_data_set(data)
    if is_prepared and Path(data).name == split and _is_data_set(str(whole)):
        raise UsageError(f"{data} is itself the part {split}: give --data {whole}, or --data {data} --split ''")
    itself = f", or take the data set itself: --data {data} --split ''" if is_prepared else ""
    make = f"make it with {pipeline_command('prepare')} A_DIR B_DIR {path}"
    raise UsageError(f"{data} has no part {split}: {make}{itself}")


def no_data_set(root: str) -> UsageError:
    """The error for a folder or URL that holds no data set."""
    advice = f"Make it with: {pipeline_command('prepare')} A_DIR B_DIR {root}"
    return UsageError(f"no data set at {root}: {MANIFEST} is missing. {advice}")


def is_data_set(path: str) -> bool:
    """Whether there is a data set at `path`, or may be one if it is a URL."""
    return "://" in path or path.startswith("pipe:") or _is_data_set(path)


def _is_data_set(path: str) -> bool:
    try:
        return (Path(path.removesuffix(MANIFEST)) / MANIFEST).exists()
    except OSError:  # reading it says what is wrong
        return True
