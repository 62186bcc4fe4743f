"""Checks that a data set fits a run: its networks and preprocessing, before any rank starts, and then that all ranks
read the same one.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.available import AnyMethodConfig

if TYPE_CHECKING:
    from cyclegan_dist.step.distributed import World  # loads torch, which would delay a launcher's errors


def refuse_unequal_data(manifest: Manifest, world: "World", trained_on: str) -> None:
    """Refuse data sets that differ between ranks, as copies on the nodes' own disks may, and another one than that of
    the run's recorded steps, which may have been replaced since the launcher's check. All ranks call it together.

    Args:
        manifest: that this rank has opened.
        world: this rank among all.
        trained_on: digest of the data set of the run's recorded steps, on rank 0; empty if there are none.

    Raises:
        UsageError: on all ranks.
    """
    found = world.gather((world.address(), manifest.digest))
    if others := [f"rank {rank} on {host}" for rank, (host, digest) in enumerate(found) if digest != found[0][1]]:
        raise UsageError(
            f"the data set at {manifest.root} is not the same on all ranks: {', '.join(others)} read another one than "
            "rank 0; copy one data set to all nodes, or give a data.path on storage that all share"
        )
    if world.broadcast(trained_on) not in ("", manifest.digest):
        raise UsageError(
            f"{manifest.root} is not the data set that this run has been trained on: it was replaced; restore it, or "
            "give another --name"
        )


def refuse_small_images(manifest: Manifest, config: Config) -> None:
    """`crop` does not resize: each image must be at least as large as the crop. Images that are not cropped must be as
    large as the networks require.
    """
    data, method = config.data, config.method
    width, height = (manifest.table[side].to_numpy() for side in ("width", "height"))
    if data.preprocess == "crop":
        smallest = min(width.min(), height.min())
        if smallest < data.crop_size:
            raise UsageError(
                f"data.preprocess crop: an image side of {smallest} pixels is smaller than crop_size {data.crop_size}; "
                "lower it, or choose resize_and_crop"
            )
    if "crop" in data.preprocess:  # the config has compared the crop to the networks
        return
    if data.preprocess == "scale_width":
        width, height = np.full_like(width, data.load_size), height * data.load_size / width
    rounded = [np.maximum(1, np.round(side / method.multiple)) * method.multiple for side in (width, height)]
    # The residual blocks pad images by reflection, which takes two pixels.
    least = max(method.smallest_side, (1 if method.generator.arch == "unet" else 2) * method.multiple)
    index = int(np.minimum(*rounded).argmin())
    if min(side[index] for side in rounded) < least:
        found = [manifest.table[column][index].as_py() for column in ("name", "domain", "width", "height")]
        name, domain, size = found[0], found[1], "x".join(f"{side[index]:.0f}" for side in rounded)
        raise UsageError(
            f"data.preprocess {data.preprocess}: {name} of domain {domain}, {found[2]}x{found[3]} pixels, is trained "
            f"on as {size}, and these networks need sides of {least} at least: leave it out, or choose resize_and_crop"
        )


def refuse_channels(manifest: Manifest, method: AnyMethodConfig) -> None:
    """Grey and colour images are converted to each other; others must have the generators' number of channels."""
    for domain, key in (("A", "input_nc"), ("B", "output_nc")):
        wanted = method.channels[domain]
        for mode in pa.compute.unique(manifest.domains[domain]["mode"]).to_pylist():  # pyright: ignore
            fits = mode == f"C{wanted}" if mode.startswith("C") else wanted in PICTURES
            if not fits:
                raise UsageError(
                    f"domain {domain} has images of mode {mode}: set method.{key} to their number of channels, "
                    f"not {wanted}"
                )


def refuse_max_pairs(config: Config) -> None:
    """`data.max_pairs` counts for methods that learn from some pairs only."""
    if config.data.max_pairs and config.method.pairing != "some":
        pairs = "all pairs" if config.method.pairing == "all" else "no pairs"
        raise UsageError(
            f"data.max_pairs {config.data.max_pairs}: method {config.method.name} learns from {pairs} with these "
            "options: give 0, or cyclegan with lambda_pair"
        )


def refuse_pairs(manifest: Manifest, data: DataConfig, pairing: Literal["some", "all"]) -> None:
    """Both images of a pair get the same crop, so they must have the same size before it."""
    if pairing == "all":
        in_A, in_B = np.arange(manifest.samples["A"]), manifest.partners()
    else:
        in_A, in_B = manifest.pairs(data.max_pairs).T
    if data.preprocess == "resize_and_crop":  # which makes all images the same size
        return
    sides = {d: np.array([rows["width"], rows["height"]]).T for d, rows in manifest.domains.items()}
    unequal = (sides["A"][in_A] != sides["B"][in_B]).any(axis=1)
    if unequal.any():
        first = int(unequal.argmax())
        index = int(in_A[first])
        name, (width, height) = manifest.domains["A"]["name"][index].as_py(), sides["A"][index]
        partner = "x".join(map(str, sides["B"][in_B[first]]))
        raise UsageError(
            f"{name} of domain A has {width}x{height} pixels and its partner {partner}: give both one size, or choose "
            "data.preprocess resize_and_crop"
        )
