"""timm's RandAugment as `rand-m9-mstd0.5-inc1`, executed on whole chunks of the epoch.

Twice, each image draws one of 15 operations, which is executed with probability 1/2, at a magnitude from a normal
distribution of mean 9 and standard deviation 0.5, cut to 0 to 10. Images that drew the same operation are transformed
together, each at its own magnitude, as Pillow does it: fractions of grey levels are cut off, not rounded.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from cct.data import to_device

LAYERS, PROBABILITY, MAGNITUDE, DEVIATION, HIGHEST = 2, 0.5, 9.0, 0.5, 10.0
TRANSLATED = 0.45
"""The share of an image's side by which the highest magnitude translates."""


def randaugment(images: Tensor, random: torch.Generator, fill: Tensor) -> Tensor:
    """Applies the operations drawn for each of the uint8 images `(batch, 3, size, size)`; returns a new tensor.

    `fill` is the colour `(3,)`, uint8, of what comes in from outside; draws from a CPU generator.
    """
    images, count = images.clone(), len(images)
    for _ in range(LAYERS):
        operation = torch.randint(len(OPERATIONS), (count,), generator=random)
        is_applied = torch.rand(count, generator=random) <= PROBABILITY
        level = draw_magnitudes(count, random)
        sign = 1 - 2 * torch.randint(2, (count,), generator=random)
        is_cubic = torch.randint(2, (count,), generator=random).bool()
        for number, (name, (_, operate)) in enumerate(OPERATIONS.items()):
            for cubic in (False, True) if name in RESAMPLING else (False,):
                chosen = is_applied & (operation == number)
                members = (chosen & (is_cubic == cubic) if name in RESAMPLING else chosen).nonzero().squeeze(1)
                if len(members):
                    strength = to_device(argument(name, level[members], sign[members]), images.device)
                    index = to_device(members, images.device)
                    images[index] = operate(images[index], strength, cubic, fill)
    return images


def draw_magnitudes(count: int, random: torch.Generator) -> Tensor:
    """How strong the operations on each image are, from 0 to 10, float64."""
    drawn = torch.randn(count, generator=random, dtype=torch.float64)
    return (MAGNITUDE + DEVIATION * drawn).clamp(0, HIGHEST)


def argument(name: str, level: Tensor, sign: Tensor) -> Tensor:
    """What an operation makes of magnitudes `(count,)` and signs, in its own unit (see `OPERATIONS`)."""
    return OPERATIONS[name][0](level / HIGHEST, sign.to(level))


def _none(share: Tensor, sign: Tensor) -> Tensor:
    return share


def _factor(share: Tensor, sign: Tensor) -> Tensor:
    return (1 + sign * 0.9 * share).clamp(min=0.1)


# What the images are: `(count, 3, size, size)`; an argument each, `(count,)`; whether to interpolate by cubic
# convolution or linearly; the colour of the outside.


