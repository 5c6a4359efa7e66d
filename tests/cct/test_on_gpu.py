"""Training on a GPU: what can be known without one, on tensors that have a device and no values, and what needs one."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from cct.augment import OPERATIONS, augment, draw_operations, magnitude
from cct.data import Split, to_device
from cct.events import EpochRecord
from cct.models import create_model
from cct.pooling import POOLINGS
from cct.recording import WARM_UP_STEPS, RecordedStep, Recording, waiting_is_an_error
from cct.spec import RunSpec
from cct.stacked_step import Seat
from cct.step import TrainingStep, preparation
from cct.together import together
from cct.training import train, train_epoch
from cct.trial import training_step
from tests.cct.told import first, only

CUDA = torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph can be recorded on a GPU only")


class Recorder(TorchDispatchMode):
    """Stands in for a CUDA graph: notes operations with the memory that they read and write, and repeats them there.

    A CUDA graph does not execute what it records; here the test takes that back.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        noted = tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}, result))
        self.operations.append((func, *noted))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, noted in self.operations:
            for before, now in zip(tree_leaves(noted), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(now, Tensor) and now.data_ptr() != before.data_ptr():
                    before.copy_(now)


class PlainOnCPU(TrainingStep):
    """Has the learning rate that a step has on a GPU."""

    def begin_epoch(self, epoch: int) -> None:
        self.device = CUDA
        super().begin_epoch(epoch)
        self.device = torch.device("cpu")


class RecordedOnCPU(PlainOnCPU, RecordedStep):
    """Records as on a GPU."""

    @contextmanager
    def record(self, graph: Recorder, **_: Any) -> Iterator[None]:
        written = [*self.model.parameters(), self._loss_sum, self._correct]
        written += [state for states in self.optimizer.state.values() for state in states.values()]
        before, random = [values.detach().clone() for values in written], torch.get_rng_state()
        with graph:
            yield
        with torch.no_grad():
            for values, value in zip(written, before, strict=True):
                values.copy_(value)
        torch.set_rng_state(random)


class HostWaits(Exception):
    """The host would have to wait until the GPU has done all that it was told before."""


class NothingWaits(TorchDispatchMode):
    """Refuses copies between host and GPU that are not asynchronous. (Values of tensors cannot be read anyway.)"""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            target, source = (result, args[0]) if func is torch.ops.aten._to_copy.default else args[:2]
            is_asynchronous = (kwargs or {}).get("non_blocking", False) or args[2:] == (True,)
            if source.device != target.device and not is_asynchronous:
                raise HostWaits(f"{tuple(source.shape)} is copied from {source.device} to {target.device}")
        return result


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    monkeypatch.setattr(Tensor, "pin_memory", lambda values: values)  # a tensor without values has no memory
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


@pytest.fixture
def images(gpu: FakeTensorMode) -> Tensor:
    return torch.empty(64, 3, 32, 32, dtype=torch.uint8, device=CUDA)


@pytest.mark.usefixtures("gpu")
def test_waiting_is_noticed() -> None:
    with NothingWaits(), pytest.raises(HostWaits):
        torch.empty(5).to(CUDA)
    with NothingWaits(), pytest.raises(DataDependentOutputException):
        torch.ones(5, device=CUDA).sum().item()
    with NothingWaits():
        assert to_device(torch.empty(5), CUDA).is_cuda


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_of_the_augmentation_waits_for_a_gpu(name: str, images: Tensor) -> None:
    with NothingWaits():
        changed = OPERATIONS[name](images, magnitude(name, 5, 32))
    assert (changed.is_cuda, changed.shape, changed.dtype) == (True, images.shape, torch.uint8)


@pytest.mark.parametrize("kind", ["autoaugment", "crop_flip"])
def test_the_augmentation_of_a_chunk_does_not_wait_for_a_gpu(
    kind: str, images: Tensor, monkeypatch: pytest.MonkeyPatch, gpu: FakeTensorMode
) -> None:
    drawn = _outside(gpu, draw_operations, len(images), 32, torch.Generator().manual_seed(0))
    monkeypatch.setattr("cct.augment.draw_operations", lambda *_: drawn)  # on the host, with values
    with NothingWaits():
        augmented = augment(images, kind, torch.Generator())
    assert (augmented.is_cuda, augmented.shape) == (True, images.shape)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_step_does_not_wait_for_a_gpu(pooling: str, images: Tensor, gpu: FakeTensorMode) -> None:
    """Without its backward pass, which runs on real devices only. A pooling that waits could not be recorded."""
    spec = RunSpec(pooling=pooling, precision="fp32")
    model = _outside(gpu, create_model, spec.model, pooling=pooling, seed=0)
    for module in model.modules():
        for name, weights in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(gpu.from_tensor(weights.detach()).to(CUDA)))
    prepare = preparation(spec, model, CUDA)
    with NothingWaits():
        logits = model(prepare(images))
        loss = torch.nn.functional.cross_entropy(logits, torch.empty(64, dtype=torch.int64, device=CUDA))
    assert (loss.is_cuda, logits.shape) == (True, (64, 10))


