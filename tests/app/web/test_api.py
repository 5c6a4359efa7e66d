"""The HTTP API over a real database, without workers."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.demo import DEMO
from cct.catalog import poolings
from cct.named_models import MODELS
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import stored_events

Claim = Callable[[], Lease]


def test_the_reference_recipe_is_the_default(client: TestClient) -> None:
    created = client.post("/runs", json={})
    assert created.status_code == 201
    run = created.json()
    assert client.get(urljoin("/runs", created.headers["location"])).json() == run
    assert run["spec"] == asdict(RunSpec())
    assert (run["spec"]["pooling"], run["spec"]["epochs"], run["state"]) == ("seqpool", 200, "queued")


def test_curl_needs_no_content_type(client: TestClient) -> None:
    body = (
        '{"model": "cct_2_3x2_32", "pooling": "seqpool_softmax_tokens", "dataset": "digits", "epochs": 20, "seed": 1}'
    )
    headers = {"content-type": "application/x-www-form-urlencoded"}
    created = client.post("/runs", content=body, headers=headers)
    assert created.status_code == 201
    assert created.json()["spec"]["pooling"] == "seqpool_softmax_tokens"


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ({"model": "resnet"}, "model", "cct_2_3x2_32"),
        ({"pooling": "median"}, "pooling", "seqpool_softmax_tokens"),
        ({"dataset": "imagenet"}, "dataset", "digits"),
        ({"epochs": -1}, "epochs", "greater than or equal to 0"),
        ({"epochs": 0}, "epochs", "evaluates given weights; name them as pretrained"),
        ({"epochs": 2.5}, "epochs", "integer"),
        ({"epochs": "20"}, "epochs", "integer"),
        ({"epochs": True}, "epochs", "integer"),
        ({"lr": 0}, "lr", "greater than 0"),
        ({"lr": 1e300}, "lr", "less than or equal to 10"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"dropout": 1.0}, "dropout", "less than or equal to 0.99"),
        ({"dataset": "digits", "batch_size": 2000}, "batch_size", "at most 1437"),
        ({"learning_rate": 0.1}, "learning_rate", "known are model, pooling"),
        ([], "body", "dictionary"),
        ("x", "body", "dictionary"),
    ],
)
def test_an_impossible_run_is_refused(
    client: TestClient, store: RunStore, body: object, field: str, allowed: str
) -> None:
    refused = client.post("/runs", json=body)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["status"], problem["title"], problem["type"]) == (422, "Invalid request", "about:blank")
    assert problem["errors"][0]["field"] == field
    assert allowed in problem["errors"][0]["message"]
    assert field in problem["detail"]
    assert store.runs() == []


@pytest.mark.parametrize("body", ['{"epochs": 1', "", "\xff", '{"lr": NaN}', "[" * 100_000])
def test_malformed_json_is_refused(client: TestClient, body: str) -> None:
    refused = client.post("/runs", content=body.encode("latin-1"))
    assert refused.status_code in (400, 422)
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_large_body_is_refused(client: TestClient) -> None:
    refused = client.post("/runs", content=b" " * 1_000_001)
    assert refused.status_code == 413
    assert refused.headers["content-type"] == "application/problem+json"


def test_foreign_pages_and_hosts_are_refused(client: TestClient, store: RunStore) -> None:
    assert client.post("/runs", json={}, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/runs", json={}, headers={"host": "evil.example"}).status_code == 400
    assert store.runs() == []
    assert client.post("/runs", json={}, headers={"origin": "http://testserver"}).status_code == 201


@pytest.mark.parametrize("path", ["/runs/nope", "/runs/nope/epochs", "/runs/nope/log", "/experiments/nope", "/nope"])
def test_what_is_not_there_is_a_404(client: TestClient, path: str) -> None:
    missing = client.get(path)
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["detail"]


def test_cancel_and_cancel_again(client: TestClient) -> None:
    run = client.post("/runs", json={}).json()
    assert client.post(f"/runs/{run['id']}/cancel").json()["state"] == "cancelled"
    again = client.post(f"/runs/{run['id']}/cancel")
    assert again.status_code == 409
    assert "already cancelled" in again.json()["detail"]
    assert client.post("/runs/nope/cancel").status_code == 404


def test_an_experiment_is_the_product_of_its_axes(client: TestClient) -> None:
    created = client.post("/experiments", json={"name": "P", "spec": {"epochs": 2}, "axes": DEMO["axes"]})
    assert created.status_code == 201
    experiment = created.json()
    assert (experiment["runs"], experiment["queued"], experiment["epochs_total"]) == (12, 12, 24)
    runs = client.get("/runs", params={"experiment": experiment["id"]}).json()
    assert runs["total"] == 12
    queue_order = [(run["spec"]["seed"], run["spec"]["pooling"]) for run in reversed(runs["runs"])]
    assert queue_order == [(seed, pooling) for seed in (0, 1, 2, 3) for pooling in DEMO["axes"]["pooling"]]
    assert client.get("/experiments").json()["experiments"] == [experiment]
    assert client.post(f"/experiments/{experiment['id']}/cancel").json()["cancelled"] == 12


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"axes": {"pooling": ["seqpool", "median"]}}, "pooling"),
        ({"axes": {"width": [2, 4]}}, "width"),
        ({"axes": {"seed": []}}, "axes.seed"),
        ({"axes": {"seed": [1, 1]}}, "axes.seed"),
        ({"axes": {"seed": [0, 1]}, "spec": {"seed": 3}}, "axes.seed"),
        ({"axes": {"seed": list(range(1001))}}, "axes"),
        ({"spec": {"epochs": 0}}, "epochs"),
        ({"spec": {"dataset": "digits"}, "axes": {"batch_size": [128, 4096]}}, "batch_size"),
        ({"name": ""}, "name"),
    ],
)
def test_an_impossible_experiment_queues_nothing(client: TestClient, store: RunStore, body: object, field: str) -> None:
    refused = client.post("/experiments", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field
    assert store.runs() == []
    assert store.experiments() == []


def test_runs_are_filtered_and_paged(client: TestClient) -> None:
    ids = [client.post("/runs", json={"seed": seed, "dataset": "digits"}).json()["id"] for seed in range(5)]
    client.post(f"/runs/{ids[0]}/cancel")
    page = client.get("/runs", params={"limit": 2, "offset": 1}).json()
    assert (page["total"], [run["id"] for run in page["runs"]]) == (5, [ids[3], ids[2]])
    assert [run["id"] for run in client.get("/runs?state=cancelled").json()["runs"]] == [ids[0]]
    assert client.get("/runs", params={"text": "cifar"}).json()["total"] == 0
    by_seed = client.get("/runs?sort=seed&descending=true").json()["runs"]
    assert [run["spec"]["seed"] for run in by_seed] == [4, 3, 2, 1, 0]
    assert client.get("/runs?limit=0").status_code == 422


def test_the_catalog_lists_all_that_can_be_chosen(client: TestClient) -> None:
    catalog = client.get("/catalog").json()
    assert [pooling["name"] for pooling in catalog["poolings"]] == list(poolings())
    assert [model["name"] for model in catalog["models"]] == list(MODELS)
    assert all(pooling["summary"] and pooling["formula"] for pooling in catalog["poolings"])
    schema = catalog["spec_schema"]["properties"]
    assert schema["pooling"]["enum"] == ["auto", *poolings()]
    assert (schema["epochs"]["minimum"], schema["epochs"]["default"]) == (0, 200)
    assert client.post("/experiments", json=catalog["demo"]).status_code == 201


def train(store: RunStore, top1: list[float], state: State = State.completed) -> str:
    """Plays a worker: records one epoch per value, then ends the run."""
    lease = store.claim("w")
    assert lease is not None
    for epoch, value in enumerate(top1, start=1):
        lease.record_epoch(type(RECORD)(**asdict(RECORD) | {"epoch": epoch, "val_top1": value}))
    lease.release(state)
    return lease.run_id


def test_variants_are_compared_by_seed(client: TestClient, store: RunStore) -> None:
    axes = {"pooling": ["seqpool", "mean"], "seed": [0, 1]}
    experiment = client.post("/experiments", json={"spec": {"epochs": 2}, "axes": axes}).json()
    for top1 in ([50.0, 80.0], [50.0, 70.0], [50.0, 84.0], [75.0, 72.0]):
        train(store, top1)
    comparison = client.get("/comparison", params={"experiment": experiment["id"]}).json()
    assert comparison["baseline"] == "seqpool"
    baseline, mean = comparison["variants"]
    assert (baseline["variant"], baseline["seeds"], baseline["difference"]) == ("seqpool", 2, None)
    stats = (baseline["final"], mean["best"], mean["difference"])
    assert [(stat["mean"], stat["n"]) for stat in stats] == [(82.0, 2), (72.5, 2), (-11.0, 2)]
    assert [stat["sd"] ** 2 for stat in stats] == pytest.approx([8, 12.5, 2])
    assert mean["minutes"]["mean"] == pytest.approx(4 / 60)
    other = client.get("/comparison", params={"experiment": experiment["id"], "baseline": "mean"}).json()
    assert other["variants"][0]["difference"]["mean"] == 11.0
    assert client.get("/comparison", params={"experiment": experiment["id"], "baseline": "max"}).status_code == 422
    assert client.get("/comparison").status_code == 422


def test_curves_show_seeds_mean_and_spread(client: TestClient, store: RunStore) -> None:
    axes = {"pooling": ["seqpool", "mean"], "seed": [0, 1]}
    experiment = client.post("/experiments", json={"spec": {"epochs": 2}, "axes": axes}).json()
    for top1 in ([50.0, 80.0], [40.0, 70.0], [52.0, 84.0], [41.0]):
        train(store, top1)
    figure = client.get("/figures/curves", params={"experiment": experiment["id"]}).json()
    traces = {trace["uid"]: trace for trace in figure["data"]}
    assert len(traces) == len(figure["data"]) == 4 + 2 * 2
    mean = traces["mean_seqpool"]
    assert (mean["x"], mean["y"]) == ([1, 2], [51.0, 82.0])
    assert mean["customdata"] == [[pytest.approx(2**0.5), 2], [pytest.approx(8**0.5), 2]]
    assert traces["mean_mean"]["customdata"][1] == [0.0, 1], "only one seed has reached epoch 2"
    assert mean["line"]["color"] != traces["mean_mean"]["line"]["color"]
    assert figure["layout"]["uirevision"] == "val_top1/pooling"
    refused = client.get("/figures/curves", params={"experiment": experiment["id"], "metric": "accuracy"})
    assert refused.status_code == 422
    assert "val_top1" in refused.json()["errors"][0]["message"]


def test_published_results_appear_where_they_are_comparable(client: TestClient) -> None:
    comparable = client.post("/runs", json={}).json()["id"]
    other = client.post("/runs", json={"epochs": 100}).json()["id"]
    figure = client.get("/figures/curves", params={"run": comparable}).json()
    lines = {(trace["name"], trace["y"][0]) for trace in figure["data"]}
    historic = {("historic experiment", top1) for top1 in (84.56, 86.99, 88.34)}
    assert lines == {*historic, ("published, best epoch", 89.17)}
    assert client.get("/figures/curves", params={"run": other}).json()["data"] == []
    references = client.get("/comparison", params={"run": [comparable, other]}).json()["references"]
    assert sorted((reference["best"], reference["final"] or 0) for reference in references) == [
        (84.61, 84.56),
        (87.1, 86.99),
        (88.34, 88.34),
        (89.17, 0),
    ]


def test_events_continue_after_the_last_id(client: TestClient, store: RunStore) -> None:
    run = client.post("/runs", json={"dataset": "digits", "epochs": 2}).json()
    first = stored_events(store)[0][0]
    train(store, [50.0, 60.0])
    received = []
    with client.stream("GET", "/events", headers={"last-event-id": first}) as stream:
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name == "data":
                received.append(json.loads(value))
                if received[-1].get("state") == "completed":
                    break
    records = [data["record"]["val_top1"] for data in received if "record" in data]
    assert records == [50.0, 60.0]
    assert received[-1]["id"] == run["id"]


def test_a_page_that_missed_too_much_starts_over(client: TestClient) -> None:
    client.post("/runs", json={})
    with client.stream("GET", "/events", headers={"last-event-id": "1-0"}) as stream:
        assert next(line for line in stream.iter_lines() if line.startswith("event")) == "event: reset"


def test_epochs_are_saved_as_csv(client: TestClient, store: RunStore, claim: Callable[[], Lease]) -> None:
    run_id = client.post("/runs", json={"dataset": "digits", "epochs": 2}).json()["id"]
    lease = claim()
    for epoch in (1, 2):
        lease.record_epoch(replace(RECORD, epoch=epoch))
    answer = client.get(f"/epochs.csv?run={run_id}")
    assert answer.headers["content-type"].startswith("text/csv")
    head, *lines = answer.text.splitlines()
    assert head.startswith("run,model,pooling,dataset,epochs,seed")
    assert len(set(head.split(","))) == len(head.split(",")), "no column has the name of another"
    assert [line.split(",")[0] for line in lines] == [run_id, run_id]
    assert all("50.5" in line for line in lines)


def test_runs_of_what_was_removed_since_are_still_shown(
    client: TestClient, store: RunStore, claim: Callable[[], Lease]
) -> None:
    gone = {"dataset": "gone", "model": "gone", "pooling": "gone", "epochs": 2}
    specs = [RunSpec.stored(gone | {"seed": seed}) for seed in (0, 1)]
    of_today = [RunSpec(dataset="digits", pooling="mean", epochs=2, seed=seed) for seed in (0, 1)]
    experiment = store.create_experiment("Old", gone, {}, [*specs, *of_today]).id
    for _ in range(4):
        lease = claim()
        lease.record_confusion(1, [[3, 1], [0, 4]])
        lease.record_epoch(replace(RECORD, seconds=3))
        lease.record_epoch(replace(RECORD, epoch=2))
        lease.release(State.completed)
    figures = ("curves?", "curves?x=seconds&", "finals?", "differences?", "cost?", "confusion?variant=gone&")
    pages = [f"figures/{figure}" for figure in figures]
    for page in (*pages, "comparison?", "comparison?group=dataset&", "report?", "epochs.csv?", "confusion?", "lens?"):
        answer = client.get(f"/{page}experiment={experiment}")
        assert answer.status_code == 200, f"{page}: {answer.text}"
    [seen] = client.get("/experiments/glances", params={"experiment": [experiment, "gone"]}).json()["glances"]
    assert (seen["experiment_id"], seen["glance"]["provisional"]) == (experiment, False)
    colors = [row["color"]["light"] for row in client.get(f"/comparison?experiment={experiment}").json()["variants"]]
    assert len(set(colors)) == 2
    unknown = client.get(f"/figures/curves?x=images&experiment={experiment}")
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "x")
    assert client.get("/runs/groups?by=dataset").status_code == 200
    preview = client.post("/experiments/preview", json={"spec": {"dataset": "cifar10", "epochs": 1}})
    assert preview.status_code == 200
    assert preview.json()["seconds"] > 0, "what is known of today's models counts"
