"""The pages of experiments and comparisons and the form in a real browser, over rows written into the store."""

import random
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from app.store.lease import Lease
from app.store.rows import Experiment, State
from app.store.run_store import RunStore
from cct.catalog import poolings
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import wait_for

Save = Callable[[str], None]

SPEC = RunSpec(dataset="digits", epochs=6, augmentation="none")
LEVELS = {"mean": 70.0, "seqpool": 74.0, "seqpool_softmax_batch": 74.1}
"""Top-1 to which the runs of a pooling tend."""
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
"""One grey pixel."""


def queue_study(store: RunStore, seeds: int = 5, **changes: Any) -> Experiment:
    axes: dict[str, list[Any]] = {"pooling": list(LEVELS), "seed": list(range(seeds))}
    base = replace(SPEC, **changes)
    specs = [replace(base, pooling=pooling, seed=seed) for seed in range(seeds) for pooling in LEVELS]
    spec = {name: getattr(base, name) for name in ("dataset", "epochs", "augmentation", *changes)}
    return store.create_experiment("Is softmax needed in the pooling step?", spec, axes, specs)


def train(store: RunStore, claim: Callable[[], Lease], runs: int) -> None:
    """Completes the next runs of the queue."""
    for _ in range(runs):
        lease = claim()
        for epoch in range(1, SPEC.epochs + 1):
            record_epoch(store, lease, epoch)
        lease.release(State.completed)


def record_epoch(store: RunStore, lease: Lease, epoch: int) -> None:
    spec = store.run(lease.run_id).spec
    chance = random.Random(f"{spec.pooling} {spec.seed} {epoch}")
    top1 = LEVELS[spec.pooling] - 40 / epoch**2 + 0.4 * spec.seed + chance.gauss(0, 0.15)
    record = replace(RECORD, epoch=epoch, val_top1=top1, val_loss=2.4 - top1 / 50, train_top1=top1 - 1)
    assert lease.record_epoch(record)
    look = {"shares": [[0.1, 0.2, 0.3, 0.4]] * 2, "entropy": [1.28] * 2, "confidence": [0.5, 0.9]}
    lease.record_look(epoch, look | {"epoch": epoch, "predicted": [0, 1 if spec.pooling == "mean" else 5]})


@pytest.fixture
def study(store: RunStore, claim: Callable[[], Lease]) -> Experiment:
    """Three poolings, five seeds, all completed."""
    experiment = queue_study(store)
    store.set_images("digits", [{"label": label, "url": IMAGE} for label in (0, 1)])
    train(store, claim, experiment.runs)
    return experiment


def row_of(table: Locator, name: str) -> Locator:
    return table.get_by_role("row").filter(has=table.page.get_by_text(name, exact=True))


@pytest.fixture
def check_page(
    page: Page, check_accessibility: Callable[[], None], check_width: Callable[[], None], screenshot: Save
) -> Save:
    """Fails with what axe finds in either colour scheme, or if a phone scrolls sideways; saves all three views."""

    def check(name: str) -> None:
        page.mouse.move(0, 0)
        screenshot(name)
        check_accessibility()
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
        page.evaluate("Promise.allSettled(document.getAnimations().map(fading => fading.finished))")
        check_accessibility()
        screenshot(f"{name}-dark")
        check_width()
        screenshot(f"{name}-phone")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 900})

    return check


def test_the_answer_stands_on_top(site: str, study: Experiment, page: Page, check_page: Save) -> None:
    page.goto(site)
    card = page.get_by_role("article", name=study.name)
    expect(card).to_contain_text("seqpool_softmax_batch and seqpool are alike: 0.1 points apart")
    expect(card.locator(".picture circle")).to_have_count(15)
    card.get_by_role("link").click()
    answer = page.get_by_role("region", name="Answer")
    expect(answer).to_contain_text("Worse than seqpool: mean by")
    expect(answer).to_contain_text(re.compile("mean is worse than seqpool by .* 5 seeds"))
    expect(answer.get_by_text("provisional")).to_have_count(0)
    expect(answer.get_by_text("paired t-test")).to_be_hidden()
    answer.get_by_text("How verdicts are reached").click()
    expect(answer.get_by_text("paired t-test")).to_be_visible()
    table = page.get_by_role("table", name="Comparison")
    cells = row_of(table, "mean").get_by_role("cell")
    expect(cells.nth(0)).to_have_text("5")
    expect(cells.nth(1)).to_have_text(re.compile(r"^\d\d\.\d\d ± 0\.\d\d\d\d\.\d\d to \d\d\.\d\d$"))
    expect(cells.nth(4)).to_have_text(re.compile(r"^.3\.\d\d ± 0\.\d\d.4\.\d\d to .3\.\d\d$"))
    expect(cells.nth(5)).to_have_text("< 0.0001")
    expect(page.locator(".js-plotly-plot .trace").first).to_be_visible()
    check_page("comparison")


