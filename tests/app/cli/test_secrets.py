"""Token and password of the database: made, read, used, and never told."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from pydantic import RedisDsn, SecretStr, ValidationError
from redis.exceptions import RedisError

from app.cli.database import start_valkey
from app.cli.services import Services, free_port
from app.queue import create_queue, wake_workers
from app.settings import Settings, make_secrets
from app.store.run_store import RunStore
from app.web.main import create_app
from tests.conftest import serving

PASSWORD = "p/a:s@s %20ö#?"
TOKEN = "correct-horse-battery-staple"


def cctboard(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def locked_url(tmp_path: Path) -> Iterator[str]:
    """A Valkey server that wants `PASSWORD`; its address without it."""
    services = Services(tmp_path)
    try:
        url = start_valkey(services, tmp_path)
        RunStore(Settings(redis_url=RedisDsn(url))).redis.config_set("requirepass", PASSWORD)
        yield f"redis://{url.rpartition('@')[2]}"
    finally:
        services.stop()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = cctboard("secrets", str(folder))
    files = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(files) == {"cctboard_token", "cctboard_redis_password"}
    assert all(len(secret) == 43 for secret in files.values())
    assert len(set(files.values())) == 2
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o640}
    assert made.stdout.splitlines()[0] == files["cctboard_token"]
    assert files["cctboard_redis_password"] not in made.stdout
    again = cctboard("secrets", str(folder))
    assert (again.returncode, again.stdout) == (0, "")
    (folder / "cctboard_redis_password").unlink()
    assert make_secrets(folder) is None
    assert (folder / "cctboard_token").read_text() == files["cctboard_token"]
    assert (folder / "cctboard_redis_password").read_text() != files["cctboard_redis_password"]


def test_settings_read_secrets_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = make_secrets(tmp_path)
    monkeypatch.setenv("CCTBOARD_SECRETS", str(tmp_path))
    settings = Settings()
    assert settings.token == SecretStr(str(token))
    password = (tmp_path / "cctboard_redis_password").read_text()
    assert str(settings.redis_url) == f"redis://:{password}@127.0.0.1:6379/0"
    assert settings.names_database
    assert password not in repr(settings) + str(settings)
    assert str(token) not in repr(settings)
    monkeypatch.setenv("CCTBOARD_TOKEN", TOKEN)
    monkeypatch.setenv("CCTBOARD_REDIS_URL", "rediss://me:old@[::1]:7/3?timeout=1")
    assert Settings().token == SecretStr(TOKEN)
    assert str(Settings().redis_url) == f"rediss://me:{password}@[::1]:7/3?timeout=1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKEN", "fifteen-letters"), ("TOKEN", ""), ("SECRETS", "/nope"), ("REDIS_URL", "redis://:hidden/@x:x")],
)
def test_a_bad_setting_is_refused_without_showing_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"CCTBOARD_{name}", value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert name.lower() in str(refused.value)
    assert "fifteen" not in str(refused.value)
    assert "hidden" not in str(refused.value)
    told = cctboard("runs")
    assert told.returncode == 2
    assert told.stderr.startswith(f"cctboard: CCTBOARD_{name}: ")
    assert told.stderr.count("\n") == 1


def test_all_clients_of_the_database_know_the_password(locked_url: str, tmp_path: Path) -> None:
    known: dict[str, Any] = {"redis_url": RedisDsn(locked_url), "data": tmp_path}
    with pytest.raises(RedisError):
        RunStore(Settings(**known)).runs()
    settings = Settings(redis_password=SecretStr(PASSWORD), allowed_hosts=["127.0.0.1"], **known)
    store, queue = RunStore(settings), create_queue(settings)
    wake_workers(queue, 1)
    assert store.redis.llen("cctboard") == 1
    with (
        serving(create_app(settings, store, dashboard=None), free_port()) as url,
        httpx.stream("GET", f"{url}/events") as events,
    ):
        lines = events.iter_lines()
        assert next(lines) == "retry: 1000"
        httpx.post(f"{url}/runs", json={}).raise_for_status()
        assert next(line for line in lines if line.startswith("event:")) == "event: run"


def test_a_wrong_password_is_not_told(locked_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=RedisDsn(locked_url), redis_password=SecretStr("not-the-password"), data=tmp_path)
    app = create_app(settings.model_copy(update={"allowed_hosts": ["127.0.0.1"]}), RunStore(settings), None)
    with serving(app, free_port()) as url:
        answer = httpx.get(f"{url}/readyz")
    assert answer.status_code == 503
    assert "not-the-password" not in answer.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "board.example"])
def test_without_a_token_only_this_machine_is_listened_to(host: str) -> None:
    refused = cctboard("api", "--host", host)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "CCTBOARD_TOKEN" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_command_line_sends_the_token(settings: Settings, store: RunStore) -> None:
    app = create_app(settings.model_copy(update={"token": SecretStr(TOKEN)}), store, None)
    with serving(app, free_port()) as url:
        told = cctboard("submit", "dataset=digits", CCTBOARD_URL=url, CCTBOARD_TOKEN=TOKEN)
        assert told.returncode == 0, told.stderr
        refused = cctboard("runs", CCTBOARD_URL=url)
    assert len(store.runs()) == 1
    assert refused.returncode == 2
    assert refused.stderr == "cctboard: the board wants its token; set CCTBOARD_TOKEN to it\n"
