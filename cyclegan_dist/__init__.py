"""Distributed image-to-image translation: training, evaluation, registry and serving.

import cyclegan_dist as cg
cg.load("models:/horse2zebra@champion").translate("horse.jpg").save("zebra.png")

`load` is defined here; `prepare`, `train`, `evaluate`, `promote` and `history` in `cyclegan_dist.api`.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan_dist.api import evaluate, history, prepare, promote, train
    from cyclegan_dist.models.snapshot import Snapshot
    from cyclegan_dist.models.translator import Translator

__version__ = "0.1.0"
__all__ = ["Snapshot", "__version__", "evaluate", "history", "load", "prepare", "promote", "train"]
_HOMES = {
    "Snapshot": "cyclegan_dist.models.snapshot",
    **dict.fromkeys(("evaluate", "history", "prepare", "promote"), "cyclegan_dist.api"),
}


def __getattr__(name: str) -> Any:
    """Load a name's module when it is first used, so that importing a part of the package loads nothing else."""
    if name == "train":  # the command's module, which is called as the function of `api`
        return importlib.import_module(f"{__name__}.train")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def load(
    source: str | os.PathLike[str],
    direction: str | None = None,
    device: str = "auto",
    *,
    tile: int = 0,
    black: float | None = None,
    white: float | None = None,
) -> "Translator":
    """Load one direction of a trained model.

    Args:
        source: folder of a run, whose newest snapshot is taken, folder of a snapshot, or a registered model,
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`, in the MLflow of MLFLOW_TRACKING_URI.
        direction: AB or BA, or by the domains' names, as `summer-to-winter`; by default AB if the model has it.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU if there is one.
        tile: images with a longer side, in pixels, are computed in tiles of this side, in less memory; 0: none are.
        black: the value of images with more than 8 bits that is black; by default the one of training, else 0.
        white: the one that is white; by default the one of training, else the largest of their bits.

    Returns:
        A translator: `load(...).translate(image)` takes a path, bytes, a PIL image, an array or a tensor.

    Raises:
        UsageError: if there is no such model, it is damaged or lacks the direction, or device or tile cannot be used.
    """
    from cyclegan_dist.models.translator import Translator  # loads torch
    from cyclegan_dist.registry.sources import open_source

    return Translator(open_source(os.fspath(source)), direction, device, tile=tile, black=black, white=white)
