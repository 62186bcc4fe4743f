"""Options of the evaluation of snapshots during training. Does not import torch, to keep `--help` fast."""

from dataclasses import dataclass
from typing import Annotated

from cyclegan_dist.config.features import check_all_features
from cyclegan_dist.data.config import MANIFEST, VALIDATION
from cyclegan_dist.errors import refuse_password
from cyclegan_dist.networks.bounds import Ge

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Held-out images, on which every snapshot of a run is evaluated during training."""

    data: str = AUTO
    """Folder or fsspec URL of the held-out data set. `auto`: the part `val` of the one that is trained on, if it has
    one, which `prepare --validation` makes. Empty: snapshots are not evaluated. Do not give test images: what a
    snapshot is chosen by says too much good of it."""
    features: tuple[str, ...] = ("untrained",)
    """Networks whose features are compared, as with `--features` of the pipeline `evaluate`: untrained,
    efficientnet_lite0, ... `held_out.best` must be a figure of one of them."""
    features_sha256: str = ""
    """Required sha256 of the weights file of the only one of them that has one."""
    best: str = "kd/untrained"
    """Figure by which best.json selects the best snapshot: the mean of both directions, lower is better."""
    patience: Annotated[int, Ge(0)] = 0
    """Images per domain after which training ends, before its schedule does, if `held_out.best` has not improved: from
    the best snapshot to the newest that was evaluated, so later if evaluations fall behind. 0: never."""

    def __post_init__(self) -> None:
        refuse_password(self.data, "held_out.data")
        check_all_features(self.features, self.features_sha256)


def held_out_data(config: HeldOutConfig, trained_on: str) -> str:
    """Where the held-out images are, or nothing if there are none.

    Args:
        config: which ones.
        trained_on: data set that is trained on, folder or URL.
    """
    if config.data != AUTO or trained_on in ("", "synthetic"):
        return config.data if config.data != AUTO else ""
    from cyclegan_dist.storage.urls import file_system_at

    place = f"{trained_on.rstrip('/')}/{VALIDATION}"
    try:
        file_system, path = file_system_at(f"{place}/{MANIFEST}")
        return place if file_system.exists(path) else ""
    except (OSError, ValueError, ImportError):  # of a data set that cannot be reached, which is said elsewhere
        return ""
