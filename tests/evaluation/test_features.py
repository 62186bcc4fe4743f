"""Extractors are loaded from local files, which are verified."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
import torchvision

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.features import INCEPTION, feature_network

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (3, 3, 20, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_untrained_network_is_deterministic_and_not_called_kid() -> None:
    one, two = (feature_network("untrained", CPU) for _ in range(2))
    assert (one.kernel, one.frechet) == ("kd/untrained", "fd/untrained")
    assert torch.equal(one.of(IMAGES), two.of(IMAGES))
    assert one.of(IMAGES[:, :1]).shape == one.of(IMAGES).shape == (3, 320)  # grey images too
    assert not torch.allclose(one.of(IMAGES), one.of(255 - IMAGES))


@pytest.mark.slow
def test_a_torchvision_network_is_named_by_its_weights(tmp_path: Path) -> None:
    network, file = torchvision.models.resnet18(weights=None), tmp_path / "w.pth"
    torch.save(network.state_dict(), file)
    features = feature_network(f"resnet18:{file}", CPU, digest(file))
    assert features.kernel == f"kd/resnet18-{digest(file)[:8]}"
    assert features.of(IMAGES).shape == (3, 512)
    with pytest.raises(UsageError, match="not what you trust"):
        feature_network(f"resnet18:{file}", CPU, "0" * 64)
    with pytest.raises(UsageError, match="not those of torchvision's resnet34"):
        feature_network(f"resnet34:{file}", CPU)
    with pytest.raises(UsageError, match="no network of that name"):
        feature_network(f"resnet19:{file}", CPU)


@pytest.mark.slow
def test_the_fid_inception_is_called_kid_and_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Published

    with monkeypatch.context() as patch:  # random weights of its shape: the published ones are not at hand
        patch.setattr(Published, "load_state_dict", lambda self, state: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        weights = Published("x", ["2048"], feature_extractor_weights_path="x").state_dict()
    file = tmp_path / "inception.pth"
    torch.save(weights, file)
    features = feature_network(f"inception:{file}", CPU, digest(file))
    assert (features.kernel, features.frechet) == ("kid", "fid")
    assert features.of(IMAGES).shape == (3, 2048)
    with pytest.raises(UsageError, match=f"not {INCEPTION[1]}: they are not what you trust"):
        feature_network(f"inception:{file}", CPU)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("cyclegan_dist.evaluation.features.INCEPTION", (f"{tmp_path.as_uri()}/it.pth", digest(file)))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    file.rename(tmp_path / "hub" / "checkpoints" / "it.pth")  # as downloaded before
    assert torch.equal(feature_network("inception", CPU).of(IMAGES), features.of(IMAGES))


def test_a_file_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="loaded safely"):
        feature_network(f"resnet18:{tmp_path / 'evil.pth'}", CPU)
    assert not (tmp_path / "run").exists()


def test_invalid_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give untrained, .*inception, or NAME:FILE"):
        feature_network("vgg16", CPU)
    with pytest.raises(UsageError, match="cannot be read"):
        feature_network(f"resnet18:{tmp_path / 'none'}", CPU)
    with pytest.raises(UsageError, match="did you mean cycle"):
        EvaluationConfig(metrics=("cycles",))
    with pytest.raises(UsageError, match="needs a palette"):
        EvaluationConfig(segmenter="fcn_resnet50:x")
