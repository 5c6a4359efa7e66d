"""Results from elsewhere: read from files that the real tools have written, shown beside, and counted only if asked."""

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from timm.utils.summary import update_summary
from torch.utils.tensorboard import SummaryWriter

from app.analysis.others_results import read_results
from app.analysis.tensorboard import event_file
from app.errors import Invalid
from app.store.run_store import RunStore
from tests.app.cli.conftest import Command, board, cctboard

__all__ = ["board", "cctboard"]

SPEC = {"model": "cct_2_3x2_32", "dataset": "cifar10", "seed": 0}


def log_of(final: float, best: float, minutes: float, epochs: int = 200) -> str:
    """What the reference's `examples/main.py` prints."""
    lines = ["Beginning training"]
    for epoch in range(1, epochs + 1):
        top1 = final if epoch == epochs else best if epoch == epochs - 1 else best * epoch / epochs - 1
        lines.append(f"[Epoch {epoch}][Train][0] \t Loss: 2.3026e+00 \t Top-1  10.00")
        lines.append(f"[Epoch {epoch}] \t \t Top-1 {max(top1, 0):6.2f} \t \t Time: {minutes * epoch / epochs:.2f}")
    lines.append(f"Script finished in {minutes:.2f} minutes, best top-1: {best:.2f}, final top-1: {final:.2f}")
    return "\n".join(lines) + "\n"


def send(client: TestClient, content: str | bytes, **params: Any) -> httpx.Response:
    params = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in params.items()}
    return client.post("/results", params=params, content=content)


def test_the_three_experiments_of_the_note_stand_beside_each_other(client: TestClient, store: RunStore) -> None:
    """Final and best top-1 and minutes as they were noted by hand."""
    noted = {
        "seqpool": (88.34, 88.34, 64.41),
        "seqpool_softmax_tokens": (86.99, 87.10, 60.12),
        "seqpool_softmax_batch": (84.56, 84.61, 58.91),
    }
    experiment: dict[str, str] = {}
    for pooling, numbers in noted.items():
        done = send(client, log_of(*numbers), spec=SPEC | {"pooling": pooling}, name=f"{pooling}.log", **experiment)
        assert done.status_code == 201, done.text
        run = done.json()
        experiment = {"experiment": run["experiment_id"]}
        assert (run["state"], run["epoch"], run["final_top1"], run["best_top1"]) == ("completed", 200, *numbers[:2])
        assert run["seconds"] == pytest.approx(60 * numbers[2])
        assert run["external"]["told"] == ["dataset", "epochs", "model", "pooling", "seed"]
    comparison = client.get("/comparison", params=experiment).json()
    assert [row["variant"] for row in comparison["variants"]] == [f"{name} (external)" for name in noted]
    assert [row["final"]["mean"] for row in comparison["variants"]] == [one[0] for one in noted.values()]
    assert {row["difference"] for row in comparison["variants"]} == {None}
    assert "stands beside; it enters no verdict" in comparison["variants"][0]["verdict"]
    traces = client.get("/figures/curves", params=experiment).json()["data"]
    assert [len(trace["x"]) for trace in traces if trace.get("showlegend", True)][:3] == [200] * 3
    assert client.get("/figures/finals", params=experiment).is_success
    again = send(client, log_of(*noted["seqpool"]), spec=SPEC | {"pooling": "seqpool"}, name="copy.log")
    assert again.status_code == 200
    assert len(store.runs()) == 3, "importing twice changes nothing"


def test_a_result_enters_a_verdict_only_if_the_user_says_so(client: TestClient, store: RunStore) -> None:
    experiment: dict[str, str] = {}
    for seed, (base, other) in enumerate([(88.0, 90.1), (88.2, 90.2), (88.1, 90.4)]):
        for pooling, top1 in (("seqpool", base), ("mean", other)):
            spec = SPEC | {"pooling": pooling, "seed": seed}
            sent = send(client, log_of(top1, top1, 60, epochs=10), spec=spec, name=f"{pooling} {seed}", **experiment)
            experiment = {"experiment": sent.json()["experiment_id"]}
    before = client.get("/comparison", params=experiment).json()
    assert [row["variant"] for row in before["variants"]] == ["seqpool (external)", "mean (external)"]
    for run in store.runs():
        assert client.patch(f"/runs/{run.id}", json={"counts": True}).json()["counts"] is True
    after = client.get("/comparison", params=experiment).json()
    assert [row["variant"] for row in after["variants"]] == ["seqpool", "mean"]
    assert after["variants"][1]["outcome"] == "better"
    [doubt] = after["doubts"]
    assert (doubt["code"], len(doubt["runs"])) == ("external", 6)
    assert "Trained elsewhere and counted nevertheless" in doubt["text"]
    for path in ("/report", "/comparison", "/figures/differences", "/runs"):
        assert client.get(path, params=experiment).is_success
    ours = client.post("/runs", json={"dataset": "digits"}).json()
    refused = client.patch(f"/runs/{ours['id']}", json={"counts": False})
    assert (refused.status_code, "was trained here" in refused.text) == (422, True)
    extended = client.post(f"/runs/{store.runs()[-1].id}/extend", json={"epochs": 20})
    assert (extended.status_code, "was trained elsewhere" in extended.text) == (409, True)
    assert client.post("/experiments/preview", json={"spec": SPEC}).json()["seconds"] is None, "of other machines"


