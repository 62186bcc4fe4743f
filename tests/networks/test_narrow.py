"""The convolution to few channels against the one that it stands for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cyclegan_dist.networks.narrow import NarrowConv2d


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "out"), [(7, 3), ((5, 2), 1), (1, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_a_convolution(kernel, out, bias, layout) -> None:
    torch.manual_seed(0)
    ours, theirs = (layer(4, out, kernel, bias=bias).double() for layer in (NarrowConv2d, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    found = []
    for layer in (ours, theirs):
        torch.manual_seed(1)
        x = torch.randn(2, 4, 9, 11).double().contiguous(memory_format=layout).requires_grad_()
        y = layer(x)
        weigh = torch.randn_like(y)
        found.append((y, *torch.autograd.grad((y * weigh).sum(), (x, *layer.parameters()))))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


def heights(network: nn.Module, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the kernels that a call computes with."""
    seen, conv2d = [], F.conv2d

    def watched(x, weight, *rest):
        seen.append(weight.shape[2])
        return conv2d(x, weight, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(F, "conv2d", watched)
        network(x)
    return seen


def test_row_by_row_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 4, 9, 9)
    assert heights(NarrowConv2d(4, 3, 7), x, monkeypatch) == [1]
    assert heights(NarrowConv2d(4, 8, 7), x, monkeypatch) == [7]
    with torch.autocast("cpu", torch.bfloat16):
        assert heights(NarrowConv2d(4, 3, 7), x, monkeypatch) == [7]
        assert NarrowConv2d(4, 3, 7)(x).dtype == torch.bfloat16


def test_exported_it_is_one_ordinary_convolution() -> None:
    program = torch.export.export(nn.Sequential(NarrowConv2d(4, 3, 7)), (torch.zeros(1, 4, 9, 9),))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert called == ["aten.conv2d.default"]
