"""What is faster on a CPU computes what PyTorch's own does."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cct import cpu
from cct.named_models import MODELS
from cct.spec import RunSpec


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_convolution_over_single_pixels_is_a_linear_layer(has_bias: bool) -> None:
    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 64, 48, generator=random), torch.randn(96, 48, generator=random)
    inputs = [x, weight, torch.randn(96, generator=random)] if has_bias else [x, weight]
    results = []
    for layer in (F.linear, cpu.convolve):
        leaves = [each.clone().requires_grad_() for each in inputs]
        output = layer(leaves[0], leaves[1], leaves[2] if has_bias else None)
        torch.autograd.backward(output.sin().sum())
        assert output.is_contiguous()
        results.append([output, *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("convolves", [True, False])
def test_a_layer_uses_what_is_faster(convolves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, used = cpu.Linear(8, 4), torch.randn(2, 3, 8), list[str]()
    monkeypatch.setattr(cpu, "_convolution_is_faster", lambda: convolves)
    convolve = cpu.convolve

    def noted(*inputs: Any) -> Tensor:
        used.append("convolution")
        return convolve(*inputs)

    monkeypatch.setattr(cpu, "convolve", noted)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    assert used == ["convolution"] * convolves
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    assert used == ["convolution"] * convolves


def test_attention_is_pytorchs_and_dropout_leaves_its_mean() -> None:
    random = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 9, 16, generator=random).unbind()
    mask = (torch.arange(9) < torch.tensor([4, 9])[:, None])[:, None, None]
    for each in (None, mask):
        exact = F.scaled_dot_product_attention(q, k, v, attn_mask=each)
        assert torch.equal(cpu.scaled_dot_product_attention(q, k, v, each, 0.0), exact)
        barely = cpu.scaled_dot_product_attention(q, k, v, each, 2**-16)
        torch.testing.assert_close(barely, exact, atol=0.02, rtol=0)
        torch.manual_seed(0)
        often = torch.stack([cpu.scaled_dot_product_attention(q, k, v, each, 0.3) for _ in range(3000)])
        torch.testing.assert_close(often.mean(dim=0), exact, atol=0.05, rtol=0)
        assert often.std(dim=0).max() > 0.1


@pytest.mark.parametrize(("size", "stride", "padding"), [(4, 1, 2), (4, 4, 0), (3, 2, 1)])
def test_words_are_convolved_as_by_pytorch(size: int, stride: int, padding: int) -> None:
    random = torch.Generator().manual_seed(0)
    words = torch.randn(2, 12, 5, generator=random)
    weight = torch.randn(7, 1, size, 5, generator=random)
    expected = F.conv2d(words.unsqueeze(1), weight, None, (stride, 1), (padding, 0)).squeeze(3).mT
    torch.testing.assert_close(cpu.convolve_words(words, weight, stride, padding), expected)


@pytest.mark.parametrize(("model", "compile"), [("cvt_2_4_32", "off"), ("text_cct_2", "off"), ("cct_2_3x2_32", "on")])
def test_other_models_and_compiled_ones_keep_pytorchs_layout(model: str, compile: str) -> None:
    spec = RunSpec(model=model, dataset="trec" if model.startswith("text") else "cifar10", compile=compile)
    read = torch.zeros(2, 3)
    assert cpu.faster_layout(spec, MODELS[model])(read) is read
