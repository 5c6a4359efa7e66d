"""Runs trained by the real worker process, over the real queue."""

import io
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import psutil
import pytest

from app.store.lease import MAX_LOSSES
from cct.cost import cost_of_run
from cct.spec import RunSpec
from tests.cct.test_image_files import write_folder
from tests.conftest import DIGITS, wait_for

PETS = {"dataset": "image_folder", "image_folder": "pets", "epochs": 1, "batch_size": 6}
TOPICS = {
    "ABBR": "the word",
    "DESC": "the way",
    "ENTY": "the animal",
    "HUM": "the man",
    "LOC": "the town",
    "NUM": "the sum",
}


def queue(board: httpx.Client, **spec: Any) -> str:
    response = board.post("/runs", json=DIGITS | spec)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def run(board: httpx.Client, run_id: str) -> dict[str, Any]:
    return dict(board.get(f"/runs/{run_id}").json())


def ended(board: httpx.Client, run_id: str) -> bool:
    return run(board, run_id)["state"] not in ("queued", "running")


def log(board: httpx.Client, run_id: str) -> str:
    return "\n".join(line["text"] for line in board.get(f"/runs/{run_id}/log").json()["lines"])


def test_a_run_is_trained_and_the_same_spec_gives_the_same_numbers(board: httpx.Client, board_data: Path) -> None:
    first, second = queue(board, epochs=2, seed=3), queue(board, epochs=2, seed=3)
    wait_for(lambda: ended(board, second), 120)
    done = run(board, first)
    assert (done["state"], done["epoch"], done["attempt"], done["error"]) == ("completed", 2, 1, None)
    assert (done["parameters"], done["mixes_batch"]) == (cost_of_run(RunSpec(**DIGITS)).parameters, False)
    assert done["device"]
    measured = ("epoch", "train_loss", "train_top1", "val_loss", "val_top1", "val_top5", "lr")
    epochs = [
        [[record[name] for name in measured] for record in board.get(f"/runs/{run_id}/epochs").json()]
        for run_id in (first, second)
    ]
    assert len(epochs[0]) == 2
    assert epochs[0] == epochs[1]
    lens = board.get(f"/lens?run={first}&run={second}").json()
    assert [[look["epoch"] for look in seen["looks"]] for seen in lens["runs"]] == [[1, 2], [1, 2]]
    assert lens["runs"][0]["looks"] == lens["runs"][1]["looks"]
    assert [len(row) for row in lens["runs"][0]["looks"][0]["shares"]] == [16] * 16
    assert len(lens["images"]["digits"]) == 16
    assert lens["images"]["digits"][0]["url"].startswith("data:image/png;base64,iVBOR")
    matrices = board.get(f"/confusion?run={first}&run={second}").json()["runs"]
    assert [(one["run_id"], one["epoch"]) for one in matrices] == [(first, 2), (second, 2)]
    assert matrices[0]["counts"] == matrices[1]["counts"]
    recognised = sum(row[label] for label, row in enumerate(matrices[0]["counts"]))
    assert 100 * recognised / 360 == pytest.approx(done["final_top1"])
    assert (done["majority_share"], done["duplicates"]) == (pytest.approx(100 * 37 / 360), 0)
    recalls = [row[label] / sum(row) for label, row in enumerate(matrices[0]["counts"])]
    assert done["final_balanced"] == pytest.approx(100 * sum(recalls) / 10)
    assert all(f"warning: {warning['text']}" in log(board, first) for warning in done["warnings"])
    provenance = done["provenance"]
    assert provenance.keys() >= {"torch", "python", "precision", "dataset_sha256", "cctboard"}

    # Its weights are evaluated without training, by the same worker.
    (folder := board_data / "datasets" / "pretrained").mkdir(parents=True, exist_ok=True)
    (folder / "first.pt").write_bytes(board.get(f"/runs/{first}/files/last.pt").content)
    evaluation = queue(board, epochs=0, pretrained="first.pt")
    wait_for(lambda: ended(board, evaluation), 60)
    shown = run(board, evaluation)
    assert (shown["state"], shown["epoch"], shown["final_top1"]) == ("completed", 0, done["final_top1"])
    [matrix] = board.get(f"/confusion?run={evaluation}").json()["runs"]
    assert matrix["counts"] == matrices[0]["counts"]
    [seen] = board.get(f"/lens?run={evaluation}").json()["runs"]
    assert seen["looks"] == [lens["runs"][0]["looks"][1] | {"epoch": 0}]
    files = {file["name"] for file in board.get(f"/runs/{evaluation}/files").json()}
    assert files == {"best.safetensors", "best.pt", "last.pt", "answers.npz"}
    given, again = (
        np.load(io.BytesIO(board.get(f"/runs/{run_id}/files/answers.npz").content)) for run_id in (first, evaluation)
    )
    assert {name for name in given if not np.array_equal(given[name], again[name])} == {"last_epoch", "best_epoch"}
    assert 100 * given["last_correct"].mean() == pytest.approx(done["final_top1"])
    assert 100 * given["best_correct"].mean() == pytest.approx(done["best_top1"])
    figure = board.get(f"/figures/reliability?run={first}&run={evaluation}").json()
    by_uid = {trace["uid"]: trace for trace in figure["data"]}
    assert sum(by_uid["reliability_seqpool"]["customdata"]) == 2 * 360