def test_baseline_and_order_are_in_the_address(site: str, study: Experiment, page: Page) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    page.get_by_label("Baseline").select_option("mean")
    expect(page).to_have_url(re.compile("baseline=mean"))
    expect(page.get_by_role("region", name="Answer")).to_contain_text("Better than mean: seqpool by")
    table = page.get_by_role("table", name="Comparison")
    table.get_by_role("button", name="Final top-1").click()
    expect(page).to_have_url(re.compile("order=-final"))
    page.reload()
    expect(row_of(table, "mean").get_by_role("cell").nth(4)).to_have_text("baseline")
    expect(table.get_by_role("row").nth(3)).to_contain_text("mean")
    table.get_by_role("button", name="Final top-1").click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("mean")


def test_unfair_comparisons_say_so(
    site: str, study: Experiment, store: RunStore, claim: Callable[[], Lease], page: Page, check_page: Save
) -> None:
    [other] = store.create_runs([replace(SPEC, pooling="mean", lr=0.01, seed=9)])
    train(store, claim, 1)
    runs = [run.id for run in store.experiment_runs(study.id) if run.spec.pooling != "mean"] + [other.id]
    page.goto(f"{site}/board/compare?" + "&".join(f"run={run}" for run in runs))
    note = page.get_by_role("note", name="The runs differ in more than variant and seed")
    expect(row_of(note, "lr")).to_contain_text("0.0005")
    expect(note.get_by_role("row").filter(has_text="0.01")).to_contain_text("mean (1 run)")
    expect(page.locator(".js-plotly-plot .trace").first).to_be_visible()
    check_page("unfair")


def test_two_factors_are_never_averaged_silently(
    site: str, store: RunStore, claim: Callable[[], Lease], page: Page, check_page: Save
) -> None:
    axes: dict[str, list[Any]] = {"pooling": ["seqpool", "mean"], "lr": [0.00005, 0.002], "seed": [0, 1]}
    specs = [
        replace(SPEC, pooling=pooling, lr=lr, seed=seed)
        for pooling in axes["pooling"]
        for lr in axes["lr"]
        for seed in axes["seed"]
    ]
    experiment = store.create_experiment("Does the rate matter?", {"dataset": "digits", "epochs": 6}, axes, specs)
    train(store, claim, 6)
    for _ in range(2):
        claim().release(State.failed, "diverged")
    page.goto(f"{site}/board/experiments/{experiment.id}")
    answer = page.get_by_role("region", name="Answer")
    expect(answer).to_contain_text("at lr 5e-05 alone. Left out: lr 0.002, with no completed run of mean.")
    matrix = page.get_by_role("table", name="Runs by seed")
    expect(matrix.get_by_role("columnheader", name="pooling, lr")).to_be_visible()
    expect(matrix.get_by_role("link")).to_have_count(8)
    failed = matrix.get_by_role("row", name=re.compile("mean.*lr 0.002"))
    expect(failed.get_by_role("link").filter(has_text="failed")).to_have_count(2)
    table = page.get_by_role("table", name="Comparison")
    expect(table.get_by_role("row", name=re.compile("at lr 0.002.*left out of the mean.*missing"))).to_have_count(1)
    page.get_by_label("Group by").select_option("by pooling and lr")
    expect(answer).to_contain_text("The grid is incomplete: no result of mean with lr 0.002.")
    expect(page).to_have_url(re.compile("group=pooling%2Clr"))
    page.get_by_role("tab", name="Interaction").click()
    expect(page.locator(".js-plotly-plot .trace").first).to_be_visible()
    check_page("factors")


