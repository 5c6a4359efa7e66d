"""What the pooling looks at, in a real browser: images and texts."""

import re
from collections.abc import Callable
from dataclasses import replace

from playwright.sync_api import Page, expect

from app.store.lease import Lease
from app.store.rows import Experiment
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD
from tests.browser.studies import LEVELS, SPEC


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


def test_the_words_of_a_text_are_marked_by_what_they_count(
    site: str, store: RunStore, claim: Callable[[], Lease], page: Page, check_page: Callable[[str], None]
) -> None:
    texts = [f"who wrote book {number} ?".split() for number in range(8)]
    store.set_images("trec", [{"label": 3, "words": words} for words in texts])
    specs = [replace(SPEC, dataset="trec", model="text_cct_2", pooling=pooling) for pooling in LEVELS]
    experiment = store.create_experiment("Texts", {"dataset": "trec"}, {"pooling": list(LEVELS)}, specs)
    for place in range(len(specs)):
        lease = claim()
        lease.record_epoch(RECORD)
        shares = [0.6, 0.2, 0.1, 0.1, 0.0] if place else [0.2] * 5
        predicted = [3] * 7 + [place]
        look = {"epoch": 1, "shares": [shares] * 8, "entropy": [1.0] * 8, "confidence": [0.75] * 8}
        lease.record_look(1, look | {"predicted": predicted})
    page.goto(f"{site}/board/experiments/{experiment.id}")
    lens = page.get_by_role("region", name="What the pooling looks at")
    disputed = lens.get_by_role("region").first
    expect(disputed).to_contain_text("HUM: “who wrote book 7 ?”")
    expect(disputed.get_by_role("listitem").nth(0)).to_contain_text("✗ ABBR · 75 %")
    expect(disputed.get_by_text("who", exact=True).nth(1)).to_have_attribute("title", "60.0 %")
    expect(lens.get_by_role("button", name="image")).to_have_count(0)
    expect(lens.get_by_role("region")).to_have_count(6)
    check_page("lens-of-texts")
    lens.get_by_role("button", name="Show all 8 texts").click()
    expect(lens.get_by_role("region")).to_have_count(8)
    lens.get_by_role("switch", name="Only texts on which variants disagree").click()
    expect(lens.get_by_role("region")).to_have_count(1)
