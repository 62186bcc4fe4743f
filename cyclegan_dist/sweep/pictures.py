"""A sweep as two pictures: how its trials went, and which values went with which outcome."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import Normalize

from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.results import best, number, short, shown
from cyclegan_dist.sweep.spec import SweepConfig, Values

HISTORY, PARALLEL = "history.png", "parallel_coordinates.png"
COLOURS = plt.get_cmap("viridis")  # told apart by everyone, and in print
BEST_COLOUR = "crimson"
NAMED = 8  # trials in a legend


def draw_history(spec: SweepConfig, trials: Sequence[Trial], out: Path) -> None:
    """The metric of every trial over the images it saw. The trials come ranked."""
    heard = [trial for trial in trials if trial.results]
    winner = best(spec, trials)
    figure, axis = plt.subplots(figsize=(8, 4.5))
    for rank, trial in reversed(list(enumerate(heard))):
        is_best = winner is not None and trial.number == winner.number
        colour = BEST_COLOUR if is_best else COLOURS(rank / max(1, len(heard) - 1) * 0.9)
        label = f"{trial.name}, {trial.status}: {number(trial.value)}" if rank < NAMED else None
        nimg, values = zip(*((result.nimg, result.value) for result in trial.results), strict=True)
        axis.plot(nimg, values, color=colour, linewidth=2.2 if is_best else 1.1, label=label)
        mark = {"finished": "o", "diverged": "X", "crashed": "X", "failed": "X"}.get(trial.status, "|")
        axis.plot(nimg[-1], values[-1], mark, color=colour, markersize=7)
    for rung in _rungs(spec):
        axis.axvline(rung, color="0.8", linewidth=0.8, zorder=0)
    axis.set_xlabel("images seen (grey: where ASHA decides)" if _rungs(spec) else "images seen")
    axis.set_ylabel(spec.metric)
    axis.set_title(f"{spec.name}: {len(trials)} trials", fontsize=11)
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        axis.legend(handles[::-1], labels[::-1], fontsize=7, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.savefig(out / HISTORY, dpi=120, bbox_inches="tight")
    plt.close(figure)


def _rungs(spec: SweepConfig) -> list[int]:
    if spec.scheduler != "asha":
        return []
    count = int(math.log(spec.max_images / spec.grace_images, spec.reduction_factor) + 1e-9) + 1
    return [spec.grace_images * spec.reduction_factor**k for k in range(count)]


def draw_parallel(spec: SweepConfig, trials: Sequence[Trial], out: Path) -> None:
    """One line per trial through its values to its metric; those that were cut or lost are thin. The trials come
    ranked.
    """
    heard = [trial for trial in trials if trial.value is not None]
    winner = best(spec, trials)
    outcomes = [trial.value for trial in heard if trial.value is not None] or [0.0, 1.0]
    axes = [*(_Axis.of(short(key), values) for key, values in spec.space.items()), _Axis.between(spec.metric, outcomes)]
    colour_of = Normalize(min(outcomes), max(outcomes) if max(outcomes) > min(outcomes) else min(outcomes) + 1)
    figure, axis = plt.subplots(figsize=(max(5.0, 1.7 * len(axes)), 4.5))
    for rank, trial in reversed(list(enumerate(heard))):
        at = [axes[i].place(trial.values[key], trial.number) for i, key in enumerate(spec.space)]
        at.append(axes[-1].place(trial.value, 0))
        is_best = winner is not None and trial.number == winner.number
        is_whole = trial.status == "finished"
        colour = BEST_COLOUR if is_best else COLOURS(0.95 * colour_of(trial.value or 0.0))
        width = 2.6 if is_best else 1.4 if is_whole else 0.7
        style = "-" if is_whole or is_best else "--"
        axis.plot(range(len(axes)), at, style, color=colour, linewidth=width, zorder=len(heard) - rank)
    for i, each in enumerate(axes):
        axis.axvline(i, color="0.3", linewidth=1, zorder=0)
        for place, text in each.ticks:
            axis.annotate(
                text,
                (i, place),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=7,
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
                zorder=1000,
            )
    axis.set_xticks(range(len(axes)), [each.label for each in axes], fontsize=8)
    axis.set_yticks([])
    axis.set_xlim(-0.1, len(axes) - 0.6)
    axis.set_ylim(-0.06, 1.06)
    for side in axis.spines.values():
        side.set_visible(False)
    told = f"red: {winner.name}, {number(winner.value)}; " if winner else ""
    axis.set_title(f"{spec.name}: {told}dashed: did not finish", fontsize=11, loc="left")
    figure.savefig(out / PARALLEL, dpi=120, bbox_inches="tight")
    plt.close(figure)


class _Axis:
    """A vertical axis from 0 to 1: a list of values, or a range."""

    def __init__(self, label: str, listed: tuple[Any, ...], bounds: tuple[float, float], is_log: bool):
        self.label, self.listed, self.is_log = label, listed, is_log
        self.low, self.high = (math.log(b) for b in bounds) if is_log else bounds

    @classmethod
    def of(cls, label: str, values: Values) -> "_Axis":
        return cls(label, values.listed, values.bounds or (0.0, 1.0), bool(values.loguniform))

    @classmethod
    def between(cls, label: str, values: Sequence[float]) -> "_Axis":
        low, high = min(values), max(values)
        return cls(label, (), (low, high if high > low else low + 1), False)

    def place(self, value: Any, trial: int) -> float:
        """Where a value is. Equal ones of a list are moved apart a little, or lines would cover each other."""
        if self.listed:
            where = self.listed.index(value) / max(1, len(self.listed) - 1) if len(self.listed) > 1 else 0.5
            return where + 0.03 * math.sin(2.4 * trial)
        return ((math.log(value) if self.is_log else value) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.listed:
            count = max(1, len(self.listed) - 1)
            return [(i / count if len(self.listed) > 1 else 0.5, shown(value)) for i, value in enumerate(self.listed)]
        marks = [self.low + (self.high - self.low) * i / 4 for i in range(5)]
        return [(i / 4, f"{math.exp(mark) if self.is_log else mark:.3g}") for i, mark in enumerate(marks)]
