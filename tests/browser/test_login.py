"""A board with a token in the browser: logging in and out, and coming back to the page that was asked for."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from app.cli.services import free_port
from app.settings import Settings
from app.store.run_store import RunStore
from app.web.main import DASHBOARD, create_app
from cct.spec import RunSpec
from tests.conftest import serving

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def locked_site(settings: Settings, store: RunStore) -> Iterator[str]:
    settings = settings.model_copy(update={"token": SecretStr(TOKEN)})
    with serving(create_app(settings, store, DASHBOARD), free_port()) as url:
        yield url


def test_the_token_opens_the_page_that_was_asked_for(
    locked_site: str,
    page: Page,
    store: RunStore,
    screenshot: Callable[[str], None],
    check_accessibility: Callable[[], None],
    check_width: Callable[[], None],
) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits", pooling="mean")])
    address = f"{locked_site}/board/runs/{run.id}"
    page.goto(address)
    token = page.get_by_label("Token", exact=True)
    expect(token).to_be_focused()
    token.fill("wrong")
    token.press("Enter")
    expect(page.get_by_text("the token is wrong")).to_be_visible()
    check_accessibility()
    screenshot("login")
    token.fill(TOKEN)
    page.get_by_label("Your name").fill("Ada Löwe")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="mean")).to_be_visible()
    expect(page).to_have_url(address)
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()

    # Those who share the board see who has done what.
    for name, note in (("", "why?"), ("Bob", "because")):
        if name:
            page.get_by_role("button", name="Menu").click()
            page.get_by_role("menuitem", name="Your name").click()
            expect(page.get_by_role("textbox", name="Your name")).to_have_value("Ada Löwe")
            page.get_by_role("textbox", name="Your name").fill(name)
            page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="note").click()
        page.get_by_label("Note", exact=True).fill(note)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text(f"{note} ({name or 'Ada Löwe'})")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(page.get_by_text("by Bob")).to_be_visible()
    screenshot("names")

    page.get_by_role("button", name="Menu").click()
    page.get_by_role("menuitem", name="Log out").click()
    expect(token).to_be_visible()
    check_width()
    page.reload()
    expect(token).to_be_visible()
    assert page.request.get(f"{locked_site}/runs").status == 401


def test_a_session_that_ended_asks_for_the_token_again(locked_site: str, page: Page, store: RunStore) -> None:
    store.create_runs([RunSpec(dataset="digits")])
    assert page.request.post(f"{locked_site}/session", data={"token": TOKEN}).ok
    page.goto(f"{locked_site}/?text=digits")
    expect(page.get_by_role("table", name="Runs")).to_be_visible()
    page.wait_for_timeout(2_000)  # else it may be a later question of the page that is refused first
    page.context.clear_cookies()
    page.get_by_role("button", name="Pause").click()
    token = page.get_by_label("Token", exact=True)
    token.fill(TOKEN)
    token.press("Enter")
    expect(page.get_by_role("table", name="Runs")).to_be_visible()
    expect(page).to_have_url(f"{locked_site}/?text=digits")
    assert not store.paused()


def test_a_board_without_a_token_has_no_login(site: str, page: Page) -> None:
    page.goto(site)
    expect(page.get_by_role("heading", name="Nothing has been trained yet")).to_be_visible()
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("menuitem", name="API documentation")).to_have_attribute("href", "/docs")
    expect(page.get_by_role("menuitem", name="Log out")).to_be_hidden()
