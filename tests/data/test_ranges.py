"""Value ranges of domains with more than 8 bits: what prepare finds, refuses, records and says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from cyclegan_dist.data.manifest import SCHEMA, SOURCE, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import Level, PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.data.reading import has_more_than_eight_bits, read_image
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images
from tests.data.test_colour import NOISE, WIDE, saved


def deep(folder: Path, dtype: str = "uint16", low: float = 0, high: float = 4095, bands: int = 1) -> Path:
    """Three images of random values."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        values = (rng.random((8, 9, bands)) * (high - low) + low).astype(dtype)
        values[0, 0, 0], values[0, 1, 0] = low, high
        tifffile.imwrite(
            folder / f"{i}.tif", values, photometric="minisblack", planarconfig="contig" if bands > 1 else None
        )
    return folder


@pytest.fixture
def config(tmp_path: Path) -> PrepareConfig:
    """A has 12 bits in 16, B pictures of 8."""
    b = write_images(tmp_path / "B", 3)
    return PrepareConfig(deep(tmp_path / "A"), b, tmp_path / "out", workers=1)


def prepared(config: PrepareConfig, lines: list[str] | None = None) -> dict[str, ValueRange | None]:
    found = [] if lines is None else lines
    prepare(config, report=found.append)
    return open_manifest(str(config.out)).values


def test_values_that_do_not_fill_their_bits_are_refused_with_the_way_out(config) -> None:
    with pytest.raises(UsageError) as error:
        prepared(config)
    assert str(error.value) == (
        "domain A has 16-bit values (uint16) of 0 to 4095, less than a quarter of 65535: give --white 4095, or "
        "--white p99.8 for that percentile of them (--white-a or --black-a for this domain only)"
    )
    assert not config.out.exists()


def test_white_and_black_of_all_or_of_one_domain(config) -> None:
    assert prepared(replace(config, white="4095")) == {"A": ValueRange("uint16", 0, 4095), "B": None}
    some = replace(config, white="4095", white_a="3000", black_a="10", white_b="77", overwrite=True)
    assert prepared(some)["A"] == ValueRange("uint16", 10, 3000)
    values = np.concatenate([tifffile.imread(config.a_dir / f"{i}.tif").ravel() for i in range(3)])
    by_rank = prepared(replace(config, white="p90", black="p10", overwrite=True))["A"]
    assert by_rank == ValueRange("uint16", *np.percentile(values, (10, 90)))


@pytest.mark.parametrize(
    ("dtype", "low", "high", "options", "wanted"),
    [
        ("uint16", 0, 65535, {}, ValueRange("uint16", 0, 65535)),
        ("uint16", 0, 17000, {}, ValueRange("uint16", 0, 65535)),
        ("int16", -1000, 3000, {"black": "-1000", "white": "2000"}, ValueRange("int16", -1000, 2000)),
        ("float32", 0, 1, {"white": "1"}, ValueRange("float32", 0, 1)),
        ("int16", -1000, 3000, {"white": "2000"}, "which value is black, as --black -1000 "),
        ("float32", 0, 1, {}, r"float32\) of 0 to 1, a type .* give --white 1, "),
        ("int32", 0, 90_000, {}, r"int32\) of 0 to 90000, a type that does not say which value is white"),
        ("uint16", 0, 4095, {"white": "5", "black": "5"}, "white 5 must be above black 5"),
    ],
)
def test_types(config, tmp_path, dtype, low, high, options, wanted) -> None:
    config = replace(config, a_dir=deep(tmp_path / "other", dtype, low, high), **options)
    if isinstance(wanted, ValueRange):
        assert prepared(config)["A"] == wanted
    else:
        with pytest.raises(UsageError, match=wanted):
            prepared(config)


def test_several_types_in_a_domain_and_values_that_are_not_finite(config) -> None:
    tifffile.imwrite(config.a_dir / "nan.tif", np.full((4, 4), np.nan, np.float32))
    lines: list[str] = []
    prepared(replace(config, white="4095", max_bad_fraction=0.5), lines)
    assert any("nan.tif: some of its values are NaN or infinite" in line for line in lines)
    tifffile.imwrite(config.a_dir / "nan.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(UsageError, match=r"domain A has files of float32 \(nan.tif\) and uint16 \(0.tif\): convert"):
        prepared(replace(config, white="4095"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"white": "x"}, "--white x: give a value"),
        ({"white_b": "p101"}, "--white-b p101: give a value"),
        ({"black": "nan"}, "--black nan: give"),
        ({"bands": "0"}, "--bands 0: give numbers from 1 on"),
        ({"bands": "4-2"}, "--bands 4-2"),
        ({"bands": "1;2"}, "--bands 1;2"),
        ({"max_megapixels": 0.0}, "--max-megapixels 0.0"),
    ],
)
def test_options_that_cannot_be_read(options, says) -> None:
    with pytest.raises(UsageError, match=says):
        PrepareConfig(Path("A"), Path("B"), Path("out"), **options)


