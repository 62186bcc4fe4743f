import pytest
import torch
from torch import nn

from cyclegan_dist.networks.config import InitConfig
from cyclegan_dist.networks.init import init_weights


def test_nothing_is_drawn_on_the_meta_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing there makes torch load its compiler, which takes seconds at the start of every command."""
    monkeypatch.setattr(nn.init, "normal_", lambda *_: pytest.fail("drawn"))
    with torch.device("meta"):
        network = nn.Conv2d(3, 4, 3)
    init_weights(network, InitConfig())
    assert network.weight.is_meta
