"""The training loop: the reference's bare-minimum recipe, one record per epoch."""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from cct.answers import Answers
from cct.augment import augment, centre_crop
from cct.card import Card
from cct.checkpoint import BEST, Checkpoint, read_snapshot
from cct.data import Split, batches, duplicates, equally_large, load, to_device
from cct.device import default_device, device_name
from cct.events import Confusion, EpochRecord, Event, Facts, Progress, RunWarning
from cct.final_test import final_test
from cct.isolation import isolated
from cct.lens import chosen_epochs, chosen_images, look, pictures, sentences
from cct.machine import cores
from cct.mixing import BatchAugmentation
from cct.models import Model, TextTransformer, mixes_batch, model_of, parameter_count
from cct.named_datasets import DATASETS
from cct.named_models import ModelConfig
from cct.pretrained import VECTORS_FOLDER, load_pretrained, load_word_vectors, locate
from cct.provenance import continued, extended_at, provenance_of, sha256_of
from cct.run_warnings import duplicated, extended, few_words, foreseen, majority_share, uneven_classes, without_learning
from cct.schedule import learning_rate
from cct.seeds import seed_generators, seed_of
from cct.spec import RunSpec
from cct.step import Stopped, TrainingStep, normalisation
from cct.trial import TakeSeat, balanced_weights, training_step
from cct.validation import validate, validation_size

PROGRESS_SECONDS = 0.5
CHUNK, CHUNK_ON_GPU = 4096, 65_536
"""Images of 32 pixels on each side that are augmented at once; of larger ones as many as take the same memory. A GPU
waits until its host has launched the augmentation, which takes as long for many images as for few."""
STEPS_BEFORE_AHEAD = 8
"""Steps of an epoch that a GPU has to do before its host launches the augmentation of the next."""

Chunk = tuple[Tensor, Tensor]
"""Images `(chunk, 3, height, width)`, or texts, and their labels `(chunk,)`."""


class NonFiniteLoss(Exception):
    """The loss became infinite or not a number."""


