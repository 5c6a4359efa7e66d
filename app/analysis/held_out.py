"""On what compared runs are validated, and by how much their best epochs flatter them."""

from collections.abc import Sequence
from statistics import fmean

from app.analysis.blocks import listed
from app.store.rows import Run, State


def validated(runs: Sequence[Run]) -> str:
    """What is called validation in these runs, as sentences; empty if there are none."""
    shares = sorted({run.spec.val_share for run in runs if run.spec.val_share})
    without = [run for run in runs if not run.spec.val_share]
    sentences = []
    if without:
        folders = [run for run in without if run.spec.image_folder]
        own = " (of an image folder, its images beside train)" if folders else ""
        which = "Of runs without held-out data, what" if shares else "What"
        sentences.append(f"{which} is called validation is the official test set{own}, read after every epoch.")
    if (optimism := optimism_of(without)) is not None:
        sentences.append(
            f"Best top-1 is therefore optimistic, here by {optimism:.2f} points on average (mean of best \u2212 final)."
        )
    if shares:
        percents = listed([f"{100 * share:g} %" for share in shares])
        which = "Others are" if without else "Runs are"
        sentences.append(
            f"{which} validated on {percents} of the training set, held out; the test set is read once, when a run has "
            "ended."
        )
    return " ".join(sentences)


def optimism_of(runs: Sequence[Run]) -> float | None:
    """The mean of best minus final top-1 of completed runs, in points; None without one that was trained."""
    gaps = [
        run.best_top1 - run.final_top1
        for run in runs
        if run.state is State.completed and run.epoch > 1 and run.best_top1 is not None and run.final_top1 is not None
    ]
    return fmean(gaps) if gaps else None
