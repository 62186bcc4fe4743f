"""Pictures of a sweep, by Optuna: the metric of its trials over images, and which values gave which result."""

import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import optuna
from optuna.trial import TrialState, create_trial
from optuna.visualization.matplotlib import plot_intermediate_values, plot_parallel_coordinate

from cyclegan_dist.sweep.record import Record, direction
from cyclegan_dist.sweep.results import short

HISTORY, PARALLEL = "history.png", "parallel_coordinates.png"


def draw_pictures(record: Record, out: Path) -> None:
    """Write both. Trials that did not finish are grey in the first and dotted in the second."""
    metric = record.spec.metric
    with warnings.catch_warnings(), plt.rc_context({"savefig.dpi": 120, "savefig.bbox": "tight"}):
        # That these functions of Optuna's are experimental, as since version 2.2, or have a single value to draw.
        warnings.simplefilter("ignore")
        study = _drawable(record)
        axes = plot_intermediate_values(study)
        axes.set(title=f"{record.spec.name}: grey did not finish", xlabel="images seen", ylabel=metric)
        plt.savefig(out / HISTORY)
        plt.close()
        axes = plot_parallel_coordinate(study, target_name=metric)
        axes.set_title(record.spec.name, loc="left")
        axes.set_title("")
        if legend := axes.get_legend():
            for text in legend.get_texts():
                text.set_text({"Feasible": "finished", "Infeasible": "did not finish"}[text.get_text()])
        plt.gcf().set_size_inches(max(6.0, 1.7 * (1 + len(record.spec.space))), 4.5)
        plt.savefig(out / PARALLEL)
        plt.close()


def _drawable(record: Record) -> optuna.Study:
    """The study with short names, and with the last value of each trial as its result: Optuna would draw finished ones
    only. Those that did not finish break a constraint, by which it tells them apart.
    """
    names = {key: short(key) for key in record.spec.space}
    if len(set(names.values())) < len(names):
        names = {key: key for key in names}
    study = optuna.create_study(direction=direction(record.spec))
    for frozen in record.study.get_trials(deepcopy=False):
        trial = record.trials[frozen.number]
        study.add_trial(
            create_trial(
                state=TrialState.FAIL if trial.value is None else TrialState.COMPLETE,
                value=trial.value,
                params={names[key]: value for key, value in frozen.params.items()},
                distributions={names[key]: value for key, value in frozen.distributions.items()},
                intermediate_values=trial.results,
                constraints={"finished": float(trial.status != "finished")},
            )
        )
    return study
