"""Room of a cluster for replicas and a canary."""

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration import serving


@pytest.mark.parametrize(
    ("cpus", "gpus", "replicas", "canary", "each"),
    [
        (2, 0, 2, False, 0),
        (2, 0, 1, True, 0),
        (8, 2, 2, False, 1),
        (8, 2, 1, True, 1),
        (8, 2, 2, True, 0.5),
        (8, 1, 1, True, 0.5),
    ],
)
def test_a_canary_shares_gpus_where_there_is_none_for_it(
    monkeypatch: pytest.MonkeyPatch, cpus: int, gpus: int, replicas: int, canary: bool, each: float
) -> None:
    monkeypatch.setattr(serving.ray, "cluster_resources", lambda: {"CPU": cpus, "GPU": gpus})
    assert serving._gpus(replicas, canary=canary) == each  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("gpus", "replicas", "canary", "sentence"),
    [
        (0, 3, False, "--replicas 3 is more than the cluster's 2 CPU cores"),
        (0, 2, True, "--replicas 2 and the canary's are more than the cluster's 2 CPU cores"),
        (1, 2, False, "--replicas 2 is more than the cluster's 1 GPUs"),
    ],
)
def test_more_replicas_than_there_is_room_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: int, replicas: int, canary: bool, sentence: str
) -> None:
    monkeypatch.setattr(serving.ray, "cluster_resources", lambda: {"CPU": 2, "GPU": gpus})
    with pytest.raises(UsageError, match=sentence):
        serving._gpus(replicas, canary=canary)  # pyright: ignore[reportPrivateUsage]
