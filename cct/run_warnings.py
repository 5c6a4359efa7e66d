"""Reasons to doubt a run's numbers, as sentences. Standard library only, never torch."""

import math
from collections.abc import Sequence
from statistics import fmean

from cct.events import Confusion, EpochRecord, RunWarning
from cct.named_datasets import DATASETS
from cct.schedule import learning_rate
from cct.spec import FLIPS, RunSpec

UNEVEN = 10
"""Times as many training images as the rarest class has, from which the most frequent one is warned of."""
MAJORITY = 80.0
"""Percent of the validation images that are of one class, from which top-1 says little."""
LAST_EPOCHS = 3
NEAR_CHANCE = 0.2
"""Share of the way from guessing to knowing up to which a model may have guessed."""
FEW = 0.5
"""The share of the words of the training texts below which it is warned that a file lacks the others."""


def foreseen(spec: RunSpec) -> list[RunWarning]:
    """What is known before a run is queued."""
    found = []
    dataset = DATASETS.get(spec.dataset)  # an earlier version may have had others
    if dataset and dataset.flips_change_classes and spec.augmentation in FLIPS:
        found.append(
            RunWarning(
                "flips-change-classes",
                f"The augmentation {spec.augmentation} mirrors images, and a mirrored digit is another sign: on digits "
                "85.8 % were recognised with it and 97.2 % without; use crop or none.",
            )
        )
    if spec.warmup_epochs >= spec.epochs > 0:
        share = learning_rate(spec, spec.epochs - 1) / spec.lr
        rises = "reaches lr only in the last epoch" if share == 1 else f"rises to {100 * share:.2g} % of lr at most"
        found.append(
            RunWarning(
                "warm-up-longer-than-run",
                f"The warm-up of {spec.warmup_epochs} epochs does not end before the run of {spec.epochs} does: the "
                f"learning rate {rises}, and never falls; use fewer warmup_epochs.",
            )
        )
    return found


def extended(spec: RunSpec, after: int) -> list[RunWarning]:
    """Tells of a run that goes on after so many epochs of a finished one; 0: it does not."""
    if not after:
        return []
    ended, begins = learning_rate(spec.with_epochs(after), after - 1), learning_rate(spec, after)
    return [
        RunWarning(
            "extended",
            f"Epochs 1 to {after} are those of a finished run, by its schedule of {after} epochs. From epoch "
            f"{after + 1} on the learning rate follows the schedule of {spec.epochs}, so it goes from {ended:.2g} to "
            f"{begins:.2g}: this is not the same as {spec.epochs} epochs in one go.",
        )
    ]


def few_words(found: int, words: int, has: str, others: str) -> list[RunWarning]:
    """Warns if a file knows few of the words of the training texts; `others` tells what became of those that it lacks.

    Both are parts of the sentence.
    """
    if found >= FEW * words:
        return []
    return [RunWarning("few-words", f"{has} only {found:,} of the {words:,} words of the training texts; {others}.")]


def uneven_classes(train: Sequence[int], val: Sequence[int], names: Sequence[str], spec: RunSpec) -> list[RunWarning]:
    """Warns of classes that are so uneven that top-1 says little; numbers of images by class, which may lack names."""
    times = max(train) / max(1, min(train))
    share = majority_share(val)
    if times < UNEVEN and share < MAJORITY:
        return []
    frequent = max(range(len(val)), key=val.__getitem__)
    name = names[frequent] if names else f"class {frequent}"
    way_out = "" if spec.class_weights == "balanced" else ", and class_weights: balanced trains for it"
    return [
        RunWarning(
            "uneven-classes",
            f"The classes are very uneven, from {min(train):,} to {max(train):,} training images: always answering "
            f"“{name}” gives {share:.1f} % top-1. Balanced accuracy says more, for which that gives "
            f"{100 / _present(val):.1f} %{way_out}.",
        )
    ]


def duplicated(duplicates: int, val_size: int) -> list[RunWarning]:
    """Warns of validation images that were trained on."""
    if not duplicates:
        return []
    return [
        RunWarning(
            "duplicates",
            f"{duplicates:,} of {val_size:,} in the validation set ({100 * duplicates / val_size:.2g} %) are in the "
            "training set, too: top-1 is too high by up to that; remove them from one of the two.",
        )
    ]


