"""The paper's experiment on many GPUs."""

from pathlib import Path

from benchmarks.prediction import LINKS, MICRO_BATCHES, RANKS, draw, predict


def test_more_images_and_faster_links_waste_less(tmp_path: Path) -> None:
    found = predict()
    slow, fast = next(iter(LINKS)), list(LINKS)[-1]
    for micro_batch in MICRO_BATCHES:
        assert len(found[micro_batch][slow]) == len(RANKS) and found[micro_batch][slow][0] == 1
        assert found[micro_batch][slow][-1] < found[micro_batch][fast][-1]
    assert found[1][slow][-1] < found[16][slow][-1]
    draw(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
