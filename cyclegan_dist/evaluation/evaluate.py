"""Measure how good generators are, all directions of a model at once.

    python -m pipelines.evaluate SOURCE --data DATA [--split test] [--out OUT]

SOURCE is a run, of which the newest snapshot is taken, a snapshot, or a registered model: models:/NAME@champion. Give
images that were not trained on. Results go to metrics.json and a page in OUT, and to the run in MLflow. Under torchrun
all ranks take a share of the images.
"""

import hashlib
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.shipped import shipped
from cyclegan_dist.data.domain_names import legend
from cyclegan_dist.data.location import data_path
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.evaluation.command import Evaluate
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.detectors import discriminator_won
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.evaluation.report import table, write_report
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import open_source, use_store_of
from cyclegan_dist.step import distributed
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from cyclegan_dist.tracking.sender_state import SenderState
from cyclegan_dist.training.run_folder import read_config


def run(command: Evaluate) -> Evaluation:
    """Evaluate. All ranks of a group call it; rank 0 writes."""
    world = distributed.join(command.device)
    snapshot = open_source(command.source)
    manifest = open_manifest(data_path(command.data, command.split), (*READING, "name"))

    def report(line: str) -> None:
        if world.is_first:
            print(line, file=sys.stderr, flush=True)

    evaluation = evaluate(snapshot, manifest, command.what, world, limit_s=command.limit_s, report=report)
    run_dir = run_of(snapshot.folder)
    if run_dir is not None:
        records = (record for record, _ in read_records(run_dir / JOURNAL, 0))
        evaluation.findings.extend(
            discriminator_won(records, read_config(run_dir).method.least_squares, evaluation.names)
        )
    if world.is_first:
        _report(command, evaluation, snapshot, run_dir)
    distributed.leave()
    return evaluation


def run_of(snapshot: Path) -> Path | None:
    """The folder of the run that a snapshot lies in."""
    run_dir = snapshot.absolute().parent.parent
    return run_dir if RunFolder(run_dir).config.exists() and (run_dir / JOURNAL).exists() else None


def _report(command: Evaluate, evaluation: Evaluation, snapshot: Snapshot, run_dir: Path | None) -> None:
    labels = f"-{labelled}" if (labelled := labels_name(command.what)) else ""
    out = command.out or (
        run_dir / "evaluations" / f"{snapshot.folder.name}{labels}" if run_dir else Path(f"evaluation{labels}")
    )
    try:
        page = write_report(evaluation, out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; choose another --out") from error
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # rich assumes 80, and would cut names off in a log
    headings, *rows = table(evaluation.figures)
    shown = Table(Column(headings[0], overflow="fold"), *headings[1:], box=None)
    for row in rows:
        shown.add_row(*row)
    if text := legend(evaluation.names):
        print(f"domains: {text}")
    console.print(shown)
    for finding in evaluation.findings:
        console.print(f"{finding.name}: {finding.text}", soft_wrap=True, markup=False, highlight=False)
    print(f"page: {page}")
    if command.mlflow and run_dir is not None and SenderState.read(run_dir).run_id:
        _log_to_mlflow(run_dir, evaluation, out, labels_name(command.what))


def labels_name(what: EvaluationConfig) -> str:
    """What label maps are scored by, for names: the palette, with the beginning of its file's hash if it is one of the
    user's own, and of a segmenter the beginning of its file's hash. Figures of others cannot be compared, and must not
    replace each other. Empty without a palette.
    """
    if not what.palette:
        return ""
    name = re.sub(r"[^\w.-]", "_", Path(what.palette).stem, flags=re.ASCII)  # MLflow refuses some other characters
    files = [what.palette] if what.palette not in shipped("palette") else []
    files += [what.segmenter.rpartition(":")[2]] if what.segmenter else []
    return "-".join([name, *(hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8] for file in files)])


def _log_to_mlflow(run_dir: Path, evaluation: Evaluation, out: Path, labels: str) -> None:
    """Add figures and files to the run in MLflow. A server that cannot be reached is no reason to fail."""
    values = {key: figure.value for key, figure in evaluation.figures.items()}
    values = {key.replace("seg/", f"seg/{labels}/", 1): value for key, value in values.items()}
    try:
        use_store_of(run_dir)
        from cyclegan_dist.registry.models import log_evaluation  # loads mlflow

        log_evaluation(SenderState.read(run_dir).run_id, evaluation.facts["step"], values, out)
    except UsageError as error:
        print(f"not added to MLflow: {error}", file=sys.stderr)


def main() -> None:
    """Read the command line and evaluate."""
    run(parse_options(Evaluate, "evaluate", __doc__))


if __name__ == "__main__":
    run_command(main)
