"""The convolution to few channels against the one that it stands for."""

import pytest
import torch
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