def test_runs_are_lines_over_all_that_varies(
    site: str, store: RunStore, claim: Callable[[], Lease], page: Page, check_page: Save
) -> None:
    axes: dict[str, list[Any]] = {"pooling": ["seqpool", "mean"], "lr": [0.0005, 0.002], "batch_size": [32, 64]}
    specs = [
        replace(SPEC, pooling=pooling, lr=lr, batch_size=size, seed=seed)
        for pooling in axes["pooling"]
        for lr in axes["lr"]
        for size in axes["batch_size"]
        for seed in (0, 1)
    ]
    experiment = store.create_experiment("Three at once", {"dataset": "digits", "epochs": 6}, axes, specs)
    train(store, claim, 15)
    page.goto(f"{site}/board/experiments/{experiment.id}?figure=factors")
    expect(page.get_by_role("figure", name="Results over all that varies").locator(".trace")).to_have_count(15)
    expect(page.get_by_role("region", name="Answer")).to_contain_text("% are due to")
    check_page("all-factors")


def test_a_study_grows_is_watched_and_deleted(
    site: str, store: RunStore, claim: Callable[[], Lease], page: Page, check_page: Save
) -> None:
    experiment = queue_study(store, seeds=2)
    train(store, claim, 4)
    lease = claim()
    record_epoch(store, lease, 1)
    lease.describe(step=3, steps=12)
    failing = claim()
    failing.release(State.failed, "CUDA out of memory")
    page.goto(f"{site}/board/experiments/{experiment.id}")
    answer, matrix = page.get_by_role("region", name="Answer"), page.get_by_role("table", name="Runs by seed")
    expect(answer.get_by_text("provisional")).to_be_visible()
    expect(matrix.get_by_role("link")).to_have_count(6)
    expect(matrix.get_by_role("link").filter(has_text="running")).to_contain_text("1/6")

    # An epoch arrives; nobody reloads.
    record_epoch(store, lease, 2)
    expect(matrix.get_by_role("link").filter(has_text="running")).to_contain_text("2/6")

    page.get_by_role("button", name="Retry failed (1)").click()
    expect(matrix.get_by_role("link").filter(has_text="queued")).to_have_count(1)
    page.get_by_role("button", name="Add 2 seeds to all").click()
    page.get_by_role("button", name="Add them, exploratory").click()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("6 runs queued")).to_have_count(0)
    expect(matrix.get_by_role("columnheader", name="seed 3")).to_be_visible()
    expect(matrix.get_by_role("link")).to_have_count(12)
    [last] = [run for run in store.experiment_runs(experiment.id) if (run.spec.seed, run.spec.pooling) == (3, "mean")]
    store.cancel(last.id)
    store.delete(last.id)
    expect(matrix.get_by_text("missing")).to_be_visible()
    check_page("study")
    page.get_by_role("button", name="Fill missing seeds (1)").click()
    expect(matrix.get_by_text("missing")).to_have_count(0)

    page.get_by_role("button", name="Edit: Name").click()
    page.get_by_role("textbox", name="Name").fill("Renamed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Renamed")).to_be_visible()
    page.get_by_role("button", name="Edit: Note").click()
    page.get_by_role("textbox", name="Note").fill("Asked: is softmax needed?\nDecided: four seeds.")
    page.keyboard.press("Control+Enter")
    # What is typed is text of the field too: the note is saved when the field has gone.
    expect(page.get_by_role("textbox", name="Note")).to_have_count(0)
    expect(page.get_by_text("Decided: four seeds.")).to_be_visible()
    assert (store.experiment(experiment.id).name, store.experiment(experiment.id).note[:5]) == ("Renamed", "Asked")

    page.get_by_role("button", name="Cancel experiment").click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(matrix.get_by_role("link").filter(has_text="cancelled")).to_have_count(7)
    lease.release(State.cancelled)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete").click()
    expect(page).to_have_url(f"{site}/")
    assert store.experiments() == []


def test_the_form_begins_with_what_was_asked_last(site: str, study: Experiment, page: Page) -> None:
    page.goto(f"{site}/board/new")
    page.get_by_role("link", name="As last time").click()
    expect(page.get_by_role("button", name=f"Queue {study.runs} runs")).to_be_visible()
    expect(page.get_by_role("textbox", name="Experiment name")).to_have_value(study.name)
    page.get_by_role("link", name="Historic study").click()
    expect(page.get_by_role("textbox", name="Experiment name")).to_have_value("Softmax in the pooling step")


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
    expect(chart.locator(".legend .traces")).to_have_count(3)
    wait_for(lambda: share_of_screen() > 0.7, 20)
    page.get_by_role("button", name="Leave full screen").click()
    expect(chart.locator(".legend")).to_have_count(0)
    wait_for(lambda: share_of_screen() < 0.6, 20)


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


