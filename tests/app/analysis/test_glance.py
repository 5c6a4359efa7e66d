"""What an experiment's card on the board says."""

from typing import Any

import pytest

from app.analysis.comparison import compare
from app.analysis.glance import Glance, glance
from app.store.rows import Run, State
from tests.app.analysis.test_comparison import BASELINE, WORSE, run, runs

NEAR = [value + 0.05 * (-1) ** seed for seed, value in enumerate(BASELINE)]


def glanced(shown: list[Run], exploratory: bool = False) -> Glance:
    return glance(shown, compare(shown), exploratory)


@pytest.mark.parametrize(
    ("results", "answer", "outcome"),
    [
        ({}, "No result yet", None),
        ({"seqpool": [88.0, 89.0]}, "seqpool: 88.50 % after 2 seeds", None),
        ({"seqpool": WORSE, "mean": BASELINE}, "mean is better than seqpool by 1.4 points", "better"),
        (
            {"seqpool": BASELINE, "mean": WORSE, "max": [50.0] * 5},
            "seqpool is better than mean by 1.4 points",
            "better",
        ),
        ({"seqpool": BASELINE, "mean": NEAR}, "mean and seqpool are alike: 0.01 points apart", "alike"),
        ({"seqpool": [88.0], "mean": [87.0]}, "seqpool leads mean by 1.00 points: not sure after 1 seed", "unclear"),
    ],
)
def test_the_answer_names_the_best_the_difference_and_whether_that_is_sure(
    results: dict[str, Any], answer: str, outcome: str | None
) -> None:
    found = glanced(runs(**results) or [run("seqpool", 0)])
    assert (found.answer, found.outcome) == (answer, outcome)


def test_who_leads_is_told_by_the_seeds_that_both_have() -> None:
    """The one with the higher mean over all its seeds may be behind where both have results."""
    shown = [*runs(seqpool=[80.0, 90.0, 91.0], mean=[81.0])]
    assert glanced(shown).answer == "mean leads seqpool by 1.00 points: not sure after 1 seed"
    apart = [run("seqpool", 0, 80.0), run("mean", 1, 81.0)]
    assert glanced(apart).answer == "mean has the highest mean, but no seed in common with others"


def test_nothing_is_sure_before_the_last_run_of_a_fixed_number_of_seeds_has_ended() -> None:
    for unfinished in (run("seqpool", 9), run("mean", 9, state=State.running)):
        found = glanced([*runs(seqpool=BASELINE, mean=WORSE), unfinished])
        assert (found.answer, found.outcome) == (
            "seqpool leads mean by 1.4 points: not sure before all runs have ended",
            "unclear",
        )


def test_nothing_is_sure_of_what_is_exploratory() -> None:
    found = glanced(runs(seqpool=BASELINE, mean=WORSE), exploratory=True)
    assert (found.answer, found.outcome) == (
        "seqpool leads mean by 1.4 points: exploratory, nothing is sure",
        "unclear",
    )


def test_the_picture_has_the_best_variants_with_a_point_per_seed() -> None:
    names = ["seqpool", "mean", "max", "gem", "class_token", "logsumexp", "seqpool_multihead"]
    shown = [*runs(**{name: [80.0 + place, 80.5 + place] for place, name in enumerate(names)}), run("mean", 2)]
    found = glanced(shown)
    assert [one.variant for one in found.variants] == names[:0:-1]
    assert (found.left_out, found.provisional) == (1, True)
    assert found.variants[0].top1 == [86.0, 86.5]
    assert found.variants[0].final
    assert found.variants[0].final.mean == 86.25


def test_what_is_wrong_is_named() -> None:
    lost = [run("mean", seed, state=State.failed, failure="lost", error="worker vanished") for seed in (5, 6)]
    broken = run("max", 5, state=State.failed, failure="error", error="no such file\nsecond line")
    doubtful = run("seqpool", 7, 60.0, warnings=[{"code": "chance", "text": "guesses"}])
    other_rate = run("mean", 8, 70.0, spec={"lr": 0.1})
    found = glanced([*runs(seqpool=[80.0]), *lost, broken, doubtful, other_rate])
    assert found.problems[:3] == ["2 runs failed: lost", "1 run failed: no such file", "1 run: guesses"]
