"""What is written into the rows of runs and experiments, as Redis takes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.store.database import Scalar
from app.store.rows import Run
from app.store.variants import Variant, variant_of
from cct.run_warnings import extended, foreseen
from cct.spec import RunSpec


def fields_of_run(
    spec: RunSpec, finished: Run | None, variants: Sequence[Variant], is_trial: bool
) -> dict[str, Scalar]:
    """What the row of a new run says of it, which may go on where a `finished` one ended."""
    after = finished.spec.epochs if finished else 0
    warnings = [asdict(warning) for warning in [*foreseen(spec), *extended(spec, after)]]
    row: dict[str, Scalar] = {"spec": json.dumps(asdict(spec)), "epochs": str(spec.epochs)}
    if is_trial:
        row["trial"] = "1"
    if named := variant_of(spec, variants):
        row |= {"variant": named.name, "varied": json.dumps(list(named.values))}
    if finished:
        row |= {"extends": finished.id, "extends_epoch": after}
    return row | ({"warnings": json.dumps(warnings)} if warnings else {})


def flat(changes: Mapping[str, Any]) -> list[Scalar]:
    """Field, value, field, value, ...; lists as JSON, truth values as 0 and 1."""

    def scalar(value: Any) -> Scalar:
        return json.dumps(value) if isinstance(value, list) else int(value) if isinstance(value, bool) else value

    return [part for name, value in changes.items() for part in (name, scalar(value))]
