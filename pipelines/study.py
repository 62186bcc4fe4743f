"""Ask people which of two images is real, and report the answers.

    python -m pipelines.study RUN_or_SNAPSHOT_or_models:/NAME@ALIAS ... --data DATA --direction AB
    python -m pipelines.study FOLDER --participants 30
    python -m pipelines.study report FOLDER

The first makes a study in the folder --out, and serves it; every model is one algorithm. The second serves it again,
with further links if there are fewer than --participants for each algorithm. The third prints the share of trials in
which a translation was called real, with 95 % intervals, and writes report.json into the folder; it can be run while
people take part.

Each participant gets one link of FOLDER/links.txt. FOLDER/consent.txt is the text that they agree to: edit it, then
start the server again. Give images that were not trained on.
"""

import os
import shutil
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Column, Table

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.yaml_tree import check_tree
from cyclegan_dist.data.domain_names import chosen_direction, domain_label, refuse_no_direction
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import UsageError, pipeline_command, run_command
from cyclegan_dist.registry.sources import open_source, refuse_missing_source
from cyclegan_dist.storage.files import hidden, lock, write_atomic
from cyclegan_dist.study.design import CONSENT, STUDY, Protocol, open_study, write_study


@dataclass(frozen=True)
class StudyCommand:
    """Ask people which of two images is real."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Runs, snapshots or registered models, models:/NAME@ALIAS; or the folder of a study; or `report` and that
    folder."""
    data: str = ""
    """Data set of images that were not trained on: folder or fsspec URL. Its pairs, if it has any, are shown as
    pairs."""
    split: str = ""
    """Its part of that name, a data set in a folder of it: test."""
    direction: Annotated[str, tyro.conf.arg(metavar="{AB,BA,NAME-to-NAME}")] = "AB"
    """AB: translations from domain A of the data set to domain B are shown beside images of B. If the domains have
    names also by these, as summer-to-winter."""
    out: Path = Path("study")
    """Folder of the new study."""
    participants: int = 25
    """Links for each algorithm. Which algorithm a link is for is drawn when it is used."""
    days: float = 30
    """Days after which new links expire."""
    practice: int = 10
    """First trials of a session, with feedback."""
    scored: int = 40
    """Trials after these, without feedback."""
    exposure_ms: float = 1000
    """Milliseconds that images are shown."""
    tolerance_ms: float = 50
    """Trials whose measured exposure differs by more are not counted."""
    size: int = 0
    """Pixels of both sides of all images. 0: what the models were trained on."""
    count: int = 200
    """Images of each domain, evenly spaced over the data set, from which sessions draw. 0: all."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    serve: bool = True
    """Serve the study. With --no-serve it is made only, with its links for the address of --url, or --host and
    --port."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0: people on other machines can take part."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    url: str = ""
    """Address under which participants reach the page, for links.txt: https://study.example.org, for example."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the page is requested, besides localhost, the address of --host and the name in --url."""


def make(command: StudyCommand) -> Path:
    """Make the study. Returns its folder."""
    what = {name: getattr(command, name) for name in ("practice", "scored", "exposure_ms", "tolerance_ms")}
    protocol = check_tree(what, Protocol, "the options of the study")
    if not command.data:
        raise UsageError("--data is missing: give a data set of images that were not trained on")
    if command.size < 0 or command.count < 0:
        raise UsageError("--size and --count must not be below 0")
    if repeated := next((s for s in command.sources if command.sources.count(s) > 1), ""):
        raise UsageError(f"{repeated} is given twice: give each model once")
    refuse_no_direction(command.direction)
    for source in command.sources:
        refuse_missing_source(source)
    if command.out.exists() and (not command.out.is_dir() or any(command.out.iterdir())):
        raise UsageError(
            f"{command.out} is not empty: serve the study in it with {pipeline_command('study')} {command.out}, or "
            "choose another --out"
        )
    data = data_path(command.data, command.split)
    from cyclegan_dist.data.manifest import READING, open_manifest  # these load torch
    from cyclegan_dist.study.app import PAGE, page_template
    from cyclegan_dist.study.links import consent_text
    from cyclegan_dist.study.pictures import Source, make_images

    manifest = open_manifest(data, (*READING, "name"))
    direction = chosen_direction(command.direction, manifest.domain_names)
    ends = [Path(source).name for source in command.sources]
    names = ends if len(set(ends)) == len(ends) else command.sources
    sources = [Source(name, open_source(source)) for name, source in zip(names, command.sources, strict=True)]
    draft = hidden(command.out)
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        draft.mkdir(parents=True)
        study = make_images(
            draft,
            sources,
            manifest,
            direction,
            protocol,
            size=command.size,
            count=command.count,
            device=command.device,
        )
        write_atomic(draft / CONSENT, consent_text(protocol))
        write_atomic(draft / PAGE, page_template())
        write_study(study, draft)
        os.replace(draft, command.out)
    except OSError as error:
        raise UsageError(f"cannot write {command.out}: {error.strerror or error}; choose another --out") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    listed, target = ", ".join(names), domain_label(direction[1], manifest.domain_names)
    print(f"study: {command.out}, {listed} on {len(study.reals)} real images of domain {target}")
    return command.out


