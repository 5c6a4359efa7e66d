"""A real search by a real worker: trials never read the test set, the comparison that follows them does."""

from typing import Any

import httpx2 as httpx

from tests.conftest import wait_for
from tests.worker.conftest import QUICK


def test_trials_read_no_test_set_and_what_follows_them_does(board: httpx.Client) -> None:
    search = {"fields": {"lr": {"low": 0.001, "high": 0.01, "log": True}}, "trials": 2, "seeds": 2, "sampler": "random"}
    body = {"spec": QUICK | {"epochs": 1}, "axes": {"pooling": ["seqpool", "mean"]}, "tune": search}
    created = board.post("/experiments", json=body)
    assert created.status_code == 201, created.text
    experiment = created.json()["id"]

    def runs_of(one: str) -> list[dict[str, Any]]:
        return list(board.get("/runs", params={"experiment": one}).json()["runs"])

    wait_for(lambda: board.get(f"/experiments/{experiment}/tuning").json()["comparison"], 120)
    following = board.get(f"/experiments/{experiment}/tuning").json()["comparison"]
    wait_for(lambda: board.get(f"/experiments/{following}").json()["completed"] == 4, 120)
    assert [(run["state"], run["trial"], run["test_top1"], run["test_images"]) for run in runs_of(experiment)] == [
        ("completed", True, None, None)
    ] * 4
    assert all(run["test_top1"] is not None and run["test_images"] == 360 for run in runs_of(following))
    found = board.get("/comparison", params={"experiment": following}).json()
    assert (found["measure"], found["group"]) == ("final test_top1", "variant")
