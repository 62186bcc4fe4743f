"""The model that MLflow loads from code: image files in, translated PNGs in base64 out."""

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models.model import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from cyclegan_dist.data.images import COLOURS, encode_image, open_image
from cyclegan_dist.inference import translate
from cyclegan_dist.snapshot import load_generator, read_card


class ImageTranslator(PythonModel):
    """One direction of a snapshot."""

    def load_context(self, context: PythonModelContext) -> None:
        weights = Path(context.artifacts["weights"])
        snapshot, direction = weights.parent, weights.stem.removeprefix("G_")  # the card lies beside the weights
        card = read_card(snapshot)
        self.channels = card["input_nc"] if direction == "AB" else card["output_nc"]
        self.network = load_generator(snapshot, direction)

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride] - mlflow declares no answer
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        return pd.DataFrame({"image": [self._translate(data) for data in model_input["image"]]})

    def _translate(self, data: bytes | str) -> str:
        raw = base64.b64decode(data) if isinstance(data, str) else bytes(data)
        picture = open_image(io.BytesIO(raw)).convert(COLOURS[self.channels])
        image = translate(self.network, pil_to_tensor(picture)[None])[0]
        return base64.b64encode(encode_image(to_pil_image(image), "answer", "png").data).decode()


set_model(ImageTranslator())
