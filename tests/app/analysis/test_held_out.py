"""What is said of validation, and comparisons by the test set that each run has read once."""

from typing import Any

from app.analysis.comparison import compare
from app.analysis.held_out import validated
from app.analysis.report import epochs_csv, methods
from app.store.plan import TEST
from app.store.rows import Run
from cct.events import EpochRecord
from tests.app.analysis.test_comparison import run

HELD_OUT: dict[str, Any] = {"val_share": 0.1}


def with_test(pooling: str, seed: int, val: float, test: float) -> Run:
    return run(pooling, seed, val, HELD_OUT, test_top1=test, test_top1_at_best=test + 0.2)


def test_without_held_out_data_validation_is_said_to_be_the_test_set_and_best_to_be_optimistic() -> None:
    runs = [run("seqpool", seed, 88.0, best_top1=88.0 + gap) for seed, gap in enumerate((0.1, 0.5))]
    assert validated(runs) == (
        "What is called validation is the official test set, read after every epoch. Best top-1 is therefore "
        "optimistic, here by 0.30 points on average (mean of best \u2212 final)."
    )
    assert "validated on the test set after every epoch" in methods(runs, compare(runs))


def test_with_held_out_data_variants_may_be_compared_by_the_test_set() -> None:
    runs = [with_test("seqpool", seed, 88.0 + seed / 10, 80.0 + seed / 10) for seed in range(4)]
    runs += [with_test("mean", seed, 87.0 + seed / 9, 82.0 + seed / 9) for seed in range(4)]
    by_validation, by_test = compare(runs), compare(runs, measure=TEST)
    outcomes = [[row.outcome for row in found.variants if row.variant == "mean"] for found in (by_validation, by_test)]
    assert outcomes == [["worse"], ["better"]], "the test set says the contrary"
    assert "Compared by test top-1 after the last epoch" in by_test.answer
    for found in (by_validation, by_test):
        assert [row.test and round(row.test.mean, 2) for row in found.variants] == [80.15, 82.17]
        assert found.validated.startswith(
            "Runs are validated on 10 % of the training set, held out; the test set is read"
        )
    assert "10 % of the training set held out to validate on, the test set read once" in methods(runs, by_test)


def test_a_test_set_that_differs_between_runs_is_told() -> None:
    runs = [run(pooling, 0, 88.0, HELD_OUT, test_top1=80.0, test_sha256=pooling) for pooling in ("seqpool", "mean")]
    assert "test_sha256" in [one.field for one in compare(runs).fairness]
    waiting = [*runs[:1], run("mean", 0, None, HELD_OUT, device="CPU")]
    assert "test_sha256" not in [one.field for one in compare(waiting).fairness]


def test_only_the_last_line_of_a_run_has_its_test_top1() -> None:
    records = [
        EpochRecord(
            epoch=epoch,
            train_loss=1.0,
            train_top1=50.0,
            val_loss=1.0,
            val_top1=50.0,
            val_top5=90.0,
            lr=0.1,
            seconds=1.0,
            images_per_second=1.0,
            peak_memory_bytes=1,
        )
        for epoch in (1, 2)
    ]
    one = with_test("seqpool", 0, 88.0, 80.0)
    head, *lines = epochs_csv([one], {one.id: records}).splitlines()
    assert head.endswith("test_top1,test_top1_at_best")
    assert [line.split(",")[-2:] for line in lines] == [["", ""], ["80.0", "80.2"]]