@pytest.mark.parametrize("pooling", ["seqpool", "seqpool_softmax_batch", "class_token", "max"])
def test_replaying_a_steps_operations_is_the_step(pooling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is decided by what the host knew in another: batch, random numbers, learning rate, AdamW's state."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")  # oneDNN's layout has no address
    monkeypatch.setattr("torch.cuda.CUDAGraph", Recorder)
    monkeypatch.setattr("torch.cuda.Stream", lambda device: None)
    monkeypatch.setattr(Recording, "_warm_up", lambda recording, *batch: recording._execute(*batch))
    spec = RunSpec(pooling=pooling, batch_size=16, epochs=8, precision="fp32")
    split = random_images(16 * (WARM_UP_STEPS + 2) + 5)
    results = []
    for kind in (PlainOnCPU, RecordedOnCPU):
        model = create_model(spec.model, pooling=pooling, seed=0)
        step = kind(model, spec, torch.device("cpu"))
        if isinstance(step, RecordedOnCPU):
            monkeypatch.setattr("torch.cuda.graph", step.record)
        losses = [trained(step, split, epoch) for epoch in (0, 6, 1)]
        results.append((losses, all_weights(model)))
    (plain, weights), (replayed, same_weights) = results
    assert replayed == plain
    assert torch.equal(same_weights, weights)
    assert isinstance(step, RecordedOnCPU)
    assert isinstance(step.recording.graph, Recorder)
    assert len(step.recording.graph.operations) > 300
    whole_batches = len(split.labels) // spec.batch_size
    assert step.recording.graph.replays == 3 * whole_batches - WARM_UP_STEPS, "the smaller batches were not"


def random_images(count: int) -> Split:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=random)
    return Split(images, torch.randint(10, (count,), generator=random))


def trained(step: TrainingStep, split: Split, epoch: int) -> tuple[float, float]:
    """The mean loss and the top-1 of an epoch."""
    list(train_epoch(step, split, epoch))
    return step.means()


def _outside(mode: FakeTensorMode, make: Any, *args: Any, **options: Any) -> Any:
    """What a function makes, with values."""
    mode.__exit__(None, None, None)
    try:
        return make(*args, **options)
    finally:
        mode.__enter__()


def all_weights(model: nn.Module) -> Tensor:
    return torch.cat([weights.detach().flatten() for weights in model.parameters()])


@needs_gpu
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_recorded_step_computes_what_it_does_by_itself(pooling: str) -> None:
    """Two epochs with all that is random, a learning rate that changes, and a smaller batch at each end."""
    spec = RunSpec(pooling=pooling, batch_size=32, epochs=8)
    split = random_images(32 * (WARM_UP_STEPS + 4) + 5).to(CUDA)

    def trained_as(mode: str) -> tuple[list[float], Tensor]:
        model = create_model(spec.model, pooling=pooling, seed=0)
        step = training_step(model, replace(spec, compile=mode, precision="fp32"), split, CUDA)
        before = all_weights(model)
        losses = [trained(step, split, epoch)[0] for epoch in (0, 6)]
        return losses, all_weights(model) - before

    (plain, way), (recorded, same_way) = trained_as("off"), trained_as("graph")
    assert recorded == pytest.approx(plain, rel=1e-3)
    # Not weight by weight: where a gradient is 0 but for rounding, AdamW steps either way.
    assert (same_way - way).norm() < 0.1 * way.norm()


@needs_gpu
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # which fp32 means not to use
@pytest.mark.parametrize(("pooling", "precision"), [("seqpool", "fp32"), ("seqpool", "bf16"), ("class_token", "bf16")])
def test_a_compiled_step_that_is_recorded_computes_the_same(pooling: str, precision: str) -> None:
    """Without random numbers, which compiled code draws otherwise."""
    spec = RunSpec(pooling=pooling, batch_size=32, epochs=8, precision=precision)
    split = random_images(32 * (WARM_UP_STEPS + 4) + 5).to(CUDA)
    losses = {}
    for mode in ("off", "on"):
        model = create_model(spec.model, pooling=pooling, attention_dropout=0.0, stochastic_depth=0.0, seed=0)
        step = training_step(model, replace(spec, compile=mode), split, CUDA)
        losses[mode] = [trained(step, split, epoch)[0] for epoch in (0, 6)]
    assert isinstance(step, Seat)
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-3)


