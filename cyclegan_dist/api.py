"""What the commands do, from Python: prepare, train, evaluate, promote, and look at the history of runs.

import cyclegan_dist as cg
cg.prepare("photos/horses", "photos/zebras", "data/horse2zebra", load_size=286, validation=0.1)
run = cg.train("horse2zebra", {"data.path": "data/horse2zebra"})
cg.load(run).translate("horse.jpg").save("zebra.png")
"""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cyclegan_dist.config.config import Config, dump_config, load_config, with_values
from cyclegan_dist.config.yaml_tree import check_tree, refuse_unknown
from cyclegan_dist.data.location import data_path, is_url
from cyclegan_dist.errors import STOPS_WITH_INPUT, UsageError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import read_records

if TYPE_CHECKING:
    import pandas as pd

    from cyclegan_dist.evaluation.measure import Evaluation
    from cyclegan_dist.promotion.promote import PromotionResult
    from cyclegan_dist.step.world_config import Device

StrPath = str | os.PathLike[str]
T = TypeVar("T")
REST_S = 2.0  # to read what a training has printed before its end


def prepare(
    a_dir: StrPath, b_dir: StrPath, out: StrPath, *, report: Callable[[str], object] = print, **options: Any
) -> Path | str:
    """Turn two folders of images into a data set for training.

    Args:
        a_dir: images of domain A: a folder, an archive, a Parquet file, or what else the pipeline takes.
        b_dir: images of domain B.
        out: folder to create, or a URL of object storage.
        report: called with a line for what users should know, such as images that were left out.
        options: of `cyclegan_dist.data.prepare_config.PrepareConfig`, as `load_size=286` or
            `names=("summer", "winter")`.

    Returns:
        The folder of the data set, or the URL.

    Raises:
        UsageError: if a folder or an option cannot be used, or too many images are unreadable.
    """
    from cyclegan_dist.config.palettes import open_palette
    from cyclegan_dist.data import prepare as prepared
    from cyclegan_dist.data.domain_names import check_names
    from cyclegan_dist.data.prepare_config import PrepareConfig

    if names := options.get("names"):
        check_names([names] if isinstance(names, str) else list(names))  # says more than the check of its type
    folders = {"a_dir": a_dir, "b_dir": b_dir, "out": out}
    config = _checked({**options, **folders}, PrepareConfig, "prepare")
    config.refuse_one_place()
    config.refuse_paths()
    palette = open_palette(config.palette_name) if config.palette_name else None
    root = prepared.prepare_at(config, report=report, palette=palette)
    return root if is_url(root) else Path(root)


def train(
    config: Config | StrPath,
    options: Mapping[str, Any] | None = None,
    *,
    launcher: Literal["auto", "ray", "local"] = "auto",
    report: Callable[[str], object] = print,
) -> Path:
    """Train as `python -m cyclegan_dist.train` does, in processes of its own, and wait until it is finished. A run that
    was interrupted continues. KeyboardInterrupt stops the training with a checkpoint before it is raised.

    Args:
        config: a preset, a YAML file, several joined by +, or a whole configuration.
        options: values by dotted key, as `{"optim.batch_size": 4}`.
        launcher: `auto` and `ray` start the ranks by Ray Train, `local` trains in one process.
        report: called with each line that the training prints.

    Returns:
        The folder of the run, which `load`, `evaluate` and `history` take.

    Raises:
        UsageError: for a configuration that cannot be trained, a training that fails, or one that is stopped.
    """
    whole = config if isinstance(config, Config) else load_config(os.fspath(config))
    whole = with_values(whole, dict(options or {}), "options")
    with tempfile.TemporaryDirectory(prefix="cyclegan_dist-") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(dump_config(whole))
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "cyclegan_dist.train", str(file), "--launcher", launcher],
            stdin=subprocess.PIPE,  # which ends with this process, and the training with it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {STOPS_WITH_INPUT: "1"},
            text=True,
            errors="replace",
            start_new_session=True,  # so that Ctrl-C reaches it once, from here
        )
        last = _follow(process, report)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise UsageError(f"the training was ended by {name}, perhaps for want of memory; its last line: {last}")
    if process.returncode:
        raise UsageError(last.removeprefix("error: ") or f"the training ended with exit code {process.returncode}")
    return whole.run_dir


