"""Options of the preparation of a data set. Does not import torch, to keep `--help` fast."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclegan_dist.data.config import MANIFEST, MAX_PIXELS, VALIDATION
from cyclegan_dist.data.domain_names import check_names
from cyclegan_dist.data.files import list_files
from cyclegan_dist.data.location import STATE, is_at, is_data_set, is_url, names_in, no_data_set
from cyclegan_dist.data.sources import exists, find_places
from cyclegan_dist.errors import UsageError, refuse_password

NOTHING = "none"  # as A_DIR or B_DIR, if there is no such folder: no new images of the domain


def is_nothing(given: Path) -> bool:
    """Whether a folder that is given stands for no images."""
    return str(given) == NOTHING and not exists(given)


@dataclass(frozen=True)
class Level:
    """The value that is black or white: itself, or a percentile, 0 to 100, of the values of a domain."""

    value: float
    percentile: bool = False


@dataclass(frozen=True)
class PrepareConfig:
    """Turn two folders of images into a data set for training."""

    a_dir: Path
    """Images of domain A: a folder, a .zip or .tar(.gz) archive or `ARCHIVE.zip/FOLDER` in it, a Parquet file or a
    folder of them, or several of these divided by commas."""
    b_dir: Path
    """Images of domain B."""
    out: str | Path
    """Folder to create, or a URL of object storage, as s3://BUCKET/NAME."""
    names: tuple[str, str] = ("", "")
    """Names of domain A and domain B for people, as `summer winter`: on sample grids, pages, cards and in MLflow. Two
    different ones of at most 30 letters and digits, with single spaces, dashes or underscores between them. Files and
    figures keep the letters A and B. By default none."""
    load_size: int | None = None
    """Pixels the shorter side is reduced to; images are never enlarged."""
    quality: int = 95
    """Quality of re-encoded JPEGs, 1 to 100; with `--pairs cityscapes` it is 100."""
    samples_per_shard: int = 1000
    """Images in one tar."""
    max_bad_fraction: float = 0.01
    """Largest fraction of unreadable images in a domain that are left out; with more, preparation fails."""
    seed: int = 0
    """Seed of the order of images in the shards."""
    workers: int = 0
    """Processes that read and encode. 0: one per core."""
    overwrite: bool = False
    """Replace another data set at OUT."""
    validation: float = 0.0
    """Images that are held out of both domains and prepared as a data set of their own, OUT/val: a share below 1, or a
    number of each domain. Training evaluates its snapshots on them. They are chosen by the hashes of all pixels and
    the seed; partners, and copies of one image, are never in different parts. 0: none."""
    pairs: Literal["none", "names", "halves", "some", "cityscapes"] = "none"
    """`names`: files with the same name, except for its extension, are pairs. `halves`: each file of A_DIR, which is
    also given as B_DIR, holds a pair side by side, A on the left. `some`: as `names`, but files
    without a partner are taken too. `cityscapes`: A_DIR is a part of Cityscapes' photos,
    leftImg8bit/train, and B_DIR the same part of gtFine, of which the colour maps are taken; as in the published script
    all become squares of `--load-size` pixels, 256 if it is not given, and photos JPEGs of quality 100. Pairs are
    required by paired methods and paired evaluation."""
    palette: str = ""
    """Classes of label maps: cityscapes, facades, streets, or a YAML file, which also names the domain of the maps.
    They become PNGs with exactly the palette's colours, and smaller by nearest neighbour; without it they are treated
    as photos, whose colours mix at borders. With `--pairs cityscapes` it is cityscapes by default."""
    full_size_labels: bool = False
    """Keep the size of label maps. Evaluation scores at their size, and the published scores of Cityscapes are at the
    original one."""
    white: str = ""
    """The value that is white in files of more than 8 bits, as `4095`, or a percentile of a domain's values, as
    `p99.8`: of 4096 evenly spaced ones of each image. By default the largest value of 16 bits, or of a TIFF's 12."""
    black: str = ""
    """The value that is black in such files, as `white`. By default 0."""
    white_a: str = ""
    """`white` for domain A only."""
    white_b: str = ""
    """`white` for domain B only."""
    black_a: str = ""
    """`black` for domain A only."""
    black_b: str = ""
    """`black` for domain B only."""
    bands: str = ""
    """The bands to take of each file, from 1 on, as `1,2,3`, `1-4` or `all`. By default all, but what a file says is
    transparency is put over white; with this option it is a band like others. Generators that learn from the data set
    take the same bands of the files that they translate."""
    bands_a: str = ""
    """`bands` for domain A only."""
    bands_b: str = ""
    """`bands` for domain B only."""
    column: str = ""
    """The column with the images in Parquet files, where there are several: structs of `bytes` and `path` as on the
    Hugging Face Hub, or binary values. With `--pairs`, images of one row have the same name: its number."""
    column_a: str = ""
    """`column` for domain A only."""
    column_b: str = ""
    """`column` for domain B only."""
    dedup: bool = False
    """Leave out duplicates within each domain: images with the same pixels as another one, or nearly the same, as
    copies of another size or JPEG quality. The largest is kept. Each is listed."""
    exclude: str = ""
    """Leave out images that are in this data set or folder too, as test images, also if they are nearly the same.
    Several are divided by commas. Each is listed."""
    append: str = ""
    """A data set, folder or URL, of which OUT becomes the next version: with the images that it has, in its shards, and
    the new ones of A_DIR and B_DIR, of which one may be `none`. It stays as it is. Give the options that it was
    prepared with; with --dedup also new images that it has are left out."""
    energon: bool = False
    """Write metadata too with which Megatron-Energon reads the shards: each domain, OUT/A and OUT/B, is a data set of
    its own there, of `ImageSample`."""
    max_megapixels: float = MAX_PIXELS / 1e6
    """The largest image that is read, in millions of pixels."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: give 1 to 100")
        if self.samples_per_shard < 1 or (self.load_size is not None and self.load_size < 1):
            raise UsageError("--samples-per-shard and --load-size must be at least 1")
        if self.validation < 0 or (self.validation > 1 and self.validation % 1) or not math.isfinite(self.validation):
            raise UsageError(
                f"--validation {self.validation:g}: give a share, as 0.1, or a number of images of each domain, as 50"
            )
        if not 0 < self.max_megapixels < math.inf:
            raise UsageError(f"--max-megapixels {self.max_megapixels}: give a number above 0")
        _ = (
            self.max_pixels,
            self.domain_names,
            [self.bands_taken(domain) for domain in "AB"],
            [self.level(end, domain) for end in ("white", "black") for domain in "AB"],
        )
        if (self.dedup or self.exclude) and self.pairs not in ("none", "some"):
            option = "--dedup" if self.dedup else "--exclude"
            raise UsageError(f"{option} would leave images without their partners: leave it out, or give --pairs some")
        if self.append and {_one_name(self.append), _one_name(f"{self.append}/{VALIDATION}")} & {
            _one_name(self.out),
            _one_name(f"{self.out}/{VALIDATION}"),
        }:
            raise UsageError(f"--append {self.append}: a version stays as it is: give another OUT")
        if self.append and self.validation and any(map(is_nothing, (self.a_dir, self.b_dir))):
            raise UsageError("--validation holds out new images of both domains: leave it out, or give folders of both")
        if self.full_size_labels and not self.palette_name:
            raise UsageError("--full-size-labels: give the --palette of the label maps")
        if self.pairs == "halves" and self.a_dir.resolve() != self.b_dir.resolve():
            raise UsageError("--pairs halves: give the folder of the double images twice, as A_DIR and as B_DIR")

    @property
    def palette_name(self) -> str:
        """The palette of label maps, or nothing if no domain holds any."""
        return self.palette or ("cityscapes" if self.pairs == "cityscapes" else "")

    def column_of(self, domain: str) -> str:
        """The column of Parquet files with a domain's images; empty if none was chosen."""
        return getattr(self, f"column_{domain.lower()}") or self.column

    @property
    def excluded(self) -> list[str]:
        """The data sets and folders of `exclude`."""
        return [given.strip() for given in self.exclude.split(",") if given.strip()]

    @property
    def domain_names(self) -> dict[str, str]:
        """The names by domain; empty if none were given.

        Raises:
            UsageError: if they cannot be used.
        """
        return check_names(self.names)

    @property
    def max_pixels(self) -> int:
        return round(self.max_megapixels * 1e6)

    def bands_taken(self, domain: str) -> tuple[int, ...] | None:
        """The bands of a domain's files, from 1 on; empty if all are to be taken as they are, None if nothing was said.

        Raises:
            UsageError: if it cannot be read.
        """
        own = f"bands_{domain.lower()}"
        option, text = (own, getattr(self, own)) if getattr(self, own) else ("bands", self.bands)
        if text in ("", "all"):
            return () if text else None
        taken: list[int] = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 1 <= first <= last:
                raise UsageError(
                    f"--{option.replace('_', '-')} {text}: give numbers from 1 on, as 1,2,3 or 1-4, or all"
                )
            taken += range(first, last + 1)
        return tuple(taken)

    def level(self, end: Literal["white", "black"], domain: str) -> Level | None:
        """What was given for a domain, or None.

        Raises:
            UsageError: if it is neither a number nor a percentile.
        """
        own = f"{end}_{domain.lower()}"
        option, text = (own, getattr(self, own)) if getattr(self, own) else (end, getattr(self, end))
        if not text:
            return None
        try:
            found = Level(float(text.removeprefix("p")), text.startswith("p"))
        except ValueError:
            found = Level(math.nan)
        if not math.isfinite(found.value) or (found.percentile and not 0 <= found.value <= 100):
            raise UsageError(
                f"--{option.replace('_', '-')} {text}: give a value, as 4095, or a percentile from 0 to 100, as p99.8"
            )
        return found

    def unused_levels(self, domains: Sequence[str]) -> list[str]:
        """The options for black or white that were given but not used, if all images of `domains` have 8 bits."""
        names = [f"{end}_{domain.lower()}" for end in ("white", "black") for domain in domains]
        names += ["white", "black"] if len(domains) == 2 else []
        return [f"--{name.replace('_', '-')} {getattr(self, name)}" for name in names if getattr(self, name)]

    def refuse_one_place(self) -> None:
        """Check that the domains are two, which only `pairs` of halves or two columns take from one place.

        Raises:
            UsageError: if both are the same.
        """
        one_place = self.a_dir.resolve() == self.b_dir.resolve() and self.column_of("A") == self.column_of("B")
        if one_place and self.pairs not in ("halves", "cityscapes") and exists(self.a_dir):
            raise UsageError(
                f"both domains are {self.a_dir}: give the images of the other one as B, or, of a Parquet file, two "
                "columns with --column-a and --column-b"
            )

    def refuse_paths(self) -> None:
        """Check before any work is done that the folders exist and `out` can be written, and that no part for
        validation would stay there whose images may now be trained on.

        Raises:
            UsageError: naming the first path that does not fit.
        """
        given_dirs = [given for given in (self.a_dir, self.b_dir) if not (self.append and is_nothing(given))]
        if not given_dirs:
            raise UsageError("--append: no new images are given for either domain: give a folder of them")
        for given in given_dirs:
            for place in find_places(given):
                if place.path.is_dir() and next(list_files(place.path), None) is None:
                    raise UsageError(f"{place} holds no images, it is empty: give a folder of images")
        for given in self.excluded:
            if not is_data_set(given):
                find_places(Path(given))
        if self.append and not is_data_set(self.append):
            raise no_data_set(self.append)
        refuse_password(self.append, "--append")
        refuse_target(self.out, overwrite=self.overwrite)
        if self.energon and is_url(self.out):
            raise UsageError(f"--energon writes to a local folder, not to {self.out}: give one, and copy it there")
        held_out = f"{self.out}/{VALIDATION}"
        if self.overwrite and not self.validation and is_at(f"{held_out}/{MANIFEST}"):
            raise UsageError(
                f"{held_out} would stay, and its images may be among those to train on: give --validation, which "
                f"replaces it, or remove {held_out}"
            )


def _one_name(place: str | Path) -> str:
    """Equal for equal places."""
    return str(place).rstrip("/") if is_url(place) else str(Path(place).resolve())


def refuse_target(out: str | Path, *, overwrite: bool) -> None:
    """Refuse a folder or URL that cannot become a data set.

    Raises:
        UsageError: if it is a file, holds something else, or is a URL with a data set and `overwrite` is not given.
    """
    refuse_password(str(out), "OUT")
    if str(out).startswith("pipe:") and is_url(out):
        raise UsageError(f"{out}: pipe: URLs run commands and are refused; give a folder or an fsspec URL")
    folder = Path(out)
    if not is_url(out) and folder.exists() and not folder.is_dir():
        raise UsageError(f"{out} is a file: choose another folder")
    found = names_in(out)
    if found and MANIFEST not in found and STATE not in found:
        raise UsageError(
            f"{out} is not empty and holds no data set: choose another folder"
            + (", it will not be overwritten" * overwrite)
        )
    if is_url(out) and MANIFEST in found and STATE not in found and not overwrite:
        raise UsageError(f"{out} holds a data set: choose another place, or pass --overwrite")
