"""Drawn data sets for each limitation, with the true translation of every test image.

Domains differ in colour, in texture, or in shape. Photos and label maps have two classes of equal statistics. The test
images of one more have an object that no training image has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cyclegan_dist.data.encode import write_image
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.synthetic import draw_scene

SIZE = 32
TRAINING, TEST = 400, 100  # images of each domain
GRASS, SAND, BLUE = np.array([96.0, 150.0, 72.0]), np.array([240.0, 190.0, 110.0]), np.array([50.0, 70.0, 170.0])
RIDER = np.array([170.0, 30.0, 190.0])
# In RGB, `tree` is as far from one of the two maps' colours as from the other, and so is `house`: nothing but the order of
# classes in a scene could tell which is which, and that is random.
LABELS = Palette(
    domain="B",
    classes={"sky": (70, 130, 180), "ground": (128, 128, 0), "tree": (220, 40, 40), "house": (40, 40, 220)},
)
PHOTO = {"sky": (190, 200, 215), "ground": (110, 100, 90), "tree": (60, 170, 60), "house": (190, 60, 190)}


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        A: as domain A shows it, H x W x 3 uint8.
        B: its true translation.
        marked: H x W bool, where the object is that training images do not have.
    """

    A: np.ndarray
    B: np.ndarray
    marked: np.ndarray


Draw = Callable[[np.random.Generator], Scene]


def _grid() -> tuple[np.ndarray, np.ndarray]:
    y, x = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE
    return y, x


def _scene(A: np.ndarray, B: np.ndarray, marked: np.ndarray | None = None) -> Scene:
    A, B = (np.clip(image, 0, 255).round().astype(np.uint8) for image in (A, B))
    return Scene(A, B, np.zeros((SIZE, SIZE), bool) if marked is None else marked)


def _grass(rng: np.random.Generator) -> np.ndarray:
    return GRASS + 5 * rng.standard_normal((SIZE, SIZE, 1))


def _shaded(rng: np.random.Generator) -> np.ndarray:
    """Light that falls from one side, of mean 1: H x W x 1."""
    y, x = _grid()
    angle = rng.uniform(0, 2 * np.pi)
    return (1 + 0.35 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)))[..., None]


