"""Plans in the browser: queued from the form, trained to their end, watched, raised, confirmed; and their absence."""

import re
from collections.abc import Callable

import httpx2 as httpx
from playwright.sync_api import Page, expect

from app.store.lease import Lease
from app.store.run_store import RunStore
from tests.app.web.test_planner import Study
from tests.browser.studies import Save, queue_study, train


def test_a_plan_is_queued_from_the_form(board: httpx.Client, page: Page) -> None:
    fields = "dataset=digits&epochs=1&augmentation=none&warmup_epochs=0&batch_size=256&lr=0.002"
    page.goto(f"{board.base_url}/board/new?{fields}&pooling=mean&pooling=max&seed=1&seed=2&name=Until+known")
    page.get_by_role("switch", name="Run until the answer is known").click()
    expect(page.get_by_label("seed values")).to_have_count(0)
    page.get_by_label("max_seeds").fill("2")
    expect(page.get_by_text("greater than or equal to 3").first).to_be_visible()
    page.get_by_label("max_seeds").fill("3")
    preview = page.get_by_role("region", name="Before it is queued")
    expect(preview.get_by_role("row", name="at least")).to_contain_text("6 runs")
    expect(page.get_by_text("cctboard submit").first).to_contain_text('--plan={"baseline":"mean","max_seeds":3}')
    expect(page).to_have_url(re.compile(r"plan=on.*plan\.max_seeds=3"))
    page.get_by_role("button", name="Queue the plan").click()
    plan = page.get_by_role("region", name="Plan")
    expect(plan).to_contain_text("final val_top1 against mean; alike within ±0.5 points, error rate 5")
    expect(plan).to_contain_text("0 of 1 variants settled")
    expect(plan.get_by_role("article", name="max")).to_contain_text("0 of 3 seeds")
    plan.get_by_role("button", name="Stop the plan").click()
    page.get_by_role("button", name="Yes, stop").click()
    expect(plan).to_contain_text("Stopped")


def test_a_plan_is_watched_raised_and_its_claims_are_tried_again(
    site: str, store: RunStore, page: Page, check_page: Save
) -> None:
    study = Study(store)
    page.goto(f"{site}/board/experiments/{study.id}")
    plan = page.get_by_role("region", name="Plan")
    mean, equal = (plan.get_by_role("article", name=name) for name in ("mean", "max"))
    expect(mean).to_contain_text("The first look is at seed 3.")
    study.train()
    expect(mean).to_contain_text("worse")
    expect(equal).to_contain_text("open")
    expect(page.get_by_role("region", name="Answer")).to_contain_text("worse by 9.92 (6.96 to 12.87")
    for article in (mean, equal):
        expect(article.get_by_role("figure").locator(".trace")).not_to_have_count(0)
    expect(page.get_by_role("button", name="Add 2 seeds")).to_have_count(0)
    check_page("plan")
    plan.get_by_role("button", name="Stop the plan").click()
    page.get_by_role("button", name="Yes, stop").click()
    expect(plan).to_contain_text("Stopped: 1 of 2 variants settled")
    plan.get_by_role("button", name="Go on").click()
    expect(plan).to_contain_text("Open: 1 of 2 variants settled")
    while study.train():
        pass
    expect(equal).to_have_attribute("data-outcome", "alike")
    expect(plan).to_contain_text(re.compile(r"Ended .* fewer than all 20 seeds of all variants"))
    plan.get_by_role("button", name="Raise budget").click()
    page.get_by_label("Seeds at most").fill("30")
    page.get_by_role("button", name="Raise", exact=True).click()
    expect(plan).to_contain_text("at most 30 seeds (declared: 20)")
    plan.get_by_role("button", name="Confirm with 3 fresh seeds").click()
    expect(page.get_by_text("Tries on fresh seeds what was claimed by")).to_contain_text("Worse than seqpool: mean")
    [fresh] = [one for one in store.experiments() if one.confirms == study.id]
    assert fresh.runs == 9


def test_without_a_plan_further_seeds_are_exploratory_and_new_ones_may_be_planned(
    site: str, store: RunStore, claim: Callable[[], Lease], page: Page, check_page: Save
) -> None:
    study = queue_study(store, seeds=2)
    train(store, claim, 6)
    page.goto(f"{site}/board/experiments/{study.id}")
    expect(page.get_by_text("p values hold for the 2 seeds that were queued")).to_be_visible()
    page.get_by_role("button", name="Add 2 seeds to all").click()
    expect(page.get_by_role("dialog")).to_contain_text("marked as exploratory from then on")
    page.get_by_role("button", name="Add them, exploratory").click()
    expect(page.get_by_role("region", name="Answer").get_by_text("exploratory", exact=True)).to_be_visible()
    expect(page.get_by_text("p values are exploratory")).to_be_visible()
    assert store.experiment(study.id).exploratory
    page.get_by_role("button", name="Turn into a plan").click()
    page.get_by_label("smallest_difference").fill("0.7")
    page.get_by_role("dialog").get_by_role("button", name="Queue the plan").click()
    expect(page.get_by_text("Asks again, on new seeds and with a plan, what was asked by")).to_be_visible()
    expect(page.get_by_role("region", name="Plan")).to_contain_text("alike within ±0.7 points")
    [planned] = [one for one in store.experiments() if one.follows == study.id]
    assert planned.planning
    assert planned.planning.first_seed == 4
    check_page("plan-that-follows")
    page.go_back()
    expect(page.get_by_text("Asked again with a plan:")).to_be_visible()