def test_a_pooling_that_mixes_the_batch_is_marked(board: httpx.Client) -> None:
    run_id = queue(board, epochs=1, pooling="seqpool_softmax_batch")
    wait_for(lambda: run(board, run_id)["mixes_batch"] is not None, 60)
    assert run(board, run_id)["mixes_batch"] is True
    wait_for(lambda: ended(board, run_id), 60)


def test_a_running_run_is_cancelled_and_keeps_what_was_measured(board: httpx.Client) -> None:
    run_id = queue(board, epochs=1000)
    wait_for(lambda: run(board, run_id)["epoch"] >= 1, 90)
    asked = time.monotonic()
    assert board.post(f"/runs/{run_id}/cancel").status_code == 200
    wait_for(lambda: ended(board, run_id), 15)
    took = time.monotonic() - asked
    cancelled = run(board, run_id)
    assert cancelled["state"] == "cancelled"
    assert len(board.get(f"/runs/{run_id}/epochs").json()) == cancelled["epoch"] >= 1
    assert took < 10, f"cancelling took {took:.1f} s"


def test_missing_data_fails_the_run_with_the_way_out(board: httpx.Client) -> None:
    run_id = queue(board, dataset="cifar10", epochs=1)
    wait_for(lambda: ended(board, run_id), 120)
    failed = run(board, run_id)
    assert failed["state"] == "failed"
    assert "cifar10" in failed["error"]
    assert "datasets" in failed["error"], "the folder is named"
    assert "Traceback" in log(board, run_id)
    assert failed["error"] in log(board, run_id), "the log is kept to its last line"


def test_a_diverging_loss_fails_the_run(board: httpx.Client) -> None:
    run_id = queue(board, epochs=1000, lr=10, weight_decay=10)
    wait_for(lambda: ended(board, run_id), 90)
    failed = run(board, run_id)
    assert failed["state"] == "failed"
    assert "not finite in epoch 1; try a lower lr" in failed["error"]


def _is_lost(board: httpx.Client, run_id: str, times: int) -> bool:
    return len(told(board, run_id, "lost")) == times or bool(ended(board, run_id))


def test_a_trainer_that_is_killed_again_and_again_fails_the_run_and_spares_the_worker(board: httpx.Client) -> None:
    run_id = queue(board, epochs=1000, batch_size=1)
    for loss in range(1, MAX_LOSSES + 1):
        wait_for(lambda: run(board, run_id)["step"], 120)
        _trainer(run_id).kill()
        wait_for(partial(_is_lost, board, run_id, loss), 30)
    failed = run(board, run_id)
    assert failed["state"] == "failed"
    assert "lost 3 times without finishing an epoch" in failed["error"]
    assert "killed by SIGKILL (the system may be out of memory)" in failed["error"]
    assert len(board.get("/workers").json()["workers"]) == 1


def test_a_failed_run_is_retried_and_a_deleted_one_leaves_nothing(board: httpx.Client, board_data: Path) -> None:
    run_id = queue(board, epochs=1000)
    wait_for(lambda: run(board, run_id)["epoch"] >= 1, 90)
    assert board.delete(f"/runs/{run_id}").status_code == 409
    board.post(f"/runs/{run_id}/cancel")
    wait_for(lambda: ended(board, run_id), 30)
    epoch = run(board, run_id)["epoch"]
    assert board.post(f"/runs/{run_id}/retry").json()["state"] in ("queued", "running"), "by a trainer that waits"
    wait_for(lambda: run(board, run_id)["epoch"] > epoch, 90)
    assert told(board, run_id, "resumed"), "it went on from its checkpoint"
    board.post(f"/runs/{run_id}/cancel")
    wait_for(lambda: ended(board, run_id), 30)
    assert (board_data / "checkpoints" / run_id / "2" / "last.pt").exists()
    assert board.delete(f"/runs/{run_id}").status_code == 204
    assert board.get(f"/runs/{run_id}").status_code == 404
    wait_for(lambda: not (board_data / "checkpoints" / run_id).exists(), 30)


