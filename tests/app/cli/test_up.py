"""`cctboard up` as a user starts and ends it: real processes, signals, a terminal, proxies."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2 as httpx
import pytest
import redis

from app.cli.services import ServiceFailed, check_port, free_port
from tests.conftest import wait_for

COMMAND = [sys.executable, "-m", "app.cli"]
PROXY = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9") | {"no_proxy": ""}


@contextmanager
def up(data: Path, port: int, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "up", "--data", str(data), "--port", str(port), *options]
    board = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with board:
        try:
            yield board
        finally:
            board.terminate()


def cctboard(*arguments: str, answer: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | environment,
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
    )


def answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
    return False


def processes_of(data: Path) -> dict[int, str]:
    """Processes that were told of this data folder, or have a file of it open, and their command lines."""
    found = {}
    for number in filter(str.isdecimal, os.listdir("/proc")):
        process = Path("/proc", number)
        with suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            files = [os.readlink(file) for file in (process / "fd").iterdir()] if int(number) != os.getpid() else []
            if str(data).encode() in told or any(file.startswith(str(data)) for file in files):
                found[int(number)] = (process / "cmdline").read_text().replace("\0", " ")
    return found


@pytest.mark.parametrize("moment", ["starting", "running"])
def test_ctrl_c_again_and_again_ends_everything(tmp_path: Path, moment: str) -> None:
    port = free_port()
    with up(tmp_path, port) as board:
        valkey_log = tmp_path / "logs" / "valkey.log"
        wait_for(lambda: answers(port) if moment == "running" else valkey_log.exists(), 60)
        for _ in range(3):
            board.send_signal(signal.SIGINT)
            time.sleep(0.4)
        assert board.wait(30) in (0, -signal.SIGINT), "the last Ctrl-C may have come when all was done"
        assert processes_of(tmp_path) == {}
        assert board.stdout is not None
        assert board.stdout.read().endswith("stopped; unfinished runs continue at the next start\n")
    assert not (tmp_path / "board.lock").exists()


def test_a_terminal_that_is_closed_ends_everything(tmp_path: Path) -> None:
    port = free_port()
    keyboard, terminal = pty.openpty()
    in_terminal = ["sh", "-c", 'exec < "$0" > "$0" 2>&1; exec "$@"', os.ttyname(terminal)]
    command = [*in_terminal, *COMMAND, "up", "--data", str(tmp_path), "--port", str(port), "--workers", "0"]
    with subprocess.Popen(command, start_new_session=True) as board:
        os.close(terminal)
        wait_for(lambda: answers(port), 60)
        os.close(keyboard)
        assert board.wait(30) == 0
    assert processes_of(tmp_path) == {}


def test_after_a_kill_nothing_runs_on_and_the_next_start_takes_over(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, port) as board:
        wait_for(lambda: answers(port), 60)
        before = set(processes_of(tmp_path))
        board.kill()
        with up(tmp_path, port, "--workers", "0") as second:
            # It waits until the killed board's worker, API and database have ended.
            wait_for(lambda: not before & set(processes_of(tmp_path)), 30)
            wait_for(lambda: answers(port), 30)
            second.terminate()
            assert second.wait(30) == 0
            assert second.stdout is not None
            assert second.stdout.read().startswith("what is left of a board that was killed is being ended ...\n")
    assert processes_of(tmp_path) == {}


def test_a_proxy_of_the_environment_is_not_asked_for_the_own_machine(tmp_path: Path) -> None:
    """Nor by the command line, nor by the webhook, whose links lead to the board's real port."""
    port, told = free_port(), list[str]()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["page"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            pass

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever).start()
    webhook = f"http://127.0.0.1:{receiver.server_port}/"
    try:
        with up(tmp_path, port, "--workers", "0", CCTBOARD_WEBHOOK=webhook, **PROXY) as board:
            wait_for(lambda: answers(port), 20)
            here = {"CCTBOARD_URL": f"http://localhost:{port}", **PROXY}
            submitted = cctboard("submit", "dataset=digits", "seed=0,1", "--name", "Two", **here)
            assert submitted.returncode == 0, submitted.stderr
            experiment = submitted.stdout.split()[1].strip(":")
            httpx.post(f"http://127.0.0.1:{port}/experiments/{experiment}/cancel").raise_for_status()
            wait_for(lambda: told, 20)
            board.terminate()
            assert board.wait(30) == 0
    finally:
        receiver.shutdown()
        receiver.server_close()
    assert told == [f"http://localhost:{port}/board/experiments/{experiment}"]


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.terminate()


