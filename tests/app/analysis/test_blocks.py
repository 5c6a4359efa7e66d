"""Whatever varies besides variant and seed makes blocks: nothing is averaged over them that is not named."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from app.analysis import figures, report
from app.analysis.compared import AtLevel, Comparison
from app.analysis.comparison import compare
from app.errors import Conflict
from app.store.rows import Confusion, Run, State
from cct.recipes import filled
from tests.app.analysis.test_comparison import PROVENANCE, row, run
from tests.app.store.test_store import RECORD

LOW, HIGH = 0.0005, 0.002
NOISE = (0.0, 0.2, -0.1, 0.1)
"""What a seed does to all variants alike, apart from a little."""

Grid = dict[tuple[str, float], list[float | None]]


def grid(cells: Grid) -> list[Run]:
    """Runs by pooling and learning rate, with seeds from 0; failed where there is no result."""
    return [
        run(pooling, seed, top1, spec={"lr": lr})
        if top1 is not None
        else run(pooling, seed, spec={"lr": lr}, state=State.failed)
        for (pooling, lr), results in cells.items()
        for seed, top1 in enumerate(results)
    ]


def around(mean: float, jitter: float = 0.0) -> list[float | None]:
    return [mean + noise + jitter * (seed % 2) for seed, noise in enumerate(NOISE)]


CROSSED: Grid = {
    ("seqpool", LOW): around(80),
    ("seqpool", HIGH): around(90),
    ("mean", LOW): around(79.6, 0.02),
    ("mean", HIGH): around(91.2, 0.02),
}
"""Mean loses 0.4 points at the low rate and gains 1.2 at the high one."""
LACKING: Grid = CROSSED | {("mean", LOW): [None] * 4, ("max", LOW): around(78, 0.02), ("max", HIGH): around(88, 0.02)}
"""Mean has diverged at the low rate, where all are ten points worse."""


def at(comparison: Comparison, variant: str, lr: float) -> AtLevel:
    return next(found for found in row(comparison, variant).levels if found.level == f"lr {lr}")


def mean_of(comparison: Comparison, variant: str) -> float:
    difference = row(comparison, variant).difference
    assert difference
    return round(difference.mean, 3)


def test_differences_are_taken_within_blocks_and_each_block_is_told() -> None:
    comparison = compare(grid(CROSSED))
    found = row(comparison, "mean")
    assert found.difference
    assert found.difference.n == 4, "seeds, not runs"
    assert mean_of(comparison, "mean") == 0.41
    at_low, at_high = at(comparison, "mean", LOW), at(comparison, "mean", HIGH)
    assert at_low.difference
    assert at_high.difference
    assert (round(at_low.difference.mean, 3), at_low.outcome) == (-0.39, "worse")
    assert (round(at_high.difference.mean, 3), at_high.outcome) == (1.21, "better")
    assert at_high.difference.p is not None
    assert at_high.difference.p_corrected == pytest.approx(2 * at_high.difference.p), "Holm, over both rates"
    assert at_low.runs == [f"mean-{seed}-{LOW}" for seed in range(4)]
    assert found.verdict == (
        "mean is better than seqpool by 0.41 points (95 % CI 0.39 to 0.43, 4 seeds), "
        "on average over lr 0.0005 and 0.002; "
        "at lr 0.0005 -0.39 points (95 % CI -0.41 to -0.37, 4 seeds, worse); "
        "at lr 0.002 +1.21 points (95 % CI 1.19 to 1.23, 4 seeds, better)"
    )
    assert comparison.answer == (
        "Better than seqpool: mean by 0.41 points. This is on average over lr 0.0005 and 0.002, paired within each."
    )
    assert comparison.fairness == [], "what is paired within is no other cause"
    assert "differ in lr, too" in comparison.method
    assert [(level.level, level.averaged, level.missing) for level in comparison.levels] == [
        ("lr 0.0005", True, []),
        ("lr 0.002", True, []),
    ]


def test_an_incomplete_block_is_named_and_left_out() -> None:
    comparison = compare(grid(LACKING))
    assert mean_of(comparison, "mean") == 1.21, "an average over other rates than the baseline's would be 6.2"
    assert mean_of(comparison, "max") == -1.99, "of the block that all have: rows can be held against each other"
    final = row(comparison, "seqpool").final
    assert final
    assert round(final.mean, 2) == 90.05
    assert at(comparison, "max", LOW).difference, "which is told beside"
    assert (at(comparison, "mean", LOW).difference, at(comparison, "mean", LOW).outcome) == (None, "unclear")
    assert comparison.answer.endswith("This is at lr 0.002 alone. Left out: lr 0.0005, with no completed run of mean.")
    assert row(comparison, "mean").verdict.endswith("4 seeds), at lr 0.002")
    assert report.methods(grid(LACKING), comparison).endswith("Without a completed run: mean at lr 0.0005.")


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        (
            {("seqpool", LOW): around(80), ("seqpool", HIGH): around(90), ("mean", 0.1): around(85)},
            "cannot tell: mean and seqpool were completed at no equal lr",
        ),
        (
            {key: CROSSED[key] for key in CROSSED if key != ("mean", LOW)} | {("max", LOW): around(70)},
            "no average: no lr was completed by all variants; at lr 0.002 +1.21 points",
        ),
        (
            CROSSED | {("mean", LOW): [79.0, 79.1, None, None], ("mean", HIGH): [None, None, 91.0, 91.2]},
            "no average: no seed was completed by both mean and seqpool at each of lr 0.0005 and 0.002; at lr 0.0005",
        ),
        (CROSSED | {("mean", LOW): [None], ("mean", HIGH): [None]}, "cannot tell: no completed run of mean"),
    ],
)
def test_without_a_common_block_nothing_is_averaged(cells: Grid, verdict: str) -> None:
    comparison = compare(grid(cells))
    assert row(comparison, "mean").difference is None
    assert row(comparison, "mean").verdict.startswith(verdict)


def test_a_seed_counts_if_it_was_completed_in_each_block() -> None:
    comparison = compare(grid(CROSSED | {("mean", HIGH): [91.0, None, 91.1, 91.3]}))
    found = row(comparison, "mean").difference
    assert found
    assert found.n == 3
    assert [level.final.n for level in row(comparison, "mean").levels if level.final] == [4, 3]


def test_a_variant_that_shares_no_block_leaves_others_alone() -> None:
    comparison = compare(grid(CROSSED | {("max", 0.1): around(70)}))
    assert mean_of(comparison, "mean") == 0.41
    assert row(comparison, "max").verdict == "cannot tell: max and seqpool were completed at no equal lr"


def test_what_is_open_anywhere_may_change_what_is_averaged() -> None:
    waiting = run("max", 0, spec={"lr": HIGH})
    comparison = compare([*grid(CROSSED | {("max", LOW): around(70)}), waiting])
    assert all(found.provisional for found in comparison.variants)
    assert "Left out: lr 0.002, with no completed run of max." in comparison.answer


def test_several_factors_make_a_variant_of_each_combination() -> None:
    comparison = compare(grid(CROSSED), "pooling,lr")
    assert comparison.factors == ["pooling", "lr"]
    names = ["seqpool, lr 0.0005", "seqpool, lr 0.002", "mean, lr 0.0005", "mean, lr 0.002"]
    assert [found.variant for found in comparison.variants] == names
    assert comparison.baseline == names[0]
    assert mean_of(comparison, names[3]) == 11.21
    assert len({found.color for found in comparison.variants}) == 2, "a colour stands for a pooling"
    assert [level.level for level in comparison.levels] == [""]
    assert compare(grid(CROSSED), "lr,pooling").variants[1].variant == "0.0005, pooling mean"


def test_what_is_the_models_own_is_compared_by_its_value() -> None:
    members = [
        run(pooling, seed, 80.0 + seed + depth, spec={"depth": depth}, id=f"{pooling} {depth} {seed}")
        for pooling in ("seqpool", "mean")
        for depth in (1, 2, 4)
        for seed in (0, 1)
    ]
    assert [found.variant for found in compare(members, "depth").variants] == ["1", "2", "4"]
    assert [found.variant for found in compare(members, "pooling,depth").variants][1] == "seqpool, depth 2"
    blocks = ["depth the model's own", "depth 1", "depth 4"]
    assert [level.level for level in compare(members, "pooling").levels] == blocks
    models = [run("seqpool", seed, 80.0, spec={"model": f"cct_{depth}_3x2_32"}) for seed, depth in enumerate((2, 4))]
    assert compare(models, "model").fairness == []


def test_recipes_are_blocks_by_name_and_recorded_steps_are_none() -> None:
    members = [
        run(pooling, seed, 80.0 + seed, spec=filled({"recipe": recipe, "pooling": pooling, "seed": seed}), id=recipe)
        for pooling in ("seqpool", "mean")
        for recipe in ("bare-200", "paper-cifar-300")
        for seed in (0, 1)
    ]
    members = [one.model_copy(update={"id": str(number)}) for number, one in enumerate(members)]
    assert [level.level for level in compare(members).levels] == ["recipe bare-200", "recipe paper-cifar-300"]
    assert compare(members).fairness == []
    steps = [run("seqpool", seed, 80.0, spec={"compile": how}) for seed, how in enumerate(("off", "graph", "auto"))]
    assert [level.level for level in compare(steps).levels] == [""]
    executed = [run("seqpool", seed, 80.0, spec={"compile": how}) for seed, how in enumerate(("off", "on"))]
    assert [level.level for level in compare(executed).levels] == ["compile off", "compile on"]


def test_what_differs_between_blocks_alone_is_no_other_cause() -> None:
    def on(machine_of_low: str, machine_of_mean: str) -> list[str]:
        members = grid(CROSSED)
        for position, one in enumerate(members):
            device = machine_of_low if one.spec.lr == LOW else "GPU"
            device = machine_of_mean if one.spec.pooling == "mean" and one.spec.lr == LOW else device
            members[position] = one.model_copy(update={"provenance": PROVENANCE | {"device": device}})
        return [inequality.field for inequality in compare(members).fairness]

    assert on("CPU", "CPU") == []
    assert on("CPU", "GPU") == ["device"]


def traces(figure: Any) -> dict[str, Any]:
    return {trace.uid: trace for trace in go.Figure(figure).data}


def test_no_band_and_no_mean_of_a_chart_spans_blocks() -> None:
    members = grid(CROSSED)
    records = {one.id: [RECORD, RECORD] for one in members}
    found = traces(figures.curves(members, records))
    bands = [name for name in found if name.startswith("band_")]
    assert len(bands) == 4
    means = [trace for name, trace in found.items() if name.startswith("mean_")]
    assert {trace.name for trace in means} == {
        f"{pooling}, lr {lr}" for pooling in ("seqpool", "mean") for lr in (LOW, HIGH)
    }
    assert len({(trace.line.color, trace.line.dash) for trace in means}) == 4
    together = traces(figures.curves(members, records, group="pooling,lr"))
    assert len([name for name in together if name.startswith("band_")]) == 4


def test_a_chart_of_results_has_a_row_for_each_block() -> None:
    members = grid(LACKING)
    comparison = compare(members)
    finals, differences = figures.final_results(members, comparison), figures.differences(members, comparison)
    assert list(finals.layout.yaxis.ticktext) == [
        label for pooling in ("seqpool", "mean", "max") for label in (pooling, "at lr 0.0005", "at lr 0.002")
    ]
    assert "over 1 of 2 blocks" in finals.layout.xaxis.title.text
    assert "over 1 of 2 blocks" in differences.layout.xaxis.title.text
    points = {trace.name: [round(value, 2) for value in trace.x] for trace in differences.data if "seeds" in trace.uid}
    assert points["max"] == points["max, lr 0.002"] == [-2.0, -1.98, -2.0, -1.98]
    assert points["mean, lr 0.0005"] == []


def test_matrices_are_summed_over_the_same_blocks_on_both_sides() -> None:
    members = grid(LACKING)

    def counts(one: Run) -> list[list[int]]:
        right = 50 if one.spec.lr == LOW else 90
        return [[right, 100 - right], [0, 100]]

    found = {one.id: Confusion(epoch=1, counts=counts(one)) for one in members if one.state is State.completed}
    by_class = figures.class_differences(members, found, variant="mean")
    assert "over lr 0.002" in by_class.layout.xaxis.title.text
    assert list(traces(by_class)["mean_mean"].x) == [0.0, 0.0], "40 points would be the learning rate's"
    title = str(figures.confusion(members, found, variant="seqpool").to_dict()["layout"])
    assert "seqpool, 4 seeds, epoch 1<br>over lr 0.0005 and 0.002" in title
    lonely = {key: value for key, value in found.items() if not (key.startswith("seqpool") and str(HIGH) in key)}
    with pytest.raises(Conflict, match="at each lr"):
        figures.class_differences(members, lonely, variant="mean")
    sure = {one.id: figures.Sureness(np.array([0.9], np.float32), np.array([True])) for one in members}
    hover = traces(figures.reliability(members, sure))["reliability_seqpool"].hovertemplate
    assert "8 runs, over lr 0.0005 and 0.002" in hover


def test_the_report_tells_each_block() -> None:
    members = grid(LACKING)
    comparison = compare(members)
    page = report.html("Poolings", members, {one.id: [] for one in members}, {}, comparison)
    assert "<td>mean, lr 0.0005</td><td>0</td><td>-</td><td></td><td>-</td><td>missing: no completed run</td>" in page
    assert "<td>max, lr 0.002</td><td>4</td><td>88.06" in page
    assert "<th>pooling</th><th>lr</th><th>seed</th>" in page
    assert report.methods(members, comparison).startswith(
        "We trained cct_2_3x2_32 on cifar10 for 200 epochs with pooling seqpool, mean, max, "
        "each at lr 0.0005; lr 0.002, and 4 seeds each (0, 1, 2, 3);"
    )
