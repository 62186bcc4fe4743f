from pathlib import Path

import numpy as np

from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.images import decode
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.data.streets import CLASSES, draw_labels, draw_photo, write_streets


def scene(index: int, photo: int = 0, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    labels = draw_labels(np.random.default_rng([0, index]), size)
    return labels, draw_photo(labels, np.random.default_rng([1, index, photo]))


def test_classes_are_frequent_and_rare_and_lie_as_in_streets() -> None:
    maps = np.stack([scene(i)[0] for i in range(200)])
    share = np.bincount(maps.ravel(), minlength=8) / maps.size
    assert (np.diff(np.sort(share)) > 0.003).all(), share  # so that any exchange of two classes changes the shares
    assert share[CLASSES.index("road")] > 0.2 and 0.005 < share[CLASSES.index("sign")] < 0.015
    rows = {name: np.argwhere(maps == i)[:, 1].mean() / 32 for i, name in enumerate(CLASSES)}
    assert rows["sky"] < rows["building"] < rows["person"] < rows["pavement"] < rows["road"]


def test_a_map_has_many_photos_and_classes_look_different() -> None:
    labels, photo = scene(0)
    other = scene(0, photo=1)[1]
    assert photo.shape == (32, 32, 3) and photo.dtype == np.uint8
    assert np.abs(photo.astype(int) - other).mean() > 5
    assert (photo == scene(0)[1]).all() and (labels == scene(0)[0]).all()


def test_data_sets_are_pairs_with_exact_colours_and_the_same_bytes(tmp_path: Path) -> None:
    palette = open_palette("streets")
    for name in ("one", "two"):
        write_streets(tmp_path / name, {"": 5, "test": 3}, palette, size=16, seed=1, overwrite=False)
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two and len(one) == 8
    for folder, count in (("one", 5), ("one/test", 3)):
        manifest = open_manifest(str(tmp_path / folder), (*READING, "name"))
        assert manifest.samples == {"A": count, "B": count}
        colours = {
            tuple(c) for i in range(count) for c in decode(ShardReader(manifest, "B").read(i), 3).flatten(1).T.tolist()
        }
        assert colours <= set(palette.classes.values()) and len(colours) > 4
        assert sorted(manifest.partners().tolist()) == list(range(count))
    first = [(tmp_path / "one" / part / "A" / "A-000000.tar").read_bytes() for part in ("", "test")]
    assert first[0][:5000] != first[1][:5000]
