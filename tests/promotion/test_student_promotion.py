"""A small student of a registered teacher, from the commands that train it to those that use it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cyclegan_dist.config.config import Config
from pipelines import distill, promote, translate
from tests.conftest import Answer, write_images
from tests.promotion.setting import promoting
from tests.training.trainings import go

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::Warning", "ignore::ResourceWarning")]  # MLflow's


def test_a_student_of_another_size_is_distilled_promoted_and_used(
    tiny_run: Callable[..., Config], dataset: Path, own_home: Path, command: Callable[..., Answer], tmp_path: Path
) -> None:
    teacher = tiny_run(stop_after=4, name="large", data__max_samples=5)
    go(teacher)
    with promoting(teacher, dataset, own_home) as setting:
        assert setting.promote(setting.candidate()).champion == "1"
        small = ("--method.generator.ngf", 2, "--method.generator.n_blocks", 2, "--every.samples", 0)
        alone = ("--stop_after", 4, "--tracking.mlflow", "False", "--data.workers", 0, "--launcher", "local")
        code, out, err = command(distill.main, "models:/horses@champion", *small, *alone)
        assert code == 0 and "teacher " in out, err
        run_dir = own_home / "runs" / "horses-small"
        assert "max_samples: 5\n" in (run_dir / "config.yaml").read_text()

        # The teacher has another size, and the gate is about more than two updates can reach.
        (tmp_path / "gate.yaml").write_text("teacher_ratio: 1000\n")
        asked = ("--data", dataset, "--device", "cpu")
        code, out, err = command(promote.main, run_dir, *asked, "--gate", tmp_path / "gate.yaml")
        assert code == 0 and "horses-small of sqlite:" in out and "version 1 is champion" in out, (out, err)
        assert "times the teacher's" in out and "G multiply-adds" in out

        from cyclegan_dist.registry.sources import open_source

        student, large = (open_source(f"models:/{name}@champion") for name in ("horses-small", "horses"))
        assert (student.generator_config.ngf, student.generator_config.n_blocks) == (2, 2)
        assert student.generator_config != large.generator_config and setting.aliases() == {"champion": "1"}
        assert student.card["teacher"] == {"source": "models:/horses/1", "sha256": large.digest()}
        image = write_images(tmp_path / "in", 1) / "0000.png"
        code, _, err = command(translate.main, "models:/horses-small@champion", image, tmp_path / "out.png")
        assert code == 0 and Image.open(tmp_path / "out.png").size == Image.open(image).size, err