@isolated
def train(
    spec: RunSpec,
    *,
    data_dir: Path,
    checkpoint_dir: Path | None = None,
    device: torch.device | None = None,
    recorded: Sequence[EpochRecord] = (),
    extends: int = 0,
    may_record: bool = True,
    may_test: bool = True,
    should_stop: Callable[[], bool] = lambda: False,
    take_seat: TakeSeat | None = None,
) -> Iterator[Event]:
    """Trains a model and yields what there is to tell: `Facts` once, `Progress` twice a second, and after each epoch
    what the pooling looks at (`Look`, in some epochs), a `Confusion` and an `EpochRecord`; a `RunWarning` at the end if
    it has learned nothing. A run that holds training images out (`val_share`) ends with a `FinalTest`, and reads the
    test set only then, or not at all if it may not (`may_test`). With no epochs, the given weights are evaluated, by
    the same events of epoch 0.

    With `checkpoint_dir` the run continues after the last checkpoint there, which is written before an epoch is told
    of; records of earlier epochs are yielded again first. Order, augmentation, dropout and stochastic depth derive from
    seed and epoch, and a CPU has as many threads as it had, so a run that was stopped and resumed equals one that was
    not, bit for bit on the same CPU. `recorded` are the epochs that are known of this run already: it goes on from a
    checkpoint that has them, or not at all. `extends` is the number of epochs of the finished run whose checkpoint is
    in the folder at first (`cct.extension.hold`), and whose spec was the same but for that number.

    `take_seat` is for runs whose steps are executed with others' (`cct.together.together`).

    The caller's random numbers and number of threads are left as they are (`isolated`).

    Raises `Stopped` within one step of `should_stop`, `NonFiniteLoss`, `DatasetUnavailable`, `UnusableWeights`,
    `CheckpointMismatch`, `CheckpointNotWritten`, `CannotCompile`, and `RecordingFailed`, after which another process
    can train with `may_record` false.
    """
    device = device or default_device()
    saved = Checkpoint.load(checkpoint_dir, spec, recorded, extends) if checkpoint_dir else None
    if checkpoint_dir:
        checkpoint_dir.mkdir(parents=True, exist_ok=True)
    image_size = spec.config.image_size if isinstance(spec.config, ModelConfig) else 0
    splits = load(spec.dataset, data_dir, image_size, spec.image_folder, spec.val_share)
    train_split, test_split = (split.to(device) for split in splits)

    model = _create_model(spec, train_split, device)
    # When a run goes on, its first weights no longer matter, nor whether their files are still there.
    started_from, warnings = (
        (saved.started_from, saved.warnings) if saved else _start(model, spec, train_split, data_dir)
    )
    if spec.word_vectors and isinstance(model, TextTransformer):
        model.embedder.embeddings.weight.requires_grad_(False)

    # A run keeps its arithmetic when it goes on elsewhere.
    wanted = spec.settled_to(precision=saved.precision, compile=saved.compile) if saved else spec
    if spec.is_evaluation:
        wanted, take_seat = wanted.settled_to(compile="off"), None  # there are no steps
    if saved and device.type == "cpu" and 0 < saved.threads <= cores():
        torch.set_num_threads(saved.threads)
    step = training_step(model, wanted, train_split, device, should_stop, may_record, take_seat)
    settled = step.spec

    provenance = provenance_of(settled, device, splits) | started_from
    if saved:
        before = saved.provenance | extended_at(saved.provenance, extends)
        changed = continued(before, provenance, len(saved.records) + 1)  # refuses other data
        provenance = changed if _to_do(spec, saved.records) else before
    classes = model.config.num_classes
    train_counts, test_counts = _counts(train_split, classes), _counts(test_split, classes)
    found_twice = duplicates(*splits)
    class_names = DATASETS[spec.dataset].class_names or train_split.class_names
    looked_at = chosen_images(test_split)
    looked_at_images = test_split.images[looked_at].to(device)
    shown = (
        sentences(test_split, looked_at, model.config.text_length)
        if isinstance(model, TextTransformer)
        else pictures(centre_crop(looked_at_images, image_size), test_split.labels[looked_at])
    )
    yield Facts(
        device=f"{device_name(device)}, {settled.precision}",
        parameters=parameter_count(model),
        mixes_batch=(mixes := mixes_batch(model)),
        provenance=provenance,
        images=shown,
        warnings=[
            *foreseen(spec),
            *extended(spec, extends),
            *warnings,
            *uneven_classes(train_counts, test_counts, class_names, spec),
            *duplicated(found_twice, len(test_split.labels)),
        ],
        majority_share=majority_share(test_counts),
        duplicates=found_twice,
    )
    validated_at_once = settled.batch_size if mixes else validation_size(test_split, settled)
    lens_images = normalisation(spec, model)(looked_at_images)
    lens_epochs = chosen_epochs(spec.epochs)

    labels = test_split.labels.int().cpu()
    card = Card(spec=settled, class_names=class_names or tuple(map(str, range(classes))), bits=train_split.bits)
    records: list[EpochRecord] = []
    # Of the best epoch and, if that is another, of the last.
    confusions: list[Confusion] = []
    answers: list[Answers] = []
    is_tested = may_test and spec.val_share > 0
    ahead = Ahead() if device.type == "cuda" else None
    best_weights: dict[str, Tensor] = {}  # only where no checkpoint has them
    if saved:
        saved.restore(model, step.optimizer, step.averaged)
        records, confusions, answers = [*saved.records], saved.confusions, saved.answers
        # In case the process ended before these were delivered.
        if records[-1].epoch in lens_epochs:
            yield look(step.validated, lens_images, records[-1].epoch)
        yield from confusions
    yield from [*records]

    for epoch in _to_do(spec, records):
        began = time.perf_counter()
        lr = train_loss = train_top1 = images_per_second = None
        if epoch:
            lr = learning_rate(spec, epoch - 1)
            yield from train_epoch(step, train_split, epoch - 1, should_stop, ahead)
            train_loss, train_top1 = step.means()
            images_per_second = len(train_split.labels) / (time.perf_counter() - began)
        found = validate(step.validated, test_split, settled, validated_at_once, should_stop)
        if not math.isfinite(found.loss + (train_loss or 0.0)):
            raise NonFiniteLoss(
                f"the loss is not finite in epoch {epoch}; try a lower lr (it was {lr:g}) or a warm-up"
                if lr
                else f"the loss of these weights is not finite; try precision fp32 (it was {settled.precision})"
            )
        record = EpochRecord(
            epoch=epoch,
            train_loss=train_loss,
            train_top1=train_top1,
            val_loss=found.loss,
            val_top1=found.top1,
            val_top5=found.top5,
            lr=lr,
            seconds=time.perf_counter() - began,
            images_per_second=images_per_second,
            peak_memory_bytes=_peak_memory(device),
            pooling_entropy=found.pooling_entropy,
            val_balanced=found.balanced,
            val_nll=found.nll,
            val_ece=found.ece,
        )
        confusion = Confusion(epoch, found.confusion.tolist())
        is_best = found.top1 > max((earlier.val_top1 for earlier in records), default=-1.0)
        records.append(record)
        answer = Answers(epoch, found.predicted, found.confidence)
        confusions = [confusion] if is_best else [confusions[0], confusion]
        answers = [answer] if is_best else [*(one for one in answers if one.epoch == confusions[0].epoch), answer]
        if is_best and is_tested and not checkpoint_dir:
            best_weights = {name: value.cpu().clone() for name, value in step.validated.state_dict().items()}
        if checkpoint_dir:
            Checkpoint(
                spec=spec,
                model=step.validated.state_dict(),
                trained=model.state_dict() if step.averaged else None,
                optimizer=step.optimizer.state_dict(),
                records=records,
                confusions=confusions,
                answers=answers,
                labels=labels,
                precision=settled.precision,
                compile=settled.compile,
                threads=torch.get_num_threads() if device.type == "cpu" else 0,
                provenance=provenance,
                started_from=started_from,
                vocabulary=train_split.vocabulary,
                card=card,
                warnings=warnings,
            ).save(checkpoint_dir)
        if epoch in lens_epochs:
            yield look(step.validated, lens_images, epoch)
        yield confusion
        yield record

    weights = [1.0] * classes
    if spec.class_weights == "balanced":
        weights = balanced_weights(train_split.labels, classes).tolist()
    yield from without_learning(records, confusions[-1], train_counts, spec, weights)
    if is_tested:
        if checkpoint_dir:
            best_weights, _ = read_snapshot(checkpoint_dir / BEST)
        yield from final_test(
            *(step.validated, best_weights, records, train_split, settled, data_dir),
            *(validated_at_once, should_stop),
        )


