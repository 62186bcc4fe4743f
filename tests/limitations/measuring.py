"""What is measured of a trained pair of generators, against the truth and by the evaluation."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.discriminant import separation
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator, open_translators
from cyclegan_dist.storage.layout import RunFolder
from tests.limitations import drawing
from tests.limitations.cases import CASES, EPOCHS, RIDER
from tests.limitations.drawing import LABELS, TRAINING
from tests.limitations.training import ALONE, trained

STRIPES = np.array([[6.0, 6.0, 10.0], [250.0, 249.0, 246.0]])  # of domain B of `texture`


@dataclass(frozen=True)
class Outcome:
    """Figures of one training.

    Attributes:
        case: its name, or `rider`.
        seed: its seed.
        nimg: images of each domain that the networks had seen.
        cpu_s: processor time of the training.
        figures: by name and direction.
        findings: `minimal-change AB`, and so on.
        texts: their sentences.
    """

    case: str
    seed: int
    nimg: int
    cpu_s: float
    figures: dict[str, float]
    findings: list[str]
    texts: list[str]


def measured(name: str, seed: int, place: Path, count: int = TRAINING, epochs: int = EPOCHS) -> list[Outcome]:
    """Train one case and measure its snapshots, the last one last; with `texture` come the figures of riders."""
    case, data = CASES[name], place / f"{name}-{seed}"
    drawing.write_data(data, case.draw, seed, count)
    drawing.write_test(data / "test", case.draw, seed)
    began = time.process_time()
    run_dir = trained(data, f"run-{seed}", seed, identity=case.identity, epochs=epochs, runs=place / name)
    cpu_s, palette = time.process_time() - began, ""
    if name == "classes":
        palette = str(place / "palette.yaml")
        Path(palette).write_text(yaml.safe_dump({"domain": LABELS.domain, "classes": _lists(LABELS.classes)}))
    outcomes: list[Outcome] = []
    for folder in sorted(RunFolder(run_dir).snapshots.glob("nimg-*")):
        snapshot = Snapshot.open(folder)
        nimg = int(folder.name.removeprefix("nimg-"))
        found = _evaluated(snapshot, data / "test", palette)
        figures = _of_the_evaluation(found) | ({} if palette else _errors(snapshot, name, seed))
        outcomes.append(Outcome(name, seed, nimg, cpu_s, figures, *_said(found)))
    if name == "texture":
        drawing.write_test(data / RIDER, drawing.rider, seed)
        ridden = _evaluated(snapshot, data / RIDER, "")
        figures = _riders(snapshot, seed) | {"separation": _separation(found, ridden)} | _of_the_evaluation(ridden)
        outcomes.append(Outcome(RIDER, seed, nimg, cpu_s, figures, *_said(ridden)))
    return outcomes


def _lists(classes: dict[str, tuple[int, int, int]]) -> dict[str, list[int]]:
    return {name: list(colour) for name, colour in classes.items()}


def _evaluated(snapshot: Snapshot, data: Path, palette: str) -> Evaluation:
    return evaluate(snapshot, open_manifest(str(data), (*READING, "name")), EvaluationConfig(palette=palette), ALONE)


def _said(found: Evaluation) -> tuple[list[str], list[str]]:
    return [f"{finding.name} {finding.direction}" for finding in found.findings], [f.text for f in found.findings]


def _of_the_evaluation(found: Evaluation) -> dict[str, float]:
    keys = {"reached": "discriminant/untrained", "kd": "kd/untrained", "ssim": "eval/content_ssim"}
    keys |= {"accuracy": "seg/pixel_accuracy", "exchanged": "seg/exchanged_pixel_accuracy"}
    figures = {
        f"{name}_{way}": found.figures[f"{key}_{way}"].value
        for way in ("AB", "BA")
        for name, key in keys.items()
        if f"{key}_{way}" in found.figures
    }
    return figures | {f"kept_{d.name}": Figure.mean(d.scores["kept"]).value for d in found.directions}


def _translated(translator: Translator, images: list[np.ndarray]) -> np.ndarray:
    """N x H x W x 3 float, in grey levels."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return torch.stack(translator.translate_batch(batch)).permute(0, 2, 3, 1).numpy().astype(float)


def _errors(snapshot: Snapshot, name: str, seed: int) -> dict[str, float]:
    """`due`: the share of the error of untranslated images that is gone, of the pixels that must change. `elsewhere`: mean
    absolute error of the other pixels, in grey levels.
    """
    translators, scenes = open_translators(snapshot, ALONE.device), drawing.held_out(CASES[name].draw, seed)
    domains = {domain: [getattr(scene, domain) for scene in scenes] for domain in "AB"}
    figures: dict[str, float] = {}
    for way in ("AB", "BA"):
        before, truth = (np.stack(domains[domain]).astype(float) for domain in way)
        due = np.abs(before - truth).max(-1) > 0
        after = np.abs(_translated(translators[way], domains[way[0]]) - truth)
        figures[f"due_{way}"] = 1 - float(after[due].mean() / np.abs(before - truth)[due].mean())
        figures[f"elsewhere_{way}"] = float(after[~due].mean())
    return figures


def _riders(snapshot: Snapshot, seed: int) -> dict[str, float]:
    """`spared`: the share of a rider's pixels whose colour is nearer to the rider's than to that of grass or a stripe;
    `striped`: nearer to that of a stripe. `error`: their mean absolute error, in grey levels, where a rider should stay
    as it is. `shape`, `shape_alone`: that of the rest of the shape, with the rider and in the same scene without it.
    """
    translator = open_translators(snapshot, ALONE.device)["AB"]
    scenes, alone = (drawing.held_out(draw, seed) for draw in (drawing.rider, drawing.texture))
    truth, marked = (np.stack([getattr(scene, what) for scene in scenes]) for what in ("B", "marked"))
    fake = _translated(translator, [scene.A for scene in scenes])
    colours = np.stack([drawing.RIDER, drawing.GRASS, *STRIPES])
    nearest = np.square(fake[marked][:, None] - colours).sum(-1).argmin(1)
    rest = ~marked & np.stack([np.abs(scene.A.astype(float) - scene.B).max(-1) > 0 for scene in alone])
    without = _translated(translator, [scene.A for scene in alone])
    return {
        "spared_AB": float((nearest == 0).mean()),
        "striped_AB": float((nearest >= 2).mean()),
        "error_AB": float(np.abs(fake - truth)[marked].mean()),
        "shape_AB": float(np.abs(fake - truth)[rest].mean()),
        "shape_alone_AB": float(np.abs(without - np.stack([scene.B for scene in alone]))[rest].mean()),
    }


def _separation(without: Evaluation, ridden: Evaluation) -> float:
    """The probability that an image with a rider has a larger error of reconstruction than one without."""
    errors = [torch.tensor(found.figures["eval/cycle_l1_A"].parts) for found in (without, ridden)]
    return separation(*errors)
