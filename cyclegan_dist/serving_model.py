"""The model that MLflow loads from code: image files in, their translations in base64 out: PNGs, or `.npy` files where
the channels are not 1 or 3.
"""

import base64
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models.model import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.data.images import decode
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
        image = translate(self.network, decode(raw, self.channels)[None])[0]
        return base64.b64encode(encode_image(image, "answer").data).decode()


set_model(ImageTranslator())
