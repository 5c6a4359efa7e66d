"""Results from elsewhere become runs that are completed and have no checkpoint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.errors import Conflict
from app.store.rows import External, Run
from app.store.run_store import RunStore
from cct.events import EpochRecord
from cct.spec import RunSpec


def add_external(
    store: RunStore,
    experiment_id: str,
    spec: RunSpec,
    origin: External,
    records: Sequence[EpochRecord],
    final: float,
    best: float | None,
    seconds: float | None,
) -> Run:
    """The run of a result, which is there already if the same file was given with the same spec before.

    Raises `NotFound`; `Conflict` if the experiment decides by itself what is trained.
    """
    experiment = store.experiment(experiment_id)
    if experiment.plan or experiment.tune:
        raise Conflict(
            "this experiment has a plan or searches settings, which count on nothing but their own runs; name another, "
            "or none for a new one"
        )
    told = json.dumps([origin.sha256, experiment_id, asdict(spec)], sort_keys=True)
    run_id = hashlib.sha256(told.encode()).hexdigest()[:12]
    if known := store.known_runs([run_id]):
        return known[0]
    micros, _ = store.redis.time()
    now = str(micros * 1000)
    last3 = [record.val_top1 for record in records][-3:]
    fields: dict[str, Any] = {
        "id": run_id,
        "experiment_id": experiment_id,
        "spec": json.dumps(asdict(spec)),
        "state": "completed",
        "author": store.author,
        "created_at": now,
        "finished_at": now,
        "epoch": spec.epochs,
        "epochs": spec.epochs,
        "final_top1": final,
        "external": origin.model_dump_json(),
        "counts": 0,
    }
    known_of_it: Mapping[str, Any] = {
        "best_top1": best,
        "seconds": seconds or 0.0,
        "last3_top1": sum(last3) / len(last3) if len(last3) == 3 else None,
    }
    fields |= {name: value for name, value in known_of_it.items() if value is not None}
    store.poolings.keep([spec])
    entries = [[f"{record.epoch}-0", "record", json.dumps(asdict(record))] for record in records]
    store.load("run", run_id, {"fields": {k: str(v) for k, v in fields.items()}, "streams": {"epochs": entries}})
    return store.run(run_id)
