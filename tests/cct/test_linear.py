"""A linear layer gives the same values and gradients whichever library computes it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cct import linear


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_convolution_over_single_pixels_is_a_linear_layer(has_bias: bool) -> None:
    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 64, 48, generator=random), torch.randn(96, 48, generator=random)
    inputs = [x, weight, torch.randn(96, generator=random)] if has_bias else [x, weight]
    results = []
    for layer in (F.linear, linear.convolve):
        leaves = [each.clone().requires_grad_() for each in inputs]
        output = layer(leaves[0], leaves[1], leaves[2] if has_bias else None)
        torch.autograd.backward(output.sin().sum())
        assert output.is_contiguous()
        results.append([output, *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("convolves", [True, False])
def test_a_layer_uses_what_is_faster(convolves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, used = linear.Linear(8, 4), torch.randn(2, 3, 8), list[str]()
    monkeypatch.setattr(linear, "_convolution_is_faster", lambda: convolves)
    convolve = linear.convolve

    def noted(*inputs: Any) -> Tensor:
        used.append("convolution")
        return convolve(*inputs)

    monkeypatch.setattr(linear, "convolve", noted)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    assert used == ["convolution"] * convolves
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    assert used == ["convolution"] * convolves
