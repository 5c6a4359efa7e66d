"""What a difference would be on other images: against a two-way bootstrap, and how often the interval covers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.analysis.images import elsewhere

Bits = NDArray[np.bool_]


def _runs(
    random: np.random.Generator, seeds: int, images: int, of_seeds: float, of_images: float, gain: float = 0.0
) -> tuple[Bits, Bits]:
    """Two variants whose logits have effects of images (some of them shared), of seeds, and of both at once."""
    shared = random.normal(1.0, 1.5, images)

    def variant(gain: float) -> Bits:
        own = random.normal(0, of_images, images) + random.normal(0, of_seeds, (seeds, 1))
        return (shared + own + gain + random.normal(0, 0.5, (seeds, images))) > 0

    return variant(gain), variant(0.0)


def test_parts_agree_with_a_two_way_bootstrap() -> None:
    random = np.random.default_rng(1)
    variant, baseline = _runs(random, seeds=40, images=400, of_seeds=0.15, of_images=0.4)
    found = elsewhere(variant, baseline)

    table = 100.0 * (variant.astype(float) - baseline)

    def spread(draw_seeds: bool, draw_images: bool) -> float:
        means = []
        for _ in range(1000):
            rows = random.integers(0, 40, 40) if draw_seeds else np.arange(40)
            columns = random.integers(0, 400, 400) if draw_images else np.arange(400)
            means.append(table[rows][:, columns].mean())
        return float(np.var(means))

    # Drawing one side leaves what remains in its part; drawing both counts it thrice (Owen 2007).
    assert spread(True, False) == pytest.approx(found.from_seeds + found.from_both, rel=0.2)
    assert spread(False, True) == pytest.approx(found.from_images + found.from_both, rel=0.2)
    assert spread(True, True) == pytest.approx(found.variance + 2 * found.from_both, rel=0.2)
    assert found.mean == pytest.approx(table.mean())


@pytest.mark.parametrize(("of_seeds", "of_images"), [(0.2, 0.4), (0.0, 0.4), (0.3, 0.0)])
@pytest.mark.parametrize("seeds", [3, 10])
def test_interval_covers_the_true_difference(seeds: int, of_seeds: float, of_images: float) -> None:
    """Alike variants differ by 0 on average over all seeds and images."""
    random = np.random.default_rng(2)
    worlds = 400
    covered = 0
    for _ in range(worlds):
        found = elsewhere(*_runs(random, seeds, 360, of_seeds, of_images))
        covered += found.low <= 0 <= found.high
    assert covered / worlds >= 0.95 - 3 * (0.95 * 0.05 / worlds) ** 0.5


def test_more_seeds_never_shrink_the_part_of_images() -> None:
    random = np.random.default_rng(3)
    few, many = (elsewhere(*_runs(random, seeds, 2000, 0.1, 0.5)) for seeds in (5, 100))
    assert many.from_seeds < few.from_seeds / 5
    assert many.from_images == pytest.approx(few.from_images, rel=0.3)
    assert many.share_of_images > few.share_of_images


def test_equal_tables_leave_no_doubt_and_unusable_ones_are_refused() -> None:
    bits = np.random.default_rng(4).random((3, 50)) > 0.2
    found = elsewhere(bits, bits)
    assert (found.mean, found.low, found.high, found.share_of_images) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="2 seeds and 2 images"):
        elsewhere(bits[:1], bits[:1])
    with pytest.raises(ValueError, match="differ in shape"):
        elsewhere(bits, bits[:2])
