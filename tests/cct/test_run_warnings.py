"""Runs whose numbers mean less than they seem to say so; others do not."""

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch

from cct.events import Confusion, EpochRecord, Facts, RunWarning
from cct.run_warnings import foreseen, guessing_loss, uneven_classes, without_learning
from cct.spec import RunSpec
from cct.step import training_loss
from cct.training import train
from cct.trial import balanced_weights
from tests.cct.test_image_files import noise
from tests.cct.told import only

SPEC = RunSpec(dataset="digits", epochs=20)


def codes(warnings: Sequence[RunWarning]) -> list[str]:
    return [warning.code for warning in warnings]


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_mirrored_digits_are_foreseen_and_not_the_default(dataset: str) -> None:
    assert RunSpec(dataset=dataset).augmentation == "crop"
    assert foreseen(RunSpec(dataset=dataset)) == []
    for chosen in ("autoaugment", "crop_flip"):
        spec = RunSpec(dataset=dataset, augmentation=chosen)
        assert (spec.augmentation, codes(foreseen(spec))) == (chosen, ["flips-change-classes"])
        assert f"The augmentation {chosen} mirrors images" in foreseen(spec)[0].text
    assert RunSpec(dataset="cifar10").augmentation == RunSpec(dataset="fashion_mnist").augmentation == "autoaugment"
    assert foreseen(RunSpec()) == []


@pytest.mark.parametrize(
    ("epochs", "warmup", "said"),
    [
        (5, 4, None),
        (5, 0, None),
        (5, 5, "warm-up of 5 epochs does not end before the run of 5 does: the learning rate reaches lr only in the "),
        (2, 5, "the learning rate rises to 25 % of lr at most, and never falls; use fewer warmup_epochs."),
    ],
)
def test_a_warm_up_that_does_not_end_is_foreseen(epochs: int, warmup: int, said: str | None) -> None:
    found = foreseen(RunSpec(epochs=epochs, warmup_epochs=warmup))
    assert codes(found) == (["warm-up-longer-than-run"] if said else [])
    assert not said or said in found[0].text
    [by_timm] = foreseen(RunSpec(epochs=2, warmup_epochs=5, schedule="timm", warmup_lr=1e-4))
    assert "the learning rate rises to 36 % of lr at most" in by_timm.text


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_guessing_has_the_lowest_loss_of_who_does_not_look(smoothing: float, is_weighted: bool) -> None:
    counts = [90, 9, 1]
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    weights = balanced_weights(labels, 3) if is_weighted else torch.ones(3)
    weights = weights.double()

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return training_loss(logits.expand(100, 3), labels, smoothing, weights if is_weighted else None)

    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        torch.autograd.backward(value := loss(logits))
        return value.item()

    optimizer.step(closure)
    assert guessing_loss(counts, smoothing, weights.tolist()) == pytest.approx(loss(logits).item(), abs=1e-6)
    if is_weighted:
        assert logits.softmax(dim=0).tolist() == pytest.approx([1 / 3] * 3, abs=1e-3), "all classes count alike"


def record(balanced: float | None, train_loss: float, epoch: int = 1) -> EpochRecord:
    measured = {"train_top1": 0.0, "val_loss": 2.3, "val_top1": 0.0, "val_top5": 50.0, "lr": 1e-3, "seconds": 1.0}
    return EpochRecord(
        epoch=epoch,
        train_loss=train_loss,
        val_balanced=balanced,
        images_per_second=1.0,
        peak_memory_bytes=1,
        **measured,
    )


def said_of(confusion: np.ndarray, train_loss: float = 0.1, epochs: int = 3) -> list[str]:
    """Of a run that ends with this confusion matrix, by `epochs` equal epochs."""
    recalls = [row[label] / row.sum() for label, row in enumerate(confusion)]
    records = [record(100 * float(np.mean(recalls)), train_loss, epoch) for epoch in range(1, epochs + 1)]
    counts = [int(count) for count in confusion.sum(axis=1)]
    matrix = Confusion(epochs, confusion.astype(int).tolist())
    return codes(without_learning(records, matrix, counts, SPEC, [1.0] * len(counts)))


