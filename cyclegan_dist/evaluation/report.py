"""Reports of evaluations: `metrics.json`, and a page to look at."""

from collections.abc import Sequence
from pathlib import Path

from cyclegan_dist.data.domain_names import direction_label, domain_label, legend, picture_labels
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.gallery import Section, write_gallery
from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.storage.files import write_atomic

METRICS = "metrics.json"
HEADINGS = ("figure", "value", "95 % interval", "images", "unit")
# By the part of a key before the direction; what is not named here has no unit.
_UNITS = {"l1": "grey levels", "psnr": "dB"}


def table(figures: dict[str, Figure]) -> list[Sequence[str]]:
    """Rows for people, below their headings."""
    rows: list[Sequence[str]] = [HEADINGS]
    for key, figure in figures.items():
        kind = key.rpartition("_")[0].rpartition("_")[2].rpartition("/")[2]
        low, high = figure.interval
        between = f"{low:.4g} to {high:.4g}" if len(figure.parts) > 1 else "none"
        rows.append((key, f"{figure.value:.4g}", between, str(figure.n), _UNITS.get(kind, "")))
    return rows


def write_report(evaluation: Evaluation, out: Path) -> Path:
    """Write `metrics.json`, last, and `index.html` with its images into the folder `out`. Returns the page's path.

    Raises:
        OSError: if it cannot be written.
    """
    facts = evaluation.facts
    labels = {name: facts[name] for name in ("palette", "segmenter") if name in facts}
    names = evaluation.names
    data = {
        f"domain {domain_label(d, names)}": f"{n} of {facts['data'][d]['samples']} images"
        for d, n in facts["images"].items()
    }
    letters = {"in figures": text} if (text := legend(names)) else {}
    page = write_gallery(
        out,
        title=f"Evaluation of {facts['run'] or Path(facts['snapshot']).name}",
        facts={"images seen in training": str(facts["nimg"]), "data set": facts["source"], **data, **letters, **labels},
        sections=[
            Section(direction_label(d.name, names), d.names, d.shown, picture_labels(d.name, names))
            for d in evaluation.directions
        ],
        figures=table(evaluation.figures),
        warnings=[f"{finding.name}: {finding.text}" for finding in evaluation.findings],
    )
    write_atomic(out / METRICS, evaluation.to_json() + "\n")
    return page
