import pytest

from cyclegan_dist.errors import UsageError, refuse_password, without_passwords

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [f"ftp://me:{SECRET}@host/runs", f"simplecache::https://me:{SECRET}@host/x", f"abfs://box@account/x?sig={SECRET}"],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="checkpoints: a URL with a password or a query") as told:
        refuse_password(url, "checkpoints")
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "url", ["", "runs/what?", "C:me:x@y", "s3://bucket/a@b:c", "abfs://box@account.dfs/x", "http://host:80/data@v2"]
)
def test_other_places_are_taken(url: str) -> None:
    refuse_password(url, "checkpoints")


def test_messages_lose_names_and_passwords() -> None:
    told = f"no route to https://me:{SECRET}@host:80/x or https://other/y"
    assert without_passwords(told) == "no route to https://host:80/x or https://other/y"
