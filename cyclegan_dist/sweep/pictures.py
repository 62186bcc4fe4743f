"""Pictures of a sweep: the metric of its trials over images, and which values gave which result."""

import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import optuna
from optuna.trial import TrialState, create_trial
from optuna.visualization.matplotlib import plot_parallel_coordinate

from cyclegan_dist.sweep.record import Record, direction
from cyclegan_dist.sweep.results import number, ranked, short

HISTORY, PARALLEL = "history.png", "parallel_coordinates.png"
NAMED = 8  # trials in a legend


def draw_history(record: Record, out: Path) -> None:
    """The metric over images of every trial that reported one; the best in red, those that did not finish grey."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    reported = [trial for trial in ranked(record.spec, record.trials.values()) if trial.results]
    for rank, trial in enumerate(reported):
        colour = "0.75" if trial.status != "finished" else "crimson" if rank == 0 else f"C{rank % 7}"
        label = f"{trial.name}, {trial.status}: {number(trial.value)}" if rank < NAMED else None
        axes.plot(list(trial.results), list(trial.results.values()), ".-", color=colour, label=label, zorder=-rank)
    axes.set(title=record.spec.name, xlabel="images seen", ylabel=record.spec.metric)
    if reported:
        figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(out / HISTORY, dpi=120)
    plt.close(figure)


def draw_parallel(record: Record, out: Path) -> None:
    """A line for every trial that reported the metric, through its values; dotted if it did not finish."""
    names = {key: short(key) for key in record.spec.space}
    if len(set(names.values())) < len(names):
        names = {key: key for key in names}
    # Optuna draws finished trials only, and those that break a constraint dotted: so all that reported have finished
    # here, and those that did not break a constraint.
    study = optuna.create_study(direction=direction(record.spec))
    for frozen in record.study.get_trials(deepcopy=False):
        trial = record.trials[frozen.number]
        if trial.value is not None:
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    value=trial.value,
                    params={names[key]: value for key, value in frozen.params.items()},
                    distributions={names[key]: value for key, value in frozen.distributions.items()},
                    constraints={"finished": float(trial.status != "finished")},
                )
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the function is experimental since Optuna 2.2, or has one value only to draw
        axes = plot_parallel_coordinate(study, target_name=record.spec.metric)
        axes.set_title(record.spec.name, loc="left")
        axes.set_title("")
        if legend := axes.get_legend():
            for text in legend.get_texts():
                text.set_text({"Feasible": "finished", "Infeasible": "did not finish"}[text.get_text()])
        figure = plt.gcf()
        for each in figure.axes:
            each.grid(False)
        figure.set_size_inches(max(6.0, 1.7 * (1 + len(names))), 4.5)
        figure.savefig(out / PARALLEL, dpi=120, bbox_inches="tight")
        plt.close(figure)
