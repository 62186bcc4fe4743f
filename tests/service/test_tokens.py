import contextlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.service import tokens
from cyclegan_dist.service.tokens import create_token, hashed, read_tokens, refuse_shared, revoke_token

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def test_a_file_keeps_names_and_hashes_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    ann, secret = create_token(path, "ann", days=2, per_minute=60, now=NOW)
    bob, other = create_token(path, "bob@example.org")
    assert read_tokens(path) == [ann, bob] and ann.sha256 == hashed(secret) != bob.sha256
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text() and len({secret, other}) == 2
    assert secret.startswith("cgd_") and len(secret) == 4 + 43  # 256 bits in base64
    assert ann.expires == datetime(2027, 1, 3, tzinfo=UTC) and ann.per_minute == 60
    assert [ann.is_expired(NOW.timestamp() + days * 86_400) for days in (1.999, 2)] == [False, True]
    assert bob.expires is None and not bob.is_expired(1e12)
    revoke_token(path, "ann")
    assert read_tokens(path) == [bob]


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(UsageError, match="pipe is no file"):
        read_tokens(tmp_path / "pipe")


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "tokens.json"
    link.symlink_to(tmp_path / "elsewhere" / "tokens.json")
    create_token(link, "ann")
    assert link.is_symlink() and len(read_tokens(link)) == 1


def test_tokens_that_are_created_at_once_are_all_kept(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: create_token(tmp_path / "tokens.json", name), names))
    assert sorted(token.name for token in read_tokens(tmp_path / "tokens.json")) == names


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("", {}, "cannot name a token"),
        ("a b", {}, "cannot name a token"),
        ("a\n", {}, "cannot name a token"),
        ("-a", {}, "cannot name a token"),
        ("a" * 65, {}, "cannot name a token"),
        ("ann", {}, "has a token ann: give another name, or revoke that one first"),
        ("b", {"days": 0}, "--days 0: give more than 0"),
        ("b", {"days": float("nan")}, "--days nan: give more than 0"),
        ("b", {"days": 1e9}, "--days 1e[+]09: give more than 0 and at most 36,500"),
        ("b", {"per_minute": 0}, "--per-minute 0: give 1 to 100,000"),
    ],
)
def test_what_cannot_be_created_leaves_the_file_as_it_was(
    tmp_path: Path, name: str, options: dict[str, float], sentence: str
) -> None:
    path = tmp_path / "tokens.json"
    create_token(path, "ann")
    before = path.read_bytes()
    with pytest.raises(UsageError, match=sentence):
        create_token(path, name, **options)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_a_token_that_is_not_there_is_not_revoked(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    create_token(path, "anna")
    with pytest.raises(UsageError, match=r"has no token 'ann': did you mean anna\? .*tokens list"):
        revoke_token(path, "ann")
    with pytest.raises(UsageError, match=r"does not exist: write it with .*tokens create"):
        revoke_token(tmp_path / "nothing.json", "ann")
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        create_token(tmp_path / "nowhere" / "tokens.json", "ann")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"tokens": [{"name": "ann"}]}',
        '{"tokens": [{"name": "ann", "sha256": "short", "created": "2027-01-01T00:00:00Z"}]}',
        f'{{"tokens": [{{"name": "ann", "sha256": "{"0" * 64}", "created": "2027-01-01T00:00:00"}}]}}',  # no zone
        f'{{"tokens": [{{"name": "ann", "sha256": "{"0" * 64}", "created": "2027-01-01T00:00:00Z", "expire": 1}}]}}',
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="is no file of tokens, or damaged") as caught:
        read_tokens(path)
    assert "\n" not in str(caught.value)


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    create_token(path, "ann")
    first = read_tokens(path)[0].model_dump_json(exclude_none=True)
    path.write_text(f'{{"tokens": [{first}, {first}]}}')
    with pytest.raises(UsageError, match="two tokens have the same name"):
        read_tokens(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens.json"
    create_token(path, "ann")
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"has mode {mode:04o}, .*: chmod 600 {path}"):
        read_tokens(path)


@pytest.mark.parametrize(("mode", "fine"), [(0o440, True), (0o460, False), (0o444, False)])
def test_the_group_may_read_a_file_of_another_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, fine: bool
) -> None:
    path = tmp_path / "tokens.json"
    path.touch()
    path.chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        refuse_shared(path, path.stat())
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with contextlib.nullcontext() if fine else pytest.raises(UsageError, match="chmod 600"):
        refuse_shared(path, path.stat())


def test_a_change_by_root_leaves_the_file_to_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.json"
    create_token(path, "ann")
    owners: list[tuple[int, int]] = []
    status = path.stat()
    monkeypatch.setattr(tokens.os, "geteuid", lambda: status.st_uid + 1)
    monkeypatch.setattr(tokens.os, "chown", lambda _, user, group: owners.append((user, group)))
    create_token(path, "bob")
    assert owners == [(status.st_uid, status.st_gid)]
