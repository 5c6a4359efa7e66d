"""Evaluations, runs without training: what is asked of them, and that all that shows runs copes with them."""

from collections.abc import Callable
from dataclasses import replace

from fastapi.testclient import TestClient

from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD

NAME = "cct_7_3x1_32_cifar10_300epochs"
SPEC = {"model": "cct_7_3x1_32", "epochs": 0, "pretrained": NAME}
MEASURED = replace(
    RECORD, epoch=0, val_top1=96.5, lr=None, train_loss=None, train_top1=None, images_per_second=None, val_nll=0.1
)


def test_an_evaluation_is_stored_and_shown_like_a_run(
    client: TestClient, store: RunStore, claim: Callable[[], Lease]
) -> None:
    experiment = client.post("/experiments", json={"spec": SPEC, "axes": {"val_share": [0.0, 0.1]}}).json()
    assert (experiment["epochs_total"], experiment["progress"]) == (0, 0)
    lease = claim()
    lease.describe(device="CPU")
    lease.record_look(0, {"epoch": 0, "shares": [[1.0]], "entropy": [0.0], "predicted": [0], "confidence": [1.0]})
    lease.record_confusion(0, [[3, 1], [0, 4]])
    assert lease.record_epoch(MEASURED)
    assert not lease.record_epoch(MEASURED), "once"
    lease.record_confusion(0, [[0, 0], [0, 0]])
    lease.release(State.completed)
    query = {"run": lease.run_id}
    run = client.get(f"/runs/{lease.run_id}").json()
    assert (run["epoch"], run["best_top1"], run["final_top1"], run["last3_top1"]) == (0, 96.5, 96.5, 96.5)
    assert (run["images_per_second"], run["eta_seconds"]) == (None, None)
    found = client.get(f"/experiments/{experiment['id']}").json()
    assert (found["epochs_done"], found["progress"], found["completed"]) == (0, 0.5, 1)
    [record] = client.get(f"/runs/{lease.run_id}/epochs").json()
    assert (record["epoch"], record["val_nll"], record["train_loss"]) == (0, 0.1, None)
    assert client.get(f"/runs/{lease.run_id}/epochs").json() == [record], "also when it is read again"
    [matrix] = client.get("/confusion", params=query).json()["runs"]
    assert (matrix["epoch"], matrix["counts"]) == (0, [[3, 1], [0, 4]])
    assert [look["epoch"] for look in client.get("/lens", params=query).json()["runs"][0]["looks"]] == [0]
    for x in ("epoch", "seconds", "images"):
        traces = client.get("/figures/curves", params=query | {"x": x}).json()["data"]
        assert {(trace["name"], trace["y"][0]) for trace in traces} == {("seqpool", 96.5), ("published weights", 96.53)}
    assert client.get("/figures/curves", params=query | {"metric": "train_loss"}).json()["data"] == []
    for kind in ("finals", "differences", "cost", "confusion"):
        assert client.get(f"/figures/{kind}", params=query).status_code == 200
    [line] = client.get("/runs/sparklines", params=query).json()["sparklines"]
    assert line["val_top1"] == []
    assert ",0,,,1.5,96.5," in client.get("/epochs.csv", params=query).text
    report = client.get("/report", params=query).text
    assert f"We evaluated cct_7_3x1_32 on cifar10 with the weights {NAME}, without training; pooling seqpool." in report
    assert "<td>evaluation</td>" in report
    assert client.get(f"/runs/{lease.run_id}/tensorboard").status_code == 200
    assert "cctboard_run_images_per_second" in client.get("/metrics").text
    comparison = client.get("/comparison", params=query).json()
    assert [(row["final"]["mean"], row["seeds"]) for row in comparison["variants"]] == [(96.5, 1)]
    [published] = comparison["references"]
    assert (published["final"], published["said"]) == (96.53, f"96.53 % by the weights {NAME}")
    others = {other["said"]: other["why_not"] for other in comparison["other_references"]}
    said = f"Not comparable: pretrained is cct7-3x1_cifar10_best, here {NAME}."
    assert others["94.78 % by the weights cct7-3x1_cifar10_best"] == said
    assert not any("best of 4" in other for other in others), "which were trained"
    refused = client.post(f"/runs/{lease.run_id}/extend", json={"epochs": 5})
    assert (refused.status_code, "is an evaluation" in refused.json()["detail"]) == (409, True)


def test_what_an_evaluation_cannot_do_is_refused(client: TestClient) -> None:
    def refused(path: str, **body: object) -> tuple[str, str]:
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        return error["field"], error["message"]

    assert refused("/runs", epochs=0)[1].startswith("is 0, which evaluates given weights; name them as pretrained")
    assert refused("/runs", **SPEC | {"seed": 3})[0] == "seed"
    axes = {"pooling": ["seqpool", "mean"]}
    field, message = refused("/experiments", spec=SPEC, axes=axes, plan={})
    assert (field, message.startswith("is for runs that are trained")) == ("plan", True)
    experiment = client.post("/experiments", json={"spec": SPEC}).json()
    assert "seed" in refused(f"/experiments/{experiment['id']}/runs", seeds=2)[0]
    preview = client.post("/experiments/preview", json={"spec": SPEC, "axes": axes}).json()
    assert (preview["runs"], preview["epochs"], preview["warnings"]) == (2, 0, [])
