"""Two factors: main effects, interactions, and how often they are claimed where there are none."""

from typing import Any

import plotly.graph_objects as go
import pytest

from app.analysis import figures, report
from app.analysis.compared import Comparison
from app.analysis.comparison import compare
from app.analysis.effects import Effect
from app.errors import Invalid
from app.store.rows import Run
from benchmarks.factor_errors import World, simulate
from tests.app.analysis.test_blocks import HIGH, LOW, Grid, grid

NOISE_OF = {LOW: (0.0, 0.1, -0.1, 0.05), HIGH: (0.1, -0.1, 0.0, 0.1)}


def noisy(mean: float, lr: float, sign: int = 1) -> list[float | None]:
    """With noise of their own, so that no difference is the same for all seeds."""
    return [mean + sign * noise for noise in NOISE_OF[lr]]


CROSSED: Grid = {
    ("seqpool", LOW): noisy(80, LOW),
    ("seqpool", HIGH): noisy(90, HIGH),
    ("mean", LOW): noisy(79.6, LOW, -1),
    ("mean", HIGH): noisy(91.2, HIGH, -1),
    ("max", LOW): noisy(80.0, HIGH),
    ("max", HIGH): noisy(90.0, LOW),
}
"""Mean loses 0.4 points at the low rate and gains 1.2 at the high one; max does nothing at either."""


def of(comparison: Comparison, kind: str, value: str) -> Effect:
    [found] = [effect for effect in comparison.effects if (effect.kind, effect.value) == (kind, value)]
    return found


def test_main_effects_and_interactions_are_told_with_what_they_are_made_of() -> None:
    comparison = compare(grid(CROSSED), "pooling,lr")
    interaction = of(comparison, "interaction", "mean")
    assert interaction.difference
    assert interaction.text == (
        "mean gains 1.2 points against seqpool at lr 0.002 and loses 0.4 points at lr 0.0005: "
        "interaction of +1.6 points (95 % CI 1.1 to 2.0, 4 seeds)."
    )
    main = of(comparison, "main", "0.002")
    assert main.text == (
        "lr 0.002 against 0.0005: +10.53 points (95 % CI 10.45 to 10.61, 4 seeds), "
        "on average over pooling seqpool, mean and max."
    )
    p_values = [one.difference.p for one in comparison.effects if one.difference and one.difference.p is not None]
    assert len(p_values) == 5, "two of pooling, one of lr, two interactions: one family"
    assert main.difference
    assert main.difference.p_corrected == pytest.approx(5 * min(p_values))
    assert comparison.answer == (
        "By pooling, on average over lr 0.0005 and 0.002: better than seqpool: mean by 0.4 points; "
        "like seqpool: max. By lr, on average over pooling seqpool, mean and max: "
        "better than 0.0005: 0.002 by 10.53 points. "
        "mean gains 1.2 points against seqpool at lr 0.002 and loses 0.4 points at lr 0.0005: "
        "interaction of +1.6 points (95 % CI 1.1 to 2.0, 4 seeds). "
        "Interactions: not known yet: max with lr 0.002."
    )
    assert "All main effects and interactions are corrected after Holm together" in comparison.method
    assert compare(grid(CROSSED)).effects == []


def test_a_missing_combination_is_named_and_never_averaged_over() -> None:
    comparison = compare(grid(CROSSED | {("mean", LOW): [None] * 4}), "pooling,lr")
    main = of(comparison, "main", "mean")
    assert main.difference
    assert round(main.difference.mean, 2) == 1.15, "an average over whatever there is would be above 6"
    assert main.at == "at lr 0.002 alone"
    assert of(comparison, "main", "0.002").at == "on average over pooling seqpool and max"
    assert of(comparison, "interaction", "mean").text == (
        "Interaction of mean with lr 0.002: cannot tell, no seed has all four results."
    )
    assert comparison.answer.endswith("The grid is incomplete: no result of mean with lr 0.0005.")


def test_without_complete_values_no_main_effect_is_told() -> None:
    lacking: Grid = {("mean", LOW): [None] * 4, ("max", HIGH): [None] * 4}
    comparison = compare(grid(CROSSED | lacking), "pooling,lr")
    assert of(comparison, "main", "mean").text == (
        "pooling mean against seqpool: cannot tell, nothing averaged, as no lr has all."
    )


def test_a_third_field_makes_blocks_for_both_factors() -> None:
    def with_decay(decay: float) -> list[Run]:
        return [
            one.model_copy(update={"id": f"{one.id}-{decay}", "spec": one.spec.__class__(**_spec(one, decay))})
            for one in grid(CROSSED)
        ]

    comparison = compare(with_decay(0.03) + with_decay(0.06), "pooling,lr")
    assert [level.level for level in comparison.levels] == ["weight decay 0.03", "weight decay 0.06"]
    assert "This is on average over weight decay 0.03 and 0.06, paired within each." in comparison.answer
    assert of(comparison, "interaction", "mean") == of(compare(grid(CROSSED), "pooling,lr"), "interaction", "mean")


def _spec(one: Run, decay: float) -> dict[str, Any]:
    return {"pooling": one.spec.pooling, "lr": one.spec.lr, "seed": one.spec.seed, "weight_decay": decay}


def test_an_interaction_is_drawn_as_lines_that_are_not_parallel() -> None:
    members = grid(CROSSED | {("max", LOW): [None] * 4})
    comparison = compare(members, "pooling,lr")
    drawn = {trace.uid: trace for trace in go.Figure(figures.interaction(members, comparison)).data}
    assert [round(value, 2) for value in drawn["mean_mean"].y] == [79.59, 91.18]
    assert drawn["mean_max"].y[0] is None
    assert len(drawn["seeds_seqpool"].x) == 8
    with pytest.raises(Invalid, match="names two fields"):
        figures.interaction(members, compare(members))
    page = report.html("Both", members, {one.id: [] for one in members}, {}, comparison)
    assert report.methods(members, comparison).endswith("Without a completed run: max, lr 0.0005.")
    assert f"<li>{of(comparison, 'interaction', 'mean').text}</li>" in page


def test_what_is_claimed_of_two_factors_is_mostly_true() -> None:
    alike, lacking = simulate(World(), 150), simulate(World(lacking=True), 150)
    for shares in (alike, lacking):
        assert max(shares.pooling, shares.at_level, shares.main, shares.interaction) < 0.1, "5 %, and 3 times its error"
    assert lacking.unseen_average > 0.95, "what no comparison may do"
    planted = simulate(World(interaction=2), 40)
    assert planted.interaction > 0.9


def test_one_seed_is_no_evidence_of_an_interaction() -> None:
    comparison = compare(grid({cell: found[:1] for cell, found in CROSSED.items()}), "pooling,lr")
    assert {effect.outcome for effect in comparison.effects} == {"unclear"}
