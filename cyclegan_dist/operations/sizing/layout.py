"""Layouts of GPUs: data-parallel trainings that run beside each other.

Images needed at a larger batch follow the model of McCandlish et al. (2018, arXiv 1812.06162): the updates to a given
quality are S_min (1 + noise_scale / batch), so the images are proportional to batch + noise_scale. A rank's step and
the exchange of its gradients are added: overlap of both would be faster, so the times are upper bounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cyclegan_dist.operations.sizing.link import Link, ring_share


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained.

    Attributes:
        images: per domain in the whole schedule.
        batch: for which the schedule was made, images per domain and update.
        noise_scale: batch that needs twice the fewest images to a given quality.
        gradient_bytes: size of the gradients that ranks exchange in an update.
    """

    images: int
    batch: int
    noise_scale: float
    gradient_bytes: int

    def images_at(self, batch: int) -> float:
        """Images that give the quality of the schedule at another batch, according to the model."""
        return self.images * (batch + self.noise_scale) / (self.batch + self.noise_scale)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One data-parallel training.

    Attributes:
        training: what is trained.
        gpus: that it uses, one rank each.
        images_per_gpu: per domain and update.
        compute_s: seconds of a step on one GPU.
        exchange_s: seconds of the gradient exchange.
    """

    training: Training
    gpus: int
    images_per_gpu: int
    compute_s: float
    exchange_s: float

    @property
    def batch(self) -> int:
        """Images per domain and update over all GPUs."""
        return self.gpus * self.images_per_gpu

    @property
    def step_s(self) -> float:
        """Seconds of an update."""
        return self.compute_s + self.exchange_s

    @property
    def images_per_s(self) -> float:
        """Images per domain and second."""
        return self.batch / self.step_s

    @property
    def schedule_hours(self) -> float:
        """Hours of the schedule as it is."""
        return self.training.images / self.images_per_s / 3600

    @property
    def quality_hours(self) -> float:
        """Hours to the quality that the schedule gives at the batch it was made for."""
        return self.training.images_at(self.batch) / self.images_per_s / 3600

    @property
    def needed_bytes_per_s(self) -> float:
        """Bandwidth at which the gradient exchange takes a tenth of the computation."""
        return ring_share(self.gpus) * self.training.gradient_bytes / (0.1 * self.compute_s)


def layouts(training: Training, gpus: int, seconds: Mapping[int, float], link: Link | None) -> list[Layout]:
    """For 1, 2, 4, ... and all `gpus`: the images per GPU with the fewest hours to equal quality.

    Args:
        training: what is trained.
        gpus: that there are.
        seconds: of a step on one GPU, by images per domain.
        link: between GPUs; None if it is not known, and the exchange then counts as no time.
    """
    numbers = sorted({gpus, *(2**k for k in range(gpus.bit_length()))})
    return [
        min(
            (
                Layout(
                    training=training,
                    gpus=n,
                    images_per_gpu=images,
                    compute_s=compute_s,
                    exchange_s=link.all_reduce_s(training.gradient_bytes, n) if link else 0.0,
                )
                for images, compute_s in seconds.items()
            ),
            key=lambda layout: layout.quality_hours,
        )
        for n in numbers
    ]


def efficiencies(found: Sequence[Layout]) -> list[float]:
    """GPU hours to equal quality of the first layout, which has one GPU, relative to those of each."""
    return [found[0].quality_hours / (layout.gpus * layout.quality_hours) for layout in found]


def most_useful(found: Sequence[Layout], least_efficiency: float) -> Layout:
    """The layout with the most GPUs whose efficiency is at least that; more GPUs must also be faster."""
    best = found[0]
    for layout, efficiency in zip(found, efficiencies(found), strict=True):
        if efficiency >= least_efficiency and layout.quality_hours < best.quality_hours:
            best = layout
    return best