def _to_do(spec: RunSpec, records: Sequence[EpochRecord]) -> Sequence[int]:
    """The epochs that are left, counted from 1; epoch 0 is the evaluation of given weights."""
    if spec.is_evaluation:
        return [] if records else [0]
    return range(len(records) + 1, spec.epochs + 1)


def _create_model(spec: RunSpec, split: Split, device: torch.device) -> Model:
    info = DATASETS[spec.dataset]
    seed_generators(device, seed_of(spec.seed, "model"))  # for poolings that draw weights of their own
    return model_of(spec, info.num_classes or len(split.class_names))


def _start(model: Model, spec: RunSpec, split: Split, data_dir: Path) -> tuple[dict[str, str], tuple[RunWarning, ...]]:
    """Gives the model the weights that the spec names; what they were, for the provenance, and what is odd about them.

    Raises `UnusableWeights`.
    """
    started_from: dict[str, str] = {}
    warnings: list[RunWarning] = []
    if spec.pretrained:
        path = locate(spec.pretrained, data_dir)
        started = load_pretrained(model, path, split.vocabulary, to_evaluate=spec.is_evaluation)
        started_from |= started.provenance() | {"pretrained_sha256": sha256_of(path)}
        if split.vocabulary and not spec.word_vectors:
            known, words = started.words or (0, len(split.vocabulary))
            others = "the vectors of all others start at random"
            if spec.is_evaluation:
                others = "all others are one and the same unknown word"
            warnings += few_words(known, words, f"{path.name} knows", others)
    if spec.word_vectors and isinstance(model, TextTransformer):
        path = data_dir / VECTORS_FOLDER / spec.word_vectors
        found, words, hint = load_word_vectors(model, split.vocabulary, path)
        started_from["word_vectors_found"] = f"{found} of {words}"
        started_from["word_vectors_sha256"] = sha256_of(path)
        others = f"all others are one and the same unknown word{hint}"
        warnings += few_words(found, words, f"{path.name} has vectors for", others)
    return started_from, tuple(warnings)


