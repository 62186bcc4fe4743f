import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import duplicates


def test_the_share_of_copies_that_are_found_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    monkeypatch.setattr(sys, "argv", ["duplicates", str(tmp_path), "--every", "2"])
    duplicates.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 images: 1 duplicates with the same pixels, 0 nearly the same"
    assert "enlarged to 286 pixels: 2 of 2 found" in lines and "mirrored: 0 of 2 found" in lines
