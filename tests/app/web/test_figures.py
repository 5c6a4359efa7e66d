"""Charts over stored rows, as the API sends them."""

from dataclasses import replace
from math import log10
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from fastapi.testclient import TestClient

from app.analysis import figures
from app.analysis.comparison import compare
from app.errors import Invalid
from app.store.rows import Run, State
from cct.events import EpochRecord
from tests.app.analysis.test_comparison import BASELINE, WORSE, run, runs
from tests.app.store.test_store import RECORD


def traces(figure: Any) -> dict[str, Any]:
    """By identity; `go.Figure` refuses what is not a valid figure."""
    return {trace.uid: trace for trace in go.Figure(figure).data}


def records(*top1: float, seconds: float = 2.0) -> list[EpochRecord]:
    return [
        replace(RECORD, epoch=epoch, val_top1=value, seconds=seconds, pooling_entropy=None if epoch == 1 else 3.0)
        for epoch, value in enumerate(top1, start=1)
    ]


@pytest.fixture
def two() -> tuple[list[Run], dict[str, list[EpochRecord]]]:
    """Two seeds of one variant on digits, the second slower and one epoch behind."""
    spec = {"dataset": "digits", "epochs": 5}
    members = [run("mean", seed, state=State.running, spec=spec) for seed in (0, 1)]
    return members, {
        members[0].id: records(40.0, 60.0, 80.0),
        members[1].id: records(44.0, 64.0, seconds=4.0),
    }


def test_a_curve_over_time_or_images(two: tuple[list[Run], dict[str, list[EpochRecord]]]) -> None:
    seconds = traces(figures.curves(*two, x="seconds"))
    assert seconds[f"run_{two[0][1].id}"].x == (4.0, 8.0)
    assert seconds["mean_mean"].x == (3.0, 6.0, 6.0)
    assert seconds["mean_mean"].y == (42.0, 62.0, 80.0), "means are of epochs"
    images = go.Figure(figures.curves(*two, x="images"))
    assert traces(images)["mean_mean"].x == (1437, 2874, 4311)
    assert images.layout.xaxis.title.text == "Training images seen"
    assert images.layout.uirevision != figures.curves(*two)["layout"]["uirevision"]


