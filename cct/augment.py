"""The reference's augmentation, executed on whole chunks of the epoch: AutoAugment, random crop, horizontal flip.

AutoAugment draws one of 25 sub-policies per image (Cubuk et al. 2019, "AutoAugment", table 7); images that drew the
same operation and magnitude are transformed together. The distribution is that of the reference's per-image transform.
torchvision's differs from it: it cuts translations to whole pixels instead of rounding them, rotates either way,
shears without interpolation, solarises from 255 instead of 256, and leaves black where the border is uncovered.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as F

from cct.boxes import random_resized_crop
from cct.data import to_device
from cct.randaugment import randaugment
from cct.spec import FLIPS

POLICIES: list[list[tuple[str, float, int | None]]] = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
"""25 sub-policies of two operations (name, probability, magnitude level 0 to 9)."""

CROP_PADDING = 4
"""Pixels on each side for images of 32 pixels; other sizes in proportion."""

GREY = 128


def augment(
    images: Tensor,
    kind: str,
    random: torch.Generator,
    wanted: int | None = None,
    scale: float = 1.0,
    fill: tuple[float, ...] = (GREY / 255,) * 3,
) -> Tensor:
    """Augments uint8 images `(batch, 3, size, size)` as `kind` of `AUGMENTATIONS` says; draws from a CPU generator.

    Images that are larger than the `wanted` size are cropped to it; others are padded first and keep their size. With a
    `scale` below 1, windows of that share of the area or more are resized instead. `fill` is the colour, from 0 to 1,
    that RandAugment brings in from outside.
    """
    size = images.shape[-1]
    if kind == "autoaugment":
        images = autoaugment(images, random)
    if kind != "none" and scale < 1:
        images = random_resized_crop(images, min(size, wanted or size), scale, random)
    elif kind != "none" and wanted is not None and size > wanted:
        images = random_crop(images, wanted, 0, random)
    elif kind != "none":
        images = random_crop(images, size, size * CROP_PADDING // 32, random)
    if kind in FLIPS:
        images = random_flip(images, random)
    if kind == "randaugment":
        colour = to_device((255 * torch.tensor(fill)).round().to(torch.uint8), images.device)
        images = randaugment(images, random, colour)
    return images


def random_crop(images: Tensor, size: int, padding: int, random: torch.Generator) -> Tensor:
    """A window of `size` pixels on each side, anywhere in each image after `padding` pixels of black on each side."""
    count, places = len(images), images.shape[-1] + 2 * padding - size + 1
    windows = torch.nn.functional.pad(images, [padding] * 4).unfold(2, size, 1).unfold(3, size, 1)
    top, left = to_device(torch.randint(places, (2, count), generator=random), images.device)
    return windows[torch.arange(count, device=images.device), :, top, left]


def centre_crop(images: Tensor, size: int) -> Tensor:
    """The middle of images that are larger than `size` pixels on each side; others as they are."""
    margin = max(0, images.shape[-1] - size) // 2
    return images[..., margin : margin + size, margin : margin + size]


def random_flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Mirrors each image left to right with probability 1/2."""
    flipped = to_device(torch.rand(len(images), generator=random) < 0.5, images.device)
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)


def autoaugment(images: Tensor, random: torch.Generator) -> Tensor:
    """Applies to each image a sub-policy drawn for it; returns a new tensor."""
    images = images.clone()
    for groups in draw_operations(len(images), images.shape[-1], random):
        index = to_device(torch.cat(list(groups.values())), images.device)
        counts = [len(members) for members in groups.values()]
        for (name, size), members in zip(groups, torch.split(index, counts), strict=True):
            images[members] = OPERATIONS[name](images[members], size)
    return images


def draw_operations(count: int, image_size: int, random: torch.Generator) -> list[dict[tuple[str, float], Tensor]]:
    """First and second operation for each of `count` images: the images' numbers by operation and signed magnitude."""
    sub_policy = torch.randint(len(POLICIES), (count,), generator=random)
    chance = torch.rand(count, 2, generator=random)
    negative = torch.randint(2, (count, 2), generator=random).bool()
    drawn: list[dict[tuple[str, float], Tensor]] = []
    for position in (0, 1):
        members: dict[tuple[str, float], list[Tensor]] = {}
        for number, operations in enumerate(POLICIES):
            name, probability, level = operations[position]
            applied = (sub_policy == number) & (chance[:, position] <= probability)
            strength = magnitude(name, level, image_size)
            for sign, signed in ((1, ~negative[:, position]), (-1, negative[:, position])):
                group = (name, sign * strength if name in SIGNED else strength)
                members.setdefault(group, []).append((applied & signed).nonzero().squeeze(1))
        drawn.append({group: torch.cat(parts) for group, parts in members.items()})
    return [{group: images for group, images in groups.items() if len(images)} for groups in drawn]


