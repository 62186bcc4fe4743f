"""Tables of new MLflow stores in sqlite, copied: MLflow creates each by all migrations of its history, which takes
more than a second.
"""

import sqlite3
import sys
from pathlib import Path
from typing import Any

MODULE = "mlflow.store.db.utils"
_content = b""  # of a store without experiments


def copy_tables() -> None:
    """Make MLflow, once it has been imported, copy the tables of the first new store in this process and its forks."""
    utils: Any = sys.modules.get(MODULE)
    create = getattr(utils, "_initialize_tables", None)
    if create is None or create is _copy:
        return
    _copy.create = create  # pyright: ignore[reportFunctionMemberAccess]
    utils._initialize_tables = _copy


def _copy(engine: Any) -> None:
    global _content
    path = Path(engine.url.database or "")
    if engine.dialect.name != "sqlite" or not engine.url.database:
        _copy.create(engine)  # pyright: ignore[reportFunctionMemberAccess]
    elif not _content:
        _copy.create(engine)  # pyright: ignore[reportFunctionMemberAccess]
        connection = sqlite3.connect(path)
        _content = connection.serialize()
        connection.close()
    else:
        engine.dispose()
        path.write_bytes(_content)
