"""The plan of a training on a number of GPUs, as lines that each say where their figure comes from."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.sizing.figures import Measured
from cyclegan_dist.operations.sizing.goodput import COMPILE_S, RESTART, best_interval_s, goodput
from cyclegan_dist.operations.sizing.layout import Layout, Training, efficiencies, layouts, most_useful
from cyclegan_dist.operations.sizing.link import Link

SYNTHETIC_IMAGES = 400  # of each domain of the demo
PAPER_IMAGES = 1334  # of the larger domain of horse2zebra
DEMO_NOISE_SCALE = 5.5  # docs/benchmarks.md, "Useful batch": at the error that was chosen in advance
OTHER_ERRORS = "4 to 19 at other errors"
STALL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is given for a plan; 0 where something may be measured instead."""

    gpus: int = 8
    """GPUs of the cluster, or CPU ranks for a preset that trains on CPUs."""
    images: int = 0
    """Images of the larger domain. 0: those of data.path."""
    noise_scale: float = 0.0
    """Batch that needs twice the fewest images to a given quality. 0: the demo's."""
    efficiency: float = 0.5
    """Least efficiency of one training: GPU hours to a given quality on one GPU, relative to those on several."""
    gbit_s: float = 0.0
    """Bandwidth between GPUs in each direction in Gbit/s, which pipelines.doctor measures between nodes."""
    latency_ms: float = 0.0
    """Latency of a message between GPUs in milliseconds, with --gbit-s."""
    stall_s: float = 0.0
    """Seconds that a checkpoint holds training up."""
    restart_s: float = 0.0
    """Seconds from a failure until training goes on, compilation included. 0: as measured without GPUs, by number of
    ranks, and a minute for compilation."""
    failure_hours: float = 50_000.0
    """Mean hours between two failures of a GPU and its share of a node. The default is about the rate that was
    published for Llama 3: 419 interruptions of 16,384 GPUs in 54 days (arXiv 2407.21783)."""

    def __post_init__(self) -> None:
        for name in ("gpus", "failure_hours", "efficiency"):
            self.refuse(name, getattr(self, name) > 0)
        for name in ("images", "noise_scale", "gbit_s", "latency_ms", "stall_s", "restart_s"):
            self.refuse(name, getattr(self, name) >= 0)
        self.refuse("efficiency", self.efficiency <= 1)
        if self.latency_ms and not self.gbit_s:
            raise UsageError("--latency-ms needs --gbit-s")

    def refuse(self, name: str, fits: bool) -> None:
        """Raise for a number out of range."""
        if not fits:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name):g} is out of range")


@dataclass(frozen=True)
class Line:
    """A figure and its origin: measured, given, computed or assumed, and from what."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """The plan.

    Attributes:
        inputs: the figures that the rest is computed from.
        rows: layouts of 1, 2, 4, ... GPUs, with the efficiency of each.
        chosen: the layout with the most useful GPUs.
        results: its figures.
    """

    inputs: list[Line] = field(default_factory=list[Line])
    rows: list[tuple[Layout, float]]
    chosen: Layout
    results: list[Line]


def size_training(config: Config, measured: Measured, options: Options) -> Sizing:
    """Plan the training of `config` on `options.gpus` GPUs.

    Raises:
        UsageError: if the data set cannot be read.
    """
    from cyclegan_dist.operations.doctor.footprint import method_sizes  # torch

    inputs = [Line("device", measured.device, measured.origin)]
    for images, seconds in measured.seconds.items():
        value = f"{1000 * seconds:.3g} ms, {images / seconds:.3g} images/s"
        inputs.append(Line(f"step, {images} per GPU", value, "measured"))
    epoch, origin = _epoch(config, options)
    epochs = config.schedule.total_epochs
    inputs.append(Line("images", f"{epoch:,} of the larger domain", origin))
    inputs.append(Line("schedule", f"{epochs * epoch:,} images", f"computed: {epochs} epochs"))
    noise_scale = options.noise_scale or DEMO_NOISE_SCALE
    origin = "given"
    if not options.noise_scale:
        known = config.name == "demo"
        origin = (
            f"measured: {OTHER_ERRORS}" if known else f"assumed: the demo's, {OTHER_ERRORS}; this one is unmeasured"
        )
    inputs.append(Line("noise scale", f"{noise_scale:.3g} images", origin))
    gradient_bytes = 4 * method_sizes(config)[0]
    inputs.append(Line("gradients", f"{gradient_bytes / 1e6:.3g} MB an update", "computed: number of weights"))
    link = Link(options.gbit_s * 1e9 / 8, options.latency_ms / 1e3) if options.gbit_s else measured.link
    if link is None:
        inputs.append(Line("exchange", "0 ms", "assumed: not measured; see the bandwidth needed"))
    else:
        value = f"{link.bytes_per_s * 8e-9:.3g} Gbit/s, {1000 * link.latency_s:.3g} ms a message"
        inputs.append(Line("exchange", value, "given" if options.gbit_s else "measured: the ranks of this command"))

    training = Training(
        images=epochs * epoch, batch=config.optim.batch_size, noise_scale=noise_scale, gradient_bytes=gradient_bytes
    )
    found = layouts(training, options.gpus, measured.seconds, link)
    chosen = most_useful(found, options.efficiency)
    return Sizing(
        inputs=inputs,
        rows=list(zip(found, efficiencies(found), strict=True)),
        chosen=chosen,
        results=[*_layout(chosen, config, measured, options, link), *_running(chosen, config, measured, options)],
    )


def _epoch(config: Config, options: Options) -> tuple[int, str]:
    """Images of an epoch, and where the number is from."""
    path = config.data.path
    if options.images:
        return options.images, "given"
    if path == "synthetic":
        return SYNTHETIC_IMAGES, f"computed: what {path} draws"
    if "://" in path or Path(path, "manifest.parquet").exists():
        from cyclegan_dist.data.manifest import READING, open_manifest  # loads pyarrow

        manifest = open_manifest(path, READING[:1]).selected(max_samples=config.data.max_samples)
        return max(manifest.samples.values()), f"measured: {path}"
    return PAPER_IMAGES, f"assumed: the paper's horse2zebra; {path or 'data.path'} is not here, give --images"


def _memory(chosen: Layout, config: Config, measured: Measured) -> Line:
    """Memory of a GPU for its images at once: measured, or else what the doctor's estimate says."""
    from cyclegan_dist.operations.doctor.footprint import footprint  # torch

    if memory := measured.memory_gib.get(chosen.images_per_gpu):
        return Line("memory", f"{memory:.3g} GiB a GPU", "measured")
    images = config.optim.micro_batch or chosen.images_per_gpu
    optim = dataclasses.replace(config.optim, batch_size=chosen.images_per_gpu * chosen.gpus)
    need = footprint(dataclasses.replace(config, optim=optim), chosen.gpus, {}, on_gpu=True).card
    return Line("memory", f"{need / 2**30:.3g} GiB a GPU", f"computed: {images} images at once, without optim.fast")


