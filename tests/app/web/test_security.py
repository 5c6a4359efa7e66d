"""Who may use the board, and what it tells browsers: the real application, some of it over real connections."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from app.cli.services import free_port
from app.settings import Settings
from app.store.run_store import RunStore
from app.web import security
from app.web.main import create_app
from app.web.security import ADDRESSES_KEPT, ATTEMPTS_PER_MINUTE, SECURITY_HEADERS, Access
from tests.conftest import serving

TOKEN = "correct-horse-battery-staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/session"),
    ("POST", "/session"),
    ("DELETE", "/session"),
}


@pytest.fixture
def dashboard(tmp_path: Path) -> Path:
    """Stands for the built dashboard: its files' names, and beside them one that is not to be had."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>CCT Board</title>")
    (folder / "assets" / "index.js").write_text("0")
    (folder / "icon.svg").write_text("<svg/>")
    (tmp_path / "secret").write_text("not to be had")
    return folder


@pytest.fixture
def app(settings: Settings, store: RunStore, dashboard: Path) -> FastAPI:
    settings = settings.model_copy(update={"token": SecretStr(TOKEN)})
    return create_app(settings, store, dashboard)


@pytest.fixture
def stranger(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def operations(app: FastAPI) -> list[tuple[str, str]]:
    """All of the document, and what is not in it, with an id for each parameter."""
    documented = [(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item]
    more = [("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/docs/files/swagger-ui.css")]
    return [(method, re.sub(r"\{\w+\}", "0" * 12, path)) for method, path in documented + more]


def test_no_route_answers_a_stranger(app: FastAPI, stranger: TestClient, store: RunStore) -> None:
    asked = [operation for operation in operations(app) if operation not in PUBLIC]
    assert len(asked) > 20
    for method, path in asked:
        for headers in (
            {},
            {"Authorization": TOKEN},
            {"Authorization": "Basic YTpi"},
            {"Cookie": "cctboard_session=1"},
        ):
            refused = stranger.request(method, path, headers=headers, json={})
            assert refused.status_code == 401, (method, path)
            assert refused.headers["www-authenticate"] == "Bearer"
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["status"] == 401
    assert store.runs() == []


def test_every_route_answers_whoever_has_the_token(app: FastAPI, stranger: TestClient) -> None:
    for method, path in operations(app):
        if path != "/events":  # never ends; see below
            assert stranger.request(method, path, headers=BEARER, json={}).status_code not in (401, 403, 429, 500)
    with serving(app, free_port()) as url, httpx.stream("GET", f"{url}/events", headers=BEARER) as events:
        assert events.status_code == 200


@pytest.mark.parametrize("path", ["/nope", "/runs/", "//runs", "/board/../runs", "/%2e/runs", "/assetsx", "/healthz/x"])
def test_unknown_paths_are_no_way_in(stranger: TestClient, path: str) -> None:
    with httpx.Client(transport=stranger._transport, base_url=stranger.base_url) as client:
        url = httpx.URL(f"http://testserver{path}")
        refused = client.get(url.copy_with(raw_path=path.encode()))
    assert refused.status_code == 401 or "CCT Board" in refused.text


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("PUT", "/board/x"), ("POST", "/healthz"), ("GET", "/x")])
def test_what_is_public_is_only_for_reading(stranger: TestClient, method: str, path: str) -> None:
    assert stranger.request(method, path).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/board", "/board/runs/1", "/assets/index.js", "/icon.svg", "/healthz", "/readyz"]
)
def test_the_page_and_the_probes_need_no_token(stranger: TestClient, path: str) -> None:
    assert stranger.get(path, headers={"Accept": "text/html, */*"}).status_code == 200


def test_a_board_without_token_is_open(client: TestClient) -> None:
    assert client.get("/session").json() == {"token_needed": False, "logged_in": True}
    assert client.get("/runs").status_code == 200
    assert client.post("/session", json={"token": "any"}).json() == {"token_needed": False, "logged_in": True}
    assert not client.cookies


