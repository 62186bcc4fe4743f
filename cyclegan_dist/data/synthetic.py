"""Two synthetic domains with a known true translation: brown shapes with a faint grain, and striped shapes, on grass.

A is to B what horses are to zebras, except that here the zebra that belongs to a horse is known: the dark streaks of
the grain are where the black stripes go. Every index gives another scene; the scenes of A and of B are never the same,
so the training set is unpaired.
"""

from dataclasses import dataclass

import numpy as np
import torch

from cyclegan_dist.data.encode import EncodedImage, encode_image

BROWN = np.array([150.0, 92.0, 48.0])
BLACK, WHITE = np.array([6.0, 6.0, 10.0]), np.array([250.0, 249.0, 246.0])
GRASS = np.array([96.0, 150.0, 72.0])
GRAIN = 36.0  # grey levels between a dark and a light streak of domain A


@dataclass(frozen=True)
class Scene:
    """One scene, drawn as domain A shows it and as domain B shows it: H x W x 3 uint8."""

    A: np.ndarray
    B: np.ndarray


def draw_scene(index: int, *, seed: int, size: int) -> Scene:
    """Scene number `index` of `seed`, `size` x `size` pixels."""
    rng = np.random.default_rng([seed, index])
    y, x = np.mgrid[0:size, 0:size] / size
    # Not flat: instance norm would amplify small deviations on a flat background.
    grass = GRASS + 4 * rng.standard_normal((size, size, 1))
    horse, zebra = grass.copy(), grass.copy()
    inside = _shape(rng, x, y)
    angle, phase, period = rng.uniform(0, np.pi), rng.uniform(0, 1), rng.uniform(0.28, 0.36)
    dark = ((x * np.cos(angle) + y * np.sin(angle)) / period + phase) % 1 < 0.4
    horse[inside & dark], horse[inside & ~dark] = BROWN - GRAIN, BROWN + GRAIN
    zebra[inside & dark], zebra[inside & ~dark] = BLACK, WHITE
    return Scene(*(np.clip(image, 0, 255).astype(np.uint8) for image in (horse, zebra)))


def _shape(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A disc, a square or a diamond somewhere, as a mask."""
    cx, cy, radius = *rng.uniform(0.35, 0.65, 2), rng.uniform(0.24, 0.36)
    dx, dy = np.abs(x - cx), np.abs(y - cy)
    distance = (np.hypot(dx, dy), np.maximum(dx, dy) * 1.15, (dx + dy) * 0.85)[rng.integers(3)]
    return distance < radius


def draw_domain(domain: str, count: int, *, seed: int, size: int) -> list[EncodedImage]:
    """`count` encoded images of one domain; A takes the even scenes and B the odd ones."""
    images = []
    for i in range(count):
        scene = draw_scene(2 * i + (domain == "B"), seed=seed, size=size)
        images.append(encode_image(torch.from_numpy(getattr(scene, domain)).permute(2, 0, 1), f"{i:06d}.png"))
    return images
