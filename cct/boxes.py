"""Random boxes in images: what random resized crops keep, and what random erasing erases."""

import math

import torch
from torch import Tensor

from cct.data import to_device

ATTEMPTS = 10
"""How often a box is drawn again that does not fit."""
CROP_RATIO, ERASED_RATIO = 4 / 3, 1 / 0.3
"""Ratios of a box's sides are between this and its inverse, equally likely by their logarithm."""
ERASED_AREA = (0.02, 1 / 3)
"""Shares of an image that are erased, equally likely in between."""


def draw_boxes(
    count: int, size: int, area: tuple[float, float], ratio: float, largest: int, random: torch.Generator
) -> Tensor:
    """Top, left, height and width `(4, count)` in pixels, anywhere in images of `size` pixels on each side.

    Shares of the `area` are equally likely. A side is at most the `largest`; what does not fit in ten attempts has
    height and width 0.
    """
    shape = (ATTEMPTS, count)
    low, high = area
    pixels = (low + (high - low) * torch.rand(shape, generator=random, dtype=torch.float64)) * size * size
    shape_of = math.log(ratio) * (2 * torch.rand(shape, generator=random, dtype=torch.float64) - 1)
    sides = torch.stack([(pixels * shape_of.exp()).sqrt().round(), (pixels / shape_of.exp()).sqrt().round()])
    fits = (sides <= largest).all(dim=0)
    first = fits.int().argmax(dim=0)
    height, width = sides.gather(1, first.expand(2, 1, count)).squeeze(1) * fits.any(dim=0)
    corner = torch.rand(2, count, generator=random, dtype=torch.float64)
    top, left = (corner * (size + 1 - torch.stack([height, width]))).floor()
    return torch.stack([top, left, height, width])


def random_resized_crop(images: Tensor, size: int, scale: float, random: torch.Generator) -> Tensor:
    """Windows of uint8 images `(batch, 3, side, side)`, of at least `scale` of their area, resized to `size` pixels.

    As Pillow resizes them, linearly or by cubic convolution at random. Draws from a CPU generator.
    """
    count, side = len(images), images.shape[-1]
    boxes = draw_boxes(count, side, (scale, 1.0), CROP_RATIO, side, random)
    boxes[2:] = torch.where(boxes[2:] == 0, side, boxes[2:])  # the whole image
    is_cubic = torch.randint(2, (count,), generator=random).bool()
    top, left, height, width = (axis.float() for axis in to_device(boxes, images.device))
    cubic = to_device(is_cubic, images.device)
    across = images.float() @ _resizing(left, width, side, size, cubic)[:, None].mT
    across = across.round_().clamp_(0, 255)  # between its two passes, Pillow keeps whole grey levels
    resized: Tensor = _resizing(top, height, side, size, cubic)[:, None] @ across
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _resizing(start: Tensor, length: Tensor, side: int, size: int, cubic: Tensor) -> Tensor:
    """Matrices `(batch, size, side)` that make `size` pixels of those from `start` on, `length` many."""
    ratio = (length / size)[:, None, None]
    widened = ratio.clamp(min=1)  # so that what becomes smaller is smoothed
    pixels = torch.arange(side, device=start.device) - start[:, None]
    wanted = torch.arange(size, device=start.device)[:, None] + 0.5
    x = ((pixels[:, None] + 0.5 - wanted * ratio) / widened).abs()
    linear = (1 - x).clamp(min=0)
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    convolved = torch.where(x < 1, near, torch.where(x < 2, far, 0))
    weights = torch.where(cubic[:, None, None], convolved, linear)
    weights = weights * ((pixels >= 0) & (pixels < length[:, None]))[:, None]
    return weights / weights.sum(dim=-1, keepdim=True)


def erased_areas(count: int, size: int, probability: float, random: torch.Generator, device: torch.device) -> Tensor:
    """Which pixels are erased in each of `count` images, true in one box of some of them: `(count, 1, size, size)`."""
    boxes = draw_boxes(count, size, ERASED_AREA, ERASED_RATIO, size - 1, random)
    boxes[2:] *= torch.rand(count, generator=random) <= probability
    top, left, height, width = to_device(boxes, device)[:, :, None]
    pixels = torch.arange(size, device=device)
    rows, columns = (pixels >= top) & (pixels < top + height), (pixels >= left) & (pixels < left + width)
    areas: Tensor = rows[:, :, None] & columns[:, None]
    return areas[:, None]
