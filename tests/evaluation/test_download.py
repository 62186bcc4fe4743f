"""Published weights are downloaded once, and checked before anyone sees them."""

import hashlib
from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.download import downloaded

WHAT, INSTEAD = "features inception", "--features inception:FILE"


def test_a_file_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    source = tmp_path / "weights.pth"
    source.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    path = downloaded(source.as_uri(), sha256, WHAT, INSTEAD)
    assert path == tmp_path / "home" / "hub" / "checkpoints" / "weights.pth" and path.read_bytes() == b"weights"
    assert capsys.readouterr().err == f"{WHAT}: downloading {source.as_uri()} to {path}\n"
    source.unlink()
    assert downloaded(source.as_uri(), sha256, WHAT, INSTEAD) == path and not capsys.readouterr().err


def test_without_a_network_or_with_another_file_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for url in ("http://127.0.0.1:9/weights.pth", (tmp_path / "weights.pth").as_uri()):
        with pytest.raises(
            UsageError, match=r"^features inception: .* cannot be downloaded to .* \(.*\): download"
        ) as no:
            downloaded(url, "0" * 64, WHAT, INSTEAD)
        assert str(no.value).endswith(f": download it on another machine, then {INSTEAD}") and "\n" not in str(no.value)
    (tmp_path / "weights.pth").write_bytes(b"other")
    with pytest.raises(
        UsageError, match=f"weights.pth has sha256 .*, not {'0' * 64}: get the file elsewhere, {INSTEAD}"
    ):
        downloaded((tmp_path / "weights.pth").as_uri(), "0" * 64, WHAT, INSTEAD)
    assert not list((tmp_path / "home").rglob("*.pth"))