def _layout(chosen: Layout, config: Config, measured: Measured, options: Options, link: Link | None) -> Iterator[Line]:
    trials, rest = divmod(options.gpus, chosen.gpus)
    unused = f", {rest} unused" if rest else ""
    yield Line(
        "layout",
        f"{chosen.gpus} GPUs x {trials} trainings at once{unused}",
        f"computed: the most GPUs with an efficiency of at least {options.efficiency:g}",
    )
    yield Line("options", f"--optim.batch_size {chosen.batch} --world.num_workers {chosen.gpus}", "computed")
    yield _memory(chosen, config, measured)
    if link is None and chosen.gpus > 1:
        value = f"{chosen.needed_bytes_per_s * 8e-9:.3g} Gbit/s a GPU or more"
        yield Line("bandwidth needed", value, "computed: the exchange takes a tenth of a step")
    value = f"{chosen.images_per_s:.4g} images/s a training, {trials * chosen.images_per_s:.4g} in all"
    yield Line("speed", value, "computed: the exchange after the step")
    yield Line("schedule", f"{_duration(chosen.schedule_hours)}", "computed: without failures")
    yield Line(
        "same quality",
        f"{_duration(chosen.quality_hours)}, {chosen.training.images_at(chosen.batch):,.0f} images",
        f"computed: as the schedule at batch {chosen.training.batch}, if the noise scale is right",
    )


def _running(chosen: Layout, config: Config, measured: Measured, options: Options) -> Iterator[Line]:
    """Checkpoints, failures and cost."""
    failure_s = options.failure_hours * 3600 / chosen.gpus
    rate = "assumed" if options.failure_hours == Options.failure_hours else "given"
    restart_s, restart = options.restart_s, "given"
    if not restart_s:
        restart_s = RESTART.of(chosen.gpus)[0] + COMPILE_S
        each = f"{RESTART.base_s:g} s + {RESTART.per_rank_s:g} s a rank"
        restart = f"measured: {each}; assumed: {COMPILE_S:g} s to compile"
    value = f"one in {_duration(failure_s / 3600)} of a training"
    yield Line("failures", value, f"{rate}: one in {options.failure_hours:,.6g} h of a GPU")
    yield Line("restart", f"{restart_s:.3g} s", restart)
    stall_s = options.stall_s or measured.stall_s or STALL_S
    origin = "given" if options.stall_s else "measured: a copy in memory" if measured.stall_s else "assumed"
    yield Line("checkpoint stall", f"{stall_s:.2g} s", origin)
    whole_s = 3600 * chosen.quality_hours
    interval_s = min(best_interval_s(stall_s, failure_s), whole_s)
    images = max(chosen.batch, round(interval_s * chosen.images_per_s))
    at_the_end = ", which is the end of the training" if interval_s == whole_s else ""
    yield Line(
        "checkpoint interval",
        f"{_duration(interval_s / 3600)}, --every.checkpoint {images}{at_the_end}",
        "computed: Young and Daly",
    )
    share = goodput(interval_s, stall_s, restart_s, failure_s)
    origin = "computed: Daly, from failures, restart and stall above"
    yield Line("goodput", f"{100 * share:.2f} %", origin)
    if config.every.checkpoint:
        own_s = min(max(config.every.checkpoint, chosen.batch) / chosen.images_per_s, whole_s)
        own = goodput(own_s, stall_s, restart_s, failure_s)
        yield Line(f"goodput, --every.checkpoint {config.every.checkpoint}", f"{100 * own:.2f} %", origin)
    if not share:
        raise UsageError("no checkpoint would ever be reached: --failure-hours is too short for these GPUs")
    if config.world.price:
        cost = config.world.price * chosen.gpus * chosen.quality_hours / share
        trials = options.gpus // chosen.gpus
        value = f"{cost:,.2f} a training, {trials * cost:,.2f} for {trials} at once"
        yield Line("cost", value, "computed: price given, same quality, with failures")


def _duration(hours: float) -> str:
    """Hours with a unit that suits their size."""
    for unit, each in (("days", 24.0), ("h", 1.0), ("min", 1 / 60)):
        if hours >= 2 * each:
            return f"{hours / each:,.3g} {unit}"
    return f"{3600 * hours:.3g} s"
