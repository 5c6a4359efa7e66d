"""When queued runs start, over rows as the store makes them."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.analysis.schedule import expected_seconds, expected_starts
from app.store.rows import Run, State
from cct.cost import cost_of_run
from cct.spec import RunSpec

SPEC = RunSpec(dataset="digits", epochs=10)


def a_run(state: State, spec: RunSpec = SPEC, **fields: Any) -> Run:
    now = datetime.now(UTC)
    return Run.model_validate({"id": "r", "spec": asdict(spec), "state": state, "created_at": now} | fields)


def queued(spec: RunSpec = SPEC, **fields: Any) -> Run:
    return a_run(State.queued, spec, **fields)


def measured(per_epoch: float, spec: RunSpec = SPEC) -> Run:
    """A finished run whose epochs took this many seconds each."""
    return a_run(State.completed, spec, epoch=spec.epochs, seconds=per_epoch * spec.epochs)


def training(seconds_left: float) -> Run:
    """A run of another kind, halfway through."""
    return a_run(State.running, replace(SPEC, batch_size=32), epoch=5, seconds=seconds_left)


def test_free_workers_start_at_once_and_the_next_run_waits_for_the_first_of_them() -> None:
    runs = [queued(replace(SPEC, epochs=epochs)) for epochs in (10, 3, 1, 1)]
    assert expected_starts(runs, [measured(2.0)], workers=2) == [0, 0, 6, 8]


def test_a_busy_worker_is_free_when_its_run_ends() -> None:
    assert expected_starts([queued(), queued()], [training(30.0), measured(2.0)], workers=1) == [30, 50]
    assert expected_starts([queued()] * 4, [training(30.0), measured(2.0)], workers=2) == [0, 20, 30, 40]


def test_epochs_take_as_long_as_in_the_median_run_of_the_same_kind() -> None:
    others = [measured(seconds) for seconds in (1.0, 2.0, 90.0)]
    others += [measured(50.0, replace(SPEC, batch_size=32)), measured(50.0, replace(SPEC, model="cct_4_3x2_32"))]
    assert expected_starts([queued(replace(SPEC, pooling="mean")), queued()], others, workers=1) == [0, 20]


def test_a_run_that_was_interrupted_needs_only_its_other_epochs() -> None:
    interrupted = queued(epoch=8, seconds=16.0)
    assert expected_starts([interrupted, queued()], [], workers=1) == [0, 4]


def test_nothing_is_said_after_a_run_of_unknown_length() -> None:
    unknown = replace(SPEC, dataset="mnist")
    assert expected_starts([queued(), queued(unknown), queued()], [measured(2.0)], workers=1) == [0, 20, None]
    just_started = a_run(State.running)
    assert expected_starts([queued()], [just_started, measured(2.0)], workers=1) == [None]


@pytest.mark.parametrize("running", [[], [training(30.0)]])
def test_nothing_starts_without_workers(running: list[Run]) -> None:
    assert expected_starts([queued(), queued()], [measured(2.0), *running], workers=0) == [None, None]


def test_an_empty_queue_has_no_starts() -> None:
    assert expected_starts([], [measured(2.0)], workers=2) == []


def test_time_is_expected_by_runs_of_the_same_kind_or_else_by_the_work() -> None:
    known = [measured(2.0), measured(3.0), measured(4.0)]
    assert expected_seconds([], known) == 0
    assert expected_seconds([SPEC], []) is None
    assert expected_seconds([SPEC, replace(SPEC, seed=1)], known) == 2 * 10 * 3.0
    other = replace(SPEC, batch_size=32)
    assert expected_seconds([other], known) == pytest.approx(10 * 3.0), "as much work per epoch"
    larger = replace(SPEC, model="cct_7_3x2_32")
    ratio = cost_of_run(larger).macs / cost_of_run(SPEC).macs
    assert ratio > 5
    assert expected_seconds([larger], known) == pytest.approx(10 * 3.0 * ratio)


def test_how_long_a_folder_of_images_takes_is_known_when_it_was_trained_on() -> None:
    birds, pets = (RunSpec(dataset="image_folder", image_folder=name, epochs=10) for name in ("birds", "pets"))
    known = [measured(2.0), measured(5.0, birds)]
    assert expected_seconds([birds], known) == 10 * 5.0
    assert expected_seconds([birds, pets], known) is None
