"""The security policy in a real browser: pages and charts work under it, and nothing comes from elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from playwright.sync_api import Page, expect
from pydantic import SecretStr

from app.cli.services import free_port
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.main import DASHBOARD, create_app
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import serving

TOKEN = "correct-horse-battery-staple"

INLINE = "{ textContent: 'window.injected = 1' }"


def test_pages_and_charts_work_under_the_policy(
    page: Page, settings: Settings, store: RunStore, claim: Callable[[], Lease], screenshot: Callable[[str], None]
) -> None:
    """Also with a token, after logging in. The page's fixture fails on whatever the browser refuses to load."""
    axes: dict[str, list[Any]] = {"pooling": ["mean", "seqpool"], "seed": [0, 1]}
    specs = [RunSpec(dataset="digits", pooling=p, seed=s, epochs=3) for p in axes["pooling"] for s in (0, 1)]
    experiment = store.create_experiment("poolings", {"dataset": "digits", "epochs": 3}, axes, specs)
    for _ in specs:
        lease = claim()
        for epoch in (1, 2, 3):
            lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=50.0 + epoch * epoch))
        lease.release(State.completed)
    settings = settings.model_copy(update={"token": SecretStr(TOKEN)})
    with serving(create_app(settings, store, DASHBOARD), free_port()) as url:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        assert page.request.post(f"{url}/session", data={"token": TOKEN}).ok
        page.goto(f"{url}/board/experiments/{experiment.id}")
        expect(page.locator(".js-plotly-plot .trace").first).to_be_visible()
        screenshot("policy")
        assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []
        assert page.evaluate("document.cookie") == ""
        unwatched = page.context.new_page()
        unwatched.goto(url)
        unwatched.evaluate(f"document.head.append(Object.assign(document.createElement('script'), {INLINE}))")
        assert unwatched.evaluate("window.injected") is None


def test_the_documentation_of_the_api_is_served_by_the_board(
    page: Page, settings: Settings, store: RunStore, screenshot: Callable[[str], None]
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with serving(create_app(settings, store, DASHBOARD), free_port()) as url:
        page.goto(f"{url}/docs")
        expect(page.get_by_role("heading", name="CCT Board")).to_be_visible()
        operation = page.locator("#operations-catalog-read_catalog_catalog_get")
        operation.get_by_role("button").first.click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table").get_by_text("seqpool").first).to_be_visible()
        screenshot("docs")
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []
