"""Settings of a local cluster."""

import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import ray
from ray._private import services

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.cluster import cluster, own_cluster, room_for
from cyclegan_dist.step.world_config import WorldConfig


def test_the_port_that_ray_sends_the_token_to_is_closed_and_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://another:1")
    with ExitStack() as stack:
        settings = own_cluster(stack)
        assert settings["include_dashboard"] is False and settings["_node_ip_address"] == "127.0.0.1"
        url = urlsplit(os.environ["RAY_API_SERVER_ADDRESS"])
        assert url.hostname == "127.0.0.1" and url.port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((url.hostname, url.port), timeout=5)
        with socket.socket() as thief, pytest.raises(OSError, match="in use"):
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind((url.hostname, url.port))
        folder = Path(settings["_temp_dir"])
        assert folder.is_dir()
    assert not folder.exists()


def test_a_signal_to_the_launchers_process_group_does_not_reach_the_processes_of_ray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://another:1")
    with ExitStack() as stack:
        own_cluster(stack)
        process = services.ConsolePopen(["sleep", "60"], stdin=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert os.getpgid(process.pid) == process.pid != os.getpgrp()
    assert services.ConsolePopen is not None and services.ConsolePopen.__name__ == "ConsolePopen"


def test_a_cluster_that_cannot_be_joined_names_the_variables_of_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**settings: object) -> None:
        raise ConnectionError("Failed to connect")

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6399")
    monkeypatch.setattr(ray, "init", refused)
    says = (
        r"no Ray cluster 127\.0\.0\.1:6399: Failed to connect; check that its head runs .* RAY_AUTH_TOKEN_PATH the file"
    )
    with pytest.raises(UsageError, match=says), cluster():
        pass


def test_ranks_are_counted_on_nodes_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"Alive": alive, "Labels": {"pool": pool, "zone": "a"}, "Resources": {"CPU": 8.0, "GPU": gpus}}
        for alive, pool, gpus in ((True, "fast", 4.0), (True, "fast", 2.0), (True, "slow", 1.0), (False, "fast", 8.0))
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    rooms = {(): 7, ("pool=fast",): 6, ("pool=fast", "zone=a"): 6, ("pool=slow",): 1, ("pool=none",): 0}
    for labels, gpus in rooms.items():
        assert room_for(Config(world=WorldConfig(node_labels=labels, device="cuda"))) == (gpus, True)


@pytest.mark.parametrize("label", ["fast", "=fast", "pool="])
def test_a_label_that_is_none_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="give NAME=VALUE"):
        WorldConfig(node_labels=(label,))