def test_a_browser_logs_in_and_out(stranger: TestClient) -> None:
    assert stranger.get("/session").json() == {"token_needed": True, "logged_in": False}
    refused = stranger.post("/session", json={"token": "wrong"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    answer = stranger.post("/session", json={"token": TOKEN})
    assert answer.json() == {"token_needed": True, "logged_in": True}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert stranger.get("/runs").status_code == 200
    assert stranger.get("/session").json()["logged_in"]
    assert stranger.delete("/session").status_code == 204
    assert stranger.get("/runs").status_code == 401


def test_boards_of_one_host_do_not_log_each_other_out(settings: Settings, store: RunStore) -> None:
    tokens = TOKEN, "staple-battery-horse-correct"
    apps = [create_app(settings.model_copy(update={"token": SecretStr(token)}), store, None) for token in tokens]
    # Cookies, of this client as of browsers, are a host's, whatever the port.
    with serving(apps[0], free_port()) as one, serving(apps[1], free_port()) as other, httpx.Client() as browser:

        def is_in(board: str) -> bool:
            return browser.get(f"{board}/runs").status_code == 200

        assert browser.post(f"{one}/session", json={"token": tokens[0]}).is_success
        assert (is_in(one), is_in(other)) == (True, False)
        assert browser.post(f"{other}/session", json={"token": tokens[1]}).is_success
        assert (is_in(one), is_in(other)) == (True, True)
        assert browser.delete(f"{one}/session").is_success
        assert (is_in(one), is_in(other)) == (False, True)


@pytest.mark.parametrize("pasted", [f" {TOKEN}", f"{TOKEN}\n", f"\t {TOKEN} \r\n"])
def test_blanks_around_a_token_are_not_part_of_it(
    app: FastAPI, stranger: TestClient, pasted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stranger.post("/session", json={"token": pasted}).json()["logged_in"]
    for scheme in ("Bearer ", "bearer  ", "Bearer\t"):
        header = {"Authorization": (scheme + pasted.replace("\r", "").replace("\n", ""))}
        assert TestClient(app).get("/runs", headers=header).status_code == 200
    monkeypatch.setenv("CCTBOARD_TOKEN", pasted)
    assert Settings().token == SecretStr(TOKEN)
    monkeypatch.delenv("CCTBOARD_TOKEN")
    (tmp_path / "cctboard_token").write_text(pasted)
    monkeypatch.setenv("CCTBOARD_SECRETS", str(tmp_path))
    assert Settings().token == SecretStr(TOKEN)
    monkeypatch.setenv("CCTBOARD_TOKEN", " " * 20 + "short")
    with pytest.raises(ValidationError, match="at least 16"):
        Settings()


def test_a_cookie_given_over_https_stays_there(app: FastAPI) -> None:
    with TestClient(app, base_url="https://testserver") as client:
        assert "Secure" in client.post("/session", json={"token": TOKEN}).headers["set-cookie"]


def test_no_cookie_can_be_made_up(app: FastAPI, stranger: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger.post("/session", json={"token": TOKEN})
    [(name, cookie)] = stranger.cookies.items()
    expires, _, signature = cookie.partition(".")
    later = f"{int(expires) + 1}.{signature}"
    other = Access(SecretStr("another token of the board")).new_session()
    for made_up in (later, other, expires, f"{expires}.", f".{signature}", "é", "a.b.c", "9" * 5000):
        stranger.cookies.clear()
        answer = stranger.get("/runs", headers={b"Cookie": f"{name}={made_up}".encode()})
        assert answer.status_code == 401, made_up
    stranger.cookies.set(name, cookie)
    assert stranger.get("/runs").status_code == 200
    monkeypatch.setattr(security, "time", SimpleNamespace(monotonic=time.monotonic, time=lambda: int(expires) + 1))
    assert stranger.get("/runs", headers={"Cookie": f"{name}={cookie}"}).status_code == 401


def test_who_guesses_must_wait(app: FastAPI, stranger: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    friend, elsewhere = TestClient(app), TestClient(app, client=("192.0.2.7", 1))
    friend.post("/session", json={"token": TOKEN})
    wrong = {"Authorization": "Bearer wrong"}
    guesses = [
        lambda: stranger.get("/runs", headers=wrong).status_code == 401,
        lambda: stranger.post("/session", json={"token": "wrong"}).status_code == 401,
        lambda: not stranger.get("/session", headers=wrong).json()["logged_in"],
    ]
    for number in range(ATTEMPTS_PER_MINUTE):
        assert guesses[number % 3]()
    for blocked in (stranger.get("/runs", headers=BEARER), stranger.post("/session", json={"token": TOKEN})):
        assert blocked.status_code == 429
        assert 0 < int(blocked.headers["retry-after"]) <= 60
        assert blocked.json()["title"] == "Too many attempts"
    assert not stranger.get("/session", headers=BEARER).json()["logged_in"]
    assert friend.get("/runs").status_code == 200  # from the same address, with a cookie
    assert elsewhere.get("/runs", headers=BEARER).status_code == 200
    later = time.monotonic() + 61
    monkeypatch.setattr(security, "time", SimpleNamespace(monotonic=lambda: later, time=time.time))
    assert stranger.get("/runs", headers=BEARER).status_code == 200


def test_guesses_from_many_addresses_take_little_memory() -> None:
    wrong = security._WrongTokens()
    for number in range(ADDRESSES_KEPT + 500):
        wrong.note(str(number))
    assert len(wrong._counts) == ADDRESSES_KEPT


def test_a_foreign_host_or_origin_is_refused_even_with_the_token(stranger: TestClient, store: RunStore) -> None:
    for origin in ("http://evil.example", "null", "http://testserver.evil.example", "http://testserver:81"):
        assert stranger.post("/runs", json={}, headers=BEARER | {"Origin": origin}).status_code == 403, origin
    for host in ("evil.example", "testserver.evil.example", ""):
        refused = stranger.get("/runs", headers=BEARER | {"Host": host})
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json"), host
        assert f"does not answer to the name {host!r}" in refused.json()["detail"]
        assert stranger.get("/", headers={"Host": host}).status_code == 400, host
    assert (
        stranger.post("/session", json={"token": TOKEN}, headers={"Origin": "http://evil.example"}).status_code == 403
    )
    assert store.runs() == []


@pytest.mark.parametrize(
    ("allowed", "host", "passes"),
    [
        ("board.example.org", "board.example.org", True),
        ("Board.example.org", "BOARD.example.org:8000", True),
        ("[::1]", "[::1]:8000", True),
        ("*.example.org", "board.example.org:443", True),
        ("*.example.org", "example.org.evil", False),
        ("*", "any", True),
        ("board.example.org", "board.example.org:80@evil", False),
    ],
)
def test_hosts_are_compared_without_port_and_case(
    settings: Settings, store: RunStore, allowed: str, host: str, passes: bool
) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": [allowed]}), store, dashboard=None)
    assert TestClient(app).get("/healthz", headers={"Host": host}).status_code == (200 if passes else 400)


@pytest.mark.parametrize("before", ["/assets/", "/board/", "/", "/docs/files/", "/runs/", "/experiments/"])
@pytest.mark.parametrize("up", ["../", "%2e%2e/", "..%2f", "..%5c", "%252e%252e/"])
def test_no_path_leads_out_of_the_folder(app: FastAPI, before: str, up: str) -> None:
    """Over a real connection, as clients resolve dots themselves."""
    with serving(app, port := free_port()):
        for times, name in [(1, "secret"), (2, "secret"), (8, "etc/passwd")]:
            answer = exchange(port, f"GET {before}{up * times}{name} HTTP/1.1\r\n", BEARER | {"Connection": "close"})
            assert b"not to be had" not in answer
            assert b"root:" not in answer
            assert not answer.startswith(b"HTTP/1.1 5")


def test_what_is_not_an_id_is_not_found(stranger: TestClient) -> None:
    """Also what would name another key of the database, beside the run's or the experiment's own."""
    created = stranger.post("/experiments", json={"name": "x", "axes": {"seed": [0, 1]}}, headers=BEARER).json()
    run = stranger.get("/runs", headers=BEARER).json()["runs"][0]["id"]
    beside = [f"{run}:{part}" for part in ("history", "epochs", "log", "control")] + [f"{created['id']}:runs"]
    for odd in (*beside, "a:b", "*", "%00", "x" * 3000, "%F0%9F%92%A9", "%ff", "{}", "%0d%0a"):
        for path in ("runs", "experiments"):
            for method, end in [("GET", ""), ("GET", "/epochs"), ("GET", "/log"), ("POST", "/cancel"), ("DELETE", "")]:
                answer = stranger.request(method, f"/{path}/{odd}{end}", headers=BEARER)
                assert answer.status_code in (404, 405), (method, answer.url, answer.text)
        for query in ("run", "experiment"):
            answer = stranger.get(f"/comparison?{query}={odd}", headers=BEARER)
            assert answer.status_code == 404, (answer.url, answer.text)


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
        yield peer


def exchange(port: int, request: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Sends the bytes as they are; what comes back until the server closes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": "127.0.0.1"} | headers).items())
    with connection(port) as peer:
        peer.sendall(f"{request}{lines}\r\n".encode() + body)
        return b"".join(iter(lambda: peer.recv(65536), b""))


def test_a_large_body_is_refused_whatever_its_headers_say(app: FastAPI, store: RunStore) -> None:
    with serving(app, port := free_port()):
        announced = exchange(port, "POST /runs HTTP/1.1\r\n", BEARER | {"Content-Length": "1000001"})
        assert announced.startswith(b"HTTP/1.1 413")
        chunks = b"f4241\r\n" + b" " * 1_000_001 + b"\r\n"
        chunked = exchange(port, "POST /runs HTTP/1.1\r\n", BEARER | {"Transfer-Encoding": "chunked"}, chunks)
        assert chunked.startswith(b"HTTP/1.1 413")
        assert b"problem+json" in chunked
    assert store.runs() == []


def test_a_stranger_is_refused_before_the_body_is_read(app: FastAPI) -> None:
    with serving(app, port := free_port()), connection(port) as peer:
        peer.sendall(b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 401")


def test_slow_bodies_are_given_up_and_hold_no_thread(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """More slow clients than the server has threads; a fast one is served meanwhile."""
    monkeypatch.setattr(security, "BODY_SECONDS", 3.0)
    begin = f"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n{{"
    with serving(app, port := free_port()) as url:
        slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(100)]
        for peer in slow:
            peer.sendall(begin.encode())
        assert httpx.post(f"{url}/runs", json={}, headers=BEARER).status_code == 201
        for peer in slow:
            with peer:
                answer = b"".join(iter(partial(peer.recv, 65536), b""))
                assert answer.startswith(b"HTTP/1.1 408")
                assert b"problem+json" in answer


def test_every_kind_of_answer_has_the_security_headers(app: FastAPI) -> None:
    @app.get("/breaks")
    def breaks() -> None:
        raise ZeroDivisionError

    large = b" " * 1_000_001
    with TestClient(app, raise_server_exceptions=False) as client:
        answers = [
            client.get("/board", headers={"Accept": "text/html"}),
            client.get("/assets/index.js"),
            client.get("/assets/nope.js"),
            client.get("/healthz"),
            client.get("/runs"),
            client.get("/runs", headers=BEARER),
            client.get("/runs/nope", headers=BEARER),
            client.post("/runs", headers=BEARER, content="{"),
            client.post("/runs", headers=BEARER, json={"epochs": 0}),
            client.post("/runs", headers=BEARER | {"Origin": "http://evil.example"}),
            client.post("/runs", headers=BEARER, content=large),
            client.put("/runs", headers=BEARER),
            client.get("/runs", headers=BEARER | {"Host": "evil.example"}),
            client.get("/docs", headers=BEARER),
            client.get("/docs/files/swagger-ui.css", headers=BEARER),
            client.get("/metrics", headers=BEARER),
            client.get("/breaks", headers=BEARER),
        ]
    statuses = [200, 200, 404, 200, 401, 200, 404, 422, 422, 403, 413, 405, 400, 200, 200, 200, 500]
    assert [answer.status_code for answer in answers] == statuses
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, answer.url
    assert answers[-1].json()["title"] == "Internal error"
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy.replace("style-src 'self' 'unsafe-inline'", "")


def test_the_probes_tell_life_from_readiness(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    with TestClient(create_app(away, RunStore(away), dashboard=None)) as client:
        assert client.get("/healthz").status_code == 200
        unready = client.get("/readyz")
        assert unready.status_code == 503
        assert unready.headers["content-type"] == "application/problem+json"
        assert "cctboard_database_up 0.0" in client.get("/metrics").text
