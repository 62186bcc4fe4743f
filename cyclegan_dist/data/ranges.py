"""The value range of a domain with more than 8 bits: what its files hold, and what the user says is black and white."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cyclegan_dist.data.encode import Reading, read_half
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.prepare_config import Level
from cyclegan_dist.data.reading import has_more_than_eight_bits
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError

MOST_SAMPLES = 4096  # values of an image that percentiles are computed from
ALL_SAMPLES = 16_000_000  # and of a domain


@dataclass(frozen=True)
class FoundValues:
    """The values of a file with more than 8 bits: type, bits that are used, extremes, and evenly spaced samples."""

    name: str
    dtype: str
    bits: int
    least: float
    largest: float
    samples: np.ndarray


def find_values(folder: Path, reading: Reading, samples: int, name: str) -> FoundValues | None:
    """The values of a file; None if it has 8 bits, which its header says, or cannot be read.

    Args:
        folder: of the domain.
        reading: how its files are read.
        samples: how many to take, at most.
        name: of the file, relative to the folder.
    """
    if not has_more_than_eight_bits(folder / name, reading.max_pixels):
        return None
    try:
        # Transparency over black, so that white is not the file's largest value.
        picture, pixels = read_half(folder / name, reading, 0)
    except UnreadableImageError:
        return None
    values = pixels.numpy()
    if values.dtype == np.uint8:
        return None
    some = values.reshape(-1)[:: max(1, -(-values.size // samples))] if samples else values[:0].reshape(-1)
    extremes = float(values.min()), float(values.max())
    return FoundValues(name, values.dtype.name, picture.source.bits, *extremes, np.array(some))


def samples_of_each(files: int) -> int:
    """How many values of each file to take for percentiles."""
    return max(1, min(MOST_SAMPLES, ALL_SAMPLES // files))


def choose_range(
    domain: str, files: Iterable[FoundValues | None], black: Level | None, white: Level | None
) -> ValueRange | None:
    """The range of a domain; None if no file has more than 8 bits.

    Args:
        domain: A or B.
        files: what was found in each.
        black: that the user has given, or None: 0.
        white: that the user has given, or None: the largest value of the files' bits.

    Raises:
        UsageError: if the files have values of several types, black or white must be given, or white is not above
            black.
    """
    found = [values for values in files if values is not None]
    if not found:
        return None
    kinds: Mapping[str, FoundValues] = {values.dtype: values for values in reversed(found)}
    if len(kinds) > 1:
        some = " and ".join(f"{kind} ({values.name})" for kind, values in kinds.items())
        raise UsageError(f"domain {domain} has files of {some}: convert them to one type")
    (dtype,), bits = kinds, max(values.bits for values in found)
    least, largest = min(values.least for values in found), max(values.largest for values in found)
    what = f"domain {domain} has {bits}-bit values ({dtype}) of {least:g} to {largest:g}"
    of_domain = f"--white-{domain.lower()} or --black-{domain.lower()} for this domain only"
    percentile = f"--white {largest:g}, or --white p99.8 for that percentile of them"
    if black is None and least < 0:
        raise UsageError(f"{what}: say which value is black, as --black {least:g} or --black p0.2 ({of_domain})")
    if white is None:
        if dtype != "uint16":
            raise UsageError(f"{what}, a type that does not say which value is white: give {percentile} ({of_domain})")
        limit = 2**bits - 1
        if largest < limit / 4:
            raise UsageError(f"{what}, less than a quarter of {limit}: give {percentile} ({of_domain})")
    levels = {
        "black": 0.0 if black is None else _level(black, found),
        "white": 2.0**bits - 1 if white is None else _level(white, found),
    }
    if levels["white"] <= levels["black"]:
        raise UsageError(f"{what}: white {levels['white']:g} must be above black {levels['black']:g} ({of_domain})")
    return ValueRange(dtype, **levels)


def _level(level: Level, found: list[FoundValues]) -> float:
    if level.percentile:
        return float(np.percentile(np.concatenate([values.samples for values in found]), level.value))
    return level.value
