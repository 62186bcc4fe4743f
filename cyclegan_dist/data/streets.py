"""Drawn street scenes with a known truth: label maps of eight classes, and photos of them.

A label map has many photos: for each one, every class draws its own colour and texture, vehicles and people their paint
and clothes, and the scene its light. The layout has the statistics of streets (sky above, road below, people on the
pavement), and classes are of very different frequency, so that the truth can be found from unpaired images, and a
translation that exchanges two classes shows in it.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from cyclegan_dist.data.encode import write_image
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError

CLASSES = ("road", "pavement", "building", "vegetation", "sky", "car", "person", "sign")
ROAD, PAVEMENT, BUILDING, VEGETATION, SKY, CAR, PERSON, SIGN = range(8)
PAINTS = ((150, 25, 25), (30, 50, 120), (215, 215, 215), (35, 35, 38), (60, 95, 90))
CLOTHES = ((170, 60, 50), (60, 70, 130), (190, 150, 60), (120, 60, 120))


def draw_labels(rng: np.random.Generator, size: int) -> np.ndarray:
    """The classes of a scene, `size` x `size` int64, numbered as in `CLASSES`."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
    horizon, vanishing = rng.uniform(0.40, 0.52), rng.uniform(0.35, 0.65)
    labels = np.full((size, size), SKY)
    edge = rng.uniform(-0.05, 0)
    while edge < 1:
        width, rise = rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.28) + 0.3 * abs(edge + 0.1 - vanishing)
        if rng.random() < 0.85:
            labels[(edge <= x) & (x < edge + width) & (y > horizon - rise)] = BUILDING
        edge += width
    for _ in range(rng.integers(1, 6)):
        cx, radius = rng.uniform(0, 1), rng.uniform(0.08, 0.15)
        tree = ((x - cx) / radius) ** 2 + ((y - horizon + 0.8 * radius) / (1.2 * radius)) ** 2 < 1
        labels[tree] = VEGETATION
    depth = (y - horizon) / (1 - horizon)  # 0 at the horizon, 1 at the lower edge
    ground = depth > 0
    middle, half = vanishing + depth * rng.uniform(-0.15, 0.15), 0.05 + depth * rng.uniform(0.48, 0.66)
    labels[ground] = PAVEMENT
    labels[ground & (np.abs(x - middle) < half)] = ROAD
    for _ in range(rng.integers(0, 3)):
        cx, high = rng.choice([rng.uniform(0.05, 0.3), rng.uniform(0.7, 0.95)]), rng.uniform(0.04, 0.055)
        labels[(np.abs(x - cx) < high) & (np.abs(y - horizon + rng.uniform(0.05, 0.15)) < high)] = SIGN
    for near in np.sort(rng.uniform(0.1, 0.75, rng.integers(0, 4))):
        width, foot = 0.07 + 0.16 * near, horizon + near * (1 - horizon)
        cx = vanishing + rng.uniform(-0.25, 0.25) * near
        body = (np.abs(x - cx) < width) & (y < foot) & (y > foot - 0.75 * width)
        cabin = (np.abs(x - cx) < 0.6 * width) & (y < foot) & (y > foot - 1.3 * width)
        labels[body | cabin] = CAR
    for near in np.sort(rng.uniform(0.1, 0.6, rng.integers(0, 4))):
        cx = rng.choice([rng.uniform(0.02, 0.25), rng.uniform(0.75, 0.98)])
        height, foot = 0.16 + 0.22 * near, horizon + near * (1 - horizon)
        labels[((x - cx) / (0.2 * height)) ** 2 + ((y - foot + height / 2) / (height / 2)) ** 2 < 1] = PERSON
    return labels


