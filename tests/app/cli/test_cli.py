"""The command line against a real API, as a user types it."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from tests.app.cli.conftest import Command
from tests.app.store.test_store import RECORD, SPEC
from tests.app.web.test_files import events_of


def test_one_value_per_field_is_a_run_and_several_are_an_experiment(board: Command, store: RunStore) -> None:
    assert "queued" in board("submit", "dataset=digits", "epochs=3").stdout
    done = board("submit", "dataset=digits", "pooling=seqpool,mean", "seed=0,1", "--name", "Two")
    assert "4 runs queued" in done.stdout
    assert done.stderr == "", "nothing is odd about them"
    [experiment] = store.experiments()
    assert (experiment.name, experiment.runs, len(store.runs())) == ("Two", 4, 5)
    odd = board("submit", "dataset=digits", "epochs=2", "augmentation=crop_flip,crop")
    flips, warm_up = sorted(odd.stderr.splitlines(), key=lambda line: "warm-up" in line)
    assert flips.startswith("warning: The augmentation crop_flip mirrors images")
    assert flips.endswith("(1 of 2 runs)")
    assert warm_up.endswith("use fewer warmup_epochs. (2 of 2 runs)")
    listed = board("runs").stdout
    assert all(run.id in listed for run in store.runs())
    assert "! The augmentation crop_flip mirrors images" in listed
    assert "queued !" in listed
    compared = board("compare", store.experiments()[0].id).stdout
    assert "! The augmentation crop_flip mirrors images" in compared
    assert "(crop_flip: 1 run)" in compared


def test_the_version_is_told(board: Command) -> None:
    assert board("--version").stdout == f"cctboard {version('cctboard')}\n"


def test_a_plan_is_submitted_and_told(board: Command, store: RunStore) -> None:
    fields = ["dataset=digits", "augmentation=crop_flip", "pooling=seqpool,mean"]
    for plan in ("max_seeds=10,smallest_difference=1", '{"max_seeds": 10, "smallest_difference": 1}'):
        done = board("submit", *fields, "--plan", plan)
        assert "6 runs queued; more follow until each variant is settled, at most 10 seeds each" in done.stdout
        assert "(20 of 20 runs)" in done.stderr, "warnings are of all runs that may come"
    experiment = store.experiments()[0]
    assert experiment.plan
    assert (experiment.plan.max_seeds, experiment.plan.smallest_difference) == (10, 1)
    told = board("compare", experiment.id).stdout
    assert "final val_top1 against seqpool, alike within ±1, error rate 5 %, at most 10 seeds; it is open" in told
    assert "- mean: open: 0 of 10 seeds" in told
    store.cancel_experiment(experiment.id)
    assert "it was cancelled" in board("watch", experiment.id).stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["submit", "pooling=seqpool,mean", "--plan", "x"], "--plan 'x' is not FIELD=VALUE"),
        (["submit", "pooling=seqpool,mean", "--plan", "{"], "is no JSON object"),
        (["submit", "pooling=seqpool,mean", "--plan", "alpha=9"], "plan.alpha"),
        (["submit", "epochs=3", "--plan", ""], "two or more values of one field"),
        (["watch", "nope"], "there is no experiment 'nope'"),
        (["submit", "epochs"], "'epochs' is not FIELD=VALUE"),
        (["submit", "model=cct_99"], "model"),
        (["submit", "epochs=0"], "epochs"),
        (["submit", "nonsense=1"], "nonsense"),
        (["cancel", "nope"], "there is no run 'nope'"),
        (["worker", "--slots", "many"], "CCTBOARD_SLOTS"),
        (["worker", "--slots", "0"], "greater than or equal to 1"),
        (["retry", "nope"], "there is no run 'nope'"),
        (["compare", "nope"], "there is no experiment 'nope'"),
        (["tensorboard", "nope"], "there is no run or experiment 'nope'"),
    ],
)
def test_what_the_user_must_change_is_one_line_and_exit_code_2(
    board: Command, arguments: list[str], complaint: str
) -> None:
    done = board(*arguments)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert done.stderr.startswith("cctboard: ")
    assert complaint in done.stderr


def test_a_run_is_cancelled_retried_and_deleted(board: Command, store: RunStore) -> None:
    [run] = store.create_runs([SPEC])
    assert "cancelled" in board("cancel", run.id).stdout
    assert board("retry", run.id).returncode == 0
    assert store.run(run.id).state is State.queued
    assert board("delete", run.id, answer="n\n").returncode == 0
    unasked = board("delete", run.id)
    assert (unasked.returncode, unasked.stderr.splitlines()[-1]) == (
        2,
        "cctboard: nothing was changed, as nobody has agreed; --yes does not ask",
    )
    assert len(store.runs()) == 1, "deleting asks first"
    assert "and its checkpoints" in board("delete", run.id, answer="y\n").stdout
    assert store.runs() == []


def test_the_queue_is_paused_and_resumed(board: Command, store: RunStore) -> None:
    store.create_runs([SPEC])
    assert "1 runs wait" in board("pause").stdout
    assert store.paused()
    board("resume")
    assert not store.paused()


def test_event_files_are_written_for_a_run_or_an_experiment(
    board: Command, store: RunStore, claim: Callable[[], Lease], tmp_path: Path
) -> None:
    specs = [replace(SPEC, pooling=pooling, seed=seed) for seed in (0, 1) for pooling in ("seqpool", "mean")]
    twice = [replace(SPEC, seed=2, lr=lr) for lr in (0.1, 0.2)]
    experiment = store.create_experiment("Two", {}, {}, [*specs, *twice])
    lease = claim()
    lease.record_epoch(RECORD)

    def written(what: str, *options: str) -> list[str]:
        done = board("tensorboard", what, "--to", str(tmp_path / "curves"), *options)
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / "curves").glob("*/events.out.tfevents.*"))
        return [file.parent.name for file in files if events_of(file.read_bytes())]

    assert written(lease.run_id) == ["seqpool-seed-0"]
    [curves] = (tmp_path / "curves" / "seqpool-seed-0").iterdir()
    assert len(events_of(curves.read_bytes())) == 3
    lease.record_epoch(replace(RECORD, epoch=2))
    both = [f"seqpool-seed-2-{run.id}" for run in store.experiment_runs(experiment.id)[-2:]]
    names = ["mean-seed-0", "mean-seed-1", "seqpool-seed-0", "seqpool-seed-1", *both]
    assert written(experiment.id) == sorted(names)
    assert len(events_of(curves.read_bytes())) == 4, "written anew"
    assert {"0.1-seed-2", "0.2-seed-2"} < set(written(experiment.id, "--group", "lr"))
    refused = board("tensorboard", experiment.id, "--group", "nope")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_the_comparison_is_shown_and_saved(
    board: Command, store: RunStore, claim: Callable[[], Lease], tmp_path: Path
) -> None:
    experiment = store.create_experiment("<One>", {}, {"seed": [0]}, [SPEC])
    lease = claim()
    lease.record_epoch(RECORD)
    lease.release(State.completed)
    shown = board("compare", experiment.id).stdout
    assert "seqpool" in shown
    assert "50.50 %" in shown
    saved = tmp_path / "report.html"
    assert board("report", experiment.id, "--out", str(saved)).returncode == 0
    page = saved.read_text()
    assert "<h1>&lt;One&gt;</h1>" in page
    assert "50.50 %" in page
    assert "We trained cct_2_3x2_32 on digits for 3 epochs with pooling seqpool and 1 seed each (0)" in page
    assert page.count("Plotly.newPlot") >= 4
    assert 'src="http' not in page, "the file needs no network"
