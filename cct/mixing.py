"""What the reference's training script does to whole batches: mixup, CutMix and random erasing."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cct.boxes import erased_areas
from cct.seeds import seed_of
from cct.spec import RunSpec


class Mix(NamedTuple):
    """How the images of a batch are mixed with those of the batch in reverse order."""

    share: float
    """How much of the label is the image's own."""
    box: tuple[int, int, int, int] | None
    """Top, bottom, left and right of what comes from the other image; None if both are blended."""


class BatchAugmentation:
    """Mixes and erases the batches of one epoch, counted from 0, one after the other; by default it does neither.

    What it draws depends on the seed and the epoch only, and for a mix on the batch's number.
    """

    def __init__(
        self, spec: RunSpec, epoch: int, classes: int, normalise: Callable[[Tensor], Tensor], device: torch.device
    ) -> None:
        self._spec, self._classes, self._normalise = spec, classes, normalise
        self._has_targets = spec.mixup > 0 or spec.cutmix > 0
        self._mixes = self._has_targets and not 0 < spec.mixup_off_epoch <= epoch
        self._mixing = np.random.default_rng(seed_of(spec.seed, "mixing", epoch))
        self._erasing = torch.Generator().manual_seed(seed_of(spec.seed, "erasing", epoch))
        self._noise = torch.Generator(device).manual_seed(seed_of(spec.seed, "noise", epoch))

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of uint8 images and int64 labels as the step takes it.

        With mixing, labels become shares of the classes `(batch, classes)`, also in epochs that mix no more; with
        erasing, images become normalised ones, for what is erased becomes normally distributed noise then.
        """
        if self._has_targets:
            mix = draw_mix(self._spec, images.shape[-1], self._mixing) if self._mixes else Mix(1.0, None)
            images, labels = mixed(images, mix), mixed_labels(labels, mix, self._classes)
        if self._spec.random_erasing:
            images = self._normalise(images)
            size = images.shape[-1]
            areas = erased_areas(len(images), size, self._spec.random_erasing, self._erasing, images.device)
            noise = torch.empty_like(images).normal_(generator=self._noise)
            images = torch.where(areas, noise, images)
        return images, labels


def draw_mix(spec: RunSpec, size: int, random: np.random.Generator) -> Mix:
    """Mixup or CutMix for a batch of images of `size` pixels on each side, as the spec's probabilities say."""
    cuts = spec.cutmix > 0 and (spec.mixup == 0 or random.random() < spec.mixup_switch_prob)
    alpha = spec.cutmix if cuts else spec.mixup
    share = float(random.beta(alpha, alpha))
    if not cuts:
        return Mix(share, None)
    side = int(size * (1 - share) ** 0.5)
    middle = random.integers(size, size=2)
    (top, left), (bottom, right) = (
        [min(max(int(at) + reach, 0), size) for at in middle] for reach in (-(side // 2), (side + 1) // 2)
    )
    return Mix(1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right))


def mixed(images: Tensor, mix: Mix) -> Tensor:
    """uint8 images `(batch, 3, size, size)`, each mixed with the one in its place from the end."""
    others = images.flip(0)
    if mix.box:
        top, bottom, left, right = mix.box
        images = images.clone()
        images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return images
    if mix.share == 1:
        return images
    return (images.float() * mix.share + others.float() * (1 - mix.share)).round().to(torch.uint8)


def mixed_labels(labels: Tensor, mix: Mix, classes: int) -> Tensor:
    """The shares of the classes `(batch, classes)` in images that were mixed, before labels are smoothed."""
    own = F.one_hot(labels, classes).float()
    return own * mix.share + own.flip(0) * (1 - mix.share)
