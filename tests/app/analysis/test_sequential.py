"""The rule of plans: its bounds, what it claims, and how often it errs when looked at after each seed."""

import numpy as np
import pytest

from app.analysis.sequential import FIRST, Judged, Step, alike_bound, chance_to_cross, claim_bound, course, judge
from app.store.plan import MOST_SEEDS, Plan
from benchmarks.plan_errors import World, simulate


@pytest.mark.parametrize("level", [0.05, 0.0125, 0.02])
def test_the_bounds_keep_their_level(level: float) -> None:
    bounds = {n: claim_bound(level) / n for n in range(FIRST, MOST_SEEDS + 1)}
    assert 0.97 * level < chance_to_cross(bounds, two_sided=True) < 1.02 * level


def test_the_bound_of_alike_is_that_of_the_published_table() -> None:
    assert alike_bound(0.025, 20) == pytest.approx(0.0056, rel=0.06)


def test_a_variant_is_settled_where_its_course_meets_a_boundary() -> None:
    """Random courses: outside the claim's boundary, and only there, it is better or worse, inside the other alike."""
    random, plan, seen = np.random.default_rng(2), Plan(smallest_difference=0.5), set()

    def outcome_at(step: Step) -> str:
        if abs(step.mean) >= step.claim_at:
            return "better" if step.mean > 0 else "worse"
        return "alike" if step.alike_within is not None and abs(step.mean) <= step.alike_within else "open"

    for distance in (0.0, 0.3, -0.7, 2.0) * 10:
        results = {
            name: dict(enumerate(random.normal(50 + by, 0.3, 9))) for name, by in {"seqpool": 0, "a": distance}.items()
        }
        judged: Judged = judge(plan, results, 0, 20, 10_000).variants["a"]
        steps = course(plan, results, 0, 20, 10_000)["a"]
        looks = [step for step in steps if not step.is_foreseen]
        assert [step.seeds for step in looks] == list(range(3, judged.seeds + 1))
        assert [outcome_at(step) for step in looks] == ["open"] * (len(looks) - 1) + [judged.outcome]
        assert [step.seeds for step in steps[len(looks) :]] == list(
            range(looks[-1].seeds + 1, min(20, 2 * looks[-1].seeds + 10) + 1)
        )
        seen.add(judged.outcome)
    assert seen == {"better", "worse", "alike", "open"}


def test_a_gap_is_waited_for() -> None:
    seeds = {"seqpool": {0: 80.0, 1: 81.0, 2: 80.5}, "mean": {0: 70.0, 2: 70.2, 3: 70.1}}
    found = judge(Plan(), seeds, 0, 20, 10_000)
    assert (found.variants["mean"].outcome, found.variants["mean"].seeds) == ("open", 1)
    assert found.needed == [("mean", 1)]


def test_few_claims_are_false_however_often_one_looks() -> None:
    """300 experiments on three equal variants; it fails if a null exceeds 5 % by more than three standard errors."""
    random, plan, false, settled = np.random.default_rng(0), Plan(smallest_difference=0.5), 0, 0
    for _ in range(300):
        results = {name: dict(enumerate(random.normal(90, 0.3, plan.max_seeds))) for name in ("seqpool", "mean", "max")}
        outcomes = [one.outcome for one in judge(plan, results, 0, plan.max_seeds, 10_000).variants.values()]
        false += "better" in outcomes or "worse" in outcomes
        settled += outcomes.count("alike")
    assert false / 300 < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    assert settled / 600 > 0.9


def test_the_interval_of_a_claim_never_contradicts_it() -> None:
    """Also where Holm's procedure eased the claim, as another variant had been settled before."""
    random, claims = np.random.default_rng(1), 0
    for _ in range(300):
        distances = {"seqpool": 0.0, "mean": 30.0, "max": random.normal(0, 3)}
        results = {name: dict(enumerate(random.normal(50 + by, 1, 6))) for name, by in distances.items()}
        for one in judge(Plan(), results, 0, 20, 10_000).variants.values():
            assert one.low is not None
            assert one.high is not None
            if one.outcome in ("better", "worse"):
                claims += 1
                assert one.low > 0 if one.outcome == "better" else one.high < 0
    assert claims > 300


def test_what_is_settled_stands_whatever_others_claim_later() -> None:
    """At three seeds *a* is within reach of a claim only if *b* is claimed; *a* is alike before *b* is."""
    a = [0.20, 0.17, 0.24, *[0.0, 0.1, -0.1] * 6]
    b = [0.0, 3.0, -3.0, *[40.0 + (i % 3) * 0.01 for i in range(17)]]
    base = dict.fromkeys(range(20), 50.0)

    def outcome(seeds: int) -> tuple[str, int]:
        results = {name: dict(enumerate(50 + x for x in values[:seeds])) for name, values in {"a": a, "b": b}.items()}
        found = judge(Plan(smallest_difference=0.5), {"seqpool": base} | results, 0, 20, 10_000).variants["a"]
        return found.outcome, found.seeds

    first = next(seeds for seeds in range(3, 21) if outcome(seeds)[0] != "open")
    assert {outcome(seeds) for seeds in range(first, 21)} == {outcome(first)}


@pytest.mark.parametrize(
    "world",
    [
        World("five alike", (0.0,) * 4),
        World("some alike", (0.5, 0.0)),
        World("rounded", (0.0, 0.0), images=360),
        World("failing", (0.0, 0.0), failing=0.05),
    ],
    ids=lambda world: world.name,
)
def test_few_claims_are_false_in_other_worlds(world: World) -> None:
    """Alike that is wrong included; it fails beyond three standard errors."""
    assert simulate(world, 200, seed=1).false < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
