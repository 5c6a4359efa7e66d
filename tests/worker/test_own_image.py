"""An image of the user's own, shown to runs by the real worker process, also while it trains."""

import io
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2 as httpx
import PIL.Image
import PIL.ImageDraw

from app.settings import Settings
from cct.checkpoint import LAST
from tests.conftest import wait_for
from tests.worker.test_training import ended, queue, run


def drawn_one() -> bytes:
    """A white 1 on black, as a file."""
    image = PIL.Image.new("L", (280, 200))
    PIL.ImageDraw.Draw(image).line([(140, 20), (140, 180)], fill="white", width=28)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def shown(board: httpx.Client, content: bytes, *run_ids: str) -> dict[str, Any]:
    """What the runs say of the image."""
    asked = board.post("/lens/images", params={"run": run_ids}, content=content)
    assert asked.status_code == 202, asked.text
    address = urljoin("/lens/images", asked.headers["location"])
    wait_for(lambda: board.get(address).json()["done"], 60)
    return dict(board.get(address).json())


def test_runs_look_at_an_image_while_the_worker_trains(board: httpx.Client, board_data: Path) -> None:
    done, mixing = queue(board, epochs=1), queue(board, epochs=1, pooling="seqpool_softmax_batch")
    wait_for(lambda: ended(board, mixing), 120)
    running, waiting = queue(board, epochs=1000), queue(board, epochs=1)
    wait_for(lambda: (Settings(data=board_data).checkpoints(running) / LAST).exists(), 60)
    try:
        answer = shown(board, drawn_one(), done, mixing, running, waiting)
        damaged = shown(board, drawn_one()[:100], done)
        assert run(board, running)["state"] == "running", "training went on"
    finally:
        board.post(f"/runs/{waiting}/cancel")
        board.post(f"/runs/{running}/cancel")
    wait_for(lambda: ended(board, running), 30)
    assert answer["error"] is None
    assert answer["images"]["digits"].startswith("data:image/png;base64,")
    said = {run["run_id"]: run for run in answer["runs"]}
    assert said[waiting] == {"run_id": waiting, "looks": {}, "error": "has no checkpoint yet"}
    for run_id in (done, mixing, running):
        assert set(said[run_id]["looks"]) == {"last", "best"}, said[run_id]["error"]
        for look in said[run_id]["looks"].values():
            assert [len(row) for row in look["shares"]] == [16]
            assert len(look["predicted"]) == len(look["confidence"]) == len(look["entropy"]) == 1
    assert [look["epoch"] for look in said[done]["looks"].values()] == [1, 1]
    assert damaged["runs"] == []
    assert "cannot be read" in damaged["error"]
