"""A real plan from its request to its end with nobody touching it, though a worker is killed and the database ends."""

from collections import Counter
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest

from app.cli.board import running
from app.cli.services import free_port
from tests.conftest import wait_for
from tests.worker.conftest import QUICK


@pytest.mark.timeout(300)
def test_a_plan_ends_by_itself_whatever_breaks_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCTBOARD_LEASE_SECONDS", "3")
    request = {
        "spec": QUICK | {"epochs": 1, "batch_size": 64, "lr": 0.002},
        "axes": {"pooling": ["seqpool", "mean"]},
        "plan": {"max_seeds": 3, "smallest_difference": 0.5},
    }
    port = free_port()
    with (
        running(tmp_path, "127.0.0.1", port, workers=1, redis_url=None) as services,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as board,
    ):
        path = f"/experiments/{board.post('/experiments', json=request).json()['id']}"

        def row() -> dict[str, Any]:
            services.check()  # starts what was killed, as `cctboard up` does
            try:
                answer = board.get(path)
            except httpx.TransportError:
                return {}
            return dict(answer.json()) if answer.is_success else {}

        wait_for(lambda: row().get("running"), 60)
        worker = psutil.Process(services.process_id("worker-1"))
        for process in (*worker.children(recursive=True), worker):
            process.kill()
        wait_for(lambda: row().get("completed", 0) == 2, 120)
        psutil.Process(services.process_id("valkey")).kill()
        wait_for(lambda: row().get("plan_state") == "ended", 180)
        ended = row()
        runs = board.get("/runs", params={"experiment": str(ended["id"])}).json()["runs"]
        outcomes = {name: one["outcome"] for name, one in ended["planning"]["variants"].items()}
    keys = Counter((run["spec"]["pooling"], run["spec"]["seed"]) for run in runs if run["state"] == "completed")
    assert set(keys.values()) == {1}, "no seed is counted twice"
    seeds = {seed for _, seed in keys}
    assert set(keys) == {(pooling, seed) for pooling in ("seqpool", "mean") for seed in seeds}, "none is left out"
    assert seeds == set(range(len(seeds)))
    assert outcomes["mean"] in ("better", "worse", "alike", "undecided")
