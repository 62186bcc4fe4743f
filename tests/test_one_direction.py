"""Models of one direction, as pix2pix and others train them: translated, evaluated, shown, exported, served, promoted."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import requests
from PIL import Image

import cyclegan_dist
from cyclegan_dist.config.config import Config, with_values
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation import evaluate
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.promotion.gate import Gate, decide
from cyclegan_dist.training.run_folder import open_run
from pipelines import export, gallery, translate
from tests.conftest import MLFLOW, Answer, make_run, write_images
from tests.service.running import picture, post, post_json, running
from tests.training.trainings import go

Command = Callable[..., Answer]

IN_MLFLOW = [*MLFLOW, pytest.mark.filterwarnings("ignore::Warning")]

GENERATOR, DISCRIMINATOR = GeneratorConfig(arch="resnet", ngf=4, n_blocks=1), DiscriminatorConfig(ndf=4, n_layers_D=1)
METHOD = {
    "gan_mode": "lsgan",
    "generator": {"arch": "resnet", "ngf": 4, "n_blocks": 1},
    "discriminator": {"ndf": 4, "n_layers_D": 1},
}
OPTIONS: dict[str, dict] = {
    "pix2pix": {"name": "pix2pix"},
    "simgan": {"name": "simgan", "pool_size": 3},
    "feature_gan": {"name": "feature_gan", "pool_size": 3, "features_size": 16},
    "cut": {"name": "cut", "nce_patches": 16},
}


@pytest.fixture(params=OPTIONS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def snapshot(tmp_path: Path, name: str) -> Path:
    config = METHODS[name](generator=GENERATOR, discriminator=DISCRIMINATOR)
    translators = config.build(rank_seed=0).translators
    preprocess = {"preprocess": "resize_and_crop", "load_size": 20, "crop_size": 16}
    facts = {"run": "one way", "nimg": 4, "step": 4, "preprocess": preprocess}
    return save_snapshot(tmp_path / "snapshot", translators, config, facts)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six pairs of random images."""
    root = tmp_path_factory.mktemp("pairs")
    a, b = write_images(root / "A", 6, seed=1), write_images(root / "B", 6, seed=2)
    prepare(PrepareConfig(a, b, root / "out", pairs="names", workers=1))
    return root / "out"


@pytest.fixture
def run(pairs: Path, own_home: Path, name: str) -> Config:
    """A run of two steps."""
    config = make_run(
        own_home,
        method={**METHOD, **OPTIONS[name]},
        data__path=str(pairs),
        every__samples=4,
        every__log=2,
        stop_after=4,
    )
    go(config)
    return config


def test_the_other_direction_is_refused_in_one_line(
    snapshot: Path, name: str, tmp_path: Path, command: Command
) -> None:
    opened = Snapshot.open(snapshot)
    assert (opened.method, opened.directions, opened.channels("AB")) == (name, ("AB",), (3, 3))
    assert sorted(path.name for path in snapshot.iterdir()) == ["G_AB.safetensors", "card.json"]
    images = write_images(tmp_path / "in", 2)
    assert command(translate.main, snapshot, images, tmp_path / "out")[0] == 0
    code, _, err = command(translate.main, snapshot, images, tmp_path / "back", "--direction", "BA")
    assert code == 2 and not (tmp_path / "back").exists()
    assert err == f"error: direction BA: snapshot {snapshot} translates A to B only; choose direction AB\n"
    with pytest.raises(UsageError, match="translates A to B only; choose direction AB"):
        cyclegan_dist.load(snapshot, "BA")


