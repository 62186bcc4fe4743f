"""Options of the training of a scoring network. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.step.world_config import Device


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """Train the network that segments photos for the FCN score."""

    data: tyro.conf.Positional[str]
    """Data set with pairs of photos and label maps: folder or fsspec URL."""
    palette: str
    """cityscapes, facades, streets, or a YAML file of the maps' classes."""
    out: Path = Path("segmenter.safetensors")
    """File to write."""
    held_out: str = ""
    """Data set whose score is printed and recorded. By default every tenth pair is not trained on, and scored."""
    network: str = "fcn_small"
    """fcn_small, for photos of 32 to 128 pixels, or a torchvision segmentation network by its name: fcn_resnet50."""
    size: Annotated[int, Ge(0)] = 0
    """Pixels photos are resized to, both sides, before they take the size of their label map: that of the generators
    whose translations are scored. 0: as they are."""
    epochs: Annotated[int, Gt(0)] = 10
    """Passes over the pairs."""
    batch_size: Annotated[int, Gt(0)] = 16
    """Pairs of an update."""
    lr: Annotated[float, Gt(0)] = 2e-3
    """Learning rate of Adam at the start; it falls linearly to 0."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the weights and of the order. The same seed gives the same file on a CPU with as many threads."""
    device: Device = "auto"
    """cpu or cuda; auto takes a GPU if there is one."""
