"""Options of the paper's tables. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass

from cyclegan_dist.step.world_config import Device


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user may say beside the table's file."""

    data: str = ""
    """Data set to train on, folder or fsspec URL, with its parts in `test` and `val`. Empty: street scenes are drawn.
    Without `val` a tenth of the training images is held out."""
    palette: str = ""
    """Classes of the data set's label maps, as of the pipeline `evaluate`. Drawn scenes have `streets`."""
    segmenter: str = ""
    """Network that segments photos, as of the pipeline `evaluate`. Empty: one is trained, where a table needs it."""
    name: str = ""
    """Name of the sweep of all runs, and of its folder. Empty: the tables'."""
    images: int = 0
    """Images of each domain that a run sees, instead of the table's number."""
    seeds: tuple[int, ...] = ()
    """Seeds, instead of the table's."""
    smoke: bool = False
    """Two seeds, small networks and a few steps: shows that everything runs, and learns nothing."""
    device: Device = "auto"
    """Where runs are evaluated: cpu or cuda; auto takes a GPU if there is one."""
