"""Draw two domains, train on them, and translate held-out images.

    python -m pipelines.demo [--out demo_run]

Trains on Ray with two ranks. Needs no data and no network. The true translations are known, so the error is measured as
well.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.config import load_config
from cyclegan_dist.errors import run_command

if TYPE_CHECKING:
    from torch import Tensor

HELD_OUT = 48


@dataclass(frozen=True)
class Demo:
    """Draw two domains, train, translate held-out images, and show them."""

    out: Path = Path("demo_run")
    """Folder for the run, the gallery and the MLflow store."""
    num_workers: int = 2
    """Ranks that Ray Train starts."""


def main() -> int:
    """Read the command line and run the demo. Returns the exit code."""
    command = parse_options(Demo, "demo", __doc__)
    out = command.out.absolute()
    os.environ["CYCLEGAN_DIST_HOME"] = str(out)
    config = load_config("demo")
    config = replace(config, world=replace(config.world, num_workers=command.num_workers))
    print(f"training on Ray with {command.num_workers} ranks; one line for every {config.every.log} images")
    from cyclegan_dist.orchestration.launch import launch  # loads pyarrow, and what starts the ranks

    code = launch(config, "auto")
    return code or show(out, config.run_dir, config.data.load_size, config.seed)


def show(out: Path, run_dir: Path, size: int, seed: int) -> int:
    """Translate held-out scenes, print the errors and the paths. Returns 1 if nothing was learned."""
    import torch
    from torchvision.utils import make_grid

    from cyclegan_dist.data.images import to_pillow
    from cyclegan_dist.data.synthetic import draw_scene
    from cyclegan_dist.evaluation.gallery import Section, translated, write_gallery
    from cyclegan_dist.models.snapshot import Snapshot, describe_directions
    from cyclegan_dist.models.translator import open_translators
    from cyclegan_dist.orchestration.launch import mlflow_ui

    translators = open_translators(Snapshot.open(run_dir))
    scenes = [
        draw_scene(i, seed=seed + 1, size=size) for i in range(HELD_OUT)
    ]  # another seed: none of them was trained on
    domain = {d: [torch.from_numpy(getattr(scene, d)).permute(2, 0, 1) for scene in scenes] for d in "AB"}
    pictures = {
        describe_directions(way): translated(translators, way, domain[way[0]]) | {"truth": domain[way[1]]}
        for way in translators
    }
    lines = {name: _errors(images) for name, images in pictures.items()}
    names = [f"held-out scene {i}" for i in range(HELD_OUT)]
    page = write_gallery(
        out / "gallery",
        title="Demo: brown shapes and striped ones",
        facts={f"mean absolute error {name}": line for name, (line, _) in lines.items()},
        sections=[Section(name, names[:12], _first(images)) for name, images in pictures.items()],
        journal=run_dir / "metrics.jsonl",
        panels=load_config("demo").method.panels,
    )
    picture = out / "demo.png"
    rows = [image for images in next(iter(pictures.values())).values() for image in images[:8]]
    to_pillow(make_grid(torch.stack(rows), nrow=8, pad_value=255)).save(picture)
    for name, (line, _) in lines.items():
        print(f"mean absolute error {name} on {HELD_OUT} held-out images: {line}")
    print(f"picture (input, translation, reconstruction, truth): {picture}")
    print(f"gallery: {page}")
    print(f"curves and models: {mlflow_ui(run_dir)}")
    if not all(better for _, better in lines.values()):
        print("the translations are not closer to the truth than the inputs: something is wrong")
        return 1
    return 0


def _errors(pictures: "dict[str, list[Tensor]]") -> tuple[str, bool]:
    """A sentence, and whether the translations are closer to the truth than the inputs."""
    from cyclegan_dist.evaluation.gallery import mean_absolute_error

    before = mean_absolute_error(pictures["input"], pictures["truth"])
    after = mean_absolute_error(pictures["translation"], pictures["truth"])
    return f"{before:.1f} untranslated, {after:.1f} translated (grey levels of 255)", after < before


def _first(pictures: "dict[str, list[Tensor]]") -> "dict[str, list[Tensor]]":
    return {label: images[:12] for label, images in pictures.items()}


if __name__ == "__main__":
    run_command(main)
