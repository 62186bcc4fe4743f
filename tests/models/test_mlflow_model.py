"""A logged model behind MLflow's own scoring server, which is what `mlflow models serve` runs."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.server import address, answering, listen
from tests.conftest import MLFLOW
from tests.service.running import make_snapshot, picture

pytestmark = MLFLOW


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_snapshot(tmp_path_factory.mktemp("snapshot") / "tiny")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"domain_names": {"A": "sun", "B": "rain"}}))
    return folder


@pytest.fixture(scope="module")
def scoring(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a scoring server of the snapshot as an MLflow model."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    from cyclegan_dist.registry.models import log_generators

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("mlflow")
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("__IS_IN_MLFLOW_SERVING__", "")  # the server sets it
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        with mlflow.start_run() as run:
            run_id = run.info.run_id
        uri = log_generators(run_id, snapshot, 0)
        app = scoring_server.init(mlflow.pyfunc.load_model(uri))
        mlflow.set_tracking_uri(None)
        door = listen("127.0.0.1", 0)
        with answering(app, door):
            yield f"{address(door)}invocations"


def answers(url: str, *files: bytes, direction: str | None = None) -> list[torch.Tensor]:
    """The images that come back, C x H x W uint8."""
    asked: dict[str, object] = {"dataframe_records": [{"image": base64.b64encode(file).decode()} for file in files]}
    if direction:
        asked["params"] = {"direction": direction}
    answer = requests.post(url, json.dumps(asked), headers={"Content-Type": "application/json"}, timeout=60)
    assert answer.status_code == 200, answer.text
    found = [Image.open(io.BytesIO(base64.b64decode(row["image"]))) for row in answer.json()["predictions"]]
    assert {image.format for image in found} == {"PNG"}
    return [pil_to_tensor(image) for image in found]


@pytest.mark.parametrize("direction", [None, "AB", "BA", "rain-to-sun"])
def test_a_png_and_a_jpeg_in_base64_are_translated(scoring: str, snapshot: Path, direction: str | None) -> None:
    files = [picture(24, 20), picture(17, 33, format="JPEG")]
    opened = Snapshot.open(snapshot)
    network = opened.generator(opened.direction(direction or "AB"))
    for file, answer in zip(files, answers(scoring, *files, direction=direction), strict=True):
        image = pil_to_tensor(Image.open(io.BytesIO(file)))
        assert torch.equal(answer, translate(network, image[None])[0])


@pytest.mark.parametrize(("data", "direction"), [("bm8gaW1hZ2U=", "AB"), ("AAAA", "up")])
def test_what_it_cannot_translate_is_an_error(scoring: str, data: str, direction: str) -> None:
    asked = {"dataframe_records": [{"image": data}], "params": {"direction": direction}}
    assert requests.post(scoring, json=asked, timeout=60).status_code in (400, 500)
    assert answers(scoring, picture())  # and it goes on
