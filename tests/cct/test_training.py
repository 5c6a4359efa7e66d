import hashlib
import math
import platform
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cct import checkpoint
from cct.answers import export_answers
from cct.checkpoint import Checkpoint, CheckpointMismatch
from cct.cost import cost_of_run
from cct.data import load
from cct.events import Confusion, EpochRecord, Facts, Look, Progress, RunWarning
from cct.extension import ANSWERS
from cct.models import model_of
from cct.named_datasets import DATASETS
from cct.pooling import POOLINGS
from cct.spec import RunSpec
from cct.step import Stopped, TrainingStep, normalisation
from cct.training import NonFiniteLoss, train
from cct.trial import settle
from cct.validation import calibration_error
from tests.cct.test_image_files import write_folder
from tests.cct.told import first, only

SPEC = RunSpec(
    model="cvt_2_4_32",
    kernel_size=8,
    embed_dim=64,
    dataset="digits",
    epochs=2,
    batch_size=128,
    seed=1,
    augmentation="autoaugment",
)
"""Trains with all that is random: AutoAugment, crop, flip, attention dropout, stochastic depth."""


def numbers(records: list[EpochRecord]) -> list[tuple[float | None, ...]]:
    """What a repetition must reproduce, without times and memory."""
    return [
        (
            r.epoch,
            r.train_loss,
            r.train_top1,
            r.val_loss,
            r.val_top1,
            r.val_top5,
            r.lr,
            r.pooling_entropy,
            r.val_balanced,
            r.val_nll,
            r.val_ece,
        )
        for r in records
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[EpochRecord], Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return only(EpochRecord, train(SPEC, data_dir=folder, checkpoint_dir=folder)), folder


def test_training_learns_and_measures(undisturbed: tuple[list[EpochRecord], Path]) -> None:
    records, folder = undisturbed
    assert [record.epoch for record in records] == [1, 2]
    assert (records[-1].train_loss or 0) < (records[0].train_loss or 0) < 3
    for record in records:
        assert 0 <= record.val_top1 <= (record.val_top5 or 0) <= 100
        assert record.seconds > 0
        assert (record.images_per_second or 0) > 0
        assert (record.peak_memory_bytes or 0) > 10**7
    assert (folder / checkpoint.BEST).exists()


def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    undisturbed: tuple[list[EpochRecord], Path], tmp_path: Path
) -> None:
    expected, undisturbed_folder = undisturbed
    seen: list[EpochRecord] = []
    steps = 0

    def stop_in_epoch_two() -> bool:
        nonlocal steps
        steps += 1
        return len(seen) == 1 and steps % 7 == 0

    disturbed = train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path, should_stop=stop_in_epoch_two)
    seen.append(first(EpochRecord, disturbed))
    with pytest.raises(Stopped):
        list(disturbed)
    resumed = only(EpochRecord, train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path))
    assert resumed[0] == seen[0], "records of finished epochs come again as they were"
    assert numbers(resumed) == numbers(expected)
    ours, theirs = (
        torch.load(folder / checkpoint.LAST, weights_only=True)["model"] for folder in (tmp_path, undisturbed_folder)
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_confusion_matrix_counts_each_test_image_once_and_survives_a_resume(tmp_path: Path) -> None:
    spec = replace(SPEC, epochs=3)
    events = train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path)
    one, two = (first(Confusion, events) for _ in range(2))
    resumed = list(train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    told, records = only(Confusion, resumed), only(EpochRecord, resumed)
    best = max((1, 2), key=lambda epoch: records[epoch - 1].val_top1)
    assert told[:-1] == ([two] if best == 2 else [one, two]), "in case they were not delivered before"
    assert [confusion.epoch for confusion in (one, two, told[-1])] == [1, 2, 3]
    for record, confusion in zip(records, (one, two, told[-1]), strict=True):
        matrix = torch.tensor(confusion.counts)
        assert matrix.sum(dim=1).tolist() == load("digits", tmp_path)[1].labels.bincount().tolist()
        assert matrix.sum() == DATASETS["digits"].test_size
        assert 100 * matrix.trace().item() / matrix.sum().item() == pytest.approx(record.val_top1)
        recalls = [counts[label] / sum(counts) for label, counts in enumerate(confusion.counts)]
        assert record.val_balanced == pytest.approx(100 * sum(recalls) / len(recalls))
    # The same, image by image.
    export_answers(tmp_path)
    answers = np.load(tmp_path / ANSWERS)
    assert answers["label"].tolist() == load("digits", tmp_path)[1].labels.tolist()
    best = max((1, 2, 3), key=lambda epoch: records[epoch - 1].val_top1)
    for name, epoch in (("last", 3), ("best", best)):
        predicted, correct = answers[f"{name}_predicted"], answers[f"{name}_correct"]
        assert answers[f"{name}_epoch"] == epoch
        assert np.array_equal(correct, predicted == answers["label"])
        assert 100 * correct.mean() == pytest.approx(records[epoch - 1].val_top1)
        error = calibration_error(torch.from_numpy(answers[f"{name}_confidence"]), torch.from_numpy(correct))
        assert error == pytest.approx(records[epoch - 1].val_ece)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_the_same_spec_gives_the_same_numbers_and_another_seed_does_not(tmp_path: Path) -> None:
    short = replace(SPEC, epochs=1, val_share=0.8)
    one, two, other = (
        only(EpochRecord, train(spec, data_dir=tmp_path)) for spec in (short, short, replace(short, seed=2))
    )
    assert numbers(one) == numbers(two)
    assert one[0].train_loss != other[0].train_loss


@pytest.mark.parametrize(
    ("pooling", "precision"),
    [("seqpool", "fp32"), ("seqpool", "bf16"), ("seqpool_multihead", "fp32"), ("gem", "fp32"), ("class_token", "fp32")],
)
def test_the_entropy_of_the_pooling_weights_is_recorded(pooling: str, precision: str, tmp_path: Path) -> None:
    spec = RunSpec(
        model="cvt_2_4_32",
        kernel_size=8,
        embed_dim=64,
        pooling=pooling,
        dataset="digits",
        epochs=1,
        batch_size=256,
        lr=3e-3,
        warmup_epochs=0,
        precision=precision,
        augmentation="none",
    )
    [record] = only(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    if not hasattr(POOLINGS[pooling], "weights"):
        assert record.pooling_entropy is None
        return
    model = model_of(spec, 10)
    model.load_state_dict(torch.load(tmp_path / checkpoint.LAST, weights_only=True)["model"])
    seen: list[Tensor] = []
    pool = model.eval().classifier.attention_pool
    pool.register_forward_hook(lambda module, inputs, output: seen.append(module.weights(inputs[0])))
    info = DATASETS["digits"]
    pixels = load("digits", tmp_path)[1].images / 255
    with torch.no_grad():
        model((pixels - info.mean[0]) / info.std[0])
    expected = torch.special.entr(seen[0]).sum(dim=-1).mean().item()
    assert expected < math.log(16)
    assert record.pooling_entropy == pytest.approx(expected, rel=1e-4 if precision == "fp32" else 1e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_likelihood_and_calibration_are_those_of_the_direct_formulas(precision: str, tmp_path: Path) -> None:
    spec = replace(SPEC, epochs=1, label_smoothing=0.2, precision=precision)
    (record,) = only(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    model = model_of(spec, 10)
    model.load_state_dict(torch.load(tmp_path / checkpoint.LAST, weights_only=True)["model"])
    split = load("digits", tmp_path)[1]
    with torch.no_grad():
        probabilities = model.eval()(normalisation(spec, model)(split.images)).double().softmax(dim=1)
    labels = split.labels.tolist()
    nll = -sum(math.log(row[label]) for row, label in zip(probabilities.tolist(), labels, strict=True)) / len(labels)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(probabilities, labels, strict=True):
        confidence = row.max().item()
        bins.setdefault(int(15 * confidence), []).append((confidence, row.argmax().item() == label))
    ece = sum(abs(sum(right - sure for sure, right in found)) for found in bins.values()) / len(labels)
    exact = precision == "fp32"
    assert record.val_nll == pytest.approx(nll, rel=1e-4 if exact else 2e-2)
    assert record.val_ece == pytest.approx(ece, abs=1e-4 if exact else 2e-2)
    smoothed = 0.8 * nll - 0.2 * probabilities.log().mean().item()
    assert record.val_loss == pytest.approx(smoothed, rel=1e-4 if exact else 2e-2)


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    border = torch.linspace(0, 1, 16)[3].item()
    confidences = torch.tensor([border, 0.21, 0.9, 0.95, 1.0, 1.0])
    correct = torch.tensor([False, True, True, False, True, True])
    # What torchmetrics 1.9 gives: 1 is a bin of its own, which 0.95 does not spoil.
    assert calibration_error(confidences, correct) == pytest.approx(0.2733333, abs=1e-6)


def test_records_of_earlier_versions_are_read() -> None:
    record = EpochRecord(
        epoch=1,
        train_loss=2.0,
        train_top1=20.0,
        val_loss=2.0,
        val_top1=20.0,
        val_top5=60.0,
        lr=1e-3,
        seconds=1.0,
        images_per_second=100.0,
        peak_memory_bytes=1,
    )
    assert (record.pooling_entropy, record.val_nll, record.val_ece) == (None, None, None)


def test_the_caller_learns_facts_and_progress(tmp_path: Path) -> None:
    spec = replace(SPEC, epochs=1, pooling="seqpool_softmax_batch", batch_size=16)
    facts, *events = train(spec, data_dir=tmp_path)
    assert isinstance(facts, Facts)
    assert (facts.parameters, facts.mixes_batch) == (cost_of_run(spec).parameters, True)
    *progress, look, confusion, record, warning = events
    assert (type(look), type(confusion), type(record)) == (Look, Confusion, EpochRecord)
    assert isinstance(warning, RunWarning)
    assert warning.code == "learned-nothing"
    assert only(Progress, progress) == progress != []
    assert all(0 < p.step <= p.steps == math.ceil(1437 / 16) for p in only(Progress, progress))


def test_a_run_says_what_its_numbers_depend_on(tmp_path: Path) -> None:
    def provenance(spec: RunSpec = SPEC) -> dict[str, str]:
        return first(Facts, train(spec, data_dir=tmp_path)).provenance

    here = provenance()
    versions = ["cctboard", "python", "torch", "torchvision", "numpy"]
    arithmetic = ["device", "processor", "precision", "compile", "threads"]
    assert list(here) == [*versions, *arithmetic, "code", "code of seqpool", "dataset_sha256"]
    assert (here["python"], here["torch"]) == (platform.python_version(), torch.__version__)
    assert here["threads"] == str(torch.get_num_threads())
    auto = settle(SPEC, torch.device("cpu"))
    assert (here["precision"], here["compile"]) == (auto.precision, auto.compile)
    assert auto.compile == "off"
    # Of scikit-learn's digits as this version of the board enlarges and splits them.
    expected = hashlib.sha256()
    for split in load("digits", tmp_path):
        expected.update(bytes(split.images.flatten().tolist()) + struct.pack(f"<{len(split.labels)}q", *split.labels))
    assert here["dataset_sha256"] == expected.hexdigest()
    other = provenance(replace(SPEC, pooling="mean"))
    assert other.pop("code of mean") != here.pop("code of seqpool")
    assert other == here
    for precision in ("bf16", "fp32"):
        told = provenance(replace(SPEC, precision=precision))
        assert told.items() >= (here | {"precision": precision}).items()


def test_a_run_stops_at_the_next_step(tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with pytest.raises(Stopped):
        list(train(SPEC, data_dir=tmp_path, should_stop=stop))
    assert asked == 3


def test_a_diverging_loss_says_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="epoch 1; try a lower lr"):
        list(train(replace(SPEC, lr=10, weight_decay=10, warmup_epochs=0), data_dir=tmp_path))


def change_checkpoint(folder: Path, **changes: Any) -> Checkpoint:
    """What one epoch of `SPEC` leaves in the folder, with changes; returns it without them."""
    first(EpochRecord, train(SPEC, data_dir=folder, checkpoint_dir=folder))
    saved = Checkpoint.load(folder, SPEC)
    assert saved
    replace(saved, **changes).save(folder)
    return saved


def test_a_checkpoint_of_another_spec_is_refused(tmp_path: Path) -> None:
    change_checkpoint(tmp_path, spec=replace(SPEC, seed=9))
    with pytest.raises(CheckpointMismatch, match="seed differ"):
        list(train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path))


def test_a_resumed_run_keeps_its_arithmetic(tmp_path: Path) -> None:
    here = settle(SPEC, torch.device("cpu")).precision
    other = {"bf16": "fp32", "fp32": "bf16"}[here]  # as a machine of another kind would have left it
    change_checkpoint(tmp_path, precision=other)
    facts = first(Facts, train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path))
    assert facts.device.endswith(f", {other}")
    assert facts.provenance["precision"] == f"{here}; from epoch 2: {other}", "the arithmetic is the checkpoint's"


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_resumed_run_keeps_its_threads_on_which_its_bits_depend(tmp_path: Path) -> None:
    spec = replace(SPEC, val_share=0.8)
    torch.set_num_threads(1)
    undisturbed = only(EpochRecord, train(spec, data_dir=tmp_path))
    first(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    torch.set_num_threads(2)
    facts, *resumed = train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path)
    assert numbers(only(EpochRecord, resumed)) == numbers(undisturbed)
    assert isinstance(facts, Facts)
    assert facts.provenance["threads"] == "1"


def test_a_run_that_goes_on_with_something_else_says_since_when(tmp_path: Path) -> None:
    before = first(Facts, train(SPEC, data_dir=tmp_path)).provenance
    change_checkpoint(tmp_path, provenance=before | {"torch": "1.0"})
    for _ in range(2):  # the second time it is finished: nothing is trained with anything else
        [facts] = only(Facts, train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path))
        assert facts.provenance == before | {"torch": f"1.0; from epoch 2: {torch.__version__}"}


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    folder = tmp_path / "image_folder" / "pets"
    write_folder(folder)
    spec = RunSpec(dataset="image_folder", image_folder="pets", epochs=2, batch_size=6)
    first(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    for part in ("train", "val"):
        (folder / part / "bee").rename(folder / part / "a bee")
    with pytest.raises(CheckpointMismatch, match=r"\(dataset_sha256, classes differ\); put its files back"):
        list(train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    for part in ("train", "val"):
        (folder / part / "a bee").rename(folder / part / "bee")
    assert len(only(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))) == 2


def test_bf16_is_close_to_fp32(tmp_path: Path) -> None:
    spec = RunSpec(dataset="digits", embed_dim=64, attention_dropout=0.0, stochastic_depth=0.0)
    images, labels = (each[:32] for each in (load("digits", tmp_path)[0].images, load("digits", tmp_path)[0].labels))

    def loss(precision: str) -> float:
        own = replace(spec, precision=precision)
        step = TrainingStep(model_of(own, 10), own, torch.device("cpu"))
        step.begin_epoch(1)
        for _ in range(3):
            step(images, labels)
        return step.means()[0]

    exact, fast = loss("fp32"), loss("bf16")
    assert fast == pytest.approx(exact, rel=0.02)
    assert fast != exact