def test_bands(two: tuple[list[Run], dict[str, list[EpochRecord]]]) -> None:
    def edges(band: figures.Band) -> list[tuple[float, float]]:
        y = traces(figures.curves(*two, band=band))["band_mean"].y
        return list(zip(y[: len(y) // 2], reversed(y[len(y) // 2 :]), strict=True))

    assert edges("minmax") == [(44.0, 40.0), (64.0, 60.0), (80.0, 80.0)]
    assert edges("sd")[0] == pytest.approx((42 + 8**0.5, 42 - 8**0.5))
    assert edges("ci")[0] == pytest.approx((67.270, 20.327), abs=0.01), "12.706 standard errors, as logits"
    assert edges("ci")[2] == (80.0, 80.0), "one seed has no interval"
    assert "band_mean" not in traces(figures.curves(*two, band="none"))


def test_smoothing_leaves_what_was_measured_visible(two: tuple[list[Run], dict[str, list[EpochRecord]]]) -> None:
    members, found = two
    alone = traces(figures.curves(members[:1], found, smoothing=0.5))
    raw, smooth = alone[f"run_{members[0].id}"], alone[f"smooth_{members[0].id}"]
    assert raw.y == (40.0, 60.0, 80.0)
    assert smooth.y == pytest.approx((40, (20 + 60) / 1.5, (10 + 30 + 80) / 1.75))
    assert (raw.opacity, raw.showlegend, smooth.showlegend) == (0.25, False, None)
    both = traces(figures.curves(*two, smoothing=0.5))
    assert both["mean_mean"].y[1] == pytest.approx((20 + 60 + 22 + 64) / 3)
    assert traces(figures.curves(*two))["mean_mean"].y == traces(figures.curves(*two, smoothing=0))["mean_mean"].y


def test_hidden_runs_are_in_no_mean_and_change_no_colour() -> None:
    members = [run(pooling, seed) for pooling in ("mean", "gem") for seed in (0, 1, 2)]
    found = {one.id: records(10.0 * number, 90.0) for number, one in enumerate(members)}
    all_of_them = traces(figures.curves(members, found))
    hidden = {members[0].id, *(one.id for one in members[3:])}
    drawn = traces(figures.curves(members, found, hidden=hidden))
    assert drawn["mean_mean"].y == (15.0, 90.0)
    assert drawn["mean_mean"].line.color == all_of_them["mean_mean"].line.color
    assert {trace.meta["run_id"] for trace in drawn.values() if trace.visible is False} == hidden
    assert all(trace.meta["seed"] in (0, 1, 2) for trace in drawn.values() if trace.meta)
    assert not {"mean_gem", "band_gem"} & drawn.keys()


def test_the_crosshair_shows_one_value_of_each_variant(two: tuple[list[Run], dict[str, list[EpochRecord]]]) -> None:
    figure = go.Figure(figures.curves(*two, crosshair=True))
    drawn = traces(figure)
    assert figure.layout.hovermode == "x unified"
    assert [drawn[f"run_{one.id}"].hoverinfo for one in two[0]] == ["skip", "skip"]
    assert drawn["mean_mean"].hovertemplate
    alone = traces(figures.curves(two[0][:1], two[1], crosshair=True))
    assert alone[f"run_{two[0][0].id}"].hovertemplate


def test_names_at_the_ends_of_curves_keep_clear_of_one_another() -> None:
    poolings = ("mean", "gem", "max", "seqpool", "logsumexp")
    finals = (50.2, 50.1, 90.0, 50.0, 10.0)
    members = [run(pooling, 0) for pooling in poolings]
    found = {one.id: records(0.0, final) for one, final in zip(members, finals, strict=True)}
    figure = figures.curves(members, found, named_ends=True)
    layout = figure["layout"]
    labels = layout["annotations"]
    names = ["logsumexp 10.0", "seqpool 50.0", "gem 50.1", "mean 50.2", "max 90.0"]
    assert [label["text"] for label in labels] == names
    assert [label["y"] for label in labels] == sorted(finals)
    assert [label["ay"] for label in (labels[0], labels[4])] == [0, 0]
    places = [label["y"] * 430 / 90 - label["ay"] for label in labels]
    assert np.diff(places).min() == pytest.approx(15, abs=0.1)
    assert np.mean(places[1:4]) == pytest.approx(50.1 * 430 / 90, abs=0.1)
    assert layout["margin"]["r"] > 6 * len("seqpool 50.0")
    in_the_legend = [uid for uid, trace in traces(figure).items() if trace.showlegend is not False]
    assert in_the_legend
    assert all(uid.startswith("reference") for uid in in_the_legend)
    assert layout["xaxis"]["autorangeoptions"] == {"minallowed": 1, "maxallowed": 2}

    logarithmic = figures.curves(members, found, "train_loss", named_ends=True, log_y=True)["layout"]
    assert logarithmic["annotations"][0]["y"] == pytest.approx(log10(RECORD.train_loss or 0))
    nothing_on_it = {one.id: records(0.0, 0.0) for one in members}
    assert "annotations" not in figures.curves(members, nothing_on_it, named_ends=True, log_y=True)["layout"]
    one_epoch = {one.id: records(50.0) for one in members}
    assert "annotations" not in figures.curves(members, one_epoch, named_ends=True)["layout"]
    many = [run("mean", 0, spec={"lr": 0.001 * number}) for number in range(1, 14)]
    told = {one.id: records(1.0, 2.0) for one in many}
    assert "annotations" not in figures.curves(many, told, group="lr", named_ends=True)["layout"]


def test_a_logarithmic_axis_has_no_band_below_zero() -> None:
    members = [run("mean", seed) for seed in (0, 1)]
    found = {member.id: [replace(RECORD, train_loss=loss)] for member, loss in zip(members, (0.01, 2.0), strict=True)}
    figure = go.Figure(figures.curves(members, found, "train_loss", log_y=True))
    assert figure.layout.yaxis.type == "log"
    assert min(traces(figure)["band_mean"].y) == 0.01
    assert min(traces(figures.curves(members, found, "train_loss"))["band_mean"].y) < 0


def test_what_was_not_measured_is_not_drawn(two: tuple[list[Run], dict[str, list[EpochRecord]]]) -> None:
    drawn = traces(figures.curves(*two, "pooling_entropy", x="seconds"))
    assert (drawn[f"run_{two[0][0].id}"].x, drawn[f"run_{two[0][0].id}"].y) == ((4.0, 6.0), (3.0, 3.0))


def test_a_run_is_a_line_over_all_that_varies() -> None:
    grid = [
        run(pooling, seed, 80.0 + seed + batch / 64, spec={"lr": lr, "batch_size": batch})
        for pooling in ("seqpool", "mean")
        for lr in (0.0005, 0.001, 0.002)
        for batch in (64, 128)
        for seed in (0, 1)
    ]
    figure = figures.over_factors(grid, compare(grid, "pooling,lr"))
    assert list(figure.layout.xaxis.categoryarray) == ["pooling", "lr", "batch size", "Final top-1"]
    assert len(figure.data) == len(grid)
    last = figure.data[-1]
    assert last.y == (1.0, 1.0, 1.0, 1.0), "mean is the second pooling"
    assert "lr 0.002<br>batch size 128" in last.hovertemplate
    assert [trace.name for trace in figure.data if trace.showlegend] == ["seqpool", "mean"]
    assert {(mark.x, mark.text) for mark in figure.layout.annotations} >= {("lr", "0.001"), ("Final top-1", "83.0 %")}
    two = [one for one in grid if one.spec.batch_size == 64]
    with pytest.raises(Invalid, match="pooling and lr alone vary here"):
        figures.over_factors(two, compare(two, "pooling,lr"))


def test_final_results_with_references() -> None:
    members = runs(seqpool=BASELINE, mean=[86.9])
    figure = figures.final_results(members, compare(members))
    drawn = traces(figure)
    assert figure.layout.yaxis.ticktext == ("seqpool", "mean")
    assert drawn["seeds_seqpool"].x == tuple(BASELINE)
    assert drawn["mean_seqpool"].x == (pytest.approx(88.2),)
    assert drawn["mean_seqpool"].error_x.array[0] == pytest.approx(0.3572, abs=1e-3)
    assert drawn["mean_seqpool"].error_x.arrayminus[0] == pytest.approx(0.3665, abs=1e-3)
    assert drawn["mean_mean"].error_x.array == (0.0,)
    first_seed = [drawn[f"seeds_{variant}"].y[0] - position for position, variant in enumerate(("seqpool", "mean"))]
    assert first_seed[0] == pytest.approx(first_seed[1]), "a seed stands at the same height in each row"
    lines = {trace.x[0] for uid, trace in drawn.items() if uid.startswith("reference")}
    assert lines == {84.56, 86.99, 88.34}, "89.17 was published as the best, not as the last epoch's"


def test_differences_are_filled_where_they_are_claimed() -> None:
    members = [*runs(seqpool=BASELINE, mean=WORSE, max=[88.0, 88.5]), run("class_token", 9, 50.0)]
    figure = figures.differences(members, compare(members))
    drawn = traces(figure)
    assert set(figure.layout.yaxis.ticktext) == {"mean", "max", "class_token"}
    assert drawn["seeds_mean"].x == pytest.approx([b - a for a, b in zip(BASELINE, WORSE, strict=True)])
    assert (drawn["mean_mean"].marker.symbol, drawn["mean_max"].marker.symbol) == ("diamond", "diamond-open")
    assert "worse than seqpool by 1.4 points" in drawn["mean_mean"].hovertemplate
    assert "mean_class_token" not in drawn
    assert drawn["seeds_class_token"].x == ()


@pytest.mark.parametrize("band", ["sd", "ci"])
def test_bands_of_percents_stay_between_0_and_100(band: figures.Band) -> None:
    shown = runs(seqpool=[10.0, 40.0, 30.0], mean=[99.0, 40.0, 30.0])
    records = {one.id: [replace(RECORD, val_top1=one.final_top1 or 0.0)] for one in shown}
    drawn = {trace["uid"]: trace for trace in figures.curves(shown, records, band=band)["data"]}
    found = compare(shown)
    for row in found.variants:
        ends = drawn[f"band_{row.variant}"]["y"]
        assert 0 <= min(ends) < max(ends) <= 100
        if band == "ci":
            assert row.final is not None
            assert sorted(ends) == pytest.approx([row.final.low, row.final.high], abs=1e-6)


def test_variants_keep_their_colours() -> None:
    shown = runs(seqpool=BASELINE, mean=WORSE)
    curves = figures.curves(shown, {one.id: [RECORD] for one in shown})
    expected = traces(curves)["mean_mean"].line.color
    found = compare(shown)
    charts = (figures.final_results(shown, found), figures.differences(shown, found), figures.cost(runs(mean=WORSE)))
    drawn = [{trace.marker.color for trace in chart.data if trace.name == "mean"} for chart in charts]
    assert drawn == [{expected}] * 3


def test_reliability_sets_right_answers_against_their_probability() -> None:
    members = runs(seqpool=[88.0, 88.0], mean=[80.0], max=[70.0])
    sure = np.array([0.95, 0.99, 0.5, 1.0], np.float32)
    found = {
        members[0].id: figures.Sureness(sure, np.array([True, False, True, True])),
        members[1].id: figures.Sureness(sure, np.array([True, False, False, True])),
        members[2].id: figures.Sureness(sure[:1], np.array([True])),
    }
    drawn = traces(figures.reliability(members, found))
    assert set(drawn) == {"reliability_seqpool", "reliability_mean", "as_sure_as_right"}, "of max nothing is known"
    line = drawn["reliability_seqpool"]
    assert line.x == (50.0, pytest.approx(98.0)), "of two bins, over the answers of both runs"
    assert line.y == (50.0, pytest.approx(100 * 4 / 6))
    assert (line.customdata, line.marker.size[0] < line.marker.size[1]) == ((2, 6), True)
    assert "2 runs" in line.hovertemplate
    assert figures.reliability(members, {}).data == ()


def test_cost() -> None:
    members = [
        run("mean", 0, 80.0, parameters=10, images_per_second=50.0),
        run("mean", 1, 81.0, parameters=10),
        run("mean", 2),
        run("max", 0, 70.0, state=State.cancelled),
    ]
    [by_size] = figures.cost(members, "parameters").data
    assert (by_size.x, by_size.y) == ((10, 10), (80.0, 81.0))
    [by_speed] = figures.cost(members, "images_per_second").data
    assert (by_speed.x, by_speed.name) == ((50.0,), "mean")


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("curves?x=seconds&band=ci&smoothing=0.9&log_y=true", "smoothing=1"),
        ("curves?x=images&theme=dark", "x=days"),
        ("finals?baseline=mean", "baseline=max"),
        ("differences?theme=dark", "group=seed"),
        ("cost?x=parameters", "x=money"),
        ("reliability?epoch=best", "epoch=first"),
    ],
)
def test_charts_are_served(client: TestClient, path: str, wrong: str) -> None:
    axes = {"pooling": ["seqpool", "mean"], "seed": [0, 1]}
    experiment = client.post("/experiments", json={"axes": axes}).json()["id"]
    served = client.get(f"/figures/{path}&experiment={experiment}")
    assert served.status_code == 200
    figure = served.json()
    assert figure["layout"]["xaxis"]["title"]["text"]
    assert all(trace["uid"] for trace in figure["data"])
    name = path.partition("?")[0]
    assert client.get(f"/figures/{name}?{wrong}&experiment={experiment}").status_code == 422


def test_the_first_epochs_of_a_long_run_have_no_tick_for_each_epoch_to_come() -> None:
    first = run("seqpool", 0, state=State.running, spec={"epochs": 200})
    found = {first.id: records(40.0, 50.0, 55.0)}
    long = figures.curves([first], found)["layout"]["xaxis"]
    assert (long["range"], "dtick" in long) == ([1, 200], False), "references reach to the last epoch"
    assert figures.curves([first], found, "val_loss")["layout"]["xaxis"]["dtick"] == 1
