import json
import resource
import signal
from pathlib import Path

import pytest

from cyclegan_dist.storage.checked import (
    DamagedError,
    append_checked,
    dump_checked,
    open_lines,
    parse_checked,
    read_checked,
    whole_lines,
    write_checked,
)

FIELDS = {"name": 'a "quoted", "crc32": "00000000"} name', "value": 0.1, "nested": {"list": [1, None, True]}}


def test_written_fields_are_read_and_others_can_read_the_json(tmp_path: Path) -> None:
    write_checked(tmp_path / "state.json", FIELDS)
    assert read_checked(tmp_path / "state.json") == FIELDS
    assert FIELDS.items() <= json.loads((tmp_path / "state.json").read_text()).items()


def test_objects_of_older_versions_have_no_checksum() -> None:
    assert parse_checked(json.dumps(FIELDS).encode()) == FIELDS


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 9000, dump_checked(FIELDS)[:-9]])
def test_other_lines_are_damaged(line: bytes) -> None:
    with pytest.raises(DamagedError):
        parse_checked(line)


def test_every_flipped_bit_is_detected() -> None:
    line = dump_checked(FIELDS)
    for place in range(8 * (len(line) - 1)):
        damaged = bytearray(line)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            parse_checked(bytes(damaged))


def test_a_line_after_part_of_one_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"torn": ')
    with open_lines(path) as file:
        append_checked(file, {"x": 1})
        append_checked(file, {"x": 2})
    lines = [line for line, _ in whole_lines(path)]
    assert lines[0] == b'{"torn": \n' and [parse_checked(line)["x"] for line in lines[1:]] == [1, 2]


def test_a_line_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    path, before = tmp_path / "lines", resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open_lines(path) as file:
            append_checked(file, {"x": 1})
            whole = path.read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, before[1]))
            with pytest.raises(OSError, match="No space left"):
                append_checked(file, {"x": 2})
            assert path.read_bytes() == whole
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