def refuse_bad_links(command: StudyCommand) -> None:
    """Raise UsageError for options that make no links."""
    if command.participants < 1 or command.days <= 0:
        raise UsageError("--participants must be 1 or more, and --days above 0")
    if command.url and not command.url.startswith(("http://", "https://")):
        raise UsageError(f"--url {command.url}: give an address such as https://study.example.org")


def write_links(folder: Path, command: StudyCommand) -> None:
    """Write the links of a study that is not served yet."""
    from cyclegan_dist.study.answers import Answers
    from cyclegan_dist.study.links import LINKS, make_links

    study, host = open_study(folder), f"[{command.host}]" if ":" in command.host else command.host
    url = command.url or f"http://{host}:{command.port}/"
    with closing(Answers(folder)) as answers:
        wanted = command.participants * len(study.algorithms)
        links = make_links(folder, answers, url, wanted, time.time() + 86_400 * command.days)
    print(f"{len(links)} links for {url} in {folder / LINKS}; serve it with {pipeline_command('study')} {folder}")


def serve(folder: Path, command: StudyCommand) -> None:
    """Serve a study until a signal arrives."""
    refuse_bad_links(command)
    study = open_study(folder)
    from urllib.parse import urlsplit

    from cyclegan_dist.service.origins import AllowedHosts
    from cyclegan_dist.service.server import address, is_loopback, listen, run_until_signal
    from cyclegan_dist.study.answers import Answers
    from cyclegan_dist.study.app import make_app
    from cyclegan_dist.study.links import LINKS, make_links, read_consent

    consent = read_consent(folder)
    with lock(folder / ".lock", held=f"another server has the study {folder}: end it first"):
        listener = listen(command.host, command.port)
        if not is_loopback(listener):
            print(f"warning: anyone with a link who can reach {command.host} can take part", file=sys.stderr)
        with listener, closing(Answers(folder)) as answers:
            own = urlsplit(command.url).hostname
            hosts = AllowedHosts.of(listener, (command.host, *command.allowed_hosts, *([own] if own else [])))
            url = command.url or address(listener)
            wanted = command.participants * len(study.algorithms)
            links = make_links(folder, answers, url, wanted, time.time() + 86_400 * command.days)
            text = f"serving {folder} at {url}, {len(links)} links in {folder / LINKS} (Ctrl-C ends it)"
            run_until_signal(make_app(folder, study, answers, consent, hosts), listener, text)


def report(folder: Path) -> None:
    """Print and write the report."""
    study = open_study(folder)
    from cyclegan_dist.study.report import LEAST_PARTICIPANTS, make_report, write_report

    rows = make_report(study, folder)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # rich assumes 80, and would cut names off in a log
    table = Table(Column("algorithm", overflow="fold"), "participants", "trials", "fooled", "95 % interval", box=None)
    for row in rows:
        fooled, between = f"{100 * row.fooled:.1f} %" if row.participants else "none", "too few participants"
        if row.participants >= LEAST_PARTICIPANTS:
            fooled += f" ± {100 * row.error:.1f}"
            between = f"{100 * row.low:.1f} to {100 * row.high:.1f} %"
        table.add_row(row.algorithm, str(row.participants), str(row.trials), fooled, between)
    console.print(table)
    for row in rows:
        if not row.participants + sum(row.excluded_participants.values()):
            begun = f", {row.not_finished} not finished" if row.not_finished else ""
            console.print(f"{row.algorithm}: no complete session yet{begun}", markup=False, highlight=False)
            continue
        counts = {"sessions not finished": row.not_finished}
        counts |= {f"participants: {rule}": n for rule, n in row.excluded_participants.items()}
        counts |= {f"trials: {rule}": n for rule, n in row.excluded_trials.items()}
        for rule, count in counts.items():
            console.print(f"left out of {row.algorithm}: {count} {rule}", markup=False, highlight=False)
    try:
        print(f"report: {write_report(study, rows, folder)}")
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from error


def main() -> None:
    """Read the command line and make, serve or report."""
    command = parse_options(StudyCommand, "study", __doc__)
    first, *others = command.sources or ("",)
    if not first:
        raise UsageError("give the runs or models to compare, the folder of a study, or `report` and that folder")
    if first == "report":
        if len(others) != 1:
            raise UsageError(f"report takes one folder: {pipeline_command('study')} report FOLDER")
        return report(Path(others[0]))
    if (Path(first) / STUDY).exists():
        if others or command.data:
            raise UsageError(f"{first} is a study: give it alone to serve it, or models and --data to make another")
        return serve(Path(first), command)
    refuse_bad_links(command)
    folder = make(command)
    if command.serve:
        serve(folder, command)
    else:
        write_links(folder, command)


if __name__ == "__main__":
    run_command(main)
