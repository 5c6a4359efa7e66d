"""The API where nobody has built the pages."""

import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from app.store.run_store import RunStore
from app.web.main import create_app


def test_without_a_built_dashboard_the_api_works_and_says_how_to_build_it(
    settings: Settings, store: RunStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), TestClient(create_app(settings, store, tmp_path / "dist")) as client:
        assert client.get("/runs").json()["runs"] == []
        for address in ("/", "/board/runs/123"):
            page = client.get(address, headers={"accept": "text/html"})
            assert page.status_code == 200
            assert "<code>make dashboard</code>" in page.text
    assert "the dashboard is not built; `make dashboard` does so, then start the board again" in caplog.text
