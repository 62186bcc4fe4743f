"""The design of a study, after section 5.1.1 of the paper: what is shown, how often, how long. Free of torch."""

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclegan_dist.config.yaml_tree import check_tree
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.networks.bounds import Ge, Gt, Le
from cyclegan_dist.storage.files import write_atomic

Side = Literal["left", "right"]
STUDY = "study.json"  # written last: a folder without it is no study
IMAGES = "images"
CONSENT = "consent.txt"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What made one set of translations.

    Attributes:
        name: in the report. Participants never see it.
        snapshot: that translated.
        digest: of the snapshot's files.
        fakes: file of the translation of each scene.
    """

    name: str
    snapshot: str
    digest: str
    fakes: list[str]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a session runs, and which trials count. All algorithms have the same.

    Attributes:
        practice: first trials, with feedback, which do not count.
        scored: trials after these, without feedback.
        exposure_ms: how long a pair is shown.
        tolerance_ms: largest difference of a measured exposure for a trial to count.
        least_share: of the scored trials that must count for a participant to count.
    """

    practice: Annotated[int, Ge(0), Le(1000)] = 10
    scored: Annotated[int, Gt(0), Le(1000)] = 40
    exposure_ms: Annotated[float, Ge(100), Le(60_000)] = 1000
    tolerance_ms: Annotated[float, Gt(0), Le(1000)] = 50
    least_share: Annotated[float, Gt(0), Le(1)] = 0.9


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that has been made.

    Attributes:
        data: the data set.
        direction: of the translations, in the domains of the data set.
        paired: whether `reals[i]` shows scene i; otherwise it has no scene.
        size: sides of the images in pixels.
        protocol: of the sessions.
        algorithms: that are compared.
        reals: files of real images of the target domain.
        format: of this file.
    """

    data: str
    direction: Literal["AB", "BA"]
    paired: bool
    size: Annotated[int, Gt(0)]
    protocol: Protocol
    algorithms: list[Algorithm]
    reals: list[str]
    format: int = FORMAT

    @property
    def trials(self) -> int:
        """Trials of one session."""
        return self.protocol.practice + self.protocol.scored


@dataclass(frozen=True)
class Pair:
    """What one trial shows: two files, and where the real one is."""

    real: str
    fake: str
    real_side: Side


def draw_pairs(study: Study, algorithm: Algorithm, rng: random.Random) -> list[Pair]:
    """The trials of one session, drawn at random. No scene and no file is drawn twice.

    Raises:
        ValueError: if there are fewer images than trials.
    """
    scenes = rng.sample(range(len(algorithm.fakes)), study.trials)
    reals = scenes if study.paired else rng.sample(range(len(study.reals)), study.trials)
    return [
        Pair(study.reals[real], algorithm.fakes[scene], rng.choice(("left", "right")))
        for scene, real in zip(scenes, reals, strict=True)
    ]


def write_study(study: Study, folder: Path) -> None:
    """Write `study.json`."""
    write_atomic(folder / STUDY, json.dumps(asdict(study), indent=1) + "\n")


def open_study(folder: Path) -> Study:
    """The study in a folder.

    Raises:
        UsageError: if there is none, or it is damaged.
    """
    path = folder / STUDY
    try:
        tree = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is no study: {STUDY} is missing; make one with {pipeline_command('study')} RUN --data DATA"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"study {folder} is damaged: {STUDY} cannot be read ({error})") from error
    damaged = f"study {folder} is damaged: {STUDY}"
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise UsageError(f"{damaged} has not format {FORMAT}")
    study = check_tree(tree, Study, damaged)
    files = [*study.reals, *(name for algorithm in study.algorithms for name in algorithm.fakes)]
    if not study.algorithms or any(Path(name).name != name for name in files):
        raise UsageError(f"{damaged} names no algorithm, or a file outside {IMAGES}")
    for name in files:
        if not (folder / IMAGES / name).is_file():
            raise UsageError(f"study {folder} is damaged: {IMAGES}/{name} is missing; make it again")
    return study