def test_options_that_can_be_read() -> None:
    config = PrepareConfig(Path("A"), Path("B"), Path("out"), bands="1-3,5, 2", white="p99.8", white_b="7")
    assert config.bands_taken("A") == (1, 2, 3, 5, 2)
    assert (config.level("white", "A"), config.level("white", "B")) == (Level(99.8, True), Level(7))
    assert replace(config, bands_b="4,1").bands_taken("B") == (4, 1)
    assert config.level("black", "A") is None and replace(config, bands="all").bands_taken("B") == ()


def test_the_manifest_records_values_and_files(config) -> None:
    prepared(replace(config, white="4095", bands="all"))
    facts = json.loads(pq.read_schema(config.out / "manifest.parquet").metadata[b"cyclegan_dist"])
    assert facts["version"] == 2  # which older programs refuse
    assert facts["values"] == {"A": {"dtype": "uint16", "black": 0.0, "white": 4095.0}}
    manifest = open_manifest(str(config.out), (*SCHEMA.names, *SOURCE.names))
    rows = {domain: manifest.domains[domain].to_pylist()[0] for domain in "AB"}
    assert {name: rows["A"][name] for name in SOURCE.names} == {
        "bits": 16, "bands": 1, "alpha": "", "profile": "", "orientation": 1
    }  # fmt: skip
    assert (rows["B"]["bits"], rows["B"]["bands"]) == (8, 3)
    reader = ShardReader(manifest, "A")
    for index, name in enumerate(manifest.domains["A"]["name"].to_pylist()):
        stored = tifffile.imread(config.a_dir / name).squeeze()
        assert np.array_equal(read_image(reader.read(index)).pixels[0].numpy(), stored)


def test_a_data_set_of_8_bits_has_version_1_and_those_without_facts_of_files_open(config, tmp_path) -> None:
    prepared(replace(config, a_dir=config.b_dir))
    path = config.out / "manifest.parquet"
    table = pq.read_table(path)
    assert json.loads(table.schema.metadata[b"cyclegan_dist"])["version"] == 1
    pq.write_table(table.select(SCHEMA.names), path)  # as before they were recorded
    (config.out / "manifest.parquet.sha256").unlink()
    manifest = open_manifest(str(config.out), ("name", "bits", "profile"))
    assert manifest.table.column_names == ["domain", "name", "bits", "profile"]
    assert manifest.table["bits"].to_pylist() == [None] * 6 and manifest.values == {"A": None, "B": None}


def test_one_line_for_each_kind_of_conversion(config, tmp_path) -> None:
    b = tmp_path / "B"
    for i in range(2):
        (b / f"wide{i}.png").write_bytes(saved(NOISE, profile=WIDE))
        Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(b / f"clear{i}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(b / "turned.jpg", exif=exif)
    Image.new("L", (8, 6)).save(config.a_dir / "eight.png")
    tifffile.imwrite(b / "four.tif", np.zeros((4, 4, 4), np.uint8), photometric="rgb", extrasamples=["unspecified"])
    lines: list[str] = []
    prepared(replace(config, white="4000"), lines)
    share = np.mean([tifffile.imread(config.a_dir / f"{i}.tif") > 4000 for i in range(3)])
    assert lines[:3] == [
        f"A: 3 images of 16 bits, black 0, white 4000; {100 * share:.1f} % of values clipped",
        "A: 1 image of 8 bits, black 0, white 255",
        "B: 1 image of 4 bands, taken: all",
    ]
    name = read_image(saved(NOISE, profile=WIDE)).source.profile
    assert lines[3:] == [
        f"B: 2 images converted from {name} to sRGB",
        "B: 2 images with transparency over white",
        "B: 1 image turned by their orientation tag",
    ]
    prepared(
        replace(
            config,
            a_dir=deep(tmp_path / "five", bands=5),
            white="4000",
            bands="5,1",
            b_dir=tmp_path / "five",
            out=tmp_path / "two",
        ),
        lines,
    )
    assert "A: 3 images of 5 bands, taken: 5, 1" in lines


def test_the_header_says_whether_there_are_more_than_8_bits(config, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 4), np.float32))
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "x.png")
    (tmp_path / "x.pgm").write_bytes(b"P5 1 1 4095\n\0\0")
    (tmp_path / "bad.tif").write_bytes(b"II*\0")
    tifffile.imwrite(tmp_path / "eight.tif", np.zeros((4, 4), np.uint8))
    deep_ones = [config.a_dir / "0.tif", tmp_path / "x.npy", tmp_path / "x.png", tmp_path / "x.pgm"]
    others = [config.b_dir / "0000.png", tmp_path / "bad.tif", tmp_path / "eight.tif", tmp_path / "none.tif"]
    assert [has_more_than_eight_bits(path) for path in (*deep_ones, *others)] == [True] * 4 + [False] * 4
