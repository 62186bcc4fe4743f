from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from pipelines import translate
from tests.conftest import Answer

CONFIG = CycleGANConfig(generator=GeneratorConfig(ngf=4, n_blocks=1), discriminator=DiscriminatorConfig(ndf=4))


def make_snapshot(folder: Path) -> Path:
    return save_snapshot(folder, CycleGAN(CONFIG).translators, CONFIG, {"nimg": 8})


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return make_snapshot(tmp_path / "snapshot")


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, translate.main)


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Identity(nn.Module):
    """A generator that changes nothing."""

    multiple = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot of a generator that changes nothing."""
    monkeypatch.setattr(Snapshot, "generator", lambda *_: Identity())
    return make_snapshot(tmp_path / "model")