class Ahead:
    """Has the first chunk of the next epoch augmented while one is trained: on a GPU, whose host has the time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._chunks: dict[int, tuple[Future[Chunk], Iterator[Chunk]]] = {}

    def begin(self, epoch: int, chunks: Iterator[Chunk]) -> None:
        self._chunks[epoch] = self._thread.submit(next, chunks), chunks

    def take(self, epoch: int) -> Iterator[Chunk] | None:
        """The chunks of an epoch if they were begun."""
        if epoch not in self._chunks:
            return None
        first, others = self._chunks.pop(epoch)
        return chain([first.result()], others)


def train_epoch(
    step: TrainingStep,
    split: Split,
    epoch: int,
    should_stop: Callable[[], bool] = lambda: False,
    ahead: Ahead | None = None,
) -> Iterator[Progress]:
    """One pass over the training images, epochs counted from 0; `step.means` then has the loss. Raises `Stopped`."""
    spec, device = step.spec, step.device
    step.begin_epoch(epoch)
    on_batches = BatchAugmentation(spec, epoch, step.model.config.num_classes, normalisation(spec, step.model), device)
    done, steps = 0, math.ceil(len(split.labels) / spec.batch_size)
    told = began = time.perf_counter()
    begun = ahead.take(epoch) if ahead else None
    for images, labels in begun or augmented(step, split, epoch):
        for batch, target in batches(images, labels, spec.batch_size):
            if should_stop():
                raise Stopped
            step(*on_batches(batch, target))
            done += 1
            if ahead and done == min(STEPS_BEFORE_AHEAD, steps) and epoch + 1 < spec.epochs:
                ahead.begin(epoch + 1, augmented(step, split, epoch + 1))
            now = time.perf_counter()
            if now - told >= PROGRESS_SECONDS:
                yield Progress(epoch + 1, done, steps, now - began)
                told = now


def augmented(step: TrainingStep, split: Split, epoch: int) -> Iterator[Chunk]:
    """The augmented training images of an epoch in its order, with their labels, some whole batches at a time.

    Order and augmentation do not depend on how many numbers dropout and stochastic depth draw.
    """
    spec, device = step.spec, step.device
    random = torch.Generator().manual_seed(seed_of(spec.seed, "images", epoch))
    order = torch.randperm(len(split.labels), generator=random)
    image_size = step.model.config.image_size if isinstance(step.model.config, ModelConfig) else None
    chunk_size = equally_large(CHUNK_ON_GPU if device.type == "cuda" else CHUNK, split)
    for chunk in torch.split(order, spec.batch_size * max(1, chunk_size // spec.batch_size)):
        images = to_device(split.images[to_device(chunk, split.images.device)], device)  # which may be on the host
        images = augment(images, spec.augmentation, random, image_size, spec.scale, DATASETS[spec.dataset].mean)
        yield images, split.labels[to_device(chunk, device)]


def _counts(split: Split, classes: int) -> list[int]:
    """Images or texts of each class."""
    return [int(count) for count in split.labels.bincount(minlength=classes)]


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved(device)  # what a recorded step uses counts as free, but is reserved
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    kibibytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kibibytes
