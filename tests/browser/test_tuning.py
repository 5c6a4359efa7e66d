"""Tuning and held-out data in the browser: what the form asks for, what the pages show of it."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

from playwright.sync_api import Page, expect

from app.store.rows import State
from app.store.run_store import RunStore
from app.web.planner import advance
from tests.app.store.test_store import RECORD


def train_all(store: RunStore) -> None:
    while lease := store.claim("w"):
        run = store.run(lease.run_id)
        top1 = 80.0 + 5 * (run.spec.pooling == "gem") + run.spec.seed - 100 * abs(run.spec.lr - 0.002)
        lease.describe(device="CPU", **({} if run.trial else {"test_top1": top1 - 1, "test_top1_at_best": top1}))
        lease.record_epoch(replace(RECORD, val_top1=top1))
        lease.release(State.completed)


def test_variants_are_tuned_from_the_form_to_the_comparison_of_their_best_settings(
    page: Page,
    site: str,
    store: RunStore,
    check_accessibility: Callable[[], None],
    check_width: Callable[[], None],
) -> None:
    asked = {"dataset": "digits", "epochs": 2, "warmup_epochs": 0, "pooling": ["seqpool", "gem"]}
    page.goto(f"{site}/board/new?{urlencode(asked, doseq=True)}")
    page.get_by_label("Tune each variant first").check()
    expect(page.get_by_label("val_share", exact=True)).to_have_value("0.1")
    page.get_by_label("What is searched").fill("lr=0.01..0.0001 log")
    expect(page.get_by_text("lr: low 0.01 is not below high 0.0001")).to_be_visible()
    page.get_by_label("What is searched").fill("lr=0.0001..0.01 log")
    page.get_by_label("Trials of each variant").fill("4")
    page.get_by_label("Fresh seeds to compare").fill("2")
    page.get_by_role("button", name="Queue 8 runs").click()
    expect(page.get_by_role("heading", name="Tuning", exact=True)).to_be_visible()
    experiment = page.url.rsplit("/", 1)[1]
    while store.experiment(experiment).plan_state == "open":
        train_all(store)
        advance(store, experiment)
    link = page.get_by_role("link", name="The best settings are compared on fresh seeds.")
    expect(link).to_be_visible()
    table = page.get_by_role("table", name="Best settings")
    expect(table.get_by_role("row").nth(2)).to_contain_text("gem")
    expect(page.get_by_role("figure", name="Trials and best so far")).to_be_visible()
    check_accessibility()
    train_all(store)
    link.click()
    expect(page.get_by_text("Tuned, each with 4 trials by tpe over lr 0.0001 to 0.01 (log)")).to_be_visible()
    expect(page.get_by_label("Compare by")).to_have_value("final test_top1")
    expect(page.get_by_role("columnheader", name="Test top-1 (%)")).to_be_visible()
    expect(page.get_by_text("10 % of the training set, held out; the test set is read once").first).to_be_visible()
    page.goto(f"{site}/?group=pooling")
    page.get_by_role("button", name="Split").first.click()
    expect(page.get_by_text("Groups are split by lr")).to_be_visible()
    check_width()
