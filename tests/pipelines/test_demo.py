from pathlib import Path

import pytest

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import save_snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.tracking.journal import Journal
from pipelines.demo import show

CONFIG = CycleGANConfig(generator=GeneratorConfig(ngf=2, n_blocks=0), discriminator=DiscriminatorConfig(ndf=2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_generators_that_learned_nothing_fail_the_demo(tmp_path: Path, capsys) -> None:
    save_snapshot(tmp_path / "run" / "snapshots" / "nimg-000000001", CycleGAN(CONFIG).translators, CONFIG, {"nimg": 1})
    with Journal(tmp_path / "run"):
        pass
    assert show(tmp_path, tmp_path / "run", size=32, seed=0) == 1
    out = capsys.readouterr().out
    assert "something is wrong" in out
    assert f"gallery: {tmp_path}/gallery/index.html" in out