@needs_gpu
def test_a_step_on_texts_is_recorded_too() -> None:
    """In PyTorch before 2.11, the gradient of many embeddings may make the host wait."""
    spec = RunSpec(model="text_cct_2", dataset="trec", batch_size=128, precision="fp32", epochs=8)
    random = torch.Generator().manual_seed(0)
    words = torch.randint(5000, (128 * (WARM_UP_STEPS + 3), 64), generator=random)
    split = Split(words, torch.randint(6, (len(words),), generator=random)).to(CUDA)
    losses = {}
    for mode in ("off", "graph"):
        model = create_model(spec.model, num_classes=6, vocabulary_size=5000, seed=0)
        step = training_step(model, replace(spec, compile=mode), split, CUDA)
        losses[mode] = [trained(step, split, epoch)[0] for epoch in (0, 6)]
    assert isinstance(step, RecordedStep)
    assert losses["graph"] == pytest.approx(losses["off"], rel=1e-3)


@needs_gpu
@pytest.mark.parametrize("mode", ["graph", "on"])
def test_each_replay_draws_random_numbers_of_its_own(mode: str) -> None:
    spec = RunSpec(batch_size=32, epochs=8, lr=1e-12, attention_dropout=0.5, compile=mode)
    split = random_images(32).to(CUDA)
    step = training_step(create_model(spec.model, seed=0), spec, split, CUDA)
    sums = []
    step.begin_epoch(0)
    for _ in range(WARM_UP_STEPS + 6):
        step(split.images, split.labels)
        sums.append(step._loss_sum.item())
    losses = [after - before for before, after in itertools.pairwise([0.0, *sums])]
    assert len(set(losses)) == len(losses)


@needs_gpu
@pytest.mark.parametrize(
    "recipe",
    [{}, {"augmentation": "randaugment", "mixup": 0.8, "cutmix": 1.0, "random_erasing": 0.25, "scale": 0.08}],
    ids=["bare", "paper's"],
)
def test_an_epoch_on_a_gpu_does_not_wait_for_it(recipe: dict[str, Any]) -> None:
    """From its beginning to its last step; then the sums are read."""
    spec = RunSpec(batch_size=32, compile="off", precision="fp32", **recipe)
    split = Split(torch.zeros(256, 3, 32, 32, dtype=torch.uint8), torch.zeros(256, dtype=torch.int64)).to(CUDA)
    step = TrainingStep(create_model(spec.model, seed=0), spec, CUDA)
    trained(step, split, 0)
    asked = 0
    with ExitStack() as stack:
        stack.enter_context(waiting_is_an_error())

        def before_a_step() -> bool:
            nonlocal asked
            asked += 1
            if asked == len(split.labels) // spec.batch_size:
                stack.close()
            return False

        list(train_epoch(step, split, 1, before_a_step))
    assert asked == 8


@needs_gpu
def test_waiting_is_noticed_on_a_gpu_too() -> None:
    with waiting_is_an_error(), pytest.raises(RuntimeError, match="synchronizing"):
        torch.ones(5, device=CUDA).sum().item()


@needs_gpu
def test_a_run_on_a_gpu_learns_and_is_resumed(tmp_path: Path) -> None:
    spec = RunSpec(dataset="digits", epochs=30, lr=2e-3, compile="graph", augmentation="crop")
    events = train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path)
    begun = [first(EpochRecord, events) for _ in range(3)]
    resumed = only(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    assert [record.train_loss for record in resumed[:3]] == [record.train_loss for record in begun]
    assert resumed[-1].val_top1 > 90


@needs_gpu
def test_runs_that_are_trained_together_learn_what_each_does_alone(tmp_path: Path) -> None:
    """Without random numbers, which they draw from one stream."""
    common: dict[str, Any] = {"dataset": "digits", "epochs": 6, "warmup_epochs": 0, "lr": 1e-3, "augmentation": "crop"}
    specs = [RunSpec(seed=seed, attention_dropout=0.0, stochastic_depth=0.0, **common) for seed in range(3)]
    trainings = [partial(train, spec, data_dir=tmp_path, checkpoint_dir=tmp_path / str(spec.seed)) for spec in specs]
    losses: list[list[float]] = [[] for _ in specs]
    for number, event in together(trainings):
        assert not isinstance(event, Exception), event
        if isinstance(event, EpochRecord):
            losses[number].append(event.train_loss or 0.0)
    for spec, those in zip(specs, losses, strict=True):
        alone = only(EpochRecord, train(replace(spec, compile="graph"), data_dir=tmp_path))
        assert those == pytest.approx([record.train_loss for record in alone], rel=0.01)
