"""Whatever answers instead of a board is told in one line with the way out and exit code 2, by every command."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from app.cli import connection, poolings
from app.cli.client import commands
from tests.app.cli.conftest import Command

ARGUMENTS = {
    "submit": ["dataset=digits"],
    "runs": [],
    "compare": ["0123456789ab"],
    "watch": ["0123456789ab"],
    "report": ["0123456789ab", "--out", "never-written.html"],
    "tensorboard": ["0123456789ab", "--to", "never-written"],
    "cancel": ["0123456789ab"],
    "retry": ["0123456789ab"],
    "extend": ["0123456789ab", "--epochs", "300"],
    "delete": ["0123456789ab", "--yes"],
    "check": ["mine"],
    "pause": [],
    "resume": [],
}
ASKING = [*commands.registered_commands, *(one for one in poolings.commands.registered_commands if one.name is None)]
COMMANDS = [str(command.name or command.callback.__name__) for command in ASKING]  # type: ignore[union-attr]


class Answer(NamedTuple):
    """What a server sends to every request, and what the user must read."""

    status: int
    kind: str
    body: bytes
    told: str
    headers: tuple[tuple[str, str], ...] = ()


def problem(status: int, detail: str, told: str) -> Answer:
    return Answer(status, "application/problem+json", f'{{"status": {status}, "detail": "{detail}"}}'.encode(), told)


PAGE = b"<html><h1>[/red] Please log in</h1></html>"
ANSWERS = {
    "a proxy without a board": Answer(502, "text/html", PAGE, "is answered with 502 Bad Gateway and text/html"),
    "a page to log in": Answer(200, "text/html; charset=utf-8", PAGE, "is answered with 200 OK and text/html"),
    "an empty answer": Answer(200, "", b"", "is answered with 200 OK and nothing"),
    "another program": Answer(404, "application/json", b'{"detail":"Not Found"}', "404 Not Found and application/json"),
    "a list": Answer(200, "application/json", b"[]", "200 OK and application/json, which no board does"),
    "another object": Answer(200, "application/json", b'{"ok": true}', "which no board does: see whether a proxy"),
    "a redirect": Answer(
        301,
        "text/html",
        b"",
        "sends its callers on to https://elsewhere/x; name",
        (("Location", "https://elsewhere/x"),),
    ),
    "a board with a token": problem(401, "log in", "the board wants its token; set CCTBOARD_TOKEN to it"),
    "a board without database": problem(503, "Redis does not answer", "Redis does not answer"),
    "an odd error": problem(500, "[/red] [port] is wrong", "[/red] [port] is wrong"),
    "an answer that breaks off": Answer(200, "application/json", b"{", "broke off", (("Content-Length", "100"),)),
}


@pytest.fixture
def refusal(cctboard: Command) -> Callable[..., str]:
    """Runs a command that must fail with one line; gives what is told."""

    def run(*arguments: str) -> str:
        done = cctboard(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        assert done.stderr.startswith("cctboard: ")
        return done.stderr.removeprefix("cctboard: ").rstrip("\n")

    return run


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], None]]:
    """A web server at the board's address; sets what it answers."""
    given: list[Answer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = given[-1]
            self.send_response(answer.status)
            if answer.kind:
                self.send_header("Content-Type", answer.kind)
            for name, value in dict((("Content-Length", str(len(answer.body))), *answer.headers)).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("CCTBOARD_URL", f"http://127.0.0.1:{web.server_port}")
        yield given.append
        web.shutdown()
        thread.join()


def test_every_command_that_asks_a_board_is_tried_here() -> None:
    assert set(ARGUMENTS) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_that_no_board_gives_is_named(
    answers: Callable[[Answer], None], refusal: Callable[..., str], command: str
) -> None:
    for name, answer in ANSWERS.items():
        answers(answer)
        told = refusal(command, *ARGUMENTS[command])
        assert answer.told in told, name
        assert "CCTBOARD_" in told or answer.kind == "application/problem+json", "a way out is named"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_address_without_a_board_is_named(
    monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str], command: str
) -> None:
    monkeypatch.setattr(connection, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for address, told in {
            "http://127.0.0.1:9": "no board answers at http://127.0.0.1:9 (",
            "http://no-such-host.invalid": "no board answers at http://no-such-host.invalid (",
            f"http://127.0.0.1:{silent.getsockname()[1]}": "has not answered within",
            "localhost:8000": "CCTBOARD_URL: write it as http://HOST:PORT",
            "board.example": "CCTBOARD_URL: write it as http://HOST:PORT",
            "ftp://board.example": "CCTBOARD_URL: write it as http://HOST:PORT",
            "http://[::1": "CCTBOARD_URL: write it as http://HOST:PORT",
            "http://127.0.0.1:99999": "CCTBOARD_URL: write it as http://HOST:PORT",
        }.items():
            monkeypatch.setenv("CCTBOARD_URL", address)
            said = refusal(command, *ARGUMENTS[command])
            assert told in said
            assert "CCTBOARD_URL" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_token_is_named(
    answers: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str], command: str
) -> None:
    answers(problem(401, "the token is wrong", ""))
    monkeypatch.setenv("CCTBOARD_TOKEN", "correct-horse-battery-staple")
    assert refusal(command, *ARGUMENTS[command]) == "the token is wrong; CCTBOARD_TOKEN must be the board's"
    monkeypatch.setenv("CCTBOARD_TOKEN", "correct-hörse-battery-staple")
    assert refusal(command, *ARGUMENTS[command]).startswith("CCTBOARD_TOKEN: holds characters that no token has")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cancel"], "Missing argument 'RUN'; see `cctboard cancel --help`"),
        (["cancel", "../queue"], "there is no run '../queue'"),
        (["cancel", ""], "there is no run ''"),
        (["nope"], "No such command 'nope'; see `cctboard --help`"),
        (["runs", "--limit", "[/red]"], "Invalid value for '--limit'"),
        (["runs", "--limit", "0"], "greater than or equal to 1; see `cctboard runs --help`"),
        (["submit", "--priority", "101"], "less than or equal to 100"),
        (["submit", "[/red]"], "'[/red]' is not FIELD=VALUE; for example epochs=20"),
        (["submit", "seed=1", "seed=2"], "seed is given twice; give several values as seed=VALUE,VALUE"),
        (["secrets", "/dev/null"], "/dev/null: File exists; name a folder that can be written"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(refusal: Callable[..., str], arguments: list[str], told: str) -> None:
    assert told in refusal(*arguments)
