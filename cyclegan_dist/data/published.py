"""Published data sets by name, downloaded once: those of the CycleGAN paper, and Parquet files of the Hugging Face Hub.

No hashes are published for either. The sha256 of what came first is kept beside each file and compared from then on.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from cyclegan_dist.data.config import MAX_FILE_BYTES
from cyclegan_dist.data.sources import HUB, PUBLISHED, Place
from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.storage.files import atomic, lock, write_atomic

CYCLEGAN_URL = "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets"  # and /NAME.zip
HUB_URL = "https://huggingface.co"  # or HF_ENDPOINT
NAMES = (
    *("apple2orange", "summer2winter_yosemite", "horse2zebra", "monet2photo", "cezanne2photo", "ukiyoe2photo"),
    *("vangogh2photo", "maps", "facades", "iphone2dslr_flower", "ae_photos"),
)
# Of a copy of these images that was trained on: number, and sha256 over the sorted sha256 of the files, a line each.
KNOWN = {
    "horse2zebra/trainA": (1067, "48b5924c0a0e2360f0b8c8ab7a9051c6323491c684569a7b297f495f20d98af5"),
    "horse2zebra/trainB": (1334, "a4b8b9f5f0e9375134088747a1c128b66db1b66785321a863dc3fac816a07b95"),
    "horse2zebra/testA": (120, "abc9188973a695d4521b7bd84a79fbef50bf0628530df52384c77e6c4b91926a"),
    "horse2zebra/testB": (140, "2dcda9815f26abd5820164037d9430517f5ebf9fc9d5970fedcba91f49ba5292"),
}
TIMEOUT_S = 30.0  # without an answer
PIECE = 1 << 20  # bytes
Report = Callable[[str], object]


def fetched(place: Place, report: Report = lambda line: print(line, file=sys.stderr)) -> Place:
    """Where the images of a published data set are on this machine: downloaded unless they are there. Other places are
    returned as they are.

    Raises:
        UsageError: if there is none of that name, it cannot be downloaded, or is not what was downloaded first.
    """
    text = str(place)
    if text.startswith(PUBLISHED):
        name, _, inside = text.removeprefix(PUBLISHED).partition("/")
        if name not in NAMES:
            raise UsageError(f"no data set {name}: {suggestion(name, NAMES)}there are {', '.join(NAMES)}")
        url = f"{CYCLEGAN_URL}/{name}.zip"
        path, is_new = _kept(url, folder() / f"{name}.zip", report)
        if is_new:
            _compare(path, report)
        return Place(path, f"{name}/{inside}".rstrip("/"))
    if text.startswith(HUB):
        return Place(_hub_files(text.removeprefix(HUB), report))
    return place


def folder() -> Path:
    """Where downloads are kept: below `XDG_CACHE_HOME`, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cyclegan_dist" / "data"


def _hub_files(name: str, report: Report) -> Path:
    """A folder with the Parquet files of one split: OWNER/NAME, OWNER/NAME/SPLIT or OWNER/NAME/CONFIG/SPLIT."""
    owner, title, *rest = name.split("/")
    split, configs = rest[-1] if rest else "train", rest[:-1]
    hub = os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/")
    listing = f"{hub}/api/datasets/{quote(owner)}/{quote(title)}/parquet"
    target = folder().joinpath("hub", owner, title, *(configs or ["default"]), split)
    index = target / "files.json"
    if index.is_file():
        urls = json.loads(index.read_text())
    else:
        urls = _urls(listing, name, configs, split)
        target.mkdir(parents=True, exist_ok=True)
    for number, url in enumerate(urls):
        _kept(url, target / f"{number:04d}.parquet", report)
    write_atomic(index, json.dumps(urls), writer=f"{os.getpid()}-")
    return target


def _urls(listing: str, name: str, configs: list[str], split: str) -> list[str]:
    """The Parquet files of a split, from the Hub's list: configuration, split, URLs."""
    try:
        with _opened(listing) as answer:
            found: dict[str, dict[str, list[str]]] = json.loads(answer.read())
        there = {config: list(splits) for config, splits in found.items()}
        config = configs[0] if configs else next(iter(found)) if len(found) == 1 else "default"
        urls = found.get(config, {}).get(split, [])
        fits = all(re.match(r"https?://", url) for url in urls)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(listing, error, "download its Parquet files elsewhere, and give their folder") from error
    except (ValueError, AttributeError, TypeError):
        raise UsageError(f"{listing} does not list Parquet files: give another name than hf:{name}") from None
    if not urls or not fits:
        known = ", ".join(f"hf:{'/'.join(name.split('/')[:2])}/{c}/{s}" for c, splits in there.items() for s in splits)
        raise UsageError(f"hf:{name} has no Parquet files: give one of {known or 'another data set'}")
    return urls


def _kept(url: str, path: Path, report: Report) -> tuple[Path, bool]:
    """The file of `url`, downloaded to `path` unless it is there, and whether it was; processes may call it at once."""
    record = path.with_name(f"{path.name}.sha256")
    instead = f"download it elsewhere and save it as {path}, or give its images as A_DIR and B_DIR"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock(path.with_name(f".{path.name}.lock"), wait=True):
            first = record.read_text().split()[0] if record.exists() else ""
            is_new = not path.exists()
            with atomic(path) if is_new else contextlib.nullcontext(path) as draft:
                if is_new:
                    report(f"downloading {url} to {path}")
                    _download(url, draft)
                with draft.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if first not in ("", found):
                    raise UsageError(
                        f"{url if is_new else path} has sha256 {found}, and was {first} when it was first downloaded: "
                        f"if it was published anew, remove {record} and {path}"
                    )
            if not first:
                report(f"sha256 {found}, kept in {record}: none is published to compare it with")
                write_atomic(record, f"{found}  {path.name}\n")
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error, instead) from error
    return path, is_new


def _download(url: str, path: Path) -> None:
    with _opened(url) as answer, path.open("wb") as file:
        size = 0
        while piece := answer.read(PIECE):
            file.write(piece)
            size += len(piece)
        expected = answer.headers.get("Content-Length")
        if expected and int(expected) != size:
            raise OSError(f"it ended after {size:,} of {int(expected):,} bytes")


def _opened(url: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "cyclegan_dist"})
    hub = os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/")
    if (token := os.environ.get("HF_TOKEN")) and url.startswith(f"{hub}/"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # which other hosts do not get
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)


def _unreachable(url: str, error: Exception, instead: str) -> UsageError:
    reason = getattr(error, "reason", None) or error
    code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
    return UsageError(f"{url} cannot be downloaded ({code}{' '.join(str(reason).split())}): {instead}")


def _compare(path: Path, report: Report) -> None:
    """Report whether the images of an archive are those that are known."""
    found: dict[str, list[str]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                part = PurePosixPath(info.filename).parent.as_posix()
                if part in KNOWN and not info.is_dir():
                    with archive.open(info) as file:
                        found.setdefault(part, []).append(hashlib.sha256(file.read(MAX_FILE_BYTES)).hexdigest())
    except Exception:  # any error: unpacking says what is wrong
        return
    for part, hashes in found.items():
        facts = len(hashes), hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
        report(f"{part}: " + (f"the {len(hashes)} known images" if facts == KNOWN[part] else "not the known images"))
