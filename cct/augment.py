"""The reference's augmentation, executed on whole chunks of the epoch: AutoAugment, random crop, horizontal flip.

AutoAugment draws one of 25 sub-policies per image (Cubuk et al. 2019, "AutoAugment", table 7); images that drew the
same operation and magnitude are transformed together. The distribution is that of torchvision's per-image transform,
with grey where a geometric operation uncovers the border, as in the reference.
"""

from collections.abc import Callable
from math import degrees

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.v2 import functional as F

POLICIES: list[list[tuple[str, float, int | None]]] = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
"""25 sub-policies of two operations (name, probability, magnitude level 0 to 9)."""

CROP_PADDING = 4
"""Pixels on each side for images of 32 pixels; other sizes in proportion."""

GREY = [128.0]


def augment(images: Tensor, kind: str, random: torch.Generator) -> Tensor:
    """Augments uint8 images `(batch, 3, size, size)` as `kind` of `AUGMENTATIONS` says; draws from a CPU generator."""
    if kind == "autoaugment":
        images = autoaugment(images, random)
    if kind != "none":
        images = random_crop(images, images.shape[-1] * CROP_PADDING // 32, random)
    if kind in ("autoaugment", "crop_flip"):
        flipped = torch.rand(len(images), generator=random) < 0.5
        images = torch.where(flipped.to(images.device)[:, None, None, None], images.flip(-1), images)
    return images


def random_crop(images: Tensor, padding: int, random: torch.Generator) -> Tensor:
    """Shifts each image by up to `padding` pixels in each direction, filling with black."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, count), generator=random).to(images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device)
    return padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def autoaugment(images: Tensor, random: torch.Generator) -> Tensor:
    """Applies to each image a sub-policy drawn for it; returns a new tensor."""
    count = len(images)
    images = images.clone()
    policy = torch.randint(len(POLICIES), (count,), generator=random)
    chance = torch.rand(count, 2, generator=random)
    negative = torch.rand(count, 2, generator=random) < 0.5
    for position in (0, 1):
        groups: dict[tuple[str, float], Tensor] = {}
        for number, sub_policy in enumerate(POLICIES):
            name, probability, level = sub_policy[position]
            drawn = (policy == number) & (chance[:, position] <= probability)
            size = magnitude(name, level, images.shape[-1])
            for sign in (1, -1) if name in SIGNED else (1,):
                chosen = drawn & (negative[:, position] == (sign < 0)) if name in SIGNED else drawn
                group = (name, sign * size)
                groups[group] = groups[group] | chosen if group in groups else chosen
        for (name, size), members in groups.items():
            index = members.nonzero().squeeze(1).to(images.device)
            if len(index):
                images[index] = OPERATIONS[name](images[index], size)
    return images


def magnitude(name: str, level: int | None, image_size: int) -> float:
    """The strength of an operation at a level from 0 to 9: radians-free units of `OPERATIONS`, unsigned."""
    share = (level or 0) / 9
    match name:
        case "ShearX" | "ShearY":
            return 0.3 * share
        case "TranslateX" | "TranslateY":
            return 150 / 331 * image_size * share
        case "Rotate":
            return 30 * share
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            return 0.9 * share
        case "Posterize":
            return 8 - round(4 * share)
        case "Solarize":
            return 255 * (1 - share)
        case _:
            return 0


SIGNED = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"}
"""Operations whose magnitude has either sign with equal probability."""


def _affine(images: Tensor, translate: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)) -> Tensor:
    moved: Tensor = F.affine(
        images,
        angle=0.0,
        translate=[int(translate[0]), int(translate[1])],
        scale=1.0,
        shear=[degrees(torch.tensor(shear[0]).atan().item()), degrees(torch.tensor(shear[1]).atan().item())],
        interpolation=InterpolationMode.NEAREST,
        fill=GREY,
        center=[0.0, 0.0] if any(shear) else None,
    )
    return moved


OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": lambda x, m: _affine(x, shear=(m, 0)),
    "ShearY": lambda x, m: _affine(x, shear=(0, m)),
    "TranslateX": lambda x, m: _affine(x, translate=(m, 0)),
    "TranslateY": lambda x, m: _affine(x, translate=(0, m)),
    "Rotate": lambda x, m: F.rotate(x, m, interpolation=InterpolationMode.NEAREST, fill=GREY),
    "Brightness": lambda x, m: F.adjust_brightness(x, 1 + m),
    "Color": lambda x, m: F.adjust_saturation(x, 1 + m),
    "Contrast": lambda x, m: F.adjust_contrast(x, 1 + m),
    "Sharpness": lambda x, m: F.adjust_sharpness(x, 1 + m),
    "Posterize": lambda x, m: F.posterize(x, int(m)),
    "Solarize": lambda x, m: F.solarize(x, m),
    "AutoContrast": lambda x, _: F.autocontrast(x),
    "Equalize": lambda x, _: F.equalize(x),
    "Invert": lambda x, _: F.invert(x),
}
