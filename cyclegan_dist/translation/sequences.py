"""Numbered frames in a folder of images: recognising them, and the flicker of their translations."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from cyclegan_dist.data.files import printable
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.reading import read_image
from cyclegan_dist.translation.flicker import Flicker, FlickerMeter
from cyclegan_dist.translation.job import Job, Task

SHORTEST = 3  # frames
MOST_PAIRS = 100  # that are read again and compared, spread over the sequence
TRIES = 10  # pairs, of which half must show the same scene: else they are photographs that happen to be numbered
SAME_SCENE = 0.2  # share of the pixels that are unchanged in frames of one scene
_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


def frame_sequences(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks whose sources are numbered: in one folder, with names that differ in their last number alone, in the
    order of these numbers (9 before 10).
    """
    found: dict[tuple[Path, str, str], list[tuple[int, Task]]] = defaultdict(list)
    for task in tasks:
        path = Path(task.source)
        if match := _NUMBER.fullmatch(path.stem):
            before, number, after = match.groups()
            found[path.parent, before, after + path.suffix].append((int(number), task))
    ordered = [sorted(frames, key=lambda frame: frame[0]) for frames in found.values()]
    return [[task for _, task in frames] for frames in ordered if len(frames) >= SHORTEST]


def sequence_flicker(frames: Sequence[Task], job: Job) -> Flicker | None:
    """The flicker of translated frames, read from their files; None if they do not show one scene, or if they are not
    8-bit images in their own size.
    """
    if job.preprocess != "none":
        return None
    pairs = len(frames) - 1
    starts = sorted(
        {round(i * (pairs - 1) / max(1, min(pairs, MOST_PAIRS) - 1)) for i in range(min(pairs, MOST_PAIRS))}
    )
    meter, last = FlickerMeter(enough=SAME_SCENE), -1
    for tried, start in enumerate(starts):
        if tried == min(TRIES, len(starts) - 1) and meter.pairs < tried / 2:
            return None
        if start != last:
            meter.restart()
        for task in frames[start if start != last else start + 1 : start + 2]:
            try:
                image, made = (read_image(Path(path)).pixels for path in (task.source, task.target))
            except (UnreadableImageError, OSError):
                meter.restart()
                continue
            if {image.dtype, made.dtype} != {torch.uint8} or image.shape[1:] != made.shape[1:]:
                return None
            meter.add(image, made)
        last = start + 1
    return meter.result()


def sequence_name(frames: Sequence[Task]) -> str:
    """For people: the first and the last of the frames."""
    return f"{printable(frames[0].source)} to {printable(Path(frames[-1].source).name)}"
