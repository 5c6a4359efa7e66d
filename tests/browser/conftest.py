"""A real Chromium, driven by Playwright, over the whole board."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from app.cli.services import free_port
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import Experiment
from app.store.run_store import RunStore
from app.web.main import DASHBOARD, create_app
from tests.browser.studies import IMAGE, queue_study, train
from tests.conftest import serving, wait_for

SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
"""A folder in which tests save what they see, for a person to look at."""
PHONE: ViewportSize = {"width": 390, "height": 844}
CUT_OFF = """[...document.querySelectorAll("html, main *")].filter((element) => {
    const scrolls = element.matches("html") || /auto|scroll/.test(getComputedStyle(element).overflowX);
    return scrolls && element.scrollWidth > element.clientWidth + 1;
}).map((element) => `${element.tagName} ${element.className}: ${element.scrollWidth} of ${element.clientWidth}`)"""
"""What has to be scrolled sideways to be seen."""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's or the user's Chromium; without one, the one that Playwright installed.

    One for each file: as long as Playwright runs, no other test of this process can run an event loop of its own.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((path for path in map(shutil.which, names) if path), None)
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page; the test fails if it logs an error."""
    # What fades in would be judged and photographed half transparent.
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Browsers log each answer that is not 2xx; tests of bad input expect those.
        if message.type == "error" and "Failed to load resource" not in message.text:
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors


@pytest.fixture
def screenshot(page: Page) -> Callable[[str], None]:
    """Saves what the page shows, if somebody wants to look at it."""

    def save(name: str) -> None:
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)

    return save


@pytest.fixture
def site(settings: Settings, store: RunStore) -> Iterator[str]:
    """API and dashboard over an empty database, without workers; the address."""
    with serving(create_app(settings, store, DASHBOARD), free_port()) as url:
        yield url


@pytest.fixture
def check_accessibility(page: Page) -> Callable[[], None]:
    """Fails with what axe finds serious or critical on the page as it is; in the dark scheme, of colours alone."""
    axe = Axe()

    def check() -> None:
        is_dark = page.locator("html").get_attribute("data-mantine-color-scheme") == "dark"
        options = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if is_dark else {})
        found = axe.run(page, options=options).response["violations"]
        grave = [finding for finding in found if finding["impact"] in ("serious", "critical")]
        assert [(node["html"], node["failureSummary"]) for finding in grave for node in finding["nodes"]] == []

    return check


@pytest.fixture
def check_width(page: Page) -> Callable[[], None]:
    """Fails if a phone cuts something off at the right, after figures have taken their new size."""

    def check() -> None:
        page.set_viewport_size(PHONE)
        wait_for(lambda: page.evaluate(CUT_OFF) == [], 20)

    return check


@pytest.fixture
def study(store: RunStore, claim: Callable[[], Lease]) -> Experiment:
    """Three poolings, five seeds, all completed."""
    experiment = queue_study(store)
    store.set_images("digits", [{"label": label, "url": IMAGE} for label in (0, 1)])
    train(store, claim, experiment.runs)
    return experiment


@pytest.fixture
def check_page(
    page: Page,
    check_accessibility: Callable[[], None],
    check_width: Callable[[], None],
    screenshot: Callable[[str], None],
) -> Callable[[str], None]:
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
