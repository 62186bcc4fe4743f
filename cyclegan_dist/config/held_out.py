"""What snapshots are evaluated on while training goes on. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass

from cyclegan_dist.errors import UsageError, refuse_password


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Images that are not trained on, by which every snapshot of a run is judged beside training."""

    data: str = ""
    """Data set of them, folder or fsspec URL. Empty: no snapshot is judged."""
    features: str = "untrained"
    """Network whose features distances are taken between, as `--features` of the pipeline `evaluate`."""
    features_sha256: str = ""
    """What its file must hash to."""
    best: str = "kd/untrained"
    """Figure, the mean of both directions, by which best.json names the best snapshot: the lower the better."""

    def __post_init__(self) -> None:
        refuse_password(self.data, "held_out.data")
        refuse_unpinned(self.features, self.features_sha256)


def refuse_unpinned(features: str, sha256: str) -> None:
    """Refuse the weights of the FID Inception without their hash.

    Raises:
        UsageError: saying which option is missing.
    """
    if features.startswith("inception") and not sha256:
        raise UsageError("features inception: give features_sha256, the hash of the weights that you trust")
