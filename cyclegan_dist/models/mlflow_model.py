"""The model that MLflow loads from code: image files in, their translations in base64 out: PNGs, of 16 bits where the
domain has uint16 values, or `.npy` files where no PNG holds them.
"""

import base64
import os
from typing import Any

import pandas as pd
from mlflow.models.model import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ImageTranslator(PythonModel):
    """All directions of a snapshot; the parameter `direction`, AB or `summer-to-winter`, chooses one. By default it is
    the first.
    """

    def load_context(self, context: PythonModelContext) -> None:
        # While it logs a model, MLflow loads it and translates its example, only to warn. That would load torch.
        if os.environ.get("CYCLEGAN_DIST_LOGS_MODEL"):
            raise RuntimeError("not loaded while it is logged")
        from cyclegan_dist.models.snapshot import Snapshot
        from cyclegan_dist.models.translator import open_translators

        self.snapshot = Snapshot.open(context.artifacts["snapshot"])
        self.translators = open_translators(self.snapshot, "cpu")

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride] - mlflow declares no answer
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        direction = self.snapshot.direction((params or {}).get("direction", next(iter(self.translators))))
        if direction not in self.translators:
            raise ValueError(f"direction {direction!r}: give {' or '.join(self.translators)}")
        return pd.DataFrame({"image": [self._translate(data, direction) for data in model_input["image"]]})

    def _translate(self, data: bytes | str, direction: str) -> str:
        from cyclegan_dist.data.encode import encode_image

        translator = self.translators[direction]
        image = translator.decode(base64.b64decode(data) if isinstance(data, str) else bytes(data))
        (made,) = translator.translate_batch([image])
        return base64.b64encode(encode_image(made, "answer", values=translator.values_out).data).decode()


set_model(ImageTranslator())
