"""The board below a path, and behind proxies that change what it is asked for: the application without a proxy."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient
from pydantic_settings import SettingsError

from app.settings import Settings
from app.store.run_store import RunStore
from app.web.main import create_app

BELOW = "https://testserver/lab/cct"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A dashboard as the build leaves it."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text('<script src="./assets/index.js"></script><link href="./icon.svg">')
    (folder / "assets" / "index.js").write_text("0")
    return folder


@pytest.fixture
def below(settings: Settings, store: RunStore, built: Path) -> Iterator[TestClient]:
    """Told that it is below a path; asked with that path, and without where a proxy takes it off."""
    with TestClient(create_app(settings.model_copy(update={"url": f"{BELOW}/"}), store, built)) as client:
        yield client


@pytest.mark.parametrize("prefix", ["", "/lab/cct"])
def test_pages_name_their_files_relative_to_themselves(below: TestClient, prefix: str) -> None:
    for path in ("/", "/board", "/board/runs/0123456789ab", "/board/a/b/c/d"):
        page = below.get(prefix + path)
        assert page.headers["content-type"].startswith("text/html")
        [script, icon] = (part.partition('"')[0] for part in page.text.split('="')[1:])
        assert urljoin(prefix + path, script) == f"{prefix}/assets/index.js"
        assert urljoin(prefix + path, icon) == f"{prefix}/icon.svg"
    asset = below.get(f"{prefix}/assets/index.js")
    assert (asset.text, "immutable" in asset.headers["cache-control"]) == ("0", True)
    assert below.head(f"{prefix}/").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/lab/cct"])
def test_what_was_created_is_found_at_its_location(below: TestClient, prefix: str) -> None:
    for path, body in (("/runs", {}), ("/experiments", {"axes": {"seed": [0, 1]}})):
        created = below.post(prefix + path, json=body)
        location = urljoin(f"{BELOW}{path}", created.headers["location"])
        assert location.startswith(f"{BELOW}{path}/")
        found = below.get(location.removeprefix("https://testserver"))
        assert found.json()["id"] == created.json()["id"]


def test_a_board_below_a_path_is_also_asked_for_without_the_slash(below: TestClient) -> None:
    sent = below.get("/lab/cct?text=a%26b", follow_redirects=False)
    assert urljoin("/lab/cct", sent.headers["location"]) == "/lab/cct/?text=a%26b"
    assert below.get("/lab/cct").text.count("./") == 2
    assert below.get("/lab/cctx").status_code == 404, "only whole parts of a path are taken off"


def test_the_path_is_no_way_around_the_login(settings: Settings, store: RunStore, built: Path) -> None:
    locked = settings.model_copy(update={"url": BELOW, "token": "correct-horse-battery"})
    locked = Settings.model_validate(locked.model_dump())
    with TestClient(create_app(locked, store, built)) as client:
        for path in ("/lab/cct/runs", "/lab/cct/lab/cct/runs", "/lab/cct//runs", "/lab/cct/board/../runs"):
            assert client.get(path).status_code == 401, path
        assert client.get("/lab/cct/session").json()["token_needed"]
        page = client.get("/other/cct/", headers={"Accept": "text/html"})
        assert "known by another path than '/other/cct/': set CCTBOARD_URL" in page.json()["detail"]


@pytest.mark.parametrize("path", ["/board", "/runs/", "/docs/x", "/assets", "/queue/cct"])
def test_a_path_of_the_boards_own_is_refused(settings: Settings, store: RunStore, path: str) -> None:
    with pytest.raises(SettingsError, match=f"CCTBOARD_URL: {path.rstrip('/')}/ has pages of the board's own"):
        create_app(settings.model_copy(update={"url": f"http://lab.example.org{path}"}), store, None)


def test_what_is_no_address_is_refused(settings: Settings, store: RunStore) -> None:
    with pytest.raises(SettingsError, match=r"CCTBOARD_URL: 'http://\[' is no address"):
        create_app(settings.model_copy(update={"url": "http://["}), store, None)


def post(client: TestClient, host: str, origin: str, fetch_site: str | None = None) -> tuple[int, str]:
    headers = {"Host": host, "Origin": origin} | ({"Sec-Fetch-Site": fetch_site} if fetch_site else {})
    answer = client.post("/queue/pause", headers=headers)
    return answer.status_code, answer.json().get("detail", "")


@pytest.mark.parametrize(
    ("host", "origin", "fetch_site"),
    [
        ("localhost:8080", "http://localhost:8080", None),
        ("localhost:443", "https://localhost", None),  # nginx: `$host:$server_port`
        ("localhost", "http://localhost:80", None),
        ("LOCALHOST", "http://localhost", None),
        ("localhost", "http://localhost:8080", "same-origin"),  # nginx: `$host`, in a browser that says so
    ],
)
def test_a_page_of_the_board_may_change_it(client: TestClient, host: str, origin: str, fetch_site: str | None) -> None:
    assert post(client, host, origin, fetch_site) == (200, "")


@pytest.mark.parametrize(
    ("host", "origin", "fetch_site"),
    [
        ("localhost", "http://localhost:8080", None),
        ("localhost", "http://localhost:8080", "same-site"),  # another service of this host
        ("localhost:8000", "http://localhost:8080", "same-origin"),
        ("localhost", "http://evil.example", "same-origin"),
        ("localhost", "http://localhost:8080.evil.example", "same-origin"),
        ("localhost:80", "https://localhost", None),
        ("localhost", "null", "same-origin"),
        ("127.0.0.1:8000", "https://lab.example.org", None),  # nginx: the usual `Host` of a proxy's own
    ],
)
def test_another_page_may_not_and_is_told_why(
    client: TestClient, host: str, origin: str, fetch_site: str | None
) -> None:
    status, detail = post(client, host, origin, fetch_site)
    assert status == 403
    assert f"a page of {origin} may not change what is on {host}" in detail
    assert "nginx: `proxy_set_header Host $http_host;`" in detail
