"""The statistics against values known from elsewhere, and how often verdicts err."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.analysis.statistics import METHOD, Difference, differences, holm, sign_flip_p, stat, stat_of_percents
from benchmarks.verdict_errors import World, simulate


def compared(*values: float, against: float = 0.0, others: int = 0) -> Difference:
    """A variant whose differences to the baseline are the values, among `others` variants without results."""
    results = {"baseline": dict.fromkeys(range(len(values)), against), "variant": dict(enumerate(values))}
    found = differences(results | {f"other {i}": {} for i in range(others)}, "baseline")["variant"]
    assert found is not None
    return found


def test_the_interval_is_students() -> None:
    found = stat([88.1, 88.4, 87.9, 88.6, 88.0])
    assert found is not None
    interval = stats.t.interval(0.95, 4, loc=88.2, scale=stats.sem([88.1, 88.4, 87.9, 88.6, 88.0]))
    assert (found.low, found.high) == pytest.approx(interval)
    assert stat([]) is None
    for without_interval in ([88.0], [88.0, 88.0]):
        found = stat(without_interval)
        assert found is not None
        assert (found.low, found.high) == (None, None)


@given(st.lists(st.floats(0, 100).map(lambda x: round(x, 2)), min_size=2, max_size=6))
def test_intervals_of_percents_stay_between_0_and_100(values: list[float]) -> None:
    found = stat_of_percents(values)
    assert found is not None
    if found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.mean <= found.high <= 100


def test_a_short_interval_of_percents_is_students() -> None:
    values = [88.1, 88.4, 87.9, 88.6, 88.0]
    found, students = stat_of_percents(values), stat(values)
    assert found is not None
    assert students is not None
    assert (found.low, found.high) == pytest.approx((students.low, students.high), abs=0.01)
    wide = stat_of_percents([10.0, 40.0, 30.0])
    assert wide is not None
    assert (wide.low, wide.high) == pytest.approx((4.9641, 71.6834), abs=1e-3)


@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=2, max_size=10))
def test_p_values_are_those_of_scipy(values: list[float]) -> None:
    found = compared(*values, against=88.0)
    shifted = [value - 88.0 for value in values]
    flips = stats.permutation_test(
        (shifted,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True
    )
    assert found.p_sign_flip == pytest.approx(flips.pvalue)
    if len(set(values)) > 1:
        assert found.p == pytest.approx(stats.ttest_1samp(shifted, 0).pvalue)
    else:
        assert found.p == found.p_sign_flip


def test_only_seeds_that_both_have_are_paired() -> None:
    baseline = {0: 80.0, 1: 85.0, 2: 90.0, 9: 10.0}
    found = differences({"a": {0: 81.0, 1: 86.5, 2: 92.0, 7: 99.0}, "b": {5: 1.0}, "baseline": baseline}, "baseline")
    assert list(found) == ["a", "b"]
    assert found["b"] is None
    assert found["a"] is not None
    assert (found["a"].mean, found["a"].sd, found["a"].n, found["a"].effect_size) == (1.5, 0.5, 3, 3.0)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), st.data())
def test_results_that_arrive_later_only_strengthen_other_claims(p_values: list[float], data: st.DataObject) -> None:
    """A variant without results counts with p = 1."""
    late = data.draw(st.integers(0, len(p_values) - 1))
    before = holm([1.0 if position == late else p for position, p in enumerate(p_values)])
    after = holm(p_values)
    assert all(now <= then for position, (now, then) in enumerate(zip(after, before, strict=True)) if position != late)


def test_more_comparisons_need_more_evidence() -> None:
    differences_seen = (-0.5, -0.6, -0.2, -0.3, -0.7)
    alone, among_many = compared(*differences_seen), compared(*differences_seen, others=9)
    assert alone.p == among_many.p
    assert alone.p_corrected == alone.p
    assert among_many.p_corrected == pytest.approx(10 * (alone.p or 0))
    assert (alone.outcome, among_many.outcome) == ("worse", "unclear")
    assert alone.further_seeds == 0
    assert alone.target == pytest.approx(0.46)
    assert among_many.further_seeds


def test_five_pairs_cannot_convince_the_sign_flip_test() -> None:
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0]) == 0.0625
    assert "0.0625" in METHOD
    assert sign_flip_p([1.0, -1.0]) == 1.0
    assert compared(*(1.0 + i / 10 for i in range(21))).p_sign_flip is None


@pytest.mark.parametrize(
    ("values", "outcome", "p", "further"),
    [
        ([1.0], "unclear", None, None),
        ([0.0], "unclear", None, None),
        ([0.0, 0.0], "alike", 1.0, 0),
        ([0.1 + 0.2 - 0.3, 0.0, 0.0], "alike", 1.0, 0),
        ([1.0, 1.0], "unclear", 0.5, 4),
        ([1.0] * 5, "unclear", 0.0625, 1),
        ([1.0] * 6, "better", 0.03125, 0),
        ([-0.1 - 0.2, -0.3, -0.3, -0.3, -0.3, -0.3], "worse", 0.03125, 0),
        ([0.02, -0.02], "alike", 1.0, 0),
        ([300.0, -300.0], "unclear", 1.0, None),
    ],
)
def test_borderline_cases(values: list[float], outcome: str, p: float | None, further: int | None) -> None:
    found = compared(*values)
    assert (found.outcome, found.p, found.further_seeds) == (outcome, p, further)


def test_alike_means_an_interval_within_what_matters() -> None:
    assert compared(0.1, 0.0, -0.1, 0.05, 0.0, -0.05).outcome == "alike"
    assert compared(0.4, -0.3, 0.2, -0.2).outcome == "unclear"
    tiny = compared(0.1, 0.11, 0.09, 0.1, 0.1)
    assert tiny.outcome == "better", "a small difference is one"


def test_the_further_seeds_suffice_in_four_of_five_experiments() -> None:
    found = compared(0.1, 0.5, 0.6, 0.0, 0.9, 0.3)
    assert found.outcome == "better"
    found = compared(0.1, 0.5, 0.6, -0.4, 0.9)
    assert found.outcome == "unclear"
    assert found.sd
    assert found.further_seeds
    chance, seeds, experiments = random.Random(1), found.n + found.further_seeds, 500
    claims = sum(
        compared(*(chance.gauss(found.target, found.sd) for _ in range(seeds))).outcome == "better"
        for _ in range(experiments)
    )
    assert 0.76 < claims / experiments < 0.9


@pytest.mark.parametrize(("variants", "seeds"), [(3, 3), (3, 5), (5, 5), (5, 10)])
def test_alike_variants_are_seldom_called_different(variants: int, seeds: int) -> None:
    """In 5 % of experiments at most: with three standard errors of 600 experiments 7.7 %."""
    assert simulate(World(variants, seeds), experiments=600).wrong < 0.077
    assert simulate(World(variants, seeds, images=360), experiments=600).wrong < 0.077, "rounded results"


def test_a_point_is_found_on_five_seeds() -> None:
    rates = simulate(World(variants=3, seeds=5, gap=1.0), experiments=300)
    assert rates.found > 0.8
    assert rates.wrong < 0.077
    noisier_but_shared = World(variants=3, seeds=5, gap=1.0, shared=2.0)
    assert simulate(noisier_but_shared, experiments=300).found > 0.8, "pairing removes what seeds share"
