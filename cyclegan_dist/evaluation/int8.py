"""8-bit ONNX files beside those of 32 bits, kept where translations stay as good."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.images import to_bytes, to_unit_range, visible, windowed
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.distances import kernel_distance, nearly_equal
from cyclegan_dist.evaluation.features import FeatureNetwork, feature_network
from cyclegan_dist.evaluation.images import DomainImages, whole_images
from cyclegan_dist.models.export import EXPORTS, INPUT, OUTPUT
from cyclegan_dist.models.int8 import quantise
from cyclegan_dist.models.snapshot import Snapshot, weights_name

CALIBRATION, COMPARED = 64, 256  # images, at most
LARGEST_RATIO = 1.1  # of kernel distances, 8 bits to 32
LARGEST_CHANGE = 4.0  # grey levels of 255, the mean over pixels: what a JPEG of quality 75 changes
SUBSETS = 10
_CPU = torch.device("cpu")
Run = Callable[[np.ndarray], np.ndarray]


def export_int8(snapshot: Snapshot, out: Path, manifest: Manifest, features: str = "untrained") -> list[dict[str, Any]]:
    """For each direction write `G_AB.int8.onnx` beside `G_AB.onnx` in `out`, compare both, and keep it if translations
    stay as good: a kernel distance to real images of at most `LARGEST_RATIO` times that of 32 bits, as `nearly_equal`
    says, and a mean change of at most `LARGEST_CHANGE` grey levels. If they do not, the same with the last convolution
    in 32 bits.

    Args:
        snapshot: that was exported to `out` as ONNX.
        out: folder.
        manifest: data set of images for calibration, and of others that are compared; opened with its column `name`.
        features: network of the kernel distance.

    Returns:
        What is added to `out/exports.json` as `int8`, one entry for each direction: `file`, `kept`, sha256 and bytes,
        mean and largest difference in grey levels, kernel distances and milliseconds per image on the CPU of both.

    Raises:
        UsageError: if there are too few images.
    """
    manifest = manifest.selected(snapshot.data_direction)
    network, found = feature_network(features, _CPU), list[dict[str, Any]]()
    for direction in snapshot.directions:
        comparison = _Comparison(snapshot, direction, out, manifest, network)
        entry = comparison.attempt(all_but_last=False)
        found.append(entry if entry["kept"] else comparison.attempt(all_but_last=True))
    exports = json.loads((out / EXPORTS).read_text())
    (out / EXPORTS).write_text(json.dumps({**exports, "int8": found}, indent=1) + "\n")
    return found


class _Comparison:
    """The images of one direction, and what the file of 32 bits makes of them."""

    def __init__(self, snapshot: Snapshot, direction: str, out: Path, manifest: Manifest, network: FeatureNetwork):
        self.direction, self.network = direction, network
        self.original = (out / weights_name(direction)).with_suffix(".onnx")
        geometry, multiple = whole_images(snapshot.preprocess, 0), snapshot.generator_config.multiple
        channels = dict(zip(direction, snapshot.channels(direction), strict=True))
        self.inputs, targets = (DomainImages(manifest, d, channels[d], geometry, multiple) for d in direction)
        self.calibrating = min(CALIBRATION, len(self.inputs) // 2)
        self.compared = range(self.calibrating, min(len(self.inputs), self.calibrating + COMPARED))
        if min(len(self.compared), len(targets)) < 4:
            raise UsageError(f"--calibration {manifest.root}: give 8 images of domain {direction[0]} or more")
        self.real = self._features([targets[i][None] for i in range(min(len(targets), COMPARED))])
        self.run = _session(self.original)
        self.made = self._translated(self.run)
        self.distance = kernel_distance(self.real, self._features(self.made), SUBSETS)

    def attempt(self, *, all_but_last: bool) -> dict[str, Any]:
        """Write the file, compare it, and delete it if it is worse. Returns its entry in exports.json."""
        path, draft = self.original.with_suffix(".int8.onnx"), self.original.with_suffix(".draft.onnx")
        calibration = (self._image(index) for index in range(self.calibrating))
        quantise(self.original, draft, calibration, all_but_last=all_but_last)
        run = _session(draft)
        made = self._translated(run)
        distance = kernel_distance(self.real, self._features(made), SUBSETS)
        changes = [(x.int() - y.int()).abs() for x, y in zip(made, self.made, strict=True)]
        mean = float(torch.stack([change.float().mean() for change in changes]).mean())
        example = self._image(0).numpy()
        kept = nearly_equal(distance, self.distance, LARGEST_RATIO) and mean <= LARGEST_CHANGE
        entry = {
            "file": path.name,
            "direction": self.direction,
            "kept": kept,
            "last_convolution": "fp32" if all_but_last else "int8",
            "sha256": hashlib.sha256(draft.read_bytes()).hexdigest(),
            "bytes": draft.stat().st_size,
            "images": len(self.compared),
            "grey_levels": {"mean": round(mean, 3), "max": int(max(change.max() for change in changes))},
            self.network.kernel: {"fp32": self.distance.value, "int8": distance.value},
            "ms_per_image": {"fp32": _milliseconds(self.run, example), "int8": _milliseconds(run, example)},
        }
        if kept:
            os.replace(draft, path)
        else:
            draft.unlink()
            path.unlink(missing_ok=True)  # of an earlier export
        return entry

    def _image(self, index: int) -> Tensor:
        return to_unit_range(self.inputs[index][None], _CPU, torch.float32)

    def _translated(self, run: Run) -> list[Tensor]:
        """What a file makes of each compared image: 1 x C x H x W uint8."""
        return [to_bytes(torch.from_numpy(run(self._image(index).numpy()))) for index in self.compared]

    def _features(self, images: list[Tensor]) -> Tensor:
        return torch.cat([self.network.of(windowed(visible(image))) for image in images])


def _session(path: Path) -> Run:
    import onnxruntime  # an optional library

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run([OUTPUT], {INPUT: x})[0])


def _milliseconds(run: Run, x: np.ndarray) -> float:
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        run(x)
        taken.append(time.perf_counter() - start)
    return round(1000 * min(taken), 2)
