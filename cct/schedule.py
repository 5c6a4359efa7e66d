"""The learning rate by epoch. Standard library only, never torch."""

import math

from cct.spec import RunSpec


def learning_rate(spec: RunSpec, epoch: int) -> float:
    """The rate of an epoch counted from 0: lr / (warmup - epoch) while warming up, then half a cosine from lr to 0."""
    if epoch < spec.warmup_epochs:
        return spec.lr / (spec.warmup_epochs - epoch)
    share = (epoch - spec.warmup_epochs) / (spec.epochs - spec.warmup_epochs)
    return spec.lr * 0.5 * (1 + math.cos(math.pi * share))