def test_it_is_evaluated_without_reconstructions(snapshot: Path, pairs: Path, tmp_path: Path, command: Command) -> None:
    code, _, err = command(evaluate.main, snapshot, "--data", pairs, "--device", "cpu")
    assert code == 0, err
    found = json.loads(Path("evaluation/metrics.json").read_text())
    names = {"kd/untrained_AB", "fd/untrained_AB", "diversity/untrained_AB"}
    names |= {"eval/content_ssim_AB", "eval/content_edges_AB"}
    assert set(found["figures"]) == names | {
        f"paired/{score}_AB" for score in ("l1", "psnr", "ssim", "accuracy_5", "accuracy_10")
    }
    assert found["images"] == {"A": 6, "B": 6} and found["figures"]["kd/untrained_AB"]["n"] == 6
    page = Path("evaluation/index.html").read_text()
    assert "A to B" in page and "B to A" not in page and page.count("<figure>") == 6 and "reconstruction" not in page
    code, _, err = command(evaluate.main, snapshot, "--data", pairs, "--device", "cpu", "--metrics", "content")
    assert code == 0, err
    assert json.loads(Path("evaluation/metrics.json").read_text())["images"] == {"A": 6}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_its_run_has_findings_and_a_gallery_of_its_own_losses(
    run: Config,
    pairs: Path,
    folders: tuple[Path, Path],
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cyclegan_dist.evaluation.detectors.WON_LOSS", 1e3)
    code, out, err = command(evaluate.main, run.run_dir, "--data", pairs, "--device", "cpu", "--no-mlflow")
    assert code == 0 and "discriminator-won: discriminator D_B separates all translations A to B" in out, err
    drawn: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda *_, label, **__: drawn.append(label))
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda *_, **__: None)
    assert command(gallery.main, run.run_dir, *folders, tmp_path / "page")[0] == 0
    content = [loss for loss in run.method.losses if loss not in ("G_AB", "D_B", "D", "G")]
    assert drawn == ["G_AB", "D_B", *content, "D", "G"] and content
    assert (tmp_path / "page" / "index.html").read_text().count("<figure>") == 7  # of domain A alone
    assert len(list((run.run_dir / "samples").iterdir())) == 2


def test_it_is_exported(snapshot: Path, tmp_path: Path, command: Command) -> None:
    code, out, err = command(export.main, snapshot, tmp_path / "out", "--formats", "safetensors")
    assert code == 0 and "G_AB.safetensors" in out and "G_BA" not in out, err
    assert Snapshot.open(tmp_path / "out").digest() == Snapshot.open(snapshot).digest()


def test_it_is_served(snapshot: Path, name: str) -> None:
    with running(snapshot) as url:
        page = requests.get(url, timeout=10).text
        assert 'value="AB" checked' in page and 'value="BA"' not in page
        assert 'value="reconstruction"' not in page and name in page
        one, two = (post(f"{url}translate{query}", data=picture()) for query in ("", "?direction=AB"))
        assert one.status_code == 200 and one.content == two.content
        refusal = post(f"{url}translate?direction=BA", data=picture())
        assert refusal.status_code == 422
        assert refusal.json()["error"] == "direction 'BA': this model translates A to B only; give AB"
        refusal = post_json(url, {"image": "AAAA", "reconstruction": True})
        assert refusal.json()["error"].endswith("needs both directions, and this model translates A to B only")


def test_a_gate_compares_what_both_have() -> None:
    def evaluation(*directions: str) -> Evaluation:
        return Evaluation({f"kd/untrained_{d}": Figure.mean([1.0, 1.1]) for d in directions}, [], {}, [])

    with pytest.raises(UsageError, match="kd/untrained_AB cannot be compared with kd/untrained_AB, kd/untrained_BA"):
        decide(Gate(), evaluation("AB"), evaluation("AB", "BA"))
    assert not decide(Gate(figure="kd/untrained_AB"), evaluation("AB"), evaluation("AB", "BA")).passed


@pytest.mark.parametrize("name", ["feature_gan"])
def test_the_network_that_trained_it_cannot_evaluate_it(
    snapshot: Path, pairs: Path, own_home: Path, command: Command
) -> None:
    card = json.loads((snapshot / "card.json").read_text())
    assert card["trained_with"] == ["efficientnet_lite0"]
    arguments = [snapshot, "--data", pairs, "--device", "cpu", "--features", "efficientnet_lite0"]
    refusal = "was trained with efficientnet_lite0, which cannot evaluate it: give another"
    code, _, err = command(evaluate.main, *arguments)
    assert code == 2 and err == f"error: features efficientnet_lite0: snapshot {snapshot} {refusal}\n"
    code, _, err = command(evaluate.main, *arguments, "--metrics", "content")  # without features
    assert code == 0, err
    assert command(export.main, snapshot, own_home / "out", "--formats", "safetensors")[0] == 0
    assert Snapshot.open(own_home / "out").trained_with == ("efficientnet_lite0",)
    changes = {"method": {**METHOD, **OPTIONS["feature_gan"]}, "data__path": str(pairs), "held_out__data": str(pairs)}
    held_out = {"held_out__features": "efficientnet_lite0", "held_out__best": "kd/efficientnet_lite0"}
    with pytest.raises(UsageError, match=refusal):
        make_run(own_home, **changes, **held_out)
    with pytest.raises(UsageError, match=r"no file /no/file; where there is a network: torch\.save"):
        make_run(own_home, **changes, method__features="vgg16:/no/file")
    make_run(own_home, **changes)