def in_test_set_too(duplicates: int, test_size: int) -> list[RunWarning]:
    """Warns of test images that were trained on, while others were held out to validate on."""
    if not duplicates:
        return []
    return [
        RunWarning(
            "duplicates-in-test-set",
            f"{duplicates:,} of {test_size:,} in the test set ({100 * duplicates / test_size:.2g} %) are in the "
            "training set, too: test top-1 is too high by up to that; remove them from one of the two.",
        )
    ]


def untested(why: str) -> RunWarning:
    """Tells why a finished run has no result on the test set."""
    return RunWarning("untested", f"The run has no test top-1, as its test set could not be read: {why}.")


def without_learning(
    records: Sequence[EpochRecord], confusion: Confusion, train: Sequence[int], spec: RunSpec, weights: Sequence[float]
) -> list[RunWarning]:
    """Warns of a finished run that tells classes apart no better than guessing, or whose loss is no better.

    `confusion` is that of the last epoch; `train` and `weights` are the numbers of training images and the factors of
    the loss by class. Guessing is judged by balanced accuracy, which uneven classes do not raise: over the last epochs
    its mean is at most two standard deviations above what is right by chance, and less than a fifth of the way from
    there to 100 %. Of an evaluation, which has no training loss, only guessing is told.
    """
    last = records[-LAST_EPOCHS:]
    measured = [record.val_balanced for record in last if record.val_balanced is not None]
    if len(measured) < len(last):
        return []  # the records are of an earlier version
    sizes = [sum(row) for row in confusion.counts]
    chance = 1 / _present(sizes)
    variance = sum(1 / size for size in sizes if size) * chance * (1 - chance) * chance**2
    better = fmean(measured) / 100 - chance
    is_guessing = better <= 2 * math.sqrt(variance) and better <= NEAR_CHANCE * (1 - chance)
    guessed = (
        f"balanced accuracy was {fmean(measured):.1f} %, and guessing gives {100 * chance:.1f} % (always answering the "
        f"most frequent class gives {majority_share(sizes):.1f} % top-1)"
    )
    losses = [record.train_loss for record in last if record.train_loss is not None]
    if not losses:
        text = (
            f"The weights know nothing of what they were evaluated on: {guessed}. Were they trained on this dataset, "
        )
        return [RunWarning("learned-nothing", text + "with its classes in this order?")] if is_guessing else []
    epochs = "its last epoch" if len(last) == 1 else f"its last {len(last)} epochs"
    loss, guessing = fmean(losses), guessing_loss(train, spec.label_smoothing, weights)
    learns_training_set = loss < guessing
    if is_guessing:
        return [
            RunWarning(
                "learned-nothing",
                f"The run has learned nothing that helps with what it has not seen: over {epochs} {guessed}. Its "
                f"training loss of {loss:.3f} is {'' if learns_training_set else 'not '}below that of guessing, "
                f"{guessing:.3f}; try another lr or more epochs, and look at the data and its labels.",
            )
        ]
    if len(records) >= LAST_EPOCHS and not learns_training_set:
        return [
            RunWarning(
                "loss-not-falling",
                f"The training loss has not fallen: over {epochs} it was {loss:.3f}, and who knows nothing but how "
                f"frequent the classes are has {guessing:.3f}; try another lr, more epochs or less augmentation.",
            )
        ]
    return []


def majority_share(counts: Sequence[int]) -> float:
    """Percent of the images that are of the most frequent class."""
    return 100 * max(counts) / sum(counts)


def guessing_loss(counts: Sequence[int], smoothing: float, weights: Sequence[float]) -> float:
    """The lowest loss in nats over images with so many of each class, for who does not look at them.

    Images count as much as the factor of their class, and labels are smoothed, as in training.
    """
    total = sum(count * weight for count, weight in zip(counts, weights, strict=True))
    targets = [
        (1 - smoothing) * count * weight / total + smoothing / len(counts)
        for count, weight in zip(counts, weights, strict=True)
    ]
    return -sum(target * math.log(target) for target in targets if target)


def _present(counts: Sequence[int]) -> int:
    return sum(count > 0 for count in counts)
