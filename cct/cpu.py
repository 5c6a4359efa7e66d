"""What is there only because it is faster on a CPU; for what it computes, see PyTorch's own of the same name.

docs/performance.md has measurements. Which threads wait how is set in `cct/machine.py`, as OpenMP must know it before
torch is loaded.
"""

import ctypes
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.device import default_device
from cct.machine import processor
from cct.named_models import ModelConfig, TextConfig
from cct.spec import RunSpec


class Linear(nn.Linear):
    """A linear layer, by whichever of PyTorch's two libraries for a CPU multiplies matrices faster.

    From `(batch, tokens, in_features)` to `(batch, tokens, out_features)`.
    """

    def forward(self, x: Tensor) -> Tensor:
        is_plain = x.device.type == "cpu" and x.dtype == torch.float32
        # Under autocast oneDNN does it anyway, and a compiler chooses for itself.
        is_free = not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
        if is_plain and is_free and _convolution_is_faster():
            return convolve(x, self.weight, self.bias)
        return super().forward(x)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer as a convolution over single pixels, which oneDNN computes; nothing is copied for it."""
    return F.conv2d(x.mT.unsqueeze(2), weight[:, :, None, None], bias).squeeze(2).mT


def _convolution_is_faster() -> bool:
    """Whether the processor is one where oneDNN multiplies float32 matrices more than twice as fast as MKL.

    MKL, by which PyTorch computes linear layers, keeps to AVX2 on processors that are not Intel's; AMD's have AVX-512
    of full width from Zen 5 on (family 26). Known and not timed, so that a run has the same bits each time.
    """
    return processor().get("vendor_id") == "AuthenticAMD" and int(processor()["cpu family"]) >= 26


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention of `(batch, heads, tokens, channels)` to keys where the mask, if any, is true, with dropout.

    With dropout, PyTorch's own computes in float32 on a CPU, and takes twice to three times as long.
    """
    if dropout == 0 or q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return _drop(scores.softmax(dim=-1), dropout) @ v


def _drop(values: Tensor, p: float) -> Tensor:
    """Dropout that spends 16 random bits per value: a sixth of the time of drawing a number for each.

    The probability is `p` rounded to a multiple of 2**-16.
    """
    words = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: values.numel()].view(values.shape) >= round(p * 2**16) - 2**15
    return values * kept.to(values.dtype).mul_(1 / (1 - p))


def faster_layout(spec: RunSpec, config: ModelConfig | TextConfig) -> Callable[[Tensor], Tensor]:
    """Moves what a model reads into oneDNN's own layout, whose max-pooling is the faster one; what has none, nowhere.

    From there `Convolution` takes it, and `dense` takes what comes out of the tokenizer.
    """
    is_pooled = isinstance(config, ModelConfig) and config.tokenizer == "conv"
    has_onednn = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    if not is_pooled or not has_onednn or spec.compile == "on":
        return lambda images: images
    dtype = torch.bfloat16 if spec.precision == "bf16" else torch.float32
    return lambda images: images.to_mkldnn(dtype)


class Convolution(nn.Conv2d):
    """A convolution without bias that takes images in oneDNN's own layout too, of any precision."""

    def forward(self, images: Tensor) -> Tensor:
        if not images.is_mkldnn:
            return super().forward(images)
        assert not isinstance(self.padding, str)
        weight = self.weight.to(images.dtype)
        return torch.mkldnn_convolution(images, weight, None, self.padding, self.stride, self.dilation, self.groups)


def dense(features: Tensor) -> Tensor:
    """Brings what is in oneDNN's layout back into PyTorch's, channels last."""
    return features.to_dense().contiguous(memory_format=torch.channels_last) if features.is_mkldnn else features


def convolve_words(words: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """A convolution over `(batch, words, channels)` by `(out_channels, 1, size, channels)`, padded with zeros.

    To `(batch, windows, out_channels)`. As a matrix product, for the backward pass of PyTorch's own takes seconds.
    """
    windows = F.pad(words, (0, 0, padding, padding)).unfold(1, weight.shape[2], stride).transpose(2, 3)
    return F.linear(windows.flatten(2), weight.flatten(1))


def keep_large_blocks() -> None:
    """Has glibc keep freed blocks of tens of megabytes, whose pages the kernel would else map and zero in each step.

    For a process that does nothing but train on its CPU, as it cannot be taken back and memory once used stays in use;
    nothing is done if there is a GPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other systems have none
    if mallopt and default_device().type == "cpu":
        m_trim_threshold, m_mmap_max = -1, -4  # mallopt(3)
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)