def _shear(images: Tensor, slope: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    pixels = _centres(images)
    return _along_rows(images, pixels + slope[:, None, None] * pixels[:, None], cubic, fill)


def _translate(images: Tensor, share: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    size = images.shape[-1]
    source = _centres(images) + size * share[:, None, None]
    return _along_rows(images, source.expand(-1, size, -1), cubic, fill)


def _transposed(operate: "Operation") -> "Operation":
    return lambda images, strength, cubic, fill: operate(images.mT, strength, cubic, fill).mT


def _rotate(images: Tensor, degrees: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    """Turns images counter-clockwise around their middle."""
    half = images.shape[-1] / 2
    centre = _centres(images) - half
    cosine, sine = (f(degrees.deg2rad())[:, None, None] for f in (torch.cos, torch.sin))
    column = cosine * centre - sine * centre[:, None] + half
    row = sine * centre + cosine * centre[:, None] + half
    return _resampled(images, row, column, cubic, fill)


def _along_rows(images: Tensor, column: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    """Takes each pixel from a place `(count, size, size)` in its own row."""
    return _resampled(images, None, column, cubic, fill)


def _resampled(images: Tensor, row: Tensor | None, column: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    """Takes each pixel from its place of origin `(count, size, size)`, in pixels from the upper left corner."""
    size = images.shape[-1]
    source = images.flatten(2).float()
    own = (torch.arange(size, device=images.device)[:, None], torch.ones((), device=images.device))
    rows = _taps(row, cubic, size) if row is not None else [own]
    columns = _taps(column, cubic, size)
    values = torch.zeros(images.shape, device=images.device)
    for at_row, row_weight in rows:
        for at_column, weight in columns:
            index = (at_row * size + at_column).flatten(1)
            taken = source.gather(-1, index[:, None].expand(-1, 3, -1)).view_as(images)
            values += taken * (weight * row_weight)[:, None]
    is_inside = (column >= 0) & (column < size)
    if row is not None:
        is_inside &= (row >= 0) & (row < size)
    cut = (values + 1e-3).clamp(0, 255)  # what is a whole number in exact arithmetic must not become the one below
    return torch.where(is_inside[:, None], cut.to(torch.uint8), fill[:, None, None])


def _taps(place: Tensor, cubic: bool, size: int) -> list[tuple[Tensor, Tensor]]:
    """The pixels around places along one axis, and their weights: cubic convolution (Keys 1981) with a = -1."""
    first = (place - 0.5).floor()
    d = (place - 0.5 - first).float()
    weights: tuple[Tensor, ...] = (1 - d, d)
    if cubic:
        weights = (d * (d * (2 - d) - 1), d * d * (d - 2) + 1, d * (d * (1 - d) + 1), d * d * (d - 1))
    offsets = range(-1, 3) if cubic else range(2)
    return [
        ((first.long() + offset).clamp(0, size - 1), weight) for offset, weight in zip(offsets, weights, strict=True)
    ]


def _centres(images: Tensor) -> Tensor:
    return torch.arange(images.shape[-1], device=images.device, dtype=torch.float64) + 0.5


def _posterize(images: Tensor, bits: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    kept = (256 - 2 ** (8 - bits)).to(torch.uint8)
    return images & kept[:, None, None, None]


def _solarize(images: Tensor, threshold: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    return torch.where(images < threshold[:, None, None, None], images, 255 - images)


def _solarize_add(images: Tensor, added: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    brighter = (images + added[:, None, None, None]).clamp(max=255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Blends from `other` at factor 0 to the images at 1, and beyond."""
    other = other.float()
    values = other + factor[:, None, None, None].float() * (images.float() - other)
    return values.clamp(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """The brightness of each pixel in whole grey levels, `(count, 1, size, size)`."""
    red, green, blue = images.int().unbind(1)
    return ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16)[:, None]


def _contrast(images: Tensor, factor: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    mean = _grey(images).double().mean(dim=(1, 2, 3), keepdim=True)
    return _blend(images, (mean + 0.5).floor(), factor)


def _sharpen(images: Tensor, factor: Tensor, cubic: bool, fill: Tensor) -> Tensor:
    """Against smoothed images, where a pixel counts 5, its neighbours 1; borders stay."""
    smooth = images.float()
    inner = smooth[..., 1:-1, 1:-1]
    inner.copy_(((torch.nn.functional.avg_pool2d(images.float(), 3, 1, divisor_override=1) + 4 * inner) / 13).round())
    return _blend(images, smooth, factor)


Argument = Callable[[Tensor, Tensor], Tensor]
Operation = Callable[[Tensor, Tensor, bool, Tensor], Tensor]

OPERATIONS: dict[str, tuple[Argument, Operation]] = {
    "AutoContrast": (_none, lambda images, *_: F.autocontrast(images)),
    "Equalize": (_none, lambda images, *_: F.equalize(images)),
    "Invert": (_none, lambda images, *_: F.invert(images)),
    "Rotate": (lambda share, sign: 30 * sign * share, _rotate),  # degrees
    "PosterizeIncreasing": (lambda share, _: 4 - (4 * share).floor(), _posterize),  # bits that are kept
    "SolarizeIncreasing": (lambda share, _: 256 - (256 * share).floor(), _solarize),  # threshold in grey levels
    "SolarizeAdd": (lambda share, _: (110 * share).floor(), _solarize_add),  # grey levels
    "ColorIncreasing": (_factor, lambda images, factor, *_: _blend(images, _grey(images), factor)),
    "ContrastIncreasing": (_factor, _contrast),
    "BrightnessIncreasing": (_factor, lambda images, factor, *_: _blend(images, torch.zeros_like(images), factor)),
    "SharpnessIncreasing": (_factor, _sharpen),
    "ShearX": (lambda share, sign: 0.3 * sign * share, _shear),  # a slope
    "ShearY": (lambda share, sign: 0.3 * sign * share, _transposed(_shear)),
    "TranslateXRel": (lambda share, sign: TRANSLATED * sign * share, _translate),  # a share of the image's side
    "TranslateYRel": (lambda share, sign: TRANSLATED * sign * share, _transposed(_translate)),
}
"""What each operation makes of a magnitude, and what it does to images."""

RESAMPLING = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
"""Operations that interpolate, half of the time by cubic convolution."""
