"""The page of workers, and what a page says about the database."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from app.cli.database import start_valkey
from app.cli.services import Services, free_port
from app.settings import Settings
from app.store.run_store import RunStore
from app.web.main import DASHBOARD, create_app
from cct.spec import RunSpec
from tests.conftest import serving

Check = Callable[[], None]
Save = Callable[[str], None]


def test_workers_come_work_and_show_their_load(
    site: str, page: Page, store: RunStore, screenshot: Save, check_accessibility: Check, check_width: Check
) -> None:
    page.goto(site)
    page.get_by_role("link", name="0 workers").click()
    expect(page.get_by_text("No worker is connected")).to_be_visible()
    expect(page.get_by_text("cctboard worker", exact=True)).to_be_visible()
    check_accessibility()
    screenshot("workers-empty")

    [run] = store.create_runs([RunSpec(dataset="digits", pooling="mean", seed=4)])
    store.claim("gpu-box.02")
    store.heartbeat("gpu-box.01", device="NVIDIA H100 80GB HBM3", version="0.1.0", slot=1, slots=2)
    store.heartbeat(
        "gpu-box.02",
        device="NVIDIA H100 80GB HBM3",
        version="0.1.0",
        slot=2,
        slots=2,
        run_id=run.id,
        gpu_percent=97,
        gpu_memory_bytes=12 * 2**30,
        cpu_percent=31.4,
        memory_bytes=700 * 2**20,
    )
    store.heartbeat("<b>laptop</b>", device="cpu", version="0.1.0")
    table = page.get_by_role("table", name="Workers")
    row = table.get_by_role("row").filter(has_text="gpu-box.02")
    for text in ("NVIDIA H100", "2 of 2", "97 %", "12.0 GiB", "31 %", "700 MiB", re.compile(r"\d+ s ago"), "0.1.0"):
        expect(row).to_contain_text(text)
    expect(table.get_by_role("row").filter(has_text="<b>laptop</b>")).to_contain_text("idle")
    expect(page.get_by_role("link", name="2 workers, 3 slots")).to_be_visible()
    check_accessibility()
    screenshot("workers")
    page.emulate_media(color_scheme="dark")
    check_accessibility()
    screenshot("workers-dark")
    check_width()
    screenshot("workers-phone")
    page.get_by_role("link", name="mean, seed 4").click()
    expect(page).to_have_url(f"{site}/board/runs/{run.id}")


def test_a_page_says_that_the_database_is_away_and_catches_up(page: Page, settings: Settings, tmp_path: Path) -> None:
    data = tmp_path / "database"
    data.mkdir()
    services = Services(data)
    url = start_valkey(services, data)
    settings = settings.model_copy(update={"redis_url": url})
    store = RunStore(settings)
    try:
        with serving(create_app(settings, store, DASHBOARD), free_port()) as site:
            page.goto(site)
            badge = page.get_by_role("status").filter(has_text=re.compile("^(live|reconnecting)"))
            expect(badge).to_have_text("live")
            services.stop()
            expect(badge).to_have_text("reconnecting: database unreachable")
            start_valkey(services, data)
            store.create_runs([RunSpec(dataset="digits")])
            expect(badge).to_have_text("live")
            expect(page.get_by_text("1 run", exact=True)).to_be_visible()
    finally:
        services.stop()
