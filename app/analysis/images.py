"""Which validation images make the difference between two variants, and what it would be on others of their kind.

A verdict is about seeds: it takes the validation images as given. Which images these are is a chance of its own, which
no number of seeds takes away. Both are told apart here by crossed random effects. NumPy and SciPy are imported late:
they take half a second, which the API's start does not have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import Conflict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHA = 0.05
"""Intervals cover 1 - ALPHA."""


LISTED = 200
"""Images at most that are named one by one."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one run said of its validation images; arrays with a value by image, in the order of the dataset."""

    label: "NDArray[np.int32]"
    predicted: "NDArray[np.int32]"


@dataclass(frozen=True, slots=True)
class Mistaken:
    """An image that one variant gets right with all seeds and another with none."""

    image: int
    """Its number in the order of the validation images."""
    label: int
    taken_for: list[int]
    """What the other variant took it for, by seed."""


@dataclass(frozen=True, slots=True)
class ElsewhereDifference:
    """A difference in points of top-1 with the variances of its parts, in squared points."""

    mean: float
    seeds: int
    images: int
    from_seeds: float
    """The part that more seeds shrink: the variance over seeds of the mean over images, divided by the seeds."""
    from_images: float
    """The part that only more images shrink."""
    from_both: float
    """The part of what a single seed does to a single image; it shrinks with either."""
    low: float
    """Lower end of the 95 % confidence interval for other seeds and other images."""
    high: float
    """Its upper end."""

    @property
    def variance(self) -> float:
        """The variance of the difference over other seeds and other images, in squared points."""
        return self.from_seeds + self.from_images + self.from_both

    @property
    def share_of_images(self) -> float:
        """The share of the variance that more seeds never shrink; 0 without any variance."""
        return self.from_images / self.variance if self.variance else 0.0


@dataclass(frozen=True, slots=True)
class ByImage:
    """Two variants by validation image, over the seeds that both have completed."""

    variant: str
    baseline: str
    seeds: list[int]
    images: int
    class_names: list[str]
    """The classes' names in the order of their labels."""
    difference: ElsewhereDifference | None
    """What it would be with other seeds and on other images of the same kind, in points; null with a single seed."""
    won: int
    """Images that the variant gets right with all seeds and the baseline with none."""
    lost: int
    """Those that the baseline gets right with all seeds and the variant with none."""
    won_images: list[Mistaken]
    """The first of them."""
    lost_images: list[Mistaken]


def by_image(
    variant: str,
    baseline: str,
    said: Sequence[Said],
    said_by_baseline: Sequence[Said],
    seeds: Sequence[int],
    class_names: Sequence[str],
) -> ByImage:
    """What was said by both variants, with each of the seeds. Raises `Conflict` if it was not of the same images."""
    import numpy as np

    label = said[0].label
    if any(not np.array_equal(label, one.label) for one in (*said, *said_by_baseline)):
        raise Conflict(f"{variant} and {baseline} were not validated on the same images")
    mine, theirs = (np.stack([one.predicted for one in side]) for side in (said, said_by_baseline))
    right, baseline_right = mine == label, theirs == label
    won = (right.all(axis=0) & ~baseline_right.any(axis=0)).nonzero()[0]
    lost = (baseline_right.all(axis=0) & ~right.any(axis=0)).nonzero()[0]

    def listed(images: "NDArray[np.intp]", others: "NDArray[np.int32]") -> list[Mistaken]:
        return [Mistaken(int(one), int(label[one]), others[:, one].tolist()) for one in images[:LISTED]]

    return ByImage(
        variant=variant,
        baseline=baseline,
        seeds=list(seeds),
        images=len(label),
        class_names=list(class_names),
        difference=elsewhere(right, baseline_right) if len(seeds) > 1 and len(label) > 1 else None,
        won=len(won),
        lost=len(lost),
        won_images=listed(won, theirs),
        lost_images=listed(lost, mine),
    )


def elsewhere(variant: "NDArray[np.bool_]", baseline: "NDArray[np.bool_]") -> ElsewhereDifference:
    """The difference of two variants' correctness `(seeds, images)`, seeds and images in the same order in both.

    Both seeds and images count as drawn at random. With mean squares over seeds, images and what remains (a two-way
    table with one value in each cell), components are estimated, and cut off at zero. In the interval the seeds'
    part and the images' part each have the t quantile of their own degrees of freedom (after Cochran). Degrees of
    freedom for the sum, after Satterthwaite, cover only 90 % with 3 seeds: where seeds differ little by chance,
    they take the many degrees of the images.

    Raises `ValueError` for tables of unequal shape, and for fewer than 2 seeds or 2 images.
    """
    import numpy as np
    from scipy.special import stdtrit

    if variant.shape != baseline.shape:
        raise ValueError(f"the tables differ in shape: {variant.shape} and {baseline.shape}")
    seeds, images = variant.shape
    if seeds < 2 or images < 2:
        raise ValueError(f"2 seeds and 2 images are needed at least, not {seeds} and {images}")

    table = 100 * (variant.astype(np.float64) - baseline)
    mean = float(table.mean())
    by_seed, by_image = table.mean(axis=1), table.mean(axis=0)
    remains = table - by_seed[:, None] - by_image[None, :] + mean
    of_seeds = images * float(by_seed.var(ddof=1))
    of_images = seeds * float(by_image.var(ddof=1))
    of_both = float(np.square(remains).sum()) / ((seeds - 1) * (images - 1))

    cells = seeds * images
    from_seeds = max(0.0, of_seeds - of_both) / cells
    from_images = max(0.0, of_images - of_both) / cells
    from_both = of_both / cells
    variance = from_seeds + from_images + from_both
    if not variance:
        return ElsewhereDifference(mean, seeds, images, 0.0, 0.0, 0.0, mean, mean)

    def quantile(number: int) -> float:
        return float(stdtrit(number - 1, 1 - ALPHA / 2))

    half = math.hypot(quantile(seeds) * math.sqrt(from_seeds + from_both), quantile(images) * math.sqrt(from_images))
    return ElsewhereDifference(mean, seeds, images, from_seeds, from_images, from_both, mean - half, mean + half)