def _follow(process: "subprocess.Popen[str]", report: Callable[[str], object]) -> str:
    """Report what a process prints until it ends. Returns the last line, or its error."""
    lines = queue.SimpleQueue[str | None]()
    output = process.stdout
    assert output is not None

    def read() -> None:
        with output:
            for line in output:
                lines.put(line.rstrip("\n"))

    def wait() -> None:
        process.wait()
        reader.join(REST_S)  # others that it has started may keep its output open
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    for thread in (reader, threading.Thread(target=wait, daemon=True)):
        thread.start()
    last = ""
    try:
        while (line := lines.get()) is not None:
            last = last if last.startswith("error: ") else line
            report(line)
    except BaseException:  # Ctrl-C, and a report that fails
        process.send_signal(signal.SIGINT)
        while (line := lines.get()) is not None:
            print(line, file=sys.stderr)
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
    return last


def evaluate(
    source: StrPath, data: StrPath, *, split: str = "", device: "Device" = "auto", **what: Any
) -> "Evaluation":
    """Measure how good the generators of a model are. Writes nothing.

    Args:
        source: folder of a run, whose newest snapshot is taken, of a snapshot, or `models:/NAME@ALIAS`.
        data: data set of images that were not trained on.
        split: its part of that name, as `test` or `val`.
        device: `cpu` or `cuda`; `auto` takes a GPU if there is one.
        what: options of `cyclegan_dist.evaluation.config.EvaluationConfig`, as `features=("efficientnet_lite0",)`.

    Returns:
        Figures by name, each with a value, and a 95 % interval where there is one, and findings: typical failures.

    Raises:
        UsageError: if there is no such model, data set or part, or an option cannot be used.
    """
    from cyclegan_dist.evaluation.config import EvaluationConfig

    config = _checked(what, EvaluationConfig, "evaluate")
    path = data_path(os.fspath(data), split)
    # These load torch.
    from cyclegan_dist.data.manifest import READING, open_manifest
    from cyclegan_dist.evaluation.measure import evaluate as measure
    from cyclegan_dist.registry.sources import open_source
    from cyclegan_dist.step import distributed

    manifest = open_manifest(path, (*READING, "name"))
    return measure(open_source(os.fspath(source)), manifest, config, distributed.join(device))