@pytest.mark.parametrize("name", ["feature_gan"])
def test_what_is_trained_further_without_that_network_still_names_it(
    snapshot: Path, pairs: Path, own_home: Path
) -> None:
    method = {**METHOD, **OPTIONS["feature_gan"]}
    changes = {"data__path": str(pairs), "schedule__n_epochs": 1, "schedule__n_epochs_decay": 0}
    source = snapshot
    for name in ("first", "second"):
        config = make_run(
            own_home, method={**method, "lambda_feature": 0.0}, init_from=str(source), name=name, **changes
        )
        go(config)
        assert Snapshot.open(config.run_dir).trained_with == ("efficientnet_lite0",)
        source = config.run_dir
    config = make_run(own_home, method=method, **changes)
    go(config)
    with pytest.raises(UsageError, match="cannot switch a pretrained network on or off"):
        open_run(with_values(config, {"method.lambda_feature": 0.0}, "test"), extend=1)


@pytest.mark.parametrize("name", ["feature_gan"])
class TestMlflow:
    pytestmark = IN_MLFLOW

    def test_it_is_promoted_and_loaded_by_its_name(self, run: Config, pairs: Path, own_home: Path) -> None:
        import mlflow

        from cyclegan_dist.data.manifest import READING, open_manifest
        from cyclegan_dist.evaluation.config import EvaluationConfig
        from cyclegan_dist.promotion.promote import Promotion
        from tests.promotion.setting import promoting
        from tests.training.trainings import ALONE

        with promoting(run, pairs, own_home) as setting:
            manifest, gate = open_manifest(str(pairs), (*READING, "name")), Gate(figure="kd/efficientnet_lite0")
            judge = EvaluationConfig(features=("efficientnet_lite0",))
            with pytest.raises(UsageError, match="was trained with efficientnet_lite0, which cannot evaluate it"):
                Promotion("horses", manifest, gate, judge, ALONE)(setting.candidate())
            assert setting.promote(setting.candidate(), dry_run=True).verdict.passed
            assert setting.promote(setting.candidate()).champion == "1"
            translator = cyclegan_dist.load("models:/horses@champion", device="cpu")
            there = mlflow.artifacts.download_artifacts("models:/horses@champion", dst_path=str(own_home / "got"))
        image = Image.new("RGB", (20, 24), "brown")
        expected = cyclegan_dist.load(run.run_dir, device="cpu").translate(image)
        assert translator.translate(image).tobytes() == expected.tobytes()
        text = next(Path(there).rglob("README.md")).read_text()
        assert "from domain A to B, trained with the method feature_gan" in text and "CycleGAN" not in text
        assert "Measured on 6 images of A and 6 images of B" in text
        assert "Features of efficientnet_lite0 took part in the training; it cannot evaluate this model." in text

    def test_it_is_an_mlflow_model(self, snapshot: Path) -> None:
        from cyclegan_dist.models.mlflow_model import ImageTranslator

        model = ImageTranslator()
        model.load_context(SimpleNamespace(artifacts={"snapshot": str(snapshot)}))  # pyright: ignore
        images = pd.DataFrame({"image": [picture()]})
        for params in (None, {"direction": "AB"}):
            assert len(model.predict(None, images, params)) == 1  # pyright: ignore
        with pytest.raises(ValueError, match="direction 'BA': give AB"):
            model.predict(None, images, {"direction": "BA"})  # pyright: ignore