def test_only_who_may_read_the_folder_can_use_its_database(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, port, "--workers", "0"):
        wait_for(lambda: answers(port), 60)
        database = int((tmp_path / "valkey" / "port").read_text())
        with redis.Redis(port=database) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.set("cctboard:paused", "1")
        secret = tmp_path / "valkey" / "password.conf"
        assert secret.stat().st_mode & 0o777 == 0o600
        password = secret.read_text().split()[1]
        found = processes_of(tmp_path)
        assert len(found) >= 3
        assert not [command for command in found.values() if password in command], "all users can see command lines"
        # A worker that was told of the folder alone finds it there.
        worker = subprocess.Popen([*COMMAND, "worker", "--data", str(tmp_path)], stderr=subprocess.DEVNULL)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client, ended(worker):
            spec = {"dataset": "digits", "epochs": 1, "warmup_epochs": 0, "augmentation": "none", "val_share": 0.9}
            run = client.post("/runs", json=spec).json()["id"]
            wait_for(lambda: client.get(f"/runs/{run}").json()["state"] == "completed", 90)
    for file in (tmp_path / "logs").iterdir():
        assert password not in file.read_text(), file


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (["up", "--data", "FILE"], {}, "FILE is not a folder; name another data folder with --data"),
        (["up", "--data", "FILE/below"], {}, "FILE/below is not a folder; name another data folder with --data"),
        (["backup", "--data", "FILE", "board.tar"], {}, "FILE is not a folder; name another data folder with --data"),
        (["repair", "--data", "FILE"], {}, "FILE has no database"),
        (["up", "--data", "/proc/nowhere"], {}, "the data folder cannot be used (/proc/nowhere: "),
        (["worker", "--data", "FOLDER"], {}, "no board runs with the data folder FOLDER; start one with `cctboard up`"),
        (
            ["up"],
            {"CCTBOARD_REDIS_URL": "redis://:s#cret@127.0.0.1:1/0"},
            "CCTBOARD_REDIS_URL: write # as %23 in its password, or set CCTBOARD_REDIS_PASSWORD instead",
        ),
        (["api", "--port", "BUSY"], {}, "port BUSY is in use by process SELF ("),
        (["up", "--data", "FOLDER", "--port", "BUSY"], {}, "port BUSY is in use by process SELF ("),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], complaint: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "valkey").mkdir(parents=True)
    busy = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)

    def real(text: str) -> str:
        names = {"FILE": str(tmp_path / "file"), "FOLDER": str(tmp_path / "folder"), "BUSY": str(busy.server_port)}
        names["SELF"] = str(os.getpid())
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    with busy:
        done = cctboard(*map(real, arguments), **environment)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert done.stderr.startswith(f"cctboard: {real(complaint)}")


def test_make_takes_a_folder_with_blanks_and_builds_the_dashboard_for_the_chaos() -> None:
    def said(*arguments: str) -> str:
        make = ["make", "--dry-run", "--what-if=frontend/index.html", *arguments]
        root = Path(__file__).parent.parent.parent.parent
        return subprocess.run(make, cwd=root, capture_output=True, text=True, check=True).stdout

    for target in ("run", "demo"):
        assert '--data "a b" --port "8001"' in said(target, "DATA=a b", "PORT=8001")
    built, tested = (said("chaos").find(part) for part in ("run build", "test_chaos.py"))
    assert 0 < built < tested


def test_a_database_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from app.cli import board

    monkeypatch.setattr(board, "DATABASE_SECONDS", 0.3)
    with (
        pytest.raises(ServiceFailed, match="that CCTBOARD_REDIS_URL names does not answer: Error 111 connecting"),
        board.running(tmp_path, "127.0.0.1", free_port(), 0, f"redis://127.0.0.1:{free_port()}/0"),
    ):
        pass


@contextmanager
def as_normal_user() -> Iterator[None]:
    """Without root's rights, where the tests have them."""
    before = os.geteuid()
    os.seteuid(before or 65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80, reason="port 80 is for all here"
)
def test_a_port_of_the_system_is_not_said_to_be_in_use() -> None:
    with as_normal_user(), pytest.raises(ServiceFailed, match="port 80 is for the system's services alone; choose one"):
        check_port("127.0.0.1", 80)
