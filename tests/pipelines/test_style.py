"""The command, as users run it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.style import comparison
from pipelines.style import main
from tests.conftest import Answer, size_of, write_images
from tests.service.running import make_snapshot

QUICK = ("--steps", "2", "--size", "24", "--count", "2", "--style-layers", "stem", "block2.wide", "--content-layer")
LAYERS = ("block2",)
KINDS = ("input", "style 1", "style 2", "collection", "translation")


@pytest.fixture
def computed() -> Iterator[list[str]]:
    """The numbers of images that styles are transferred to, one entry for each batch."""
    found: list[str] = []
    real = comparison.transfer

    def counted(*arguments: object) -> torch.Tensor:
        found.append(str(arguments[-1]))
        return real(*arguments)  # pyright: ignore[reportArgumentType]

    with patch.object(comparison, "transfer", counted):
        yield found


def record(out: Path) -> dict[str, dict[str, object]]:
    return json.loads((out / "style.json").read_text())["pictures"]


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return pil_to_tensor(image)


def test_a_page_is_made_and_nothing_is_computed_again(
    command: Callable[..., Answer], tmp_path: Path, dataset: Path, computed: list[str]
) -> None:
    snapshot, out = make_snapshot(tmp_path / "tiny"), tmp_path / "out"
    words = (snapshot, "--data", dataset, "--out", out, *QUICK, *LAYERS)
    code, said, err = command(main, *words)
    assert code == 0 and said == f"page: {out / 'index.html'}\n" and "style 1: 2 of 2 pictures computed" in err
    assert computed == ["[0, 6]"] * 3
    found = record(out)
    assert list(found) == [*KINDS]
    files = {kind: [out / name for name in found[kind]["files"]] for kind in KINDS}  # type: ignore[attr-defined]
    assert all(size_of(path) == (24, 24) for paths in files.values() for path in paths)
    assert [len(found[kind]["styles"]) for kind in KINDS] == [0, 1, 1, 4, 0]  # type: ignore[arg-type]
    translation = Translator(Snapshot.open(snapshot), "AB", "cpu").translate(pixels(files["input"][1]))
    torch.testing.assert_close(pixels(files["translation"][1]), translation, atol=1, rtol=0)
    assert found["input"]["distances"]["content"] == 0  # type: ignore[index]
    for kind in KINDS[1:4]:
        distances = found[kind]["distances"]
        assert distances["style"] < distances["style_before"] and distances["content"] > 0  # type: ignore[index]
    page = (out / "index.html").read_text()
    assert page.count("data:image/png;base64,") == page.count("<img ") == 2 * 5 + 6
    assert (
        "src=" not in page.replace('src="data:', "")
        and "http:" not in page
        and "https:" not in page
        and "&lt;b&gt;tiny&lt;/b&gt;" in page
    )

    computed.clear()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.parent != out}
    code, _, err = command(main, *words)
    assert (code, err, computed) == (0, "", [])
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.parent != out} == before
    files["style 1"][1].unlink()
    assert command(main, *words, "--count", "3")[0] == 0
    assert computed == ["[3, 6]", "[3]", "[3]"]  # what is new, and what was missing
    computed.clear()
    assert command(main, *words, "--style-weight", "20")[0] == 0
    assert computed == ["[0, 6]"] * 3 and all(path.exists() for path in before)


def test_styles_of_files_and_inputs_of_a_part(command: Callable[..., Answer], tmp_path: Path, dataset: Path) -> None:
    """Of a model that was trained with the domains exchanged, whose AB is BA of the data set."""
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig

    data = tmp_path / "data"
    a, b = write_images(tmp_path / "A", 3, seed=5), write_images(tmp_path / "B", 2, seed=6)
    prepare(PrepareConfig(a, b, data, workers=1))
    prepare(PrepareConfig(b, a, data / "test", workers=1))
    snapshot = make_snapshot(tmp_path / "tiny", directions="AB")
    card = json.loads((snapshot / "card.json").read_text())
    (snapshot / "card.json").write_text(json.dumps({**card, "preprocess": {"direction": "BtoA"}}))
    style = sorted((tmp_path / "B").iterdir())[0]
    words = (snapshot, "--data", data, "--split", "test", "--direction", "BA", "--styles", style)
    assert command(main, *words, *QUICK, *LAYERS)[0] == 0
    found = record(tmp_path / "style")
    assert list(found) == ["input", "style 1", "collection", "translation"]
    facts = json.loads((tmp_path / "style" / "style.json").read_text())
    assert facts["collection"] == f"3 images of domain A of {data}" and len(facts["inputs"]) == 2
    assert facts["data"] == f"{data}/test, B to A"
    (shown,) = found["style 1"]["styles"]  # type: ignore[misc]
    assert torch.equal(pixels(tmp_path / "style" / str(shown)), pixels(style))
    code, _, err = command(main, *words[:5], *QUICK, *LAYERS)
    assert code == 2 and "translates B to A only; choose direction BA" in err  # in the domains of the data set


def test_images_may_be_too_small(command: Callable[..., Answer], tmp_path: Path, dataset: Path) -> None:
    code, _, err = command(main, str(make_snapshot(tmp_path / "tiny")), "--data", str(dataset), "--size", "4")
    assert code == 2 and "images of 4 x 4 pixels are too small for block5, stem," in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "--data", "DATA"], "nowhere is neither a snapshot nor a run"),
        (["tiny", "--data", "nothing"], "no data set at nothing"),
        (["tiny", "--data", "DATA", "--split", "test"], "has no part test"),
        (["tiny", "--data", "DATA", "--features", "vgg19"], "features vgg19: give vgg19:FILE, vgg16:FILE or"),
        (["tiny", "--data", "DATA", "--features", "vgg19:no.pth"], "features vgg19:no.pth: there is no file no.pth"),
        (["tiny", "--data", "DATA", "--style-layers", "stem", "block0"], "have no layer block0: did you mean block"),
        (["tiny", "--data", "DATA", "--content-layer", "relu4_2"], "have no layer relu4_2: there are stem, block1,"),
        (["tiny", "--data", "DATA", "--styles", "no.png"], "--styles: there is no file no.png"),
        (["tiny", "--data", "DATA", "--styles", "tiny/card.json"], "style image tiny/card.json: "),
        (["tiny", "--data", "DATA", "--steps", "0"], "the options: steps: must be greater than 0"),
        (["tiny", "--data", "DATA", "--lr", "nan"], "the options: lr: give a finite number"),
        (["tiny", "--data", "DATA", "--count", "-1"], "count: must be greater than or equal to 0"),
        (["half", "--data", "DATA", "--direction", "BA"], "direction BA: snapshot"),
        (["tiny", "--data", "DATA", "--out", "half/card.json/x"], "cannot write half/card.json/x: Not a directory"),
    ],
)
def test_bad_input_is_one_line(
    command: Callable[..., Answer], tmp_path: Path, dataset: Path, arguments: list[str], sentence: str
) -> None:
    make_snapshot(tmp_path / "tiny")
    make_snapshot(tmp_path / "half", directions="AB")
    code, _, err = command(main, *(str(dataset) if word == "DATA" else word for word in arguments))
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ") and sentence in err


def test_a_network_that_helped_to_train_the_model_does_not_measure_it(
    command: Callable[..., Answer], tmp_path: Path, dataset: Path
) -> None:
    snapshot = make_snapshot(tmp_path / "tiny")
    card = json.loads((snapshot / "card.json").read_text())
    (snapshot / "card.json").write_text(json.dumps({**card, "trained_with": ["efficientnet_lite0"]}))
    assert command(main, snapshot, "--data", dataset, *QUICK, *LAYERS)[0] == 0
    found = record(tmp_path / "style")
    assert found["translation"]["distances"] == {} != found["collection"]["distances"]
    assert "took part in the training" in (tmp_path / "style" / "index.html").read_text()
