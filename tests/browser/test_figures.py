"""The figures of a comparison in a real browser."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from app.store.lease import Lease
from app.store.rows import Experiment
from app.store.run_store import RunStore
from cct.catalog import poolings
from tests.app.store.test_store import RECORD
from tests.browser.studies import SPEC, Save, train
from tests.conftest import wait_for


def test_a_shared_address_shows_the_same_figure(
    site: str, study: Experiment, store: RunStore, claim: Callable[[], Lease], page: Page
) -> None:
    address = f"{site}/board/experiments/{study.id}"
    page.goto(address)
    chart = page.get_by_role("figure", name="Validation top-1")
    expect(chart.locator(".trace").first).to_be_visible()
    chart.scroll_into_view_if_needed()
    plot = chart.locator(".nsewdrag").first.bounding_box()
    assert plot is not None
    page.mouse.move(plot["x"] + plot["width"] * 0.5, plot["y"] + plot["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.9, plot["y"] + plot["height"] * 0.6, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"zoom=[\d.]+"))
    page.get_by_label("Band").select_option("ci")
    expect(page).to_have_url(re.compile("band=ci"))
    seen = ranges(chart)

    other = page.context.new_page()
    other.goto(page.url)
    theirs = other.get_by_role("figure", name="Validation top-1")
    expect(theirs.locator(".trace").first).to_be_visible()
    assert ranges(theirs) == pytest.approx(seen, rel=1e-3)
    # New runs are drawn without losing the view.
    before = theirs.locator(".trace").count()
    axes = study.axes | {"seed": [*study.axes["seed"], 5]}
    store.add_runs(study.id, lambda *_: (study.spec, axes, [replace(SPEC, pooling="mean", seed=5)]))
    train(store, claim, 1)
    expect(theirs.locator(".trace")).not_to_have_count(before)
    assert ranges(theirs) == pytest.approx(seen, rel=1e-3)
    theirs.locator(".nsewdrag").first.dblclick()
    expect(other).not_to_have_url(re.compile("zoom="))
    other.close()


def test_the_list_of_runs_leaves_room_for_the_curves_at_any_width(
    site: str, store: RunStore, claim: Callable[[], Lease], page: Page
) -> None:
    specs = [replace(SPEC, pooling=pooling) for pooling in poolings()]
    experiment = store.create_experiment("All", {}, {}, specs)
    for _ in specs:
        lease = claim()
        for epoch in (1, 2):
            assert lease.record_epoch(replace(RECORD, epoch=epoch))
    page.goto(f"{site}/board/experiments/{experiment.id}")
    chart = page.get_by_role("figure", name="Validation top-1")
    expect(chart.locator(".trace")).to_have_count(len(specs))

    legend = page.get_by_role("region", name="Runs in the chart")

    def has_room() -> bool:
        runs, plot = (part.bounding_box() for part in (legend, chart.locator(".nsewdrag")))
        assert runs is not None
        assert plot is not None
        apart = runs["y"] >= plot["y"] + plot["height"] or runs["x"] >= plot["x"] + plot["width"]
        return apart and plot["height"] > 250 and 0.5 < plot["width"] / page.evaluate("innerWidth") < 1

    for width in (900, 390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        wait_for(has_room, 20)


def test_runs_are_hidden_and_a_figure_fills_the_screen(
    site: str, study: Experiment, store: RunStore, page: Page, check_page: Save
) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    chart = page.get_by_role("figure", name="Validation top-1")
    curves = chart.locator(".scatterlayer .trace")
    expect(curves).to_have_count(3 * 7)  # five seeds, their mean and its band
    color = chart.evaluate("plot => plot.data.find(({ uid }) => uid === 'mean_mean').line.color")
    runs = page.get_by_role("region", name="Runs in the chart")
    of_mean = runs.get_by_role("listitem").filter(has=page.get_by_label("mean", exact=True)).get_by_text("5 seeds")
    of_mean.click()
    seed = next(run for run in store.experiment_runs(study.id) if (run.spec.pooling, run.spec.seed) == ("mean", 3))
    link = runs.get_by_role("listitem").filter(has=page.get_by_label("Show mean, seed 3")).last.get_by_role("link")
    expect(link).to_have_attribute("href", re.compile(f"/board/runs/{seed.id}$"))
    runs.get_by_label("Show mean, seed 3").uncheck()
    expect(curves).to_have_count(3 * 7 - 1)
    expect(runs.get_by_label("mean", exact=True)).to_have_js_property("indeterminate", True)
    runs.get_by_role("button", name="Only mean").click()
    expect(curves).to_have_count(7)
    page.reload()
    expect(curves).to_have_count(7)
    assert chart.evaluate("plot => plot.data.find(({ uid }) => uid === 'mean_mean').line.color") == color
    expect(runs.get_by_label("seqpool", exact=True)).not_to_be_checked()
    runs.get_by_label("seqpool", exact=True).check()
    expect(curves).to_have_count(2 * 7)
    runs.get_by_role("button", name="Show all").click()
    expect(page).not_to_have_url(re.compile("hide="))
    page.get_by_label("Hover").select_option("epoch")
    expect(page).to_have_url(re.compile("hover=epoch"))
    plot = chart.locator(".nsewdrag")
    said = chart.locator(".hoverlayer .legendtext").filter(has_text="(mean)")

    def all_said() -> bool:
        for x in (300, 310):
            plot.hover(position={"x": x, "y": 99})
        return said.count() == 3

    def share_of_screen() -> float:
        return float(plot.evaluate("plot => plot.getBoundingClientRect().height / innerHeight"))

    wait_for(all_said, 20)
    of_mean.click()
    check_page("curves")

    page.get_by_role("button", name="Show Validation top-1 (%) on the full screen").click()
    expect(chart.locator(".annotation-text")).to_have_count(3)
    expect(chart.locator(".legend")).to_have_count(0)
    wait_for(lambda: share_of_screen() > 0.7, 20)
    page.get_by_role("button", name="Leave full screen").click()
    wait_for(lambda: share_of_screen() < 0.6, 20)


def test_names_stand_at_the_ends_of_curves_where_there_is_room(site: str, study: Experiment, page: Page) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    chart = page.get_by_role("figure", name="Validation top-1")
    names = chart.locator(".annotation-text")
    expect(names).to_have_count(3)
    plot = chart.locator(".nsewdrag").bounding_box()
    whole = chart.bounding_box()
    boxes = sorted((box for name in names.all() if (box := name.bounding_box())), key=lambda box: box["y"])
    assert plot is not None
    assert whole is not None
    for box in boxes:
        assert box["x"] >= plot["x"] + plot["width"]
        assert box["x"] + box["width"] <= whole["x"] + whole["width"]
    assert all(above["y"] + above["height"] <= below["y"] + 2 for above, below in itertools.pairwise(boxes))
    page.set_viewport_size({"width": 390, "height": 844})
    expect(names).to_have_count(0)


def ranges(chart: Locator) -> list[float]:
    return list(chart.evaluate("plot => [...plot._fullLayout.xaxis.range, ...plot._fullLayout.yaxis.range]"))


def test_every_figure_is_drawn_and_saved(
    site: str, study: Experiment, page: Page, tmp_path: Path, check_page: Save
) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    for tab, label in (
        ("Curves", "Validation top-1 (%)"),
        ("Final results", "Final results"),
        ("Differences", "Differences to the baseline"),
        ("Cost", "Results against cost"),
    ):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("figure", name=label).locator(".trace").first).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {label} as SVG").click()
        saved = tmp_path / "figure.svg"
        download.value.save_as(saved)
        assert saved.read_text(encoding="utf-8").startswith("<svg")
        assert "seqpool" in saved.read_text(encoding="utf-8")
        if tab != "Curves":
            check_page(f"figure-{tab.lower().replace(' ', '-')}")
    page.get_by_label("Cost", exact=True).and_(page.get_by_role("combobox")).select_option("parameters")
    expect(page).to_have_url(re.compile("figure=cost.*cost=parameters"))
