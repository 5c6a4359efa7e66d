"""The share of each factor in what results differ in, and means over two factors."""

import pytest

from app.analysis import figures
from app.analysis.comparison import compare
from app.analysis.importance import REST, TOGETHER, variance_shares
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
    assert variance_shares(grid(LACKING), ["pooling", "lr"], FINAL) == {}, "an incomplete grid has no such parts"
    assert variance_shares(grid(CROSSED), ["pooling"], FINAL) == {}


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
