import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from app.analysis.others_results import COLUMNS, Found, read_results
from app.errors import Invalid
from app.limits import NAME_LENGTH
from app.store.external import add_external
from app.store.rows import External, Run
from app.web.dependencies import Store
from app.web.specs import parse_spec

router = APIRouter(prefix="/results", tags=["results from elsewhere"])

ASKED = ("model", "pooling", "dataset", "seed")
"""What no file says and nobody may guess."""

FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file as it is",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class ReadResults(BaseModel):
    """What a file says, before it becomes a run."""

    kind: str
    epochs: int = Field(description="How many it tells of; 0 where it has a final result alone")
    last_epoch: int | None
    final_top1: float
    best_top1: float | None
    minutes: float | None
    sha256: str
    asked: Sequence[str] = Field(description="Fields of the spec that must be given with it")


async def _file(request: Request) -> bytes:
    return await request.body()


File = Annotated[bytes, Depends(_file)]
Columns = Annotated[
    str,
    Query(description=f'Columns of a table by JSON, `{{"val_top1": "acc"}}`, of {", ".join(COLUMNS)}'),
]
Fractions = Annotated[bool, Query(description="Whether its top-1 lies between 0 and 1")]


@router.post("/read", summary="See what a file of results says, without keeping it", openapi_extra=FILE)
def read_file(file: File, columns: Columns = "{}", fractions: Fractions = False) -> ReadResults:
    """A log of the reference's `examples/main.py`, the `summary.csv` of a timm training, a CSV table with a row for
    each epoch, or a text with a final top-1."""
    found = _read(file, columns, fractions)
    last = found.records[-1].epoch if found.records else None
    return ReadResults(
        kind=found.kind,
        epochs=len(found.records),
        last_epoch=last,
        final_top1=found.final,
        best_top1=found.best,
        minutes=found.seconds and found.seconds / 60,
        sha256=hashlib.sha256(file).hexdigest(),
        asked=[*ASKED, *(["epochs"] if last is None else [])],
    )


@router.post("", status_code=201, summary="Keep a result from elsewhere as a run", openapi_extra=FILE)
def import_file(
    store: Store,
    response: Response,
    file: File,
    spec: Annotated[str, Query(description="Fields of the run's spec as JSON: what the file does not say")],
    name: Annotated[str, Query(description="The file's name", max_length=NAME_LENGTH)] = "results",
    experiment: Annotated[str | None, Query(description="To stand in; without one a new experiment")] = None,
    columns: Columns = "{}",
    fractions: Fractions = False,
) -> Run:
    """It is shown beside other runs, marked as external, and enters verdicts only after `PATCH /runs/{id}` with
    `{"counts": true}`. The same file with the same spec is the same run."""
    found, given = _read(file, columns, fractions), _object(spec, "spec")
    if missing := [field for field in ASKED if field not in given]:
        raise Invalid(f"spec.{missing[0]}", f"is not in the file; give {', '.join(missing)}")
    if "epochs" not in given:
        if not found.records:
            raise Invalid("spec.epochs", "is not in the file, which has a final result alone; give it")
        given["epochs"] = found.records[-1].epoch
    parsed = parse_spec(given)
    if found.records and (last := found.records[-1].epoch) != parsed.epochs:
        raise Invalid("spec.epochs", f"is {parsed.epochs}, but the file ends with epoch {last}; leave it out")
    checksum = hashlib.sha256(file).hexdigest()
    for run in store.runs():
        is_the_same = run.external and run.external.sha256 == checksum and run.spec == parsed
        if is_the_same and experiment in (None, run.experiment_id):
            response.status_code = 200
            return run
    origin = External(file=name, sha256=checksum, kind=found.kind, told=sorted(given))
    if experiment is None:
        experiment = store.create_experiment(f"Imported: {name}"[:NAME_LENGTH], given, {}, []).id
    run = add_external(store, experiment, parsed, origin, found.records, found.final, found.best, found.seconds)
    response.headers["Location"] = f"runs/{run.id}"
    return run


def _read(file: bytes, columns: str, fractions: bool) -> Found:
    return read_results(file, {str(name): str(value) for name, value in _object(columns, "columns").items()}, fractions)


def _object(text: str, field: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid(field, f"{text[:100]!r} is no JSON object")
    return value
