"""The share of each factor in what results differ in, and means over two factors."""

import pytest

from app.analysis import figures
from app.analysis.comparison import compare
from app.analysis.importance import REST, SHARED, TOGETHER, variance_shares
from app.errors import Invalid
from app.store.plan import FINAL
from tests.app.analysis.test_blocks import CROSSED, LACKING, grid


def test_shares_add_up_and_name_what_matters() -> None:
    shares = variance_shares(grid(CROSSED), ["pooling", "lr"], FINAL)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["lr"] > 0.95 > 0.05 > shares["pooling"], "ten points and half a point"
    assert 0 < shares[TOGETHER] < 0.05
    assert shares[REST] < 0.01
    assert compare(grid(CROSSED)).importance == shares
    assert variance_shares(grid(CROSSED), ["pooling"], FINAL) == {}


def test_shares_of_an_incomplete_grid_tell_what_cannot_be_told_apart() -> None:
    shares = variance_shares(grid(LACKING), ["pooling", "lr"], FINAL)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["lr"] > 0.5, "which seqpool has at both rates"
    assert shares[SHARED] > 0.05, "that the rates differ may seem to be one of the poolings, whose mean is at one alone"
    diagonal = {
        (pooling, lr): levels for (pooling, lr), levels in CROSSED.items() if (pooling == "mean") == (lr > 0.001)
    }
    shares = variance_shares(grid(diagonal), ["pooling", "lr"], FINAL)
    assert shares["pooling"] == shares["lr"] == pytest.approx(0), "one is always with the other"
    assert shares[SHARED] > 0.9


def test_a_heat_map_tells_means_and_seeds_and_what_is_missing() -> None:
    runs = grid(LACKING)
    [trace] = figures.heat(runs, compare(runs, "pooling,lr")).data
    text = {
        (row, column): cell
        for row, line in zip(trace.y, trace.text, strict=True)
        for column, cell in zip(trace.x, line, strict=True)
    }
    assert text["mean", "0.0005"] == "missing"
    assert text["seqpool", "0.002"] == "90.05 %<br>n = 4"
    with pytest.raises(Invalid, match="two fields"):
        figures.heat(runs, compare(runs))
