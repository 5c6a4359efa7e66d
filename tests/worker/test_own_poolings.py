"""Own poolings with the real worker: checked when they are saved, trained with the code that they were queued with."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from tests.cct.test_own_poolings import SHARP
from tests.conftest import wait_for
from tests.worker.conftest import QUICK
from tests.worker.test_training import ended, run

MEASURED = ("epoch", "train_loss", "val_loss", "val_top1")


@pytest.fixture
def file(board_data: Path) -> Path:
    folder = board_data / "poolings"
    folder.mkdir(exist_ok=True)
    return folder / "mine.py"


def test_a_saved_pooling_is_checked_by_a_worker(board: httpx.Client, file: Path) -> None:
    file.write_text(SHARP.replace("4 *", "3 *"))
    wait_for(lambda: board.get("/poolings/sharp").is_success, 10)
    wait_for(lambda: (board.get("/poolings/sharp").json()["check"] or {"done": False})["done"], 90)
    check = board.get("/poolings/sharp").json()["check"]
    assert check["error"] is None
    assert len(check["findings"]) == 11
    assert {finding["outcome"] for finding in check["findings"]} == {"passed"}, check
    told = checked(board, "sharp")
    assert (told.returncode, told.stdout.count("  passed  ")) == (0, 11), told.stderr


def checked(board: httpx.Client, name: str) -> subprocess.CompletedProcess[str]:
    """`cctboard check NAME`."""
    command = [sys.executable, "-m", "app.cli", "check", name]
    environment = os.environ | {"CCTBOARD_URL": str(board.base_url)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_pooling_that_cannot_be_imported_is_refused_before_it_is_queued(board: httpx.Client, file: Path) -> None:
    file.write_text(SHARP + "\n    def formula_of(self):\n        return 1 + undefined\n\nSharp.formula_of(None)\n")
    wait_for(lambda: board.get("/workers").json()["workers"], 60)
    refused = board.post("/runs", json=QUICK | {"epochs": 1, "pooling": "sharp"})
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["field"] == "pooling"
    assert error["message"].endswith("NameError: name 'undefined' is not defined (mine.py, line 16)")
    told = checked(board, "sharp")
    assert (told.returncode, told.stdout.count("  failed  imports: ")) == (1, 1), told.stderr


@pytest.mark.timeout(240)
def test_a_run_trains_the_code_that_it_was_queued_with_whatever_becomes_of_the_file(
    board: httpx.Client, file: Path
) -> None:
    file.write_text(SHARP)
    spec = QUICK | {"epochs": 12, "lr": 2e-3}
    disturbed = board.post("/runs", json=spec | {"pooling": "sharp"}).json()
    file.write_text(SHARP.replace("4 *", "0.5 *"))
    wait_for(lambda: run(board, disturbed["id"])["epoch"], 90)
    file.write_text("x = (")
    [trainer] = [one for one in psutil.process_iter(["name"]) if one.info["name"] == disturbed["id"]]
    trainer.kill()
    file.unlink()
    undisturbed = board.post("/runs", json=spec | {"pooling": disturbed["spec"]["pooling"]}).json()
    baseline = board.post("/runs", json=spec | {"pooling": "seqpool"}).json()
    wait_for(lambda: ended(board, baseline["id"]), 200)
    done = run(board, disturbed["id"])
    assert (done["state"], done["attempt"], done["error"]) == ("completed", 2, None)
    records = [
        [[record[name] for name in MEASURED] for record in board.get(f"/runs/{one['id']}/epochs").json()]
        for one in (disturbed, undisturbed, baseline)
    ]
    assert len(records[0]) == 12
    assert records[0] == records[1]
    assert records[0] != records[2]
