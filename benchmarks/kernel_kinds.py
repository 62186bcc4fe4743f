"""Time on the device by kind of kernel, from a trace of torch.profiler.

In a CUDA graph no operation of torch launches a kernel, so kernels are recognised by their names: those of cuDNN,
cuBLAS and CUTLASS say what they compute, torch's contain the functor, Triton's are the functions of
`cyclegan_dist/networks/*_kernels.py`. On a CPU, operations take the place of kernels.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

FORWARD, DGRAD, WGRAD = "convolution, forward", "convolution, dgrad", "convolution, wgrad"
CONVOLUTION = "convolution, other"  # set-up, split-K sums, and matrix products, whose names have no direction
NORM, COPIES, ADAM = "norm", "padding, copies, layout", "Adam"
OPTIMIZER, REDUCTIONS, ELEMENTWISE = "optimizer, several kernels", "reductions", "elementwise"
OTHER, IDLE = "other", "idle"

# Kind by a pattern in the name; the first match counts. A transposed convolution runs dgrad kernels forward and fprop
# kernels backward.
PATTERNS = (
    (
        COPIES,
        r"nchwToNhwc|nhwcToNchw|convertTensor|[tT]ranspose(Tensor|_kernel|_readWrite)",
    ),  # of cuDNN
    (CONVOLUTION, r"compute\w*Offsets|precompute_indices|init_device_workspace|scalePackedTensor|flip_filter"),
    (CONVOLUTION, r"split_?[kK]\w*[rR]educe|ConvolutionBackward|convolution_backward"),
    (DGRAD, r"dgrad|bprop|BackwardData|backward_data"),
    (WGRAD, r"wgrad|BackwardFilter|backward_filter"),
    (FORWARD, r"fprop|[cC]onvolve|scudnn|precomp_gemm|winogradForward|fort_native_conv|conv2d|aten::\w*conv"),
    (NORM, r"statistics_kernel|normalise_kernel|gradient_sums_kernel|input_gradient_kernel"),  # norm_kernels.py
    (NORM, r"batch_norm|instance_norm|group_norm|GroupNorm|\bbn_[fb]w|Batch[nN]orm|RowwiseMoments|ComputeInternalGrad"),
    (COPIES, r"\b(pad|fold|crop|crop_gradient)_kernel"),  # pad_kernels.py
    (COPIES, r"pad[123]?d|aten::pad|[rR]eflection|CatArray|copy|Copy|Memcpy|Memset|index_?[sS]elect|index_elementwise"),
    (CONVOLUTION, r"gemm|nvjet|xmma|cutlass|s16816"),  # no other operation of the networks is a matrix product
    (ADAM, r"FusedAdam|_fused_adam"),
    (REDUCTIONS, r"reduce_kernel|LpNorm|lpnorm|triton_(red|per)_|aten::(_foreach_norm|linalg_vector_norm|mean|sum)\b"),
    (OPTIMIZER, r"multi_tensor_apply|aten::_foreach"),
    (ELEMENTWISE, r"elementwise|triton_poi_|distribution_"),
)


@dataclass(frozen=True)
class DeviceProfile:
    """Time on the device, per step.

    Attributes:
        step_ms: from the first kernel to the last, under the profiler; the sum of `kinds`.
        kernels: number of kernels, copies included.
        kinds: milliseconds by kind, `IDLE` included, the largest first.
        unknown: milliseconds of kernels that no pattern matches, by name.
    """

    step_ms: float
    kernels: float
    kinds: dict[str, float]
    unknown: dict[str, float]


def kind(name: str) -> str:
    """Kind of a kernel, by its name."""
    return next((kind for kind, pattern in PATTERNS if re.search(pattern, name)), OTHER)


def profiled(update: Callable[[], object], steps: int, device: torch.device) -> DeviceProfile:
    """Profile `steps` calls of `update`, after one that starts the profiler."""
    on_gpu = device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        for calls in (1, steps):
            with profile(activities=[activity], acc_events=True) as profiler:  # without, torch 2.11 warns
                for _ in range(calls):
                    update()
                if on_gpu:
                    torch.cuda.synchronize()
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return by_kind(events, steps, on_gpu=on_gpu)


def by_kind(events: Iterable[dict[str, Any]], steps: int, *, on_gpu: bool) -> DeviceProfile:
    """Sum up the events of a Chrome trace of `steps` steps.

    Where kernels overlap, or operations contain others, the time counts for the one that began first, so that the
    kinds and the idle time add up to the whole.

    Raises:
        ValueError: if there is no kernel.
    """
    wanted = ("kernel", "gpu_memcpy", "gpu_memset") if on_gpu else ("cpu_op",)
    found = sorted((e["ts"], -e["dur"], e["name"]) for e in events if e.get("cat") in wanted and e.get("ph") == "X")
    if not found:
        raise ValueError("the profiler has recorded no kernel")
    kinds, unknown, end = Counter[str](), Counter[str](), found[0][0]
    for start, negative, name in found:
        begins, ends = max(start, end), start - negative
        if begins > end:
            kinds[IDLE] += begins - end
        if ends > begins:
            kinds[kind(name)] += ends - begins
            if kind(name) == OTHER:
                unknown[name] += ends - begins
        end = max(end, ends)
    per_step = 1e3 * steps  # the trace is in microseconds
    return DeviceProfile(
        (end - found[0][0]) / per_step,
        len(found) / steps,
        {name: value / per_step for name, value in kinds.most_common()},
        {name: value / per_step for name, value in unknown.most_common()},
    )
