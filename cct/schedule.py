"""The learning rate by epoch. Standard library only, never torch."""

import math

from cct.spec import RunSpec


def learning_rate(spec: RunSpec, epoch: int) -> float:
    """The rate of an epoch counted from 0.

    Schedule bare: lr / (warmup - epoch) while warming up, then half a cosine from lr to 0. Schedule timm: in a straight
    line from warmup_lr to lr while warming up, then what is left of half a cosine from lr to min_lr, which begins with
    epoch 0 and ends where the epochs of cooldown begin; these stay at min_lr.
    """
    if spec.schedule == "timm":
        if epoch < spec.warmup_epochs:
            return spec.warmup_lr + epoch * (spec.lr - spec.warmup_lr) / spec.warmup_epochs
        share = min(1.0, epoch / (spec.epochs - spec.cooldown_epochs))
        return spec.min_lr + 0.5 * (spec.lr - spec.min_lr) * (1 + math.cos(math.pi * share))
    if epoch < spec.warmup_epochs:
        return spec.lr / (spec.warmup_epochs - epoch)
    share = (epoch - spec.warmup_epochs) / (spec.epochs - spec.warmup_epochs)
    return spec.lr * 0.5 * (1 + math.cos(math.pi * share))
