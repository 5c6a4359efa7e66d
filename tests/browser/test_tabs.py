"""Several pages of one browser: they share one stream of events and one login."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from playwright.sync_api import Page, expect
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from app.cli.services import free_port
from app.settings import Settings
from app.store.lease import Lease
from app.store.run_store import RunStore
from app.web.main import DASHBOARD, create_app
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import serving

TABS = 10
TOKEN = "correct-horse-battery-staple"


class Streams:
    """Notes after which event each stream of events was asked to continue."""

    def __init__(self, app: ASGIApp, asked: list[bytes | None]) -> None:
        self.app, self._asked = app, asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/events":
            self._asked.append(dict(scope["headers"]).get(b"last-event-id"))
        await self.app(scope, receive, send)


@contextmanager
def counted(settings: Settings, store: RunStore, port: int) -> Iterator[tuple[str, list[bytes | None]]]:
    """A board's address, and the streams that were asked for."""
    app = create_app(settings, store, DASHBOARD)
    asked: list[bytes | None] = []
    app.add_middleware(Streams, asked=asked)
    with serving(app, port) as url:
        yield url, asked


def is_live(page: Page) -> None:
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()


def test_ten_pages_follow_one_stream(
    settings: Settings, store: RunStore, page: Page, claim: Callable[[], Lease]
) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits", epochs=3)])
    port = free_port()
    pages = [page] + [page.context.new_page() for _ in range(TABS - 1)]
    with counted(settings, store, port) as (url, asked):
        for one in pages:
            one.goto(f"{url}/board/runs/{run.id}")
            is_live(one)
        lease = claim()
        lease.record_epoch(replace(RECORD, epoch=1))
        for one in pages:
            expect(one.get_by_role("definition").filter(has_text="1/3")).to_be_visible()
        pages.pop(0).close()
        lease.record_epoch(replace(RECORD, epoch=2))
        for one in pages:
            expect(one.get_by_role("definition").filter(has_text="2/3")).to_be_visible()
        assert asked == [None]
    lease.record_epoch(replace(RECORD, epoch=3))
    [(newest, _)] = cast(list[tuple[str, Any]], store.redis.xrevrange(store.key("events"), count=1))
    with counted(settings, store, port) as (_, asked):
        for one in pages:
            is_live(one)
            expect(one.get_by_role("definition").filter(has_text="3/3")).to_be_visible()
        [last] = asked
        assert last
        assert last.decode() < newest


def test_all_pages_log_in_and_out_together(settings: Settings, store: RunStore, page: Page) -> None:
    settings = settings.model_copy(update={"token": SecretStr(TOKEN)})
    other = page.context.new_page()
    port = free_port()
    with counted(settings, store, port) as (url, asked):
        for one in (page, other):
            one.goto(url)
            expect(one.get_by_label("Token", exact=True)).to_be_visible()
        token = page.get_by_label("Token", exact=True)
        token.fill(f"  {TOKEN}\t")  # as it may come from the clipboard
        token.press("Enter")
        for one in (page, other):
            is_live(one)
        other.get_by_role("button", name="Menu").click()
        other.get_by_role("menuitem", name="Log out").click()
        for one in (page, other):
            expect(one.get_by_label("Token", exact=True)).to_be_visible()
        assert page.request.get(f"{url}/runs").status == 401
        other.get_by_label("Token", exact=True).fill(TOKEN)
        other.get_by_role("button", name="Log in").click()
        for one in (page, other):
            is_live(one)
        store.create_runs([RunSpec(dataset="digits")])
        for one in (page, other):
            expect(one.get_by_role("table", name="Runs")).to_be_visible()
        assert asked == [None, None]


def test_a_browser_without_shared_workers_has_a_stream_for_each_page(
    settings: Settings, store: RunStore, page: Page
) -> None:
    page.add_init_script("delete window.SharedWorker")  # as in Chrome on Android
    [run] = store.create_runs([RunSpec(dataset="digits")])
    with counted(settings, store, free_port()) as (url, asked):
        page.goto(f"{url}/board/runs/{run.id}")
        is_live(page)
        store.cancel(run.id)
        expect(page.get_by_role("definition").filter(has_text="cancelled")).to_be_visible()
        assert asked == [None]
