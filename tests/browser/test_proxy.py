"""The board behind a real nginx, below a path, as docs/deployment.md tells how to."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr

from app.cli.services import free_port
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.main import DASHBOARD, create_app
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import serving, wait_for

DOCUMENTED = re.search(r"```nginx\n(.*?)```", Path("docs/deployment.md").read_text(), re.DOTALL)[1]  # type: ignore[index]
TOKENS = "correct-horse-battery-staple", "staple-battery-horse-correct"


@contextmanager
def nginx(folder: Path, site: str) -> Iterator[str]:
    """A server of this configuration; its address. It is one process, of the user who tests."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert binary, "the tests need nginx; `make proxy` installs it"
    folder.mkdir()
    port = free_port()
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        f"http {{ access_log off; {temporary} {site.replace('listen 80;', f'listen 127.0.0.1:{port};')} }}"
    )
    process = subprocess.Popen([binary, "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log"])
    address = f"http://localhost:{port}"
    try:
        wait_for(lambda: is_listening(address), 10)
        yield address
    finally:
        process.terminate()
        process.wait()


def is_listening(address: str) -> bool:
    try:
        return bool(httpx.get(address.replace("localhost", "127.0.0.1")))
    except httpx.TransportError:
        return False


@contextmanager
def board(settings: Settings, store: RunStore, token: str | None = None, url: str = "http://nowhere") -> Iterator[str]:
    told = settings.model_copy(update={"token": token and SecretStr(token), "url": url})
    with serving(create_app(told, store, DASHBOARD), free_port()) as address:
        yield address


@pytest.fixture
def below(settings: Settings, store: RunStore, tmp_path: Path) -> Iterator[str]:
    """Two boards of one host, `/cct/` as it is documented and `/other/` beside it; the host's address."""
    assert "location /cct/" in DOCUMENTED
    with board(settings, store, TOKENS[0]) as one, board(settings, store, TOKENS[1]) as other:
        site = DOCUMENTED.replace("http://127.0.0.1:8000", one)
        location = site[site.index("    location /cct/") : site.rindex("}")]
        beside = location.replace("/cct/", "/other/").replace(one, other)
        with nginx(tmp_path / "nginx", site.replace(location, location + beside)) as address:
            yield address


def test_a_board_below_a_path(
    below: str, page: Page, store: RunStore, claim: Callable[[], Lease], screenshot: Callable[[str], None]
) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits", epochs=2, pooling="mean")])
    lease = claim()
    lease.record_epoch(RECORD)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(f"{below}/cct")
    page.get_by_label("Token", exact=True).fill(TOKENS[0])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    expect(page).to_have_url(f"{below}/cct/")
    cookies = page.context.cookies()
    assert [(cookie["path"], cookie["httpOnly"]) for cookie in cookies] == [("/cct", True)]

    page.get_by_title(f"Run {run.id}").click()
    expect(page).to_have_url(f"{below}/cct/board/runs/{run.id}")
    page.reload()
    expect(page.get_by_role("heading", name="mean")).to_be_visible()
    expect(page.locator(".js-plotly-plot .trace").first).to_be_visible()
    lease.record_epoch(replace(RECORD, epoch=2))
    lease.release(State.completed)
    expect(page.get_by_text("completed", exact=True).first).to_be_visible()  # by the event; nobody reloads
    with page.expect_download() as download:
        page.get_by_role("link", name="TensorBoard").click()
    assert download.value.suggested_filename == f"run-{run.id}-tensorboard.zip"
    screenshot("below-a-path")

    page.goto(f"{below}/cct/board/new?dataset=digits&epochs=1")
    expect(page.get_by_text(f"curl -X POST {below}/cct/runs")).to_be_visible()
    page.get_by_role("button", name="Queue run").click()
    expect(page).to_have_url(re.compile(f"{below}/cct/board/runs/[0-9a-f]+"))

    page.goto(f"{below}/cct/docs")
    operation = page.locator("#operations-catalog-read_catalog_catalog_get")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table").get_by_text("seqpool").first).to_be_visible()
    assert [address for address in asked if not address.startswith((f"{below}/cct", "data:", "blob:"))] == []

    # Beside it another board, which knows nothing of this login, nor takes it away.
    page.goto(f"{below}/other/board/workers")
    page.get_by_label("Token", exact=True).fill(TOKENS[1])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    assert page.request.get(f"{below}/cct/runs").ok
    assert page.request.get(f"{below}/other/runs").ok
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("menuitem", name="Log out").click()
    expect(page.get_by_label("Token", exact=True)).to_be_visible()
    assert page.request.get(f"{below}/cct/runs").ok
    assert page.request.get(f"{below}/other/runs").status == 401


def passing_on(address: str) -> str:
    """The documented configuration but for the slash that takes the path off."""
    return DOCUMENTED.replace("http://127.0.0.1:8000/;", f"{address};")


def test_a_proxy_that_passes_the_path_on(settings: Settings, store: RunStore, page: Page, tmp_path: Path) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits", pooling="mean")])
    with (
        board(settings, store, url="https://lab.example.org/cct") as told,
        nginx(tmp_path / "nginx", passing_on(told)) as proxy,
    ):
        for place in (f"{proxy}/cct", told):  # and without the proxy too
            page.goto(f"{place}/board/runs/{run.id}")
            expect(page.get_by_role("heading", name="mean")).to_be_visible()
            expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
            page.get_by_role("link", name="CCT Board").click()
            expect(page).to_have_url(f"{place}/")
            expect(page.get_by_title(f"Run {run.id}")).to_be_visible()


def test_a_page_whose_files_are_elsewhere_says_so(
    settings: Settings, store: RunStore, browser: Browser, tmp_path: Path
) -> None:
    """A proxy passes on a path of which the board was not told."""
    with board(settings, store) as untold, nginx(tmp_path / "nginx", passing_on(untold)) as proxy:
        page = browser.new_page()
        page.goto(f"{proxy}/cct/")
        expect(page.get_by_text("tell the board the address by which it is reached")).to_be_visible()
        page.close()


def test_a_proxy_that_leaves_the_port_out(settings: Settings, store: RunStore, page: Page, tmp_path: Path) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits", pooling="mean")])
    with board(settings, store) as address:
        site = DOCUMENTED.replace("http://127.0.0.1:8000", address).replace("$http_host", "$host")
        with nginx(tmp_path / "nginx", site) as proxy:
            page.goto(f"{proxy}/cct/board/runs/{run.id}")
            page.get_by_role("button", name="Cancel run").click()
            page.get_by_role("button", name="Yes, cancel").click()
            wait_for(lambda: store.run(run.id).state is State.cancelled, 10)
            refused = httpx.post(f"{proxy}/cct/runs", json={}, headers={"Origin": proxy})
    assert refused.status_code == 403
    assert "nginx: `proxy_set_header Host $http_host;`" in refused.json()["detail"]
