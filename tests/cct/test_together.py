"""Runs that take their steps together train what each would train alone."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.data import Split
from cct.events import EpochRecord, Event
from cct.extension import LAST
from cct.models import CompactTransformer, Model, create_model
from cct.named_models import IMAGE_MODELS
from cct.pooling import POOLINGS, Mean
from cct.spec import RunSpec, SpecError
from cct.stacked_models import can_be_stacked, stacked_logits
from cct.stacked_step import Stack
from cct.step import Stopped, TrainingStep
from cct.together import in_turn, together
from cct.training import train
from cct.trial import balanced_weights
from tests.cct.test_on_gpu import all_weights, random_images, trained
from tests.cct.told import only

CPU = torch.device("cpu")
SMALL = ["cct_2_3x2_32_sine", "cvt_2_4_32", "vit_2_4_32"]


@pytest.mark.parametrize(
    ("name", "pooling"), [("cct_2_3x2_32", pooling) for pooling in POOLINGS] + [(name, "seqpool") for name in SMALL]
)
def test_stacked_models_compute_what_each_does(name: str, pooling: str) -> None:
    models = [plain(name, pooling, seed) for seed in range(2)]
    config = IMAGE_MODELS[name]
    images = torch.randn(2, 3, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    weights = {
        key: torch.stack([dict(model.named_parameters())[key].detach() for model in models]).requires_grad_()
        for key, weight in models[0].named_parameters()
        if weight.requires_grad
    }
    logits = stacked_logits(models[0], weights, images)
    gradients = torch.autograd.grad(logits.square().sum(), list(weights.values()))
    for number, model in enumerate(models):
        alone = model(images[number])
        torch.testing.assert_close(logits[number], alone, rtol=1e-4, atol=1e-5)
        own = torch.autograd.grad(
            alone.square().sum(), [weight for weight in model.parameters() if weight.requires_grad]
        )
        together = torch.cat([gradient[number].flatten() for gradient in gradients])
        expected = torch.cat([gradient.flatten() for gradient in own])
        assert (together - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"decayed": "matrices", "clip_grad": 1.0, "ema_decay": 0.9},
        {"mixup": 0.8, "class_weights": "none", "model": "cct_2_3x2_32_sine"},
        {"class_weights": "balanced"},
    ],
    ids=str,
)
def test_a_seat_of_a_stack_takes_the_steps_of_a_plain_one(changes: dict[str, Any]) -> None:
    """With a smaller batch at each end; from the second epoch on, one of them is alone."""
    spec = RunSpec(batch_size=16, epochs=8, precision="fp32", compile="off", **changes)
    split = random_images(16 * 3 + 5)
    weights = balanced_weights(split.labels, 10) if spec.class_weights == "balanced" else None
    expected = []
    for seed in range(2):
        step = TrainingStep(plain(spec.model, "seqpool", seed), spec, CPU, weights)
        losses = [trained(step, split, epoch)[0] for epoch in range(1 + seed)]
        expected.append((losses, all_weights(step.validated), step.optimizer.state_dict()["state"]))
    models = [plain(spec.model, "seqpool", seed) for seed in range(2)]
    stack = Stack(models[0], spec, CPU, weights, seats=2)
    found: dict[int, Any] = {}

    def follow(number: int) -> None:
        step = stack.seat(number, models[number], spec)
        losses = [trained(step, split, epoch)[0] for epoch in range(1 + number)]
        stack.leave(number)
        found[number] = losses, all_weights(step.validated), step.optimizer.state_dict()["state"]

    in_threads(follow, 2)
    for number, (losses, alone, state) in enumerate(expected):
        assert found[number][0] == pytest.approx(losses, rel=1e-5)
        assert (found[number][1] - alone).norm() < 1e-4 * alone.norm()
        assert [entry["step"] for entry in found[number][2].values()] == [entry["step"] for entry in state.values()]


def test_runs_together_are_those_alone_also_if_one_is_stopped_and_goes_on(tmp_path: Path) -> None:
    specs = [digits(seed) for seed in range(2)]
    alone = [results(train(spec, data_dir=tmp_path, device=CPU)) for spec in specs]
    ways: list[dict[str, Any]] = [{"checkpoint_dir": tmp_path / str(number)} for number in range(2)]
    ways[1]["should_stop"] = (tmp_path / "1" / LAST).exists  # in the second epoch

    def follow() -> tuple[list[list[Any]], list[Exception | None]]:
        records: dict[int, list[Any]] = defaultdict(list)
        ends: dict[int, Exception | None] = {}
        for number, event in together(
            [partial(train, spec, data_dir=tmp_path, device=CPU, **way) for spec, way in zip(specs, ways, strict=True)]
        ):
            if event is None or isinstance(event, Exception):
                ends[number] = event
            elif isinstance(event, EpochRecord):
                records[number].append((event.epoch, event.train_loss, event.val_top1))
        return [records[number] for number in range(2)], [ends[number] for number in range(2)]

    (first, second), ends = follow()
    assert [type(end) for end in ends] == [type(None), Stopped]
    assert near(first, alone[0])
    assert near(second, alone[1][:1])
    del ways[1]["should_stop"]
    records, ends = follow()  # the other has nothing left to do
    assert ends == [None, None]
    assert all(near(those, expected) for those, expected in zip(records, alone, strict=True))


def test_what_cannot_be_trained_together_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    specs = [digits(0, epochs=1), digits(1, epochs=1, lr=0.5), digits(2, epochs=1, pooling="mean")]
    trainings = [partial(train, spec, data_dir=tmp_path, device=CPU) for spec in specs]
    ends = {number: event for number, event in together(trainings) if event is None or isinstance(event, Exception)}
    assert ends[0] is None
    for refused in (ends[1], ends[2]):
        assert isinstance(refused, SpecError)
        assert "differ in nothing but their seed" in str(refused)


def test_nothing_goes_on_when_nobody_asks_for_more(tmp_path: Path) -> None:
    events = together([partial(train, digits(seed, epochs=1000), data_dir=tmp_path, device=CPU) for seed in range(2)])
    assert any(isinstance(event, EpochRecord) for _, event in events)
    assert isinstance(events, Generator)
    events.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("run-")]


def test_a_failure_in_a_step_ends_all_and_hangs_none() -> None:
    spec = RunSpec(batch_size=16, epochs=8, precision="fp32", compile="off")
    models = [plain(spec.model, "seqpool", seed) for seed in range(2)]
    stack = Stack(models[0], spec, CPU, seats=2)
    split = Split(random_images(16).images, torch.full((16,), 10))  # there is no class 10
    failures = []

    def follow(number: int) -> None:
        try:
            trained(stack.seat(number, models[number], spec), split, 0)
        except (IndexError, RuntimeError) as error:
            failures.append(error)

    in_threads(follow, 2)
    assert len(failures) == 2


def test_what_is_stacked_goes_on_training_when_one_model_validates() -> None:
    spec = RunSpec(batch_size=16, epochs=8, precision="fp32", compile="off")
    model = plain(spec.model, "mean", 0)
    model.classifier.attention_pool = nn.Sequential(Mean(128), nn.Dropout(1.0))  # of the logits only biases are left
    step = Stack(model, spec, CPU).seat(0, model, spec)
    model.eval()
    images = random_images(16)
    step(images.images, images.labels)
    guessed = F.cross_entropy(torch.zeros(16, 10), images.labels, label_smoothing=0.1)
    assert step.means()[0] == pytest.approx(guessed.item(), rel=1e-5)


def test_in_turn_a_run_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    def fails(**_: Any) -> Iterator[Event]:
        raise SpecError("seed", "this one fails")
        yield

    told = list(in_turn([fails, partial(train, digits(0, epochs=1), data_dir=tmp_path, device=CPU)]))
    assert [number for number, event in told if event is None or isinstance(event, Exception)] == [0, 1]
    assert isinstance(told[0][1], SpecError)
    assert told[-1] == (1, None)


def test_models_with_a_state_of_their_own_are_not_stacked() -> None:
    model = plain("cct_2_3x2_32", "mean", 0)
    assert can_be_stacked(model)
    model.classifier.attention_pool = nn.BatchNorm1d(64)
    assert not can_be_stacked(model)
    assert not can_be_stacked(create_model("text_cct_2", seed=0))


def test_max_pooling_by_one_kernel_is_pytorchs() -> None:
    """Interpreted where there is no GPU, which Triton must know before it is imported."""
    if torch.cuda.is_available():
        check_max_pooling(torch.device("cuda"))
    else:
        pytest.importorskip("triton")
        code = f"import torch; from {__name__} import check_max_pooling as check; check(torch.device('cpu'))"
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"TRITON_INTERPRET": "1"})


def check_max_pooling(device: torch.device) -> None:
    from cct.max_pooling import max_pooling_relu

    random = torch.Generator().manual_seed(0)
    for dtype, within in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        images = torch.randn(3, 8, 6, 16, generator=random).to(device, dtype)
        images[1, 2, 3, 4] = torch.nan
        gradient = torch.randn(3, 4, 3, 16, generator=random).to(device, dtype)
        found = []
        for pool in (lambda x: max_pooling_relu(x)[0], pooled_by_pytorch):
            own = images.clone().requires_grad_()
            pooled = pool(own)
            pooled.backward(gradient)
            assert own.grad is not None
            found.append((pooled.detach(), own.grad))
        (pooled, way), (expected, expected_way) = found
        torch.testing.assert_close(pooled, expected, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(way, expected_way, rtol=within, atol=within)


def pooled_by_pytorch(x: Tensor) -> Tensor:
    return F.max_pool2d(x.permute(0, 3, 1, 2), 3, 2, 1).relu().permute(0, 2, 3, 1)


def plain(name: str, pooling: str, seed: int) -> CompactTransformer:
    """Without dropout and stochastic depth, whose random numbers are others when models are stacked."""
    model: Model = create_model(name, pooling=pooling, seed=seed, attention_dropout=0.0, stochastic_depth=0.0)
    assert isinstance(model, CompactTransformer)
    return model.train()


def digits(seed: int, **changes: Any) -> RunSpec:
    few: dict[str, Any] = {
        "model": "cvt_2_4_32",
        "kernel_size": 8,
        "dataset": "digits",
        "epochs": 2,
        "val_share": 0.9,
        "warmup_epochs": 0,
        "augmentation": "crop",
    }
    still: dict[str, Any] = {"attention_dropout": 0.0, "stochastic_depth": 0.0, "precision": "fp32", "compile": "off"}
    return RunSpec(**few | still | {"seed": seed} | changes)


def results(events: Iterator[Event]) -> list[Any]:
    return [(record.epoch, record.train_loss, record.val_top1) for record in only(EpochRecord, events)]


def near(found: list[Any], expected: list[Any]) -> bool:
    return [one for record in found for one in record] == pytest.approx(
        [one for record in expected for one in record], rel=1e-3
    )


def in_threads(follow: Any, count: int) -> None:
    threads = [threading.Thread(target=follow, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "one waits for ever"