def test_who_guesses_is_told_from_who_knows_something() -> None:
    random = np.random.default_rng(0)

    def simulated(sizes: list[int], knows: float) -> np.ndarray:
        """Knows a share of the images, and guesses the others: the classes as often as they are."""
        shares = np.array(sizes) / sum(sizes)
        rows = [
            random.multinomial(size, (1 - knows) * shares + knows * row)
            for size, row in zip(sizes, np.eye(len(sizes)), strict=True)
        ]
        return np.array(rows)

    for sizes, knows in (([36] * 10, 0.3), ([200, 160, 30, 10], 0.4), ([95, 5], 0.9), ([100] * 100, 0.1)):
        guessing = [said_of(simulated(sizes, 0.0)) for _ in range(200)]
        assert sum(said == ["learned-nothing"] for said in guessing) > 180, sizes
        assert all(said_of(simulated(sizes, knows)) == [] for _ in range(200)), sizes
    assert said_of(np.array([[95, 0], [5, 0]])) == ["learned-nothing"], "always the most frequent class"
    assert said_of(np.array([[19, 0], [0, 1]])) == [], "one image of a class, which was recognised"


def test_a_training_loss_that_does_not_fall_is_told() -> None:
    knows = np.array([[30, 6], [6, 30]])
    assert said_of(knows, train_loss=0.5) == []
    assert said_of(knows, train_loss=0.7) == ["loss-not-falling"]
    assert said_of(knows, train_loss=0.7, epochs=2) == [], "the first epochs' loss is that of the start"
    assert without_learning([record(None, 9.0)], Confusion(1, [[1, 0], [1, 0]]), [1, 1], SPEC, [1.0, 1.0]) == []


def test_uneven_classes_are_told_by_what_the_most_frequent_one_gives() -> None:
    assert uneven_classes([100, 11], [10, 5], (), SPEC) == []
    [by_training] = uneven_classes([100, 10], [10, 10], ("ok", "odd"), SPEC)
    [by_validation] = uneven_classes([100, 100], [95, 5], ("ok", "odd"), SPEC)
    assert codes([by_training, by_validation]) == ["uneven-classes"] * 2
    assert "always answering “ok” gives 95.0 % top-1. Balanced accuracy says more, for which that gives 50.0 %" in (
        by_validation.text
    )
    assert "class_weights: balanced" in by_training.text
    assert "class_weights" not in uneven_classes([100, 10], [1, 1], (), RunSpec(class_weights="balanced"))[0].text


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_folder_of_noise_with_uneven_classes_does_not_look_like_success(class_weights: str, tmp_path: Path) -> None:
    root = tmp_path / "image_folder" / "parts"
    for part, counts in (("train", {"ok": 76, "scratched": 4}), ("val", {"ok": 38, "scratched": 2})):
        for name, count in counts.items():
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                noise((128, 128, 128), crc32(f"{part} {name} {number}".encode())).save(
                    root / part / name / f"{number}.png"
                )
    noise((128, 128, 128), 1).save(root / "train" / "ok" / "twice.png")
    noise((128, 128, 128), 1).save(root / "val" / "ok" / "twice.png")
    spec = RunSpec(
        model="cvt_2_4_32",
        kernel_size=8,
        dataset="image_folder",
        image_folder="parts",
        epochs=3,
        batch_size=16,
        warmup_epochs=0,
        class_weights=class_weights,
    )
    events = list(train(spec, data_dir=tmp_path))
    [facts], records = only(Facts, events), only(EpochRecord, events)
    assert codes(facts.warnings) == ["uneven-classes", "duplicates"]
    assert facts.warnings[1].text.startswith("1 of 41 in the validation set (2.4 %) are in the training set, too")
    assert (round(facts.majority_share, 1), facts.duplicates) == (95.1, 1)
    assert codes(only(RunWarning, events)) == ["learned-nothing"]
    assert "always answering the most frequent class gives 95.1 % top-1" in only(RunWarning, events)[0].text
    if class_weights == "none":
        assert records[-1].val_top1 > 90
        assert records[-1].val_balanced == 50


def test_a_run_that_learns_has_no_warnings(tmp_path: Path) -> None:
    spec = RunSpec(
        model="cvt_2_4_32",
        kernel_size=8,
        dataset="digits",
        epochs=2,
        batch_size=64,
        lr=2e-3,
        warmup_epochs=0,
        augmentation="none",
    )
    events = list(train(spec, data_dir=tmp_path))
    assert only(RunWarning, events) == only(Facts, events)[0].warnings == []
