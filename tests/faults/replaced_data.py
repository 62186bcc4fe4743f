"""Drill G30: data sets that are replaced while they are used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.data_checks import refuse_unequal_data
from cyclegan_dist.translation.job import Job, Task
from cyclegan_dist.translation.resume import unfinished
from tests.conftest import make_dataset
from tests.faults.matrix import Measured, Stage, row
from tests.ranks import run_ranks
from tests.training.trainings import ALONE, before_step, differences, final_state, go, records

STEP = 5  # before which the data set changes; there is a checkpoint of step 4


def other_bytes(dataset: Path, other: Path) -> None:
    """Each shard of A becomes another one of the same length, in place."""
    for shard in dataset.glob("A/*.tar"):
        shard.write_bytes(shard.read_bytes()[::-1])


def other_file(dataset: Path, other: Path) -> None:
    """The same, by renaming."""
    for shard in dataset.glob("A/*.tar"):
        draft = shard.with_suffix(".draft")
        draft.write_bytes(shard.read_bytes()[::-1])
        draft.rename(shard)


def other_dataset(dataset: Path, other: Path) -> None:
    """Another data set is prepared in its place."""
    shutil.rmtree(dataset)
    shutil.copytree(other, dataset)


@row(
    "G30",
    "shards are replaced by others of the same length while a run trains, or the whole data set by another one; before "
    "and after the first checkpoint; on one rank only; while a data set is translated",
    "the bytes that the run began with, or an error that names the shard; never a mixture of two data sets",
)
def replaced_while_used(stage: Stage) -> Measured:
    other = make_dataset(stage.folder / "other", seed=8)
    undisturbed = stage.run(name="undisturbed", stop_after=20)
    go(undisturbed)
    whole, outcomes = final_state(undisturbed, 1), dict[str, str]()
    for change in (other_bytes, other_file, other_dataset) if stage.thorough else (other_dataset,):
        for every in (8, 0):
            what = f"{change.__name__}{'' if every else ', no checkpoint'}"
            outcomes[what] = train_and_resume(
                stage, what.replace(", ", "-").replace(" ", "-"), change, other, every, whole
            )
    ranks = run_ranks(lambda world: refuses(world, stage.dataset, other), 2)
    translated = translation_is_refused(stage, other)
    good = sum(outcome in ("equal, refused", "named, refused") for outcome in outcomes.values())
    return Measured(
        f"{'; '.join(f'{what}: {outcome}' for what, outcome in outcomes.items())}; another data set on one of two ranks: "
        f"refused by {sum(ranks)} of 2; half a data set translated, then replaced: refused {translated}",
        good == len(outcomes) and all(ranks) and translated,
    )


def train_and_resume(
    stage: Stage, name: str, change: Callable[[Path, Path], None], other: Path, every: int, whole: list[object]
) -> str:
    """How a run ends whose data set changes, and how the same command ends then."""
    data = Path(shutil.copytree(stage.dataset, stage.folder / name))
    options = {"name": name, "data__path": str(data), "stop_after": 20, "every__checkpoint": every}
    config = stage.run(**options)
    try:
        go(config, ALONE, before_step(STEP, 0, lambda _: change(data, other)))
    except DataError as error:
        first = "named" if ".tar, sample A/" in str(error) else "not named"
    else:
        same = not differences(whole, final_state(config, 1))
        first = "equal" if same else "silently other weights"
    try:
        go(stage.run(**{**options, "stop_after": 28}))
    except (DataError, UsageError) as error:
        return f"{first}, refused" if str(data) in str(error) else f"{first}, unclear: {error}"
    steps = [record["step"] for record in records(config) if record["kind"] == "metrics"]
    return f"{first}, then a journal of two data sets with {len(steps)} records"


def refuses(world: World, *datasets: Path) -> bool:
    """Whether a rank that opens the data set of its number refuses to train with the other's."""
    try:
        refuse_unequal_data(open_manifest(str(datasets[world.rank])), world, "")
    except UsageError as error:
        return "not the same on all ranks" in str(error)
    return False


def translation_is_refused(stage: Stage, other: Path) -> bool:
    """Whether an interrupted translation of a data set is not resumed with another one in its place."""
    data, out = Path(shutil.copytree(stage.dataset, stage.folder / "translated")), stage.folder / "out"
    job = Job(snapshot=str(stage.folder), direction="AB", dataset=str(data))
    tasks = [Task(source=name, target=str(out / name)) for name in ("A-000000.tar", "A-000001.tar")]
    try:
        with unfinished(out, job, str(data), tasks):
            Path(tasks[0].target).write_bytes(b"")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        other_dataset(data, other)
    assert json.loads((out / ".translation.json").read_text())["dataset"] == str(data)
    try:
        with unfinished(out, job, str(data), tasks):
            return False
    except UsageError as error:
        return "interrupted translation of other images" in str(error)
