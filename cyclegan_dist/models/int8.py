"""ONNX files whose convolutions compute with 8-bit integers, calibrated on images (onnxruntime.quantization).

Weights are quantised for each output channel and inputs of convolutions with the range that they had on the
calibration images. Norms, sums and transposed convolutions stay in 32 bits.
"""

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from cyclegan_dist.models.export import INPUT, describe_onnx


def quantise(original: Path, out: Path, images: Iterable[Tensor], *, all_but_last: bool = False) -> None:
    """Write `original`, an ONNX file of `export_generators`, with 8-bit convolutions to `out`.

    Args:
        original: of 32 bits.
        out: file to write.
        images: for calibration, n x C x H x W in [-1, 1]; a few dozen suffice.
        all_but_last: leave the last convolution, whose output is the image, in 32 bits.
    """
    # Optional libraries, which are slow to load.
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            image = next(self._images, None)
            return None if image is None else {INPUT: image.numpy()}

    last = [node.name for node in onnx.load(original).graph.node if node.op_type == "Conv"][-1]
    with _quiet():
        quantize_static(
            original,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[last] if all_but_last else [],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    describe_onnx(out, {"precision": f"int8 convolutions{' but the last' if all_but_last else ''}; fp32"})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop advice to optimise the graph first, which is left to the runtime that loads it."""
    root, before = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
