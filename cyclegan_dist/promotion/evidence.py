"""Files that are registered with a version's weights: config, figures, parity of its exports, pictures, a card."""

import json
from pathlib import Path

import jinja2
import torch
from torchvision.utils import make_grid

from cyclegan_dist.data.captions import captioned
from cyclegan_dist.data.domain_names import domain_label, legend, picture_labels
from cyclegan_dist.data.images import to_pillow, visible
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.evaluation.report import table
from cyclegan_dist.models.export import available_formats, export_generators
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.tracking.journal import RUN_RECORDS, start_records
from cyclegan_dist.training.segments import parse_segments

_CARD = """# {{ name }}

Image-to-image translation from {{ ways }}, trained with the method {{ method }}; the parameter `direction` is
{{ directions | join(" or ") }}{{ letters }}. Images of any size: {{ card.input_nc }} channels, {{ bits.A }} in A, and
{{ card.output_nc }}, {{ bits.B }} in B.

{% if card.translation %}
Images are {{ card.translation }}.

{% endif %}
Trained by {{ card.program }} as run {{ card.run }}, for {{ card.nimg }} images per domain.

{% if card.initialised_from %}
Initialised from {{ card.initialised_from.source }}: {{ card.initialised_from.parts | join(", ") }}.

{% endif %}
{% if card.teacher %}
Distilled from {{ card.teacher.source }}, sha256 `{{ card.teacher.sha256 }}`.

{% endif %}
{% if card.trained_with %}
Features of {{ card.trained_with | join(", ") }} took part in the training; it cannot evaluate this model.

{% endif %}
{% for segment in segments %}
* Extended {{ segment }}.
{% endfor %}
{% if with_state %}
The training state comes with it: networks, averages and moments of Adam, for `init_from` of another training.

{% endif %}
{% for data in card.data %}
* Domain {{ domains[data.name] }}: {{ data.samples }} images, sha256 `{{ data.digest }}`.
{% endfor %}

## Figures

Measured on {{ counts | join(" and ") }}, of the data set {{ source }}.

| {{ rows[0] | join(" | ") }} |
|{{ "---|" * (rows[0] | length) }}
{% for row in rows[1:] %}
| {{ row | join(" | ") }} |
{% endfor %}

Passed the gate of promotion because: {{ reason }}.

## What to know

{% for finding in findings %}
* {{ finding.text }}.
{% else %}
* The detectors found nothing wrong.
{% endfor %}
* Images unlike those of training are translated as if they were like them.
"""


def write_evidence(
    out: Path,
    name: str,
    snapshot: Snapshot,
    config: str,
    evaluation: Evaluation,
    reason: str,
    *,
    with_state: bool = False,
    run_dir: Path | None = None,
) -> dict[str, Path]:
    """Write the files into the folder `out`. Returns them by their names in the registered model.

    Args:
        out: folder that exists.
        name: that is promoted.
        snapshot: of the generators.
        config: their run's resolved configuration, YAML.
        evaluation: of them.
        reason: why they are promoted.
        with_state: whether the training state is registered too.
        run_dir: their run's folder, if it is here: its record of data, commit, ranks and versions goes with them.
    """
    files = {
        "config": out / "config.yaml",
        "metrics": out / "metrics.json",
        "exports": out / "exports.json",
        "samples": out / "samples.png",
        "model_card": out / "README.md",
    }
    files["config"].write_text(config)
    if run_dir is not None:
        files["run"] = out / RUN_RECORDS
        files["run"].write_text(json.dumps(start_records(run_dir), indent=1) + "\n")
    files["metrics"].write_text(evaluation.to_json() + "\n")
    formats = ["safetensors"] if snapshot.generator_config.procedure else available_formats()
    parity = export_generators(snapshot, out / "exports", formats)
    files["exports"].write_text(json.dumps(parity, indent=1) + "\n")
    _draw_samples(evaluation, files["samples"])
    files["model_card"].write_text(describe(name, snapshot, evaluation, reason, with_state=with_state))
    return files


def describe(name: str, snapshot: Snapshot, evaluation: Evaluation, reason: str, *, with_state: bool = False) -> str:
    """The card of a version, Markdown: arguments as for `write_evidence`."""
    names = snapshot.domain_names
    return (
        jinja2.Environment(trim_blocks=True)
        .from_string(_CARD)
        .render(
            name=name,
            method=snapshot.method,
            ways=snapshot.described() if names else f"domain {snapshot.described()}",
            letters=f", and {legend(names)}" if names else "",
            domains={domain: f"{domain}, {names[domain]}" if names else domain for domain in "AB"},
            directions=snapshot.directions,
            card=snapshot.card,
            bits={domain: _bits(snapshot.values(domain)) for domain in "AB"},
            counts=[
                f"{count} images of {domain_label(domain, evaluation.names)}"
                for domain, count in evaluation.facts["images"].items()
            ],
            source=evaluation.facts["source"],
            rows=table(evaluation.figures),
            findings=evaluation.findings,
            reason=reason,
            with_state=with_state,
            segments=parse_segments(snapshot.card.get("segments", ())),
        )
    )


def _bits(values: ValueRange | None) -> str:
    return str(values) if values else "8 bits"


def _draw_samples(evaluation: Evaluation, path: Path) -> None:
    """A row for each kind of picture of each direction, a column for each image; with names, a caption for each row."""
    rows: list[torch.Tensor] = []
    for direction in evaluation.directions:
        labels = picture_labels(direction.name, evaluation.names)
        for kind, images in direction.shown.items():
            if len({image.shape for image in images}) == 1:
                row = make_grid([visible(image).expand(3, -1, -1) for image in images], nrow=len(images), pad_value=255)
                rows.append(captioned(row, labels[kind]) if labels else row)
    width = max(row.shape[2] for row in rows)
    padded = [torch.nn.functional.pad(row, (0, width - row.shape[2]), value=255) for row in rows]
    to_pillow(torch.cat(padded, 1)).save(path)
