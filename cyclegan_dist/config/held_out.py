"""Options of the evaluation of snapshots during training. Does not import torch, to keep `--help` fast."""

from dataclasses import dataclass

from cyclegan_dist.config.features import check_all_features
from cyclegan_dist.errors import refuse_password


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Held-out images, on which every snapshot of a run is evaluated during training."""

    data: str = ""
    """Folder or fsspec URL of the held-out data set. Empty: snapshots are not evaluated."""
    features: tuple[str, ...] = ("untrained",)
    """Networks whose features are compared, as with `--features` of the pipeline `evaluate`: untrained,
    efficientnet_lite0, ... `held_out.best` must be a figure of one of them."""
    features_sha256: str = ""
    """Required sha256 of the weights file of the only one of them that has one."""
    best: str = "kd/untrained"
    """Figure by which best.json selects the best snapshot: the mean of both directions, lower is better."""

    def __post_init__(self) -> None:
        refuse_password(self.data, "held_out.data")
        check_all_features(self.features)