def _distance(kind: int, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """From a centre; below r lies a disc (0), a square (1) or a diamond (2), all of the area of a disc of radius r."""
    dx, dy = np.abs(dx), np.abs(dy)
    return (np.hypot(dx, dy), np.maximum(dx, dy) * 2 / np.sqrt(np.pi), (dx + dy) * np.sqrt(2 / np.pi))[kind]


def colour(rng: np.random.Generator) -> Scene:
    """Shapes of the colour of sand, and blue ones."""
    y, x = _grid()
    cx, cy, radius = *rng.uniform(0.35, 0.65, 2), rng.uniform(0.18, 0.3)
    inside = (_distance(rng.integers(3), x - cx, y - cy) < radius)[..., None]
    grass, light = _grass(rng), _shaded(rng)
    return _scene(*(np.where(inside, fill * light, grass) for fill in (SAND, BLUE)))


def texture(rng: np.random.Generator) -> Scene:
    """Brown shapes and striped ones, whose stripes lie where the faint streaks of the brown ones are."""
    scene = draw_scene(int(rng.integers(1 << 40)), seed=0, size=SIZE)
    return _scene(scene.A, scene.B)


def squares(rng: np.random.Generator) -> Scene:
    """Discs, and squares of the same place, area and colour."""
    y, x = _grid()
    cx, cy, radius = *rng.uniform(0.35, 0.65, 2), rng.uniform(0.18, 0.28)
    grass, fill = _grass(rng), SAND * _shaded(rng)
    shapes = ((_distance(kind, x - cx, y - cy) < radius)[..., None] for kind in (0, 1))
    return _scene(*(np.where(inside, fill, grass) for inside in shapes))


def large(rng: np.random.Generator) -> Scene:
    """Small discs, and discs of twice their radius at the same place."""
    y, x = _grid()
    cx, cy, radius = *rng.uniform(0.35, 0.65, 2), rng.uniform(0.11, 0.15)
    grass, fill = _grass(rng), SAND * _shaded(rng)
    shapes = ((_distance(0, x - cx, y - cy) < r)[..., None] for r in (radius, 2 * radius))
    return _scene(*(np.where(inside, fill, grass) for inside in shapes))


def turned(rng: np.random.Generator) -> Scene:
    """Upright bars, and lying ones with the same centre and sides."""
    y, x = _grid()
    cx, cy, length, width = *rng.uniform(0.4, 0.6, 2), rng.uniform(0.22, 0.3), rng.uniform(0.06, 0.09)
    grass, fill = _grass(rng), SAND * _shaded(rng)
    bars = (((np.abs(x - cx) < w) & (np.abs(y - cy) < h))[..., None] for w, h in ((width, length), (length, width)))
    return _scene(*(np.where(inside, fill, grass) for inside in bars))


def rider(rng: np.random.Generator) -> Scene:
    """Scenes of `texture` with a purple square on the shape, which should stay as it is."""
    scene = texture(rng)
    y, x = _grid()
    shape = np.abs(scene.A.astype(float) - scene.B).max(-1) > 0
    cx, cy = (float(at[shape].mean()) + rng.uniform(-0.08, 0.08) for at in (x, y))
    marked = np.maximum(np.abs(x - cx), np.abs(y - cy)) < rng.uniform(0.1, 0.14)
    both = RIDER + 8 * rng.standard_normal((SIZE, SIZE, 1))
    return _scene(*(np.where(marked[..., None], both, image) for image in (scene.A, scene.B)), marked)


def classes(rng: np.random.Generator) -> Scene:
    """Photos of a tree and a house of any shapes below a sky, and their label maps."""
    y, x = _grid()
    labels = np.where(y < rng.uniform(0.3, 0.7), 0, 1)
    angle, cx, cy = rng.uniform(0, 2 * np.pi), *rng.uniform(0.46, 0.54, 2)
    for label, side in ((2, 1), (3, -1)):
        dx, dy = x - cx - side * 0.22 * np.cos(angle), y - cy - side * 0.22 * np.sin(angle)
        labels[_distance(rng.integers(3), dx, dy) < rng.uniform(0.13, 0.2)] = label
    shades = np.array(list(PHOTO.values())) + 6 * rng.standard_normal((4, 1))
    photo = shades[labels] * _shaded(rng) + 6 * rng.standard_normal((SIZE, SIZE, 1))
    return _scene(photo, np.array(list(LABELS.classes.values()))[labels])


def held_out(draw: Draw, seed: int, count: int = TEST) -> list[Scene]:
    """Scenes that no training set has."""
    return [draw(np.random.default_rng([seed, 1, i])) for i in range(count)]


def write_data(out: Path, draw: Draw, seed: int, count: int = TRAINING) -> None:
    """Write the training images as a data set, without pairs: A and B show different scenes."""
    scenes = [[draw(np.random.default_rng([seed, 0, i, domain])) for i in range(count)] for domain in (0, 1)]
    _write(out, [s.A for s in scenes[0]], [s.B for s in scenes[1]], pairs=False, palette=draw is classes)


def write_test(out: Path, draw: Draw, seed: int, count: int = TEST) -> None:
    """Write the test scenes as a data set with pairs."""
    scenes = held_out(draw, seed, count)
    _write(out, [s.A for s in scenes], [s.B for s in scenes], pairs=True, palette=draw is classes)


def _write(out: Path, A: list[np.ndarray], B: list[np.ndarray], *, pairs: bool, palette: bool) -> None:
    folders = [out.with_name(f"{out.name}-{domain}") for domain in "AB"]
    for folder, images in zip(folders, (A, B), strict=True):
        folder.mkdir(parents=True)
        for i, image in enumerate(images):
            write_image(torch.from_numpy(image).permute(2, 0, 1), folder / f"{i:05d}.png")
    config = PrepareConfig(
        *folders, out, pairs="names" if pairs else "none", palette="drawn" if palette else "", workers=1
    )
    prepare(config, lambda line: None, palette=LABELS if palette else None)
