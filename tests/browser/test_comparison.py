"""The pages of experiments and comparisons and the form in a real browser, over rows written into the store."""

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
from playwright.sync_api import Locator, Page, expect

from app.store.lease import Lease
from app.store.rows import Experiment, State
from app.store.run_store import RunStore
from tests.browser.studies import SPEC, Save, queue_study, record_epoch, train


def row_of(table: Locator, name: str) -> Locator:
    return table.get_by_role("row").filter(has=table.page.get_by_text(name, exact=True))


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
