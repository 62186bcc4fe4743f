"""The command line: what a user types, and what bad input is answered with."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cyclegan_dist import train
from tests.conftest import Answer
from tests.forked import start_forked


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, train.main)


SMALL = [
    *(
        "--launcher",
        "local",
        "--tracking.mlflow",
        "False",
        "--world.threads",
        "1",
        "--data.load_size",
        "20",
        "--data.crop_size",
        "16",
    ),
    *(
        "--data.workers",
        "0",
        "--data.preprocess",
        "resize_and_crop",
        "--stop_after",
        "8",
        "--every.samples",
        "0",
        "--every.log",
        "4",
    ),
]


def test_dry_run_prints_the_resolved_config_and_writes_nothing(cli, own_home: Path) -> None:
    code, out, _ = cli("horse2zebra+forward_only", "--method.generator.ngf", "16", "--dry_run")
    assert code == 0
    assert "ngf: 16" in out and "lambda_cycle_B: 0" in out and "name: horse2zebra-forward_only" in out
    assert list(own_home.iterdir()) == []


def test_two_folders_replace_the_data_set_of_a_preset(cli, own_home: Path) -> None:
    folders = ["--data.A", "horses", "--data.B", "zebras", "--dry_run"]
    assert "  path: ''\n  A: horses\n  B: zebras\n" in cli("horse2zebra+laptop", *folders)[1]
    assert "  path: mine\n" in cli("horse2zebra", *folders, "--data.path", "mine")[1]


def test_training_in_one_process_and_again(cli, dataset: Path, own_home: Path) -> None:
    arguments = ["demo", *SMALL, "--data.path", str(dataset)]
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "step 1 epoch 0.40 images 4/8" in out and "img/s eta" in out
    assert f"finished: {own_home}/runs/demo" in out
    assert cli(*arguments)[0] == 0
    assert "--stop_after 8 is reached: a larger one" in cli(*arguments, "--stop_after", "8")[1]
    assert "images 12/12" in cli(*arguments, "--stop_after", "12")[1]


def test_dashes_and_underscores_are_the_same(cli) -> None:
    assert cli("demo", "--data.crop-size", "16", "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a preset"),
        (["hors2zebra"], "did you mean horse2zebra?"),
        (["nowhere.yaml"], "cannot read nowhere.yaml"),
        (["demo", "--ngf", "3"], "unknown option --ngf, did you mean --method.generator.ngf?"),
        (["demo", "--data.crop_sise", "3"], "did you mean --data.crop_size?"),
        (
            ["simgan", "--method.gradient_penalty.at", "real"],
            "unknown option --method.gradient_penalty.at: method simgan does not have it; methods that do: cyclegan",
        ),
        (["demo", "--method.name", "cut"], "a preset or file chooses the method: join one, as in horse2zebra+cut"),
        (["demo", "--optim.ema_decay", "0.9"], "--optim.ema_decay: it was replaced by --optim.ema_half_life_images"),
        (["demo", "--method.lambda_cycle_end", "0.5"], "has no effect: give method.cycle_ramp_images"),
        (["demo", "--method.gradient_penalty.weight", "2"], "has no effect: give method.gradient_penalty.at"),
        (["demo", "--optim.lr", "-1"], "optim.lr: must be greater than 0"),
        (["horse2zebra", "--data.crop_size", "300"], "give load_size at least 300"),
        (
            ["horse2zebra", "--data.preprocess", "scale_width_and_crop", "--data.load_size", "64"],
            "load_size at least 256",
        ),
        (["horse2zebra", "--data.crop_size", "250"], "must be a multiple of 4 for this generator: give 248"),
        (["horse2zebra", "--data.crop_size", "16"], "too small for the discriminator: give at least 24"),
        (["horse2zebra", "--method.generator.arch", "unet", "--data.crop_size", "128"], "must be a multiple of 256"),
        (["horse2zebra", "--method.gan_mode", "wgangp", "--data.preprocess", "none"], "data.preprocess that crops"),
        (["demo", "--world.num_workers", "3"], "batch_size 4 cannot be shared by 3 ranks"),
        (["demo", "--method.input_nc", "1"], "lambda_identity 0"),
        (["horse2zebra", "--launcher", "local"], "python -m pipelines.prepare"),
        (["demo", "--runs_dir", "/proc/nowhere", "--launcher", "local"], "cannot write /proc/nowhere"),
    ],
)
def test_bad_input_is_one_line_with_advice(cli, arguments: list[str], says: str) -> None:
    code, _, err = cli(*arguments)
    assert code == 2
    assert says in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_a_run_of_another_config_is_refused_with_the_difference(cli, dataset: Path) -> None:
    arguments = ["demo", *SMALL, "--data.path", str(dataset)]
    assert cli(*arguments)[0] == 0
    code, _, err = cli(*arguments, "--optim.lr", "0.5", "--method.pool_size", "7")
    assert code == 2
    assert "optim.lr: 0.001 -> 0.5" in err and "method.pool_size: 50 -> 7" in err and "--name" in err


def test_a_finished_run_is_extended_by_a_command_that_can_be_repeated(cli, dataset: Path) -> None:
    arguments = ["demo", *SMALL, "--data.path", str(dataset), "--stop_after", "0", "--schedule.n_epochs_decay", "0"]
    assert cli(*arguments, "--schedule.n_epochs", "1")[0] == 0  # ten images, in steps of four
    code, _, err = cli(*arguments, "--schedule.n_epochs", "2")
    assert code == 2 and "train it further with --extend 1" in err
    longer = [*arguments, "--schedule.n_epochs", "2", "--freeze", "D_*", "--extend", "1"]
    code, out, _ = cli(*longer)
    assert code == 0
    assert "extension 1 from 12 images on: freeze: [] -> ['D_*'], schedule.n_epochs: 1 -> 2" in out
    assert "images 32/32" in out
    code, out, _ = cli(*longer)
    assert code == 0 and "images" not in out.replace("32 images", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(cli, tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    code, _, err = cli("demo", *SMALL, "--data.path", str(dataset), "--runs_dir", str(tmp_path / "closed"))
    assert code == 2 and "closed" in err


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cyclegan_dist.train", "demo"]


def run(*command: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=timeout)


@pytest.mark.slow
def test_help_names_presets_options_and_units() -> None:
    done = run("-m", "cyclegan_dist.train", "--help")
    assert done.returncode == 0
    for text in ("--method.generator.ngf", "Weight of |G_BA(G_AB(a)) - a|", "--dry_run", "images per domain"):
        assert text.lower() in " ".join(done.stdout.split()).lower()


@pytest.mark.slow
def test_torchrun_starts_the_ranks(dataset: Path, own_home: Path) -> None:
    arguments = [a for a in SMALL if a not in ("--launcher", "local")]
    done = run(*TORCHRUN, *arguments, "--data.path", str(dataset))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished:") == 1
    (checkpoint,) = (own_home / "runs" / "demo" / "checkpoints").iterdir()
    assert {"rank-00000.pt", "rank-00001.pt", "shared.pt", "manifest.json"} == {
        path.name for path in checkpoint.iterdir()
    }


def test_all_ranks_refuse_an_uneven_share(dataset: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    arguments = ["demo", "--optim.batch_size", "3", "--data.path", dataset, "--tracking.mlflow", "False"]
    ranks = list[BaseProcess]()
    for rank in "01":  # as torchrun starts them
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        environment = {**os.environ, **group, **numbers, "TORCHELASTIC_RUN_ID": "none"}
        with (tmp_path / rank).open("w") as log:
            where = {"stdout": log.fileno(), "stderr": log.fileno(), "environment": environment}
            ranks.append(start_forked(train.main, *arguments, **where))
    for process in ranks:
        process.join(60)
        process.kill()
        process.join()
    assert [process.exitcode for process in ranks] == [2, 2]
    for rank in "01":
        assert "error: batch_size 3 cannot be shared by 2 ranks" in (tmp_path / rank).read_text()


def test_a_run_in_training_is_not_started_twice(cli, dataset: Path) -> None:
    from cyclegan_dist.config.config import load_config
    from cyclegan_dist.training.run_folder import locked

    with locked(load_config("demo")):
        code, _, err = cli("demo", *SMALL, "--data.path", str(dataset))
    assert code == 2
    assert "run demo is in training already" in err
    assert cli("demo", *SMALL, "--data.path", str(dataset))[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "to_group", "code"),
    [(signal.SIGTERM, False, 143), (signal.SIGTERM, True, 143), (signal.SIGINT, True, 130)],
)
def test_a_signal_leaves_a_checkpoint_and_a_code(
    dataset: Path, own_home: Path, number: int, to_group: bool, code: int
) -> None:
    """To the process as `kill` does, or to its whole group, loader processes too, as torchrun, Slurm and Ctrl-C do."""
    arguments = ["demo", *SMALL, "--data.path", dataset, "--data.workers", 2]
    arguments += ["--stop_after", 0, "--schedule.n_epochs", 10000, "--every.checkpoint", 0]
    reading, writing = os.pipe()
    with (own_home / "stderr").open("w") as log:
        where = {"stdout": writing, "stderr": log.fileno(), "environment": os.environ}
        process = start_forked(train.main, *arguments, **where, own_group=True)
    os.close(writing)
    try:
        with os.fdopen(reading) as lines:
            assert any("step" in line for line in lines)
            (os.killpg if to_group else os.kill)(process.pid or 0, number)
            lines.read()
        process.join(60)
    finally:
        process.kill()
        process.join()
    err = (own_home / "stderr").read_text()
    assert process.exitcode == code, err
    assert "run the same command again to resume" in err
    assert len(list((own_home / "runs" / "demo" / "checkpoints").glob("step-*"))) == 1
