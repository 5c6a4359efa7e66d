"""Max-pooling of 3x3 pixels with stride 2, then ReLU, as one kernel on a GPU, and one for its gradient.

PyTorch's own takes four times as long there, and a tenth of a compiled step: each pixel looks for itself among the
positions of four maxima, which are kept as 8 bytes each. Here a byte is kept, and four pixels share their looks.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512
"""Pooled values per program."""


@triton.jit
def _forward(x, y, cells, count, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = i < count
    channel, column = i % C, (i // C) % (W // 2)
    row, image = (i // (C * (W // 2))) % (H // 2), i // (C * (W // 2) * (H // 2))
    best = tl.zeros([BLOCK], tl.float32)  # what is lower does not pass the ReLU, and has no gradient
    cell = tl.full([BLOCK], 9, tl.int32)
    for near in tl.static_range(9):
        r, c = 2 * row - 1 + near // 3, 2 * column - 1 + near % 3
        inside = exists & (r >= 0) & (c >= 0)
        value = tl.load(x + ((image * H + r) * W + c) * C + channel, mask=inside, other=0.0).to(tl.float32)
        wins = inside & ((value > best) | (value != value))  # what is not a number stays so
        best = tl.where(wins, value, best)
        cell = tl.where(wins, near, cell)
    tl.store(y + i, best.to(y.dtype.element_ty), mask=exists)
    tl.store(cells + i, cell.to(tl.int8), mask=exists)


@triton.jit
def _backward(gradient, cells, to, count, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The gradient of four pixels, whose windows are those of a pooled one and of its neighbours right and below."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = i < count
    channel, column = i % C, (i // C) % (W // 2)
    row, image = (i // (C * (W // 2))) % (H // 2), i // (C * (W // 2) * (H // 2))
    right, below = exists & (column + 1 < W // 2), exists & (row + 1 < H // 2)
    a, b, c, d = i, i + C, i + C * (W // 2), i + C * (W // 2) + C
    cell_a, of_a = tl.load(cells + a, mask=exists, other=9), tl.load(gradient + a, mask=exists, other=0.0)
    cell_b, of_b = tl.load(cells + b, mask=right, other=9), tl.load(gradient + b, mask=right, other=0.0)
    cell_c, of_c = tl.load(cells + c, mask=below, other=9), tl.load(gradient + c, mask=below, other=0.0)
    cell_d = tl.load(cells + d, mask=right & below, other=9)
    of_d = tl.load(gradient + d, mask=right & below, other=0.0)
    of_a, of_b, of_c, of_d = of_a.to(tl.float32), of_b.to(tl.float32), of_c.to(tl.float32), of_d.to(tl.float32)
    first = to + ((image * H + 2 * row) * W + 2 * column) * C + channel
    kind = to.dtype.element_ty
    upper_right = tl.where(cell_a == 5, of_a, 0.0) + tl.where(cell_b == 3, of_b, 0.0)
    lower_left = tl.where(cell_a == 7, of_a, 0.0) + tl.where(cell_c == 1, of_c, 0.0)
    lower_right = tl.where(cell_a == 8, of_a, 0.0) + tl.where(cell_b == 6, of_b, 0.0)
    lower_right += tl.where(cell_c == 2, of_c, 0.0) + tl.where(cell_d == 0, of_d, 0.0)
    tl.store(first, tl.where(cell_a == 4, of_a, 0.0).to(kind), mask=exists)
    tl.store(first + C, upper_right.to(kind), mask=exists)
    tl.store(first + W * C, lower_left.to(kind), mask=exists)
    tl.store(first + W * C + C, lower_right.to(kind), mask=exists)


@torch.library.triton_op("cct::max_pooling_relu", mutates_args={})
def max_pooling_relu(x: Tensor) -> tuple[Tensor, Tensor]:
    """`(images, height, width, channels)` with even sides to half of them, and the cell, 0 to 8, of each maximum.

    Cell 9 says that the maximum was not positive.
    """
    x = x.contiguous()
    images, height, width, channels = x.shape
    y = torch.empty((images, height // 2, width // 2, channels), dtype=x.dtype, device=x.device)
    cells = torch.empty_like(y, dtype=torch.int8)
    programs = triton.cdiv(y.numel(), BLOCK)
    torch.library.wrap_triton(_forward)[(programs,)](x, y, cells, y.numel(), height, width, channels, BLOCK)
    return y, cells


@torch.library.triton_op("cct::max_pooling_relu_backward", mutates_args={})
def max_pooling_relu_backward(gradient: Tensor, cells: Tensor) -> Tensor:
    """The gradient of what was pooled, from that of the result."""
    gradient = gradient.contiguous()
    images, height, width, channels = cells.shape
    to = torch.empty((images, 2 * height, 2 * width, channels), dtype=gradient.dtype, device=gradient.device)
    programs = triton.cdiv(cells.numel(), BLOCK)
    torch.library.wrap_triton(_backward)[(programs,)](
        gradient, cells, to, cells.numel(), 2 * height, 2 * width, channels, BLOCK
    )
    return to


def _keep(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
    (cells,) = ctx.saved_tensors
    to: Tensor = max_pooling_relu_backward(gradient, cells)
    return to


max_pooling_relu.register_autograd(_differentiate, setup_context=_keep)
