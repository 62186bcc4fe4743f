"""Finished runs that are trained further: continuous over the border, and refused where that would not be."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan_dist.checkpoint.manifest import dump_manifest, parse_manifest
from cyclegan_dist.config.config import Config, with_values
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.run_folder import check_run, open_run, read_config
from cyclegan_dist.training.segments import read_segments
from tests.training.test_run_folder import content
from tests.training.trainings import differences, final_state, go, go_on, records

MakeRun = Callable[..., Config]
SHORT = {"schedule__n_epochs": 1, "schedule__n_epochs_decay": 0}  # an epoch is ten images, five steps
AVERAGED = {**SHORT, "optim__ema_half_life_images": 20.0}


def extended(config: Config, number: int = 1, **values: Any) -> Config:
    """The run, opened for an extension."""
    return open_run(with_values(config, {k.replace("__", "."): v for k, v in values.items()}, "test"), number)


def same_training(one: Config, two: Config, ranks: int = 1) -> list[str]:
    """The differences of two runs' last states, other than what extensions they had."""
    states = [final_state(config, ranks) for config in (one, two)]
    for state in states:
        del state[0]["segments"]
    return differences(*states)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_extension_at_the_same_rate_equals_an_uninterrupted_training(tiny_run: MakeRun, ranks: int) -> None:
    """The step over the border, and all that follow: max |dW| = 0."""
    whole = tiny_run(name="whole", **{**AVERAGED, "schedule__n_epochs": 3})
    go_on(ranks, whole)
    config = tiny_run(**AVERAGED)
    go_on(ranks, config)
    first = extended(config, schedule__n_epochs=1)
    go_on(ranks, first)
    go_on(ranks, extended(first, 2, schedule__n_epochs=1))
    assert same_training(whole, config, ranks) == []


def test_the_schedule_counts_from_the_start_of_the_extension(tiny_run: MakeRun) -> None:
    config = tiny_run(every__log=2)
    go(config)
    values = {"schedule__n_epochs": 1, "schedule__n_epochs_decay": 1, "optim__lr": 1e-3, "method__lambda_identity": 0}
    go(extended(config, **values))
    metrics = [record for record in records(config) if record["kind"] == "metrics"]
    rates = {record["nimg"]: record["values"]["lr/G"] for record in metrics}
    assert list(rates) == list(range(2, 61, 2))
    assert [rates[nimg] for nimg in (40, 42, 50, 52, 60)] == pytest.approx([2e-4 / 3, 1e-3, 1e-3, 5e-4, 5e-4])
    assert ("loss/idt_A" in metrics[0]["values"], "loss/idt_A" in metrics[-1]["values"]) == (True, False)
    assert read_config(config.run_dir).optim.lr == 1e-3  # a preset of what is trained now
    runs = [record for record in records(config) if record["kind"] == "run"]
    assert "segments" not in runs[0]
    (segment,) = runs[-1]["segments"]
    assert segment["nimg"] == 40 and segment["changed"]["optim.lr"] == [2e-4, 1e-3]
    assert any("extension 1 from 40 images on: " in record.get("text", "") for record in records(config))


@pytest.mark.parametrize("policy", ["linear", "plateau"])
def test_an_extension_that_is_killed_resumes_as_if_it_had_not_been(tiny_run: MakeRun, policy: str) -> None:
    values = {"schedule__policy": policy, "schedule__n_epochs": 2, "optim__lr": 1e-3}
    go(whole := tiny_run(name="whole", **SHORT))
    go(extended(whole, **values))
    go(config := tiny_run(**SHORT))
    opened = extended(config, **values)  # killed before its first step
    go(extended(config, stop_after=16, **values))  # the same command resumes, and is stopped
    go(open_run(dataclasses.replace(opened, stop_after=24)))  # and so does the command without --extend
    RunFolder(config.run_dir).segments.unlink()  # the checkpoint knows it too
    go(dataclasses.replace(opened, stop_after=0))
    assert same_training(whole, config) == []
    assert [record["status"] for record in records(config) if record["kind"] == "end"] == ["FINISHED"] * 4


def test_a_launcher_that_is_killed_between_its_two_files_has_extended_the_run(tiny_run: MakeRun) -> None:
    go(config := tiny_run(**SHORT))
    before = RunFolder(config.run_dir).config.read_text()
    opened = extended(config, optim__lr=1e-3)
    RunFolder(config.run_dir).config.write_text(before)
    assert open_run(opened, 1) == opened
    assert len(read_segments(config.run_dir)) == 1


def test_a_finished_extension_ends_immediately_when_started_again(tiny_run: MakeRun) -> None:
    go(config := tiny_run(**SHORT))
    go(opened := extended(config, schedule__n_epochs=1))
    before = final_state(config, 1)
    go(open_run(opened, 1))
    assert differences(before, final_state(config, 1)) == []


