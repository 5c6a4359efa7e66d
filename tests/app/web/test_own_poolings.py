"""Own poolings in API and store: a saved file is there at once, and what was queued keeps the code that it had."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from app.store.archive import backup, restore
from app.store.errands import Errands
from app.store.pooling_checks import PoolingChecks
from app.store.run_store import RunStore
from app.web import own_poolings as own_poolings_of_web
from cct import own_poolings
from tests.cct.test_own_poolings import SHARP
from tests.conftest import DIGITS, fresh_interpreter, stored_events, wait_for

SOFTER = SHARP.replace("4 *", "0.5 *")


@pytest.fixture
def folder(settings: Settings) -> Path:
    settings.poolings_folder.mkdir()
    return settings.poolings_folder


def save(folder: Path, text: str = SHARP, name: str = "mine") -> None:
    (folder / f"{name}.py").write_text(text)


def entry(client: TestClient, name: str) -> dict[str, Any] | None:
    return next((one for one in client.get("/catalog").json()["poolings"] if one["name"] == name), None)


def test_a_saved_file_is_in_the_catalog_at_once_and_a_broken_one_is_told(client: TestClient, folder: Path) -> None:
    assert entry(client, "sharp") is None
    save(folder)
    found = entry(client, "sharp")
    assert found is not None
    assert found["summary"] == "Sequence pooling with sharper scores."
    assert found["file"] == "mine.py"
    assert found["full_name"].startswith("sharp@")
    catalog = client.get("/catalog").json()
    assert catalog["spec_schema"]["properties"]["pooling"]["enum"][-1] == "sharp"
    assert catalog["poolings_folder"] == str(folder)
    save(folder, "x = (", "bad")
    assert client.get("/catalog").json()["broken_poolings"] == [
        {"file": "bad.py", "line": 1, "error": "SyntaxError: '(' was never closed"}
    ]
    refused = client.post("/runs", json={"pooling": "bad"})
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert (error["field"], "was never closed (bad.py, line 1)" in error["message"]) == ("pooling", True)
    (folder / "mine.py").unlink()
    assert entry(client, "sharp") is None
    assert client.post("/runs", json={"pooling": "sharp"}).status_code == 422
    assert client.get("/poolings/bad").json()["detail"].endswith("was never closed (bad.py, line 1)")


def test_what_is_queued_keeps_its_code_and_so_do_seeds_that_are_added(client: TestClient, folder: Path) -> None:
    save(folder)
    request = {"spec": DIGITS | {"epochs": 2}, "axes": {"pooling": ["seqpool", "sharp"], "seed": [0]}}
    experiment = client.post("/experiments", json=request).json()
    [_, full] = experiment["axes"]["pooling"]
    assert full.startswith("sharp@")
    save(folder, SOFTER)
    client.post(f"/experiments/{experiment['id']}/runs", json={"seeds": 2})
    client.post(f"/experiments/{experiment['id']}/runs", json={"axes": {"pooling": ["sharp"]}})
    runs = client.get("/runs", params={"experiment": experiment["id"]}).json()["runs"]
    poolings = [run["spec"]["pooling"] for run in runs]
    [newer] = set(poolings) - {"seqpool", full}
    assert newer.startswith("sharp@")
    assert [poolings.count(name) for name in ("seqpool", full, newer)] == [3, 3, 3]
    said = client.get("/comparison", params={"experiment": experiment["id"]}).json()
    assert [variant["variant"] for variant in said["variants"]] == ["seqpool", full, newer]
    assert [variant["formula"] for variant in said["variants"]][1:] == ["softmax(4 g(x), tokens)ᵀ x"] * 2
    codes = [client.get(f"/poolings/{name}").json() for name in (full, newer)]
    assert [("4 *" in one["files"][0]["text"], one["is_current"]) for one in codes] == [(True, False), (False, True)]
    lines = client.get(f"/poolings/{full}/difference/{newer}").json()["lines"]
    assert [(line["kind"], line["text"].strip()) for line in lines if line["kind"] in "+-"] == [
        ("-", "return 4 * super().scores(x)"),
        ("+", "return 0.5 * super().scores(x)"),
    ]
    assert client.get("/poolings/seqpool/difference/seqpool").json()["lines"] == []
    assert [file["name"] for file in codes[0]["files"]] == ["mine.py", "cct/pooling.py"]
    lines = client.get(f"/poolings/seqpool/difference/{full}").json()["lines"]
    assert {line["kind"] for line in lines} == {"@", " ", "+"}, "it derives from the other"


def test_plans_and_named_variants_keep_their_code(client: TestClient, folder: Path) -> None:
    save(folder)
    axes = {"pooling": ["sharp", "mean"]}
    plan = client.post("/experiments", json={"spec": DIGITS, "axes": axes, "plan": {"baseline": "sharp"}}).json()
    assert plan["plan"]["baseline"] == plan["axes"]["pooling"][0] == own_poolings.full_name("sharp")
    variants = [{"pooling": "sharp", "lr": 0.001}, {"pooling": "mean", "lr": 0.001}]
    named = client.post("/experiments", json={"spec": DIGITS, "variants": variants}).json()
    assert named["variants"][0]["values"]["pooling"] == own_poolings.full_name("sharp")


def test_another_process_knows_the_code_and_an_archive_takes_it_along(
    client: TestClient, folder: Path, store: RunStore, settings: Settings, tmp_path: Path
) -> None:
    save(folder)
    run = client.post("/runs", json=DIGITS | {"pooling": "sharp"}).json()
    ask = f"""
