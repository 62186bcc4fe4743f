"""The notebooks of docs/notebooks run from their first cell to the last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "docs" / "notebooks"
SHORTER = {
    "from_two_folders_to_a_champion": "EPOCHS = 1",
    "a_model_in_an_application": "IMAGES = 4",
}
EXPECTED = {  # of the last cell with code
    "from_two_folders_to_a_champion": "image/png",
    "a_model_in_an_application": "UsageError: runs/nowhere",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # from jupyter_client and zmq
@pytest.mark.parametrize("name", SHORTER)
def test_it_runs_to_its_end(name: str, tmp_path: Path, own_home: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += f"\n{SHORTER[name]}"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    last = notebook.cells[-1 if notebook.cells[-1].cell_type == "code" else -2]
    assert EXPECTED[name] in str(last.outputs)


def test_there_is_no_other_one() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SHORTER)