def test_what_timm_writes_is_read(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    for epoch, top1 in enumerate([40.5, 60.25, 71.0]):
        evaluated = {"loss": 1.5 - epoch / 10, "top1": top1, "top5": top1 + 20}
        update_summary(epoch, {"loss": 2.0 - epoch}, evaluated, str(path), lr=1e-3)
    read = client.post("/results/read", content=path.read_bytes()).json()
    assert (read["kind"], read["epochs"], read["last_epoch"]) == ("summary of a timm training", 3, 3)
    assert read["asked"] == ["model", "pooling", "dataset", "seed"]
    run = send(client, path.read_bytes(), spec=SPEC | {"pooling": "mean"}, name="summary.csv").json()
    records = client.get(f"/runs/{run['id']}/epochs").json()
    assert [record["val_top1"] for record in records] == [40.5, 60.25, 71.0]
    assert [record["train_loss"] for record in records] == [2.0, 1.0, 0.0]
    assert (records[0]["val_top5"], records[0]["lr"], records[0]["peak_memory_bytes"]) == (60.5, 1e-3, None)
    assert run["last3_top1"] == pytest.approx((40.5 + 60.25 + 71) / 3)


def test_a_table_says_its_columns_or_is_told_them(client: TestClient) -> None:
    table = "step;acc;note\n1;0.4;a\n2;0.5;b\n"
    refused = send(client, table, spec=SPEC | {"pooling": "mean"})
    assert refused.json()["errors"][0] == {
        "field": "columns",
        "message": "say which column is epoch: one of step, acc, note",
    }
    columns = {"epoch": "step", "val_top1": "acc"}
    refused = send(client, table, spec=SPEC | {"pooling": "mean"}, columns=columns)
    assert "say so (--fractions)" in refused.json()["errors"][0]["message"]
    run = send(client, table, spec=SPEC | {"pooling": "mean"}, columns=columns, fractions=True).json()
    assert (run["final_top1"], run["epoch"]) == (50, 2)
    final = send(client, "My notes:\nfinal top-1: 84.56 %\n", spec=SPEC | {"pooling": "gem", "epochs": 200}).json()
    assert (final["final_top1"], final["best_top1"], final["epoch"]) == (84.56, None, 200)
    assert client.get(f"/runs/{final['id']}/epochs").json() == []
    assert client.get("/comparison", params={"run": [final["id"], run["id"]]}).is_success


@pytest.mark.parametrize(
    ("content", "params", "said"),
    [
        ("", {}, "has nothing that is known here"),
        (b"\xff\xfe\x00", {}, "is not a text in UTF-8"),
        (log_of(88, 88, 60, 5) * 2, {}, "epochs that do not rise: it tells of several trainings"),
        (log_of(88, 88, 60, 5).replace("final top-1: 88.00", "final top-1: 80.00"), {}, "is it whole?"),
        ("final top-1: 80\nfinal top-1: 81\n", {}, "tells of 2 final results"),
        ("final top-1: 880\n", {}, "has a top-1 of 880.0, which is no percentage"),
        ("epoch,val_top1\n1,x\n", {}, "has 'x' in column val_top1, line 2, which is no number"),
        ("epoch,val_top1\n1,101\n", {}, "no percentage"),
        ("epoch,val_top1\n2,50\n1,40\n", {}, "do not rise"),
        ("epoch,val_top1\n", {}, "say which column is epoch"),
        ("epoch,top\n1,50\n", {"columns": {"val_top1": "nope"}}, "no column 'nope'; it has epoch, top"),
        ("epoch,top\n1,50\n", {"columns": {"accuracy": "top"}}, "'accuracy' is not measured here; choose of epoch"),
        ("epoch,top\n1,50\n", {"columns": "[]"}, "'[]' is no JSON object"),
        (log_of(88, 88, 60, 5), {"spec": {"pooling": "mean"}}, "is not in the file; give model, dataset, seed"),
        (log_of(88, 88, 60, 5), {"spec": SPEC | {"pooling": "maen"}}, "did you mean mean?"),
        (
            log_of(88, 88, 60, 5),
            {"spec": SPEC | {"pooling": "mean", "epochs": 3}},
            "is 3, but the file ends with",
        ),
        ("final top-1: 88\n", {}, "give it"),
        (
            log_of(88, 88, 60, 5),
            {"spec": SPEC | {"pooling": "mean", "epochs": 9}},
            "is 9, but the file ends with",
        ),
        (log_of(88, 88, 60, 5), {"spec": "x"}, "'x' is no JSON object"),
    ],
)
def test_what_cannot_be_imported_says_what_to_change(
    content: str | bytes, params: dict[str, Any], said: str, client: TestClient, store: RunStore
) -> None:
    refused = send(client, content, **({"spec": SPEC | {"pooling": "mean"}} | params))
    assert refused.status_code == 422
    assert said in refused.json()["errors"][0]["message"]
    assert store.runs() == []
    assert store.experiments() == []


def test_event_files_of_tensorboard_are_read(client: TestClient, tmp_path: Path, store: RunStore) -> None:
    """Those that torch writes with the package itself, and those that this board exports."""
    with SummaryWriter(str(tmp_path)) as writer:
        for epoch, top1 in enumerate([0.4, 0.55, 0.6]):
            writer.add_scalar("Accuracy/val", top1, epoch)
            writer.add_scalar("Loss/val", 2 - top1, epoch)
    [file] = tmp_path.glob("events*")
    refused = send(client, file.read_bytes(), spec=SPEC | {"pooling": "mean"})
    assert "say which column is val_top1: one of epoch, Accuracy/val, Loss/val" in refused.text
    columns = {"val_top1": "Accuracy/val", "val_loss": "Loss/val"}
    run = send(client, file.read_bytes(), spec=SPEC | {"pooling": "mean"}, columns=columns, fractions=True).json()
    assert run["external"]["kind"] == "event file of TensorBoard"
    records = client.get(f"/runs/{run['id']}/epochs").json()
    assert [one["epoch"] for one in records] == [1, 2, 3]
    assert [one["val_top1"] for one in records] == pytest.approx([40, 55, 60], abs=1e-4)
    [exported] = store.epochs([run["id"]])
    again = send(client, event_file(store.run(run["id"]), exported), spec=SPEC | {"pooling": "max"}).json()
    assert again["final_top1"] == pytest.approx(60, abs=1e-4)
    damaged = send(client, file.read_bytes()[:80] + b"x" * 60, spec=SPEC | {"pooling": "mean"}, columns=columns)
    assert damaged.status_code == 422


def test_files_of_any_content_are_read_or_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = "epoch,train_loss,val_loss,val_top1\n" + "".join(f"{epoch},2.5,1.5,{epoch}.5\n" for epoch in range(1, 9))
    for whole in (log_of(88, 88, 60, 8).encode(), table.encode(), b"\n\n" + table.encode()):
        assert read_results(whole).records
        for _ in range(300):
            damaged = bytearray(whole)
            for _ in range(random.integers(1, 4)):
                damaged[random.integers(len(damaged))] = random.integers(256)
            with contextlib.suppress(Invalid):
                found = read_results(bytes(damaged[: random.integers(len(damaged) + 1)]))
                assert 0 <= found.final <= 100
    with pytest.raises(Invalid, match="has no whole number for an epoch in line 3"):
        read_results(b"epoch,val_top1\n1,50\n,51\n")


def test_plans_take_no_results_from_elsewhere(client: TestClient) -> None:
    request = {"spec": {"dataset": "cifar10"}, "axes": {"pooling": ["seqpool", "mean"]}, "plan": {}}
    planned = client.post("/experiments", json=request).json()["id"]
    refused = send(client, log_of(88, 88, 60, 5), spec=SPEC | {"pooling": "mean"}, experiment=planned)
    assert (refused.status_code, "has a plan" in refused.text) == (409, True)


def test_each_is_imported_with_one_command(board: Command, tmp_path: Path) -> None:
    paths = []
    for seed in (0, 1):
        paths.append(tmp_path / f"{seed}.log")
        paths[-1].write_text(log_of(88 + seed, 88 + seed, 60, 5))
    given = ["model=cct_2_3x2_32", "pooling=seqpool", "dataset=cifar10", "seed=0,1"]
    options = [part for one in given for part in ("--spec", one)]
    done = board("import-results", *map(str, paths), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("log of the reference's script, final top-1") == 2
    told = json.loads(board("import-results", *map(str, paths), *options, "--json").stdout)["runs"]
    assert [run["final_top1"] for run in told] == [88, 89]
    assert len({run["experiment_id"] for run in told}) == 1
    missing = board("import-results", str(paths[0]), *options[:6], "--spec", "seed=0,1,2")
    assert (missing.returncode, "--spec seed has 3 values for 1 files" in missing.stderr) == (2, True)
    nowhere = board("import-results", str(tmp_path / "nowhere.log"), *options[:6], "--spec", "seed=0")
    assert (nowhere.returncode, "No such file" in nowhere.stderr) == (2, True)


def test_the_exported_table_of_one_run_comes_back(client: TestClient, tmp_path: Path) -> None:
    with (tmp_path / "epochs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss", "val_loss", "val_top1", "seconds"])
        writer.writerows([[1, 2.1, 2.0, 30, 5.5], [2, "", 1.8, 42.5, 5.0]])
    run = send(client, (tmp_path / "epochs.csv").read_bytes(), spec=SPEC | {"pooling": "max"}).json()
    records = client.get(f"/runs/{run['id']}/epochs").json()
    assert [(one["train_loss"], one["val_loss"], one["seconds"]) for one in records] == [
        (2.1, 2.0, 5.5),
        (None, 1.8, 5.0),
    ]
    assert run["seconds"] == 10.5