def promote(
    run: StrPath,
    data: StrPath,
    *,
    name: str = "",
    split: str = "",
    gate: Mapping[str, Any] | StrPath = "",
    dry_run: bool = False,
    with_state: bool = False,
    user: str = "",
    reason: str = "",
    device: "Device" = "auto",
    **what: Any,
) -> "PromotionResult":
    """Make a run's generators the champion of a registered name, if they are better than the one that is.

    Args:
        run: folder of a run, whose best snapshot is taken, or else the newest; or the id of its MLflow run.
        data: data set of images that were not trained on: candidate and champion are evaluated on it.
        name: under which generators are registered; by default that of a student's teacher, with -small.
        split: the data set's part of that name, as `test` or `val`.
        gate: the rule: keys of `cyclegan_dist.promotion.gate.Gate`, or a YAML file of them.
        dry_run: evaluate, and change nothing.
        with_state: register the training state too.
        user: your name, where MLflow's server does not sign users in.
        reason: why, in your words; kept with the version and in the promotion log.
        device: `cpu` or `cuda`; `auto` takes a GPU if there is one.
        what: options of `cyclegan_dist.evaluation.config.EvaluationConfig`.

    Returns:
        The verdict, with its reason, the version that is champion now or proposed, and what was measured.

    Raises:
        UsageError: if there is no such run or data set, MLflow cannot be reached, another promotion of the name is
            running, or the two cannot be compared.
    """
    from cyclegan_dist.evaluation.config import EvaluationConfig
    from cyclegan_dist.registry.sources import read_store, refuse_missing_source, use_store_of

    config = _checked(what, EvaluationConfig, "promote")
    path = Path(run).absolute()
    if path.exists():
        use_store_of(path if RunFolder(path).config.exists() else path.parent.parent)  # which a snapshot lies in
    else:
        if "/" in os.fspath(run):  # not the id of a run in MLflow
            refuse_missing_source(os.fspath(run))
        read_store()
    location = data_path(os.fspath(data), split)
    if not isinstance(gate, Mapping) and os.fspath(gate) and not Path(gate).is_file():
        raise UsageError(f"gate {gate} cannot be read: there is no such file")
    # These load torch and mlflow.
    from cyclegan_dist.data.manifest import READING, open_manifest
    from cyclegan_dist.models.snapshot import Snapshot
    from cyclegan_dist.promotion.gate import check_gate, read_gate
    from cyclegan_dist.promotion.promote import Promotion, find_candidate
    from cyclegan_dist.promotion.student import name_of
    from cyclegan_dist.registry.author import find_author
    from cyclegan_dist.step import distributed

    rule = check_gate(dict(gate), "gate") if isinstance(gate, Mapping) else read_gate(os.fspath(gate))
    manifest = open_manifest(location, (*READING, "name"))
    candidate = None if name or path.exists() else find_candidate(os.fspath(run))  # an MLflow run's id
    name = name or name_of(candidate.snapshot if candidate is not None else Snapshot.open(path))
    if not name:
        raise UsageError("give a name (--name), under which the generators are registered")
    world, author = distributed.join(device), find_author(user, reason)
    promotion = Promotion(name, manifest, rule, config, world, with_state=with_state, author=author)
    candidate = candidate or find_candidate(os.fspath(run))  # which creates a folder's run in MLflow
    return promotion(candidate, dry_run=dry_run)


def history(*runs: StrPath) -> "pd.DataFrame":
    """Every value that runs have logged, to plot them, or to pick a snapshot.

    history("runs/horse2zebra").plot(x="nimg", y=["loss/cycle_A", "loss/cycle_B"])

    Args:
        runs: their folders. A run may be training.

    Returns:
        One row for each step of each run that has values: `run` (its folder), `step`, `nimg` (images per domain until
        then), `time`, the losses, learning rates, speeds and figures of the evaluation beside the training, by name,
        and `snapshot`, the folder of the one of that step. What a step lacks is NaN or None.

    Raises:
        UsageError: if a folder is not one of a run.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for run in map(Path, runs):
        journal = RunFolder(run).journal
        if not journal.is_file():
            raise UsageError(f"{run} is not the folder of a run: it has no {journal.name}")
        steps: dict[int, dict[str, Any]] = {}
        for record, _ in read_records(journal, 0):
            if record["kind"] not in ("metrics", "evaluation", "snapshot"):
                continue
            row = steps.setdefault(record["step"], {"run": str(run), "step": record["step"], "time": record["time"]})
            if record["kind"] == "snapshot":
                row["snapshot"] = str(run / record["path"])
            else:
                row |= {"nimg": record.get("nimg"), **record["values"]}
        rows += (steps[step] for step in sorted(steps))
    first = ["run", "step", "nimg", "time"]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys([*first, *(key for row in rows for key in row)])))
    return frame.assign(time=pd.to_datetime(frame["time"], unit="ms", utc=True))


def _checked(options: dict[str, Any], kind: type[T], source: str) -> T:
    refuse_unknown(options, [field.name for field in fields(kind)], source)  # pyright: ignore[reportArgumentType]
    return check_tree(options, kind, source)