from pydantic import RedisDsn
from app.settings import Settings
from app.store.run_store import RunStore
from cct.cost import cost_of_run
store = RunStore(Settings(redis_url=RedisDsn({str(settings.redis_url)!r}), data={str(tmp_path / "elsewhere")!r}))
print(cost_of_run(store.run({run["id"]!r}).spec).parameters, cost_of_run(store.runs()[0].spec).parameters)
"""
    counts = fresh_interpreter(ask).split()
    assert counts[0] == counts[1]
    with (tmp_path / "backup.tar").open("wb") as file:
        backup(settings, store, file, "test")
    store.redis.flushdb()
    with (tmp_path / "backup.tar").open("rb") as file:
        restore(settings, store, file)
    assert fresh_interpreter(ask).split() == counts


def test_a_check_is_asked_for_when_a_file_is_saved_and_its_findings_come_in(
    client: TestClient, folder: Path, store: RunStore
) -> None:
    save(folder)
    errands, checks = Errands(store), PoolingChecks(store)
    wait_for(lambda: store.redis.xlen(store.key("errands")), 10)
    errand = errands.take(1)
    assert errand is not None
    assert (errand.kind, checks.name_of(errand.subject)) == ("pooling_check", own_poolings.full_name("sharp"))
    detail = client.get("/poolings/sharp").json()
    assert (detail["check"]["done"], detail["check"]["findings"]) == (False, [])
    findings = [{"name": f"check {number}", "outcome": "passed", "text": "well"} for number in range(11)]
    for number, finding in enumerate(findings):
        checks.add(errand.subject, number, finding)
    checks.finish(errand.subject)
    errands.done(errand)
    detail = client.get("/poolings/sharp").json()
    assert (detail["check"]["done"], detail["check"]["error"]) == (True, None)
    assert detail["check"]["findings"] == findings, "in their order"
    kinds = [fields["kind"] for _, fields in stored_events(store)]
    assert "poolings" in kinds
    assert kinds.count("pooling_check") == 13
    again = client.post("/poolings/sharp/check")
    assert (again.status_code, again.json()["check"]["findings"]) == (202, [])
    checks.finish(errand.subject)
    assert client.get("/poolings/sharp").json()["check"]["done"] is False, "it is the earlier one that ended twice"
    assert client.post("/poolings/gem/check").status_code == 409
    assert client.post("/poolings/unknown/check").status_code == 404


def test_what_cannot_be_imported_is_not_queued(
    client: TestClient, folder: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.heartbeat("laptop", device="cpu", version="0.1.0")
    save(folder, SHARP + "\nimport nowhere\n")
    said = "sharp@x cannot be imported: ModuleNotFoundError: No module named 'nowhere' (mine.py, line 14)"

    def work() -> None:
        wait_for(lambda: store.redis.xlen(store.key("errands")), 10)
        errand = Errands(store).take(1)
        assert errand is not None
        time.sleep(0.3)
        PoolingChecks(store).add(errand.subject, 0, {"name": "imports", "outcome": "failed", "text": said})

    worker = threading.Thread(target=work)
    worker.start()
    body = {"spec": DIGITS, "axes": {"pooling": ["seqpool", "sharp"]}}
    for refused in (client.post("/experiments", json=body), client.post("/runs", json={"pooling": "sharp"})):
        assert refused.status_code == 422
        assert refused.json()["errors"] == [{"field": "pooling", "message": said}]
    worker.join()
    assert store.runs() == []
    # Nobody can tell in time, or at all: then the run will.
    save(folder, SOFTER)
    monkeypatch.setattr(own_poolings_of_web, "IMPORT_SECONDS", 0.2)
    assert client.post("/runs", json={"pooling": "sharp"}).status_code == 201


def test_rows_of_own_poolings_are_json_as_others(client: TestClient, folder: Path, store: RunStore) -> None:
    save(folder)
    run = client.post("/runs", json={"pooling": "sharp"}).json()
    assert json.loads(client.get(f"/runs/{run['id']}").text)["spec"]["pooling"] == own_poolings.full_name("sharp")
    assert store.run(run["id"]).spec.pooling == own_poolings.full_name("sharp")
