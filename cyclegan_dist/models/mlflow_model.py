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
from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import DIRECTIONS, load_generator, read_card


class ImageTranslator(PythonModel):
    """Both directions of a snapshot; the parameter `direction` says which, AB if it is not given."""

    def load_context(self, context: PythonModelContext) -> None:
        snapshot = Path(context.artifacts["snapshot"])
        card = read_card(snapshot)
        self.channels = {"AB": card["input_nc"], "BA": card["output_nc"]}
        self.networks = {d: load_generator(snapshot, d) for d in card.get("directions", DIRECTIONS)}

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride] - mlflow declares no answer
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        direction = (params or {}).get("direction", "AB")
        if direction not in self.networks:
            raise ValueError(f"direction {direction!r}: give {' or '.join(self.networks)}")
        return pd.DataFrame({"image": [self._translate(data, direction) for data in model_input["image"]]})

    def _translate(self, data: bytes | str, direction: str) -> str:
        raw = base64.b64decode(data) if isinstance(data, str) else bytes(data)
        image = translate(self.networks[direction], decode(raw, self.channels[direction])[None])[0]
        return base64.b64encode(encode_image(image, "answer").data).decode()


set_model(ImageTranslator())
