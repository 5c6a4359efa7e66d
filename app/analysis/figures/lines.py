"""What curves are made of: a run's metric by epoch, and statistics over the seeds of a variant."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from math import ceil, inf, log10
from typing import TYPE_CHECKING, Any, Literal, cast

from app.analysis.statistics import ALPHA
from app.errors import Invalid
from app.store.rows import Run
from cct.events import EpochRecord
from cct.named_datasets import DATASETS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Axis = Literal["epoch", "seconds", "images"]
Band = Literal["sd", "ci", "minmax", "none"]


@dataclass(frozen=True, slots=True)
class Line:
    """One run's metric at the epochs that measured it, and where on the x axis these epochs ended."""

    run: Run
    epochs: list[int]
    x: list[float]
    y: list[float]
    smooth: list[float]


def line_of(run: Run, records: Sequence[EpochRecord], metric: str, x: Axis, smoothing: float) -> Line:
    epochs = [record.epoch for record in records]
    ends: list[float] = [*epochs]
    if x == "seconds":
        ends = list(accumulate(record.seconds for record in records))
    elif x == "images":
        per_epoch = train_size(run)
        ends = [epoch * per_epoch for epoch in epochs]
    values = [getattr(record, metric) for record in records]
    measured = [value is not None for value in values]
    y = list(compress(values, measured))
    smooth = _smooth(y, smoothing) if smoothing else y
    return Line(run, list(compress(epochs, measured)), list(compress(ends, measured)), y, smooth)


def train_size(run: Run) -> int:
    """Raises `Invalid` for a dataset that this version does not have."""
    known = DATASETS[run.spec.dataset].train_size if run.spec.dataset in DATASETS else None
    found = (run.provenance or {}).get("train_images", known)  # fewer, if some were held out
    if found is None:
        raise Invalid("x", f"the size of {run.spec.source} is not known here; choose another axis than images")
    return int(found)


def _smooth(values: list[float], weight: float) -> list[float]:
    """Exponential mean; divided by the sum of its weights, so that it does not start at zero."""
    smooth, total, weights = [], 0.0, 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        weights = weight * weights + (1 - weight)
        smooth.append(total / weights)
    return smooth


@dataclass(frozen=True, slots=True)
class Seeds:
    """Statistics over the seeds that have reached an epoch: arrays with a value per epoch."""

    x: "NDArray[Any]"
    """Where the epoch ended, on average."""
    n: "NDArray[Any]"
    mean: "NDArray[Any]"
    sd: "NDArray[Any]"
    """The standard deviation of a sample; 0 of one value."""
    lowest: "NDArray[Any]"
    highest: "NDArray[Any]"

    @classmethod
    def at_each_epoch(cls, lines: Sequence[Line]) -> "Seeds":
        import numpy as np

        epochs = sorted({epoch for line in lines for epoch in line.epochs})
        place = {epoch: column for column, epoch in enumerate(epochs)}
        reached = np.zeros((len(lines), len(epochs)), bool)
        x, y = np.zeros((2, *reached.shape))
        for row, line in enumerate(lines):
            columns = slice(None) if line.epochs == epochs else [place[epoch] for epoch in line.epochs]
            reached[row, columns], x[row, columns], y[row, columns] = True, line.x, line.smooth
        n = reached.sum(axis=0)
        mean = y.sum(axis=0) / n
        squares = np.where(reached, y - mean, 0) ** 2
        return cls(
            x.sum(axis=0) / n,
            n,
            mean,
            np.sqrt(squares.sum(axis=0) / np.maximum(n - 1, 1)),
            np.where(reached, y, np.inf).min(axis=0),
            np.where(reached, y, -np.inf).max(axis=0),
        )

    def edges(self, band: Band, log_y: bool, is_percent: bool) -> tuple["NDArray[Any]", "NDArray[Any]"]:
        """Lower and upper ends of the band."""
        import numpy as np

        if band == "minmax":
            return self.lowest, self.highest
        half = self.sd
        if band == "ci":
            from scipy.special import stdtrit

            half = stdtrit(np.maximum(self.n - 1, 1), 1 - ALPHA / 2) * self.sd / np.sqrt(self.n)
            if is_percent:
                return _within_percents(self.mean, half)
        low, high = self.mean - half, self.mean + half
        if is_percent:
            low, high = np.maximum(low, 0), np.minimum(high, 100)
        # A logarithmic axis has no place for zero: the band ends at the lowest seed.
        return np.where(low <= 0, self.lowest, low) if log_y else low, high


def _within_percents(mean: "NDArray[Any]", half: "NDArray[Any]") -> tuple["NDArray[Any]", "NDArray[Any]"]:
    """The ends of an interval on the logit scale, as `stat_of_percents` has them, by epoch."""
    import numpy as np

    share = np.clip(mean / 100, 1e-12, 1 - 1e-12)
    at, reach = np.log(share / (1 - share)), half / 100 / (share * (1 - share))
    return 50 * (1 + np.tanh((at - reach) / 2)), 50 * (1 + np.tanh((at + reach) / 2))


def short(values: "NDArray[Any]") -> list[float]:
    """Rounded to eight digits of the largest. Charts show four, and what nobody sees would be half of what is sent."""
    largest = float(abs(values).max(initial=0))
    if 0 < largest < inf:
        values = values.round(8 - ceil(log10(largest)))
    return cast(list[float], values.tolist())
