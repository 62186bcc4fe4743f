from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.detectors import Detection
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.promotion.gate import Gate, decide, read_gate

NOISE = [0.0, 0.01, -0.01, 0.02, -0.02, 0.01, -0.01, 0.0, 0.005, -0.005]


def evaluation(value: float, *findings: str, shake: float = 1.0) -> Evaluation:
    parts = [value + shake * x for x in NOISE]
    figures = {f"kd/untrained_{d}": Figure.mean(parts) for d in ("AB", "BA")}
    figures |= {f"fd/untrained_{d}": Figure(value) for d in ("AB", "BA")}
    return Evaluation(figures, [Detection(name, "AB", f"{name} it is") for name in findings], {}, [])


def test_the_first_one_passes_unless_it_is_vetoed() -> None:
    assert decide(Gate(), evaluation(1.0), None).passed
    verdict = decide(Gate(), evaluation(0.1, "collapsed"), None)
    assert not verdict.passed and "vetoed: collapsed it is" in verdict.reason
    assert decide(Gate(veto=("inverted",)), evaluation(0.1, "collapsed"), None).passed


def test_better_means_beyond_the_interval_of_the_difference() -> None:
    assert decide(Gate(), evaluation(0.9), evaluation(1.0)).passed
    assert not decide(Gate(), evaluation(1.1), evaluation(1.0)).passed
    assert not decide(Gate(), evaluation(0.999, shake=-1), evaluation(1.0)).passed  # lower, but it may be chance
    assert decide(Gate(), evaluation(0.999), evaluation(1.0)).passed  # the same images, so the noise cancels out
    assert not decide(Gate(margin=0.2), evaluation(0.9), evaluation(1.0)).passed
    assert decide(Gate(better="higher"), evaluation(1.1), evaluation(1.0)).passed
    reason = decide(Gate(margin=0.2), evaluation(0.9), evaluation(1.0)).reason
    assert "kd/untrained -0.1 +-" in reason and "not at least 0.2 lower beyond the interval" in reason


def test_figures_that_are_not_finite_never_pass() -> None:
    assert "not finite" in decide(Gate(), evaluation(float("nan")), None).reason


def test_one_direction_can_decide() -> None:
    assert decide(Gate(figure="kd/untrained_AB"), evaluation(0.9), evaluation(1.0)).passed


def test_figures_that_cannot_decide_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no figure kid; measured were fd/untrained, kd/untrained"):
        decide(Gate(figure="kid"), evaluation(1.0), None)
    with pytest.raises(UsageError, match="has no interval"):
        decide(Gate(figure="fd/untrained"), evaluation(0.9), evaluation(1.0))


def test_a_class_rate_decides_in_one_direction() -> None:
    def rates(*both: float) -> Evaluation:
        values = dict(zip(("AB", "BA"), both, strict=True))
        return Evaluation(
            {f"class_rate/efficientnet_lite0/zebra_{d}": Figure.mean([v, v]) for d, v in values.items()}, [], {}, []
        )

    figure = "class_rate/efficientnet_lite0/zebra"
    assert decide(Gate(figure=f"{figure}_AB", better="higher"), rates(0.8, 0.1), rates(0.5, 0.1)).passed
    with pytest.raises(UsageError, match="zebra: add _AB or _BA"):
        decide(Gate(figure=figure, better="higher"), rates(0.8, 0.1), rates(0.5, 0.1))


def test_a_gate_is_a_small_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("figure: kid\nmargin: 0.01\nveto: [collapsed]\n")
    assert read_gate(str(file)) == Gate(figure="kid", margin=0.01, veto=("collapsed",))
    assert read_gate("") == Gate()
    for text, message in (
        ("metric: kid", "metric: .*a gate has figure"),
        ("better: smaller", "better"),
        ("margin: -1", "margin"),
        ("veto: [ugly]", "veto"),
        ("a: [", "not YAML"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=message) as error:
            read_gate(str(file))
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_gate(str(tmp_path / "none.yaml"))


def test_models_of_opposite_directions_are_not_compared() -> None:
    one, other = (evaluation(value) for value in (0.5, 1.0))
    one.facts["data"], other.facts["data"] = {"A": {"digest": "x"}}, {"A": {"digest": "y"}}
    with pytest.raises(UsageError, match=r"opposite data\.direction"):
        decide(Gate(), one, other)


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_a_margin_is_a_finite_number(number: str, tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(f"margin: {number}\n")
    with pytest.raises(UsageError, match="margin: must be"):
        read_gate(str(file))