def test_a_completed_run_is_extended_though_it_is_deleted_and_its_successors_trainer_killed(
    board: httpx.Client,
) -> None:
    first = queue(board, epochs=1, seed=5)
    wait_for(lambda: ended(board, first), 90)
    [before] = board.get(f"/runs/{first}/epochs").json()
    board.post("/queue/pause")
    extending = board.post(f"/runs/{first}/extend", json={"epochs": 40}).json()["id"]
    assert board.delete(f"/runs/{first}").status_code == 204
    board.post("/queue/resume")
    wait_for(lambda: run(board, extending)["epoch"] >= 2, 90)
    _trainer(extending).kill()
    wait_for(lambda: told(board, extending, "resumed"), 60)
    wait_for(lambda: run(board, extending)["epoch"] >= 4 or ended(board, extending), 90)
    found = run(board, extending)
    assert found["error"] is None
    epochs = board.get(f"/runs/{extending}/epochs").json()
    assert epochs[0] == before
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, len(epochs) + 1))
    assert (found["extends"], found["extends_epoch"]) == (first, 1)
    assert found["provenance"]["extended_after_epoch"] == "1"
    assert "extended" in [warning["code"] for warning in found["warnings"]]
    board.post(f"/runs/{extending}/cancel")
    wait_for(lambda: ended(board, extending), 30)


def test_a_paused_queue_starts_nothing(board: httpx.Client) -> None:
    board.post("/queue/pause")
    try:
        run_id = queue(board, epochs=1)
        time.sleep(5)
        assert run(board, run_id)["state"] == "queued"
        assert board.get("/queue").json()["entries"][0]["position"] == 1
    finally:
        board.post("/queue/resume")
    wait_for(lambda: ended(board, run_id), 60)


def told(board: httpx.Client, run_id: str, what: str) -> list[str]:
    entries = board.get(f"/runs/{run_id}/history").json()["entries"]
    return [entry["detail"] for entry in entries if entry["what"] == what]


def _trainer(run_id: str) -> psutil.Process:
    [process] = [process for process in psutil.process_iter(["name"]) if process.info["name"] == run_id]
    return process


def test_a_folder_of_images_is_trained_on_and_shown_with_its_classes(board: httpx.Client, board_data: Path) -> None:
    write_folder(board_data / "datasets" / "image_folder" / "pets")
    preview = board.post("/experiments/preview", json={"name": "Pets", "spec": PETS}).json()
    assert [(cost["dataset"], cost["parameters"]) for cost in preview["costs"]] == [("image_folder/pets", None)]
    run_id = queue(board, **PETS)
    wait_for(lambda: ended(board, run_id), 120)
    done = run(board, run_id)
    assert (done["state"], done["parameters"], done["error"]) == ("completed", 225_924, None)
    lens = board.get(f"/lens?run={run_id}").json()
    assert lens["runs"][0]["dataset"] == "image_folder/pets"
    assert lens["class_names"] == {"image_folder/pets": ["ant", "bee", "cat"]}
    assert len(lens["images"]["image_folder/pets"]) == 6
    assert board.get(f"/confusion?run={run_id}").json()["class_names"] == lens["class_names"]
    curve = board.get(f"/figures/curves?run={run_id}&x=images").json()["data"][0]
    assert curve["x"] == [18]


def test_a_name_that_is_no_text_is_told_and_stops_nothing(board: httpx.Client, board_data: Path) -> None:
    folder = write_folder(board_data / "datasets" / "image_folder" / "odd")
    (folder / "train" / "ant" / os.fsdecode(b"caf\xe9.png")).write_text("no image")
    run_id = queue(board, **(PETS | {"image_folder": "odd"}))
    wait_for(lambda: ended(board, run_id), 60)
    failed = run(board, run_id)
    assert failed["state"] == "failed"
    assert r"train/ant/caf\udce9.png (cannot identify image file" in failed["error"]


def test_a_text_model_is_trained(board: httpx.Client, board_data: Path) -> None:
    folder = board_data / "datasets" / "trec"
    folder.mkdir(parents=True)
    questions = [f"{kind}:x what is {word} of number {n} ?" for n in range(20) for kind, word in TOPICS.items()]
    (folder / "train_5500.label").write_text("\n".join(questions))
    (folder / "TREC_10.label").write_text("\n".join(questions[:60]))
    run_id = queue(board, dataset="trec", model="text_cct_2", pooling="seqpool_softmax_tokens", epochs=3, lr=2e-3)
    wait_for(lambda: ended(board, run_id), 120)
    done = run(board, run_id)
    assert (done["state"], done["epoch"], done["error"], done["mixes_batch"]) == ("completed", 3, None, False)
    assert done["final_top1"] > 100 / len(TOPICS)
    lens = board.get("/lens", params={"run": run_id}).json()
    words = [text["words"] for text in lens["images"]["trec"]]
    assert all(text[:2] == ["what", "is"] for text in words)
    looks = lens["runs"][0]["looks"]
    assert [look["epoch"] for look in looks] == [1, 2, 3]
    assert [len(row) for row in looks[-1]["shares"]] == [len(text) for text in words]