def magnitude(name: str, level: int | None, image_size: int) -> float:
    """The strength of an operation at a level from 0 to 9, without its sign.

    Shear as a slope, translation in whole pixels, rotation in degrees, the four adjustments as a change of a
    factor of 1, posterisation as the bits that are kept, solarisation as a threshold; the others have none.
    """
    share = (level or 0) / 9
    match name:
        case "ShearX" | "ShearY":
            return 0.3 * share
        case "TranslateX" | "TranslateY":
            return round(150 / 331 * image_size * share)
        case "Rotate":
            return 30 * share
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            return 0.9 * share
        case "Posterize":
            return 8 - round(4 * share)
        case "Solarize":
            return min(255, 256 * (1 - share))
        case _:
            return 0


SIGNED = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Brightness", "Color", "Contrast", "Sharpness"}
"""Operations whose magnitude has either sign with equal probability."""


# Where torchvision's operation copies constants from the host in each call, for which a GPU's queue must run empty, or
# does not compute what the reference does, it is written out here.


def _translate(images: Tensor, x: int = 0, y: int = 0) -> Tensor:
    """Shifts images to the right and down by whole pixels."""
    height, width = images.shape[-2:]
    moved = torch.full_like(images, GREY)
    kept = images[..., max(0, -y) : height - y, max(0, -x) : width - x]
    moved[..., max(0, y) : height + y, max(0, x) : width + x] = kept
    return moved


def _rotate(images: Tensor, degrees: float) -> Tensor:
    """Turns images counter-clockwise around their middle; each pixel is the one that its centre comes from."""
    size, angle = images.shape[-1], math.radians(degrees)
    centre = torch.arange(size, device=images.device, dtype=torch.float64) + 0.5 - size / 2
    x, y = centre, centre[:, None]
    column = (math.cos(angle) * x - math.sin(angle) * y + size / 2).floor().long()
    row = (math.sin(angle) * x + math.cos(angle) * y + size / 2).floor().long()
    is_inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    source = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)
    turned = images.flatten(2).index_select(-1, source.flatten()).view_as(images)
    return torch.where(is_inside, turned, GREY)


def _sharpen(images: Tensor, change: float) -> Tensor:
    """Moves images away from smoothed ones or towards them, where a pixel counts 5, its neighbours 1; borders stay."""
    pixels = images.float()
    inner = pixels[..., 1:-1, 1:-1]
    smooth = ((torch.nn.functional.avg_pool2d(pixels, 3, 1, divisor_override=1) + 4 * inner) / 13).round()
    inner.add_(smooth - inner, alpha=-change)
    return pixels.clamp(0, 255).to(torch.uint8)


def _shear(images: Tensor, slope: float) -> Tensor:
    """Shifts row i by (i + 1/2) slope pixels, by cubic convolution (Keys 1981) with a = -1, as Pillow does."""
    pixels = torch.arange(images.shape[-1], device=images.device) + 0.5
    source = pixels + slope * pixels[:, None]
    first = (source - 0.5).floor()
    d = source - 0.5 - first
    weights = (d * (d * (2 - d) - 1), d * d * (d - 2) + 1, d * (d * (1 - d) + 1), d * d * (d - 1))
    values = torch.zeros(images.shape, device=images.device)
    for offset, weight in enumerate(weights, start=-1):
        column = (first.long() + offset).clamp(0, len(pixels) - 1)
        values += weight * images.gather(-1, column.expand(images.shape))
    values = values.clamp(0, 255)  # whose fraction is then cut off
    return torch.where((source >= 0) & (source < len(pixels)), values, GREY).to(torch.uint8)


OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": _shear,
    "ShearY": lambda images, slope: _shear(images.mT, slope).mT,
    "TranslateX": lambda images, pixels: _translate(images, x=int(pixels)),
    "TranslateY": lambda images, pixels: _translate(images, y=int(pixels)),
    "Rotate": _rotate,
    "Brightness": lambda images, change: F.adjust_brightness(images, 1 + change),
    "Color": lambda images, change: F.adjust_saturation(images, 1 + change),
    "Contrast": lambda images, change: F.adjust_contrast(images, 1 + change),
    "Sharpness": _sharpen,
    "Posterize": lambda images, bits: F.posterize(images, int(bits)),
    "Solarize": lambda images, threshold: F.solarize(images, threshold),
    "AutoContrast": lambda images, _: F.autocontrast(images),
    "Equalize": lambda images, _: F.equalize(images),
    "Invert": lambda images, _: F.invert(images),
}
"""What each operation does to images `(batch, 3, size, size)` at one magnitude."""
