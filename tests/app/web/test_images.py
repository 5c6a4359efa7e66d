"""Variants compared image by image, from the files that trainers leave behind."""

from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from app.settings import Settings
from app.store.run_store import RunStore

LABELS = [0, 1, 2, 3]
SAID = {
    ("seqpool", 0): [0, 1, 2, 9],
    ("seqpool", 1): [0, 1, 8, 9],
    ("mean", 0): [7, 1, 2, 3],
    ("mean", 1): [6, 5, 2, 3],
    ("mean", 2): [0, 1, 2, 3],
}


def test_variants_are_compared_by_image(client: TestClient, store: RunStore, settings: Settings) -> None:
    axes = {"pooling": ["seqpool", "mean"], "seed": [0, 1, 2]}
    experiment = client.post("/experiments", json={"spec": {"dataset": "digits"}, "axes": axes}).json()["id"]
    runs = {(run.spec.pooling, run.spec.seed): run.id for run in store.experiment_runs(experiment)}

    def compared(**more: str) -> Any:
        return client.get("/images", params={"experiment": experiment, **more})

    early = compared()
    assert (early.status_code, "mean and seqpool have no seed yet" in early.json()["detail"]) == (409, True)
    for of, said in SAID.items():
        folder = settings.checkpoints(runs[of])
        folder.mkdir(parents=True)
        arrays: dict[str, Any] = {"label": np.array(LABELS, np.int32)}
        for name in ("last", "best"):
            predicted = np.array(said if name == "last" else LABELS, np.int32)
            arrays |= {f"{name}_predicted": predicted, f"{name}_correct": predicted == LABELS}
            arrays |= {f"{name}_confidence": np.full(4, 0.9, np.float32)}
        np.savez(folder / "answers.npz", **arrays)
    found = compared().json()
    assert (found["variant"], found["baseline"], found["seeds"], found["images"]) == ("mean", "seqpool", [0, 1], 4)
    assert (found["won"], found["lost"]) == (1, 1)
    assert found["won_images"] == [{"image": 3, "label": 3, "taken_for": [9, 9]}]
    assert found["lost_images"] == [{"image": 0, "label": 0, "taken_for": [7, 6]}]
    assert found["class_names"][3] == "3"
    assert found["difference"]["mean"] == 0, "5 of 8 are right with each"
    assert found["difference"]["low"] < -50 < 50 < found["difference"]["high"], "4 images say little of others"
    assert compared(baseline="mean").json()["variant"] == "seqpool"
    assert (compared(epoch="best").json()["won"], compared(variant="seqpool").status_code) == (0, 422)
    bins = client.get("/figures/reliability", params={"experiment": experiment}).json()["data"]
    assert {trace["uid"]: trace["y"] for trace in bins if "reliability" in trace["uid"]} == {
        "reliability_seqpool": [62.5],
        "reliability_mean": [75.0],
    }
    other = settings.checkpoints(runs["mean", 0]) / "answers.npz"
    np.savez(other, **dict(np.load(other)) | {"label": np.zeros(4, np.int32)})
    assert "were not validated on the same images" in compared().json()["detail"]
    mixed = client.post(f"/experiments/{experiment}/runs", json={"axes": {"lr": [0.001]}})
    assert mixed.status_code < 300
    refused = compared()
    assert (refused.status_code, refused.json()["errors"][0]["message"]) == (
        422,
        "leaves runs together that differ in lr, too; use group=pooling,lr",
    )
    by_both = compared(group="pooling,lr", variant="mean, lr 0.0005")
    assert "were not validated on the same images" in by_both.json()["detail"]
