"""The command, as users run it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.service.tokens import hashed, read_tokens
from pipelines.tokens import main
from tests.conftest import Answer


def test_a_token_is_created_listed_and_revoked(command: Callable[..., Answer]) -> None:
    code, out, err = command(main, "create", "tokens.json", "ann", "--days", "90", "--per-minute", "60")
    secret = out.rstrip("\n")
    assert code == 0 and re.fullmatch(r"cgd_[\w-]{43}", secret)  # alone, for a program to read
    assert "not shown again" in err and secret not in err
    (token,) = read_tokens(Path("tokens.json"))
    assert (token.name, token.sha256) == ("ann", hashed(secret))
    assert command(main, "create", "tokens.json", "bob")[0] == 0
    assert command(main, "create", "tokens.json", "old", "--days", "0.00001")[0] == 0
    code, out, _ = command(main, "list", "tokens.json")
    lines = out.splitlines()
    assert re.fullmatch(r"ann: created 20\S+, expires 20\S+ \S+ UTC, 60 requests a minute", lines[0])
    assert re.fullmatch(r"bob: created 20\S+, does not expire, no limit of its own", lines[1])
    assert code == 0 and len(lines) == 3
    code, out, _ = command(main, "revoke", "tokens.json", "ann")
    assert code == 0 and out.startswith("ann is revoked")
    assert [one.name for one in read_tokens(Path("tokens.json"))] == ["bob", "old"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("create tokens.json", "create tokens.json: give a name, such as ann"),
        ("revoke tokens.json", "revoke tokens.json: give a name, such as ann"),
        ("revoke tokens.json ann --days 1", "revoke takes neither --days nor --per-minute"),
        ("list tokens.json ann", "list tokens.json ann: give the file only"),
        ("list tokens.json", "tokens.json does not exist: write it with"),
        ("create nowhere/tokens.json ann", "/nowhere is not a folder"),
        ("remove tokens.json ann", "remove"),
    ],
)
def test_what_makes_no_sense_is_one_line(command: Callable[..., Answer], words: str, sentence: str) -> None:
    code, out, err = command(main, *words.split())
    assert (code, out) == (2, "") and sentence in err and err.count("\n") == 1
    assert not Path("tokens.json").exists()