def test_averages_and_freezing_may_begin_and_end_with_an_extension(tiny_run: MakeRun) -> None:
    go(config := tiny_run(freeze=["G_AB.model.1.*"], **SHORT))
    held = final_state(config, 1)[0]["step"]
    shorter = {"schedule__n_epochs": 1, "schedule__n_epochs_decay": 0}
    go(one := extended(config, optim__ema_half_life_images=20.0, freeze=["D_*"], **shorter))
    state = final_state(one, 1)[0]["step"]
    moved = {n for n, x in state["networks"].items() if not torch.equal(x, held["networks"][n])}
    assert {name.partition(".")[0] for name in moved} == {"G_AB", "G_BA"} and "G_AB.model.1.weight" in moved
    assert int(state["ema"]["n_averaged"]) == 5
    go(extended(one, 2, optim__ema_half_life_images=0, freeze=[]))
    assert "ema" not in final_state(one, 1)[0]["step"]


def test_a_checkpoint_older_than_the_extension_is_reported(tiny_run: MakeRun) -> None:
    go(config := tiny_run(**SHORT))
    longer = extended(config, schedule__n_epochs=1)
    (max((config.run_dir / "checkpoints").glob("step-*")) / "shared.pt").write_bytes(b"")
    assert go(longer) == "FINISHED"
    texts = [record.get("text", "") for record in records(config)]
    assert any("older than the extension" in text for text in texts)


def test_what_cannot_be_extended_is_refused_and_nothing_changes(tiny_run: MakeRun) -> None:
    with pytest.raises(UsageError, match=r"there is no run absent in .*/runs to extend"):
        check_run(dataclasses.replace(tiny_run(**SHORT), name="absent"), 1)
    config = tiny_run(stop_after=8, **SHORT)
    go(config)
    longer = {"schedule.n_epochs": 9}

    def refused(number: int, says: str, **values: Any) -> None:
        before = content(config.run_dir)
        with pytest.raises(UsageError, match=says):
            open_run(with_values(config, {k.replace("__", "."): v for k, v in values.items()}, "test"), number)
        assert content(config.run_dir) == before

    refused(0, r"n_epochs: 1 -> 9\n.*undo the change, or, when .* further with --extend 1$", schedule__n_epochs=9)
    refused(0, r"seed: 0 -> 9\n.*undo the change$", seed=9)
    refused(1, r"trained for 8 of 10 images: finish it before --extend 1", **longer)
    go(config := tiny_run(**SHORT))
    refused(2, "has been extended 0 times: give --extend 1", **longer)
    refused(-1, "--extend -1: give 1", **longer)
    newest = max((config.run_dir / "checkpoints").glob("step-*"))
    whole = (newest / "shared.pt").read_bytes()
    (newest / "shared.pt").write_bytes(b"")
    refused(1, "trained for 8 of 10 images: finish it", **longer)
    (newest / "shared.pt").write_bytes(whole)
    manifest = parse_manifest((newest / "manifest.json").read_bytes())
    (newest / "manifest.json").write_bytes(dump_manifest({**manifest, "run": "another"}))
    refused(1, "trained for 8 of 10 images: finish it", **longer)
    (newest / "manifest.json").write_bytes(dump_manifest(manifest))
    with Journal(config.run_dir) as journal:
        journal.write("run", config={}, data=[], nimg=10, total=10)  # an attempt that was killed
    refused(1, "before it had recorded its last step: repeat the command", **longer)
    with Journal(config.run_dir) as journal:
        journal.write("end", status="FINISHED")
    refused(1, r"cannot change\n  seed: 0 -> 1\nonly schedule\.\*, optim\.lr, ", seed=1, **longer)
    refused(1, "cannot switch an adversarial loss on or off", method__lambda_GAN_AB=0)
    refused(1, "stop_after 8 counts from the start of the run, which has seen 10 images", stop_after=8)


def test_damaged_segments_are_named(tiny_run: MakeRun, tmp_path: Path) -> None:
    config = tiny_run()
    for text in ("[", '[{"changed": {}}]', "[1]"):
        RunFolder(config.run_dir).segments.write_text(text)
        with pytest.raises(UsageError, match=r"segments\.json is damaged"):
            check_run(config)


def test_means_of_losses_do_not_reach_over_the_border(tiny_run: MakeRun) -> None:
    go(config := tiny_run(every__log=8, method__lambda_identity=0.0, **SHORT))
    longer = extended(config, schedule__n_epochs=1, method__lambda_identity=0.5)
    go(longer)
    first = next(r for r in records(config) if r["kind"] == "metrics" and r["nimg"] > 10)
    go(fresh := tiny_run(name="fresh", every__log=2, method__lambda_identity=0.0, **SHORT))
    go(extended(fresh, schedule__n_epochs=1, method__lambda_identity=0.5))
    each = [
        r["values"]["loss/idt_A"] for r in records(fresh) if r["kind"] == "metrics" and 10 < r["nimg"] <= first["nimg"]
    ]
    assert first["values"]["loss/idt_A"] == pytest.approx(sum(each) / len(each))


def test_the_number_of_an_older_extension_does_not_bring_its_config_back(tiny_run: MakeRun) -> None:
    go(config := tiny_run(**SHORT))
    go(first := extended(config, schedule__n_epochs=1, optim__lr=1e-3))
    go(open_run(with_values(first, {"optim.lr": 5e-4}, "test"), 2))
    with pytest.raises(UsageError, match=r"optim\.lr: 0\.0005 -> 0\.001"):
        open_run(first, 1)
    assert read_config(config.run_dir).optim.lr == 5e-4
