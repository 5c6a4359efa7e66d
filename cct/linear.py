"""Linear layers, on a CPU by whichever of its two libraries multiplies matrices faster."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.machine import processor


class Linear(nn.Linear):
    """From `(batch, tokens, in_features)` to `(batch, tokens, out_features)`."""

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
