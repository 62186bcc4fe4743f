"""Evaluations that are kept for as long as they have every figure."""

import pytest

from cyclegan_dist.evaluation import cached
from cyclegan_dist.evaluation.cached import protocol_digest
from cyclegan_dist.evaluation.config import EvaluationConfig


def test_new_figures_of_content_leave_evaluations_without_it_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> list[str]:
        return [protocol_digest(EvaluationConfig(metrics=(*groups, "cycle")), {}) for groups in ((), ("content",))]

    without, with_content = digests()
    monkeypatch.setattr(cached, "CONTENT_VERSION", cached.CONTENT_VERSION + 1)
    assert digests()[0] == without and digests()[1] != with_content