def test_the_lens_shows_what_the_address_names(site: str, study: Experiment, page: Page) -> None:
    page.goto(f"{site}/board/experiments/{study.id}?lens_seed=3&lens_epoch=2")
    lens = page.get_by_role("region", name="What the pooling looks at")
    expect(lens.get_by_text("epoch 2, entropy 1.28")).to_have_count(len(LEVELS))
    expect(lens.get_by_role("img", name="test sample of class 0")).to_be_visible()
    # Drawing the charts keeps the browser busy: on a slow machine for longer than a click waits.
    expect(page.locator(".js-plotly-plot", has=page.locator(".trace"))).to_have_count(1, timeout=60_000)
    lens.get_by_role("switch", name="Only images on which variants disagree").click()
    expect(page).to_have_url(re.compile("lens_disputed=1"))
    expect(lens.get_by_role("img", name="test sample of class 0")).to_have_count(0)
    expect(lens.get_by_role("img", name="test sample of class 1")).to_be_visible()


def test_the_table_is_taken_away(site: str, study: Experiment, page: Page, tmp_path: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{site}/board/experiments/{study.id}")
    button = page.get_by_role("button", name="Take it with you")
    button.click()
    page.get_by_role("menuitem", name="Copy as Markdown").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert re.search(r"\| mean \| 5 \| [\d.]+ ± [\d.]+ \|", page.evaluate("navigator.clipboard.readText()"))
    saved = {}
    for format in ("LaTeX", "CSV", "JSON"):
        expect(button).to_be_visible()
        button.click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=f"Save as {format}").click()
        download.value.save_as(tmp_path / format)
        saved[format] = (tmp_path / format).read_text(encoding="utf-8")
    assert re.search(r"seqpool\\_softmax\\_batch & 5 & [\d.]+ \$\\pm\$ [\d.]+ & .* \\\\", saved["LaTeX"])
    comparison = httpx.get(f"{site}/comparison", params={"experiment": study.id}).json()
    header, first, *_ = (line.split(",") for line in saved["CSV"].splitlines())
    assert float(dict(zip(header, first, strict=False))["final_mean"]) == comparison["variants"][0]["final"]["mean"]
    assert '"answer"' in saved["JSON"]


def test_the_form_says_what_it_will_queue(
    site: str, study: Experiment, store: RunStore, page: Page, check_page: Save
) -> None:
    page.goto(f"{site}/board/new?dataset=digits&epochs=6&augmentation=none&pooling=mean&pooling=seqpool&seed=0&seed=1")
    preview = page.get_by_role("region", name="Before it is queued")
    expect(preview).to_contain_text("4 runs, 24 epochs together; about")
    expect(row_of(preview, "seqpool")).to_contain_text(re.compile(r"\d{3},\d{3}"))
    page.get_by_text("13 rarely used fields").click()
    page.get_by_role("combobox", name="pretrained").fill("weights/o'neill.safetensors")
    page.get_by_label("Priority").fill("7")
    expect(page.get_by_text("cctboard submit").first).to_have_text(
        re.compile("--priority=7 .*pooling=mean,seqpool seed=0,1")
    )
    expect(page.get_by_text("curl -X POST")).to_contain_text('"priority":7')
    check_page("form-preview")
    busy = page.context.new_cdp_session(page)
    busy.send("Emulation.setCPUThrottlingRate", {"rate": 20})
    page.get_by_role("combobox", name="pretrained").press("End")
    page.get_by_label("epochs", exact=True).fill("-1")
    page.wait_for_timeout(500)
    expect(page.get_by_label("epochs", exact=True), "its list of suggestions closes late").to_be_focused()
    busy.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    expect(page.get_by_text("greater than or equal to 0").first).to_be_visible()
    page.get_by_label("epochs", exact=True).fill("2")
    page.get_by_role("combobox", name="pretrained").fill("")
    expect(preview).to_contain_text("4 runs, 8 epochs together")  # which moves the button
    page.get_by_role("button", name="Queue 4 runs").click()
    expect(page).to_have_url(re.compile(r"/board/experiments/\w+"))
    [experiment] = [found for found in store.experiments() if found.id != study.id]
    queued = store.experiment_runs(experiment.id)
    assert {(run.priority, run.spec.epochs) for run in queued} == {(7, 2)}
    assert asdict(queued[0].spec)["pretrained"] == ""
