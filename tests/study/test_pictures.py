from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.study.design import IMAGES, Protocol, Study
from cyclegan_dist.study.pictures import Source, make_images, write_opaque
from tests.conftest import write_images
from tests.service.running import make_snapshot

PROTOCOL = Protocol(practice=2, scored=4)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return Snapshot.open(make_snapshot(tmp_path_factory.mktemp("snapshot") / "tiny"))


def opened(data: Path) -> Manifest:
    return open_manifest(str(data), (*READING, "name"))


def made(folder: Path, snapshot: Snapshot, data: Path, direction: str = "AB", **options: int) -> Study:
    folder.mkdir()
    return make_images(
        folder, [Source("tiny", snapshot)], opened(data), direction, PROTOCOL, **{"size": 24, **options}, device="cpu"
    )


def content(image: torch.Tensor) -> bytes:
    return image.numpy().tobytes()


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return pil_to_tensor(image)


def test_files_differ_in_their_pixels_only(tmp_path: Path, snapshot: Snapshot, dataset: Path) -> None:
    study = made(tmp_path / "study", snapshot, dataset)
    files = [tmp_path / "study" / IMAGES / name for name in (*study.algorithms[0].fakes, *study.reals)]
    assert len(study.algorithms[0].fakes) == 7 and len(study.reals) == 10
    assert len({path.stat().st_size for path in files}) == 1
    for path in files:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size, image.info) == ("PNG", "RGB", (24, 24), {})
    assert len({len(path.name) for path in files}) == 1 and len(set(files)) == len(files)
    assert len({path.read_bytes()[:33] for path in files}) == 1  # up to the pixels


@pytest.mark.parametrize("direction", ["AB", "BA"])
def test_fakes_are_the_translations_and_reals_the_images(
    tmp_path: Path, snapshot: Snapshot, dataset: Path, direction: str
) -> None:
    study = made(tmp_path / "study", snapshot, dataset, direction)
    folder = tmp_path / "study" / IMAGES
    sources, targets = (dataset.parent / domain for domain in direction)
    inputs = [pixels(path) for path in sources.iterdir()]
    expected = {content(translate(snapshot.generator(direction), image[None])[0]) for image in inputs}
    assert {content(pixels(folder / name)) for name in study.algorithms[0].fakes} == expected
    assert {content(pixels(folder / name)) for name in study.reals} == {
        content(pixels(path)) for path in targets.iterdir()
    }


def test_pairs_show_the_same_scene(tmp_path: Path, snapshot: Snapshot) -> None:
    a, b = write_images(tmp_path / "A", 8, seed=1), write_images(tmp_path / "B", 8, seed=2)
    prepare(PrepareConfig(a, b, tmp_path / "data", pairs="names", workers=1))
    study = made(tmp_path / "study", snapshot, tmp_path / "data", count=6)
    assert study.paired and len(study.reals) == len(study.algorithms[0].fakes) == 6
    for fake, real in zip(study.algorithms[0].fakes, study.reals, strict=True):
        truth = pixels(tmp_path / "study" / IMAGES / real)
        (name,) = [path.name for path in b.iterdir() if torch.equal(pixels(path), truth)]
        expected = translate(snapshot.generator("AB"), pixels(a / name)[None])[0]
        assert torch.equal(pixels(tmp_path / "study" / IMAGES / fake), expected)


def test_copies_of_an_image_are_used_once_and_too_few_are_refused(tmp_path: Path, snapshot: Snapshot) -> None:
    a, b = write_images(tmp_path / "A", 6, seed=1), write_images(tmp_path / "B", 7, seed=2)
    (b / "copy.png").write_bytes((b / "0000.png").read_bytes())
    prepare(PrepareConfig(a, b, tmp_path / "data", workers=1))
    assert len(made(tmp_path / "study", snapshot, tmp_path / "data").reals) == 7
    with pytest.raises(UsageError, match="shows 6 different images of domain A, and there are 5: give more images"):
        made(tmp_path / "few", snapshot, tmp_path / "data", count=5)


def test_models_of_different_sizes_need_a_size(tmp_path: Path, snapshot: Snapshot, dataset: Path) -> None:
    other = Snapshot(
        snapshot.folder, snapshot.card, "m", snapshot.directions, snapshot.generator_config, {"crop_size": 16}
    )
    sources = [Source("one", snapshot), Source("two", other)]
    with pytest.raises(UsageError, match=r"different sizes \(one 256, two 16 pixels\): give --size"):
        make_images(tmp_path, sources, opened(dataset), "AB", PROTOCOL)


def test_grey_images_become_files_like_others(tmp_path: Path) -> None:
    (tmp_path / IMAGES).mkdir()
    names = [write_opaque(tmp_path, torch.zeros(n, 8, 8, dtype=torch.uint8)) for n in (1, 3)]
    one, three = ((tmp_path / IMAGES / name).read_bytes() for name in names)
    assert one == three