def draw_photo(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo of a scene: H x W x 3 uint8. Each call of `rng` gives another one."""
    size = len(labels)
    row, column = np.mgrid[0:size, 0:size]
    noise = rng.standard_normal((4, size, size))
    wide = np.repeat(np.repeat(rng.standard_normal((size // 4 + 1,) * 2), 4, 0), 4, 1)[:size, :size]
    phases = rng.integers(0, 8, 4)
    windows = ((row + phases[0]) % 5 < 3) & ((column + phases[1]) % 4 < 2)
    tiles = ((row + phases[2]) % 4 == 0) | ((column + phases[3]) % 5 == 0)
    surfaces = {  # colour, how much it varies from photo to photo, texture in grey levels
        ROAD: ((88, 88, 92), 7, 5 * noise[0]),
        PAVEMENT: ((172, 162, 150), 9, 3 * noise[1] - 26 * tiles),
        BUILDING: ((150, 112, 92), 14, 4 * noise[1] - 62 * windows),
        VEGETATION: ((62, 98, 48), 9, 14 * noise[2] + 12 * wide),
        SKY: ((168, 192, 222), 10, 9 * wide * (rng.random() < 0.5) + 24 * row / size),
        CAR: (PAINTS[rng.integers(len(PAINTS))], 8, 3 * noise[3] + 22 * (row % 3 == 0)),
        PERSON: (CLOTHES[rng.integers(len(CLOTHES))], 10, 18 * noise[3]),
        SIGN: ((232, 196, 30), 7, 4 * noise[0]),
    }
    photo = np.zeros((size, size, 3))
    for label, (colour, spread, texture) in surfaces.items():
        shade = np.array(colour) + spread * rng.standard_normal() + 4 * rng.standard_normal(3)
        photo[labels == label] = (shade + texture[..., None])[labels == label]
    warmth = 0.05 * rng.standard_normal()
    light = rng.uniform(0.75, 1.15) * np.array([1 + warmth, 1, 1 - warmth])
    across = 1 + rng.uniform(-0.12, 0.12) * (column / size - 0.5)
    photo = photo * light * across[..., None]
    around = np.pad(photo, ((1, 1), (1, 1), (0, 0)), "edge")  # blurred as by a lens: borders of classes are mixtures
    blurred = 0.8 * around[1:-1] + 0.1 * (around[:-2] + around[2:])
    blurred = 0.8 * blurred[:, 1:-1] + 0.1 * (blurred[:, :-2] + blurred[:, 2:])
    return np.clip(blurred + 2 * rng.standard_normal(photo.shape), 0, 255).round().astype(np.uint8)


def write_streets(
    out: Path, counts: Mapping[str, int], palette: Palette, *, size: int, seed: int, overwrite: bool
) -> None:
    """Write scenes as data sets with pairs: photos are domain A, label maps B.

    Args:
        out: folder to create.
        counts: scenes of each data set, by its folder in `out`; `` is `out` itself, and comes first.
        palette: colours of `CLASSES`, with the maps in domain B.
        size: pixels of a side.
        seed: the same seed gives the same bytes.
        overwrite: replace another data set at `out`.

    Raises:
        UsageError: if `out` holds something else, or the palette has other classes.
    """
    if tuple(palette.classes) != CLASSES or palette.domain != "B":
        raise UsageError(f"street scenes need a palette with domain: B and the classes {', '.join(CLASSES)}")
    colours = np.array(list(palette.classes.values()), np.uint8)
    for part, (folder, count) in enumerate(counts.items()):
        with TemporaryDirectory() as place:
            a, b = Path(place, "A"), Path(place, "B")
            for folder_of_domain in (a, b):
                folder_of_domain.mkdir()
            for i in range(count):
                labels = draw_labels(np.random.default_rng([seed, part, i, 0]), size)
                photo = draw_photo(labels, np.random.default_rng([seed, part, i, 1]))
                for to, image in ((a, photo), (b, colours[labels])):
                    write_image(torch.from_numpy(image).permute(2, 0, 1), to / f"{i:05d}.png")
            config = PrepareConfig(
                *(a, b, out / folder), pairs="names", palette="streets", overwrite=overwrite, workers=1
            )
            prepare(config, palette=palette)
