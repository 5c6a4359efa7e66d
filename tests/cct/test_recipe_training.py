from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.optim._optim_factory import create_optimizer_v2
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.clip_grad import dispatch_clip_grad
from timm.utils.model_ema import ModelEmaV2
from torch import nn

from cct import train
from cct.checkpoint import BEST, read_snapshot
from cct.events import EpochRecord, Event
from cct.models import model_of
from cct.schedule import learning_rate
from cct.spec import RunSpec, SpecError
from cct.step import Stopped, TrainingStep
from tests.cct.test_training import numbers
from tests.cct.told import only

SPEC = RunSpec(
    model="cvt_2_4_32",
    kernel_size=8,
    dataset="digits",
    val_share=0.6,
    epochs=3,
    batch_size=128,
    augmentation="randaugment",
    scale=0.8,
    mixup=0.8,
    cutmix=1.0,
    mixup_off_epoch=2,
    random_erasing=0.25,
    schedule="timm",
    warmup_epochs=1,
    warmup_lr=1e-5,
    min_lr=1e-5,
    cooldown_epochs=1,
    clip_grad=1.0,
    ema_decay=0.9,
    decayed="matrices",
)


def test_the_schedule_is_timms_in_every_epoch() -> None:
    for epochs, cooldown, warmup in ((300, 10, 10), (30, 10, 0), (20, 3, 25)):
        spec = RunSpec(
            epochs=epochs + cooldown,
            cooldown_epochs=cooldown,
            warmup_epochs=warmup,
            lr=55e-5,
            min_lr=1e-5,
            warmup_lr=1e-6,
            schedule="timm",
        )
        optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=spec.lr)
        theirs = CosineLRScheduler(optimizer, epochs, lr_min=1e-5, warmup_t=warmup, warmup_lr_init=1e-6, cycle_limit=1)
        for epoch in range(spec.epochs):
            assert learning_rate(spec, epoch) == pytest.approx(theirs._get_lr(epoch)[0], rel=1e-12), epoch


def test_steps_clip_decay_and_average_as_by_timm() -> None:
    spec = replace(SPEC, dropout=0.0, attention_dropout=0.0, stochastic_depth=0.0, precision="fp32", clip_grad=0.05)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8)
    targets = torch.rand(8, 10, generator=generator).softmax(dim=1)
    model, theirs = (model_of(spec, 10) for _ in range(2))
    step = TrainingStep(model, spec, torch.device("cpu"))
    theirs.train()
    optimizer = create_optimizer_v2(theirs, "adamw", lr=spec.lr, weight_decay=spec.weight_decay)
    average = ModelEmaV2(theirs, decay=spec.ema_decay)
    step.begin_epoch(1)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(spec, 1)
    for _ in range(3):
        step(images, targets)
        loss = torch.nn.functional.cross_entropy(theirs(step._prepare(images)), targets, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        dispatch_clip_grad(theirs.parameters(), spec.clip_grad)
        optimizer.step()
        average.update(theirs)
    for ours, other in ((step.model, theirs), (step.validated, average.module)):
        for name, weight in ours.state_dict().items():
            torch.testing.assert_close(weight, other.state_dict()[name], atol=2e-6, rtol=1e-4, msg=name)
    assert step.validated is not step.model


def test_a_run_with_every_field_on_is_reproducible_and_goes_on_as_if_not_interrupted(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = only(EpochRecord, train(SPEC, data_dir=tmp_path, checkpoint_dir=whole))
    seen: list[EpochRecord] = []
    stopping = train(SPEC, data_dir=tmp_path, checkpoint_dir=stopped, should_stop=lambda: len(seen) == 2)
    with pytest.raises(Stopped):
        _collect(stopping, seen)
    resumed = only(EpochRecord, train(SPEC, data_dir=tmp_path, checkpoint_dir=stopped))
    assert numbers(resumed) == numbers(expected)
    assert [record.lr for record in resumed] == [learning_rate(SPEC, epoch) for epoch in range(3)]
    kept, again = (read_snapshot(folder / BEST)[0] for folder in (whole, stopped))
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    other = only(EpochRecord, train(replace(SPEC, seed=1, epochs=2), data_dir=tmp_path))
    assert numbers(other)[0] != numbers(expected)[0]


def _collect(events: Iterator[Event], records: list[EpochRecord]) -> None:
    for event in events:
        records += only(EpochRecord, [event])


@pytest.mark.parametrize(
    ("given", "field", "told"),
    [
        ({"min_lr": 1e-5}, "min_lr", "set schedule to timm"),
        ({"schedule": "timm", "epochs": 5, "cooldown_epochs": 5}, "cooldown_epochs", "give fewer"),
        ({"schedule": "timm", "min_lr": 0.1}, "min_lr", "above lr"),
        ({"dataset": "trec", "model": "text_cct_2", "mixup": 0.8}, "mixup", "is for images; set it to 0 for trec"),
        ({"class_weights": "balanced", "cutmix": 1.0}, "class_weights", "set mixup and cutmix to 0"),
    ],
)
def test_what_would_change_nothing_is_refused(given: dict[str, object], field: str, told: str) -> None:
    with pytest.raises(SpecError, match=told) as raised:
        RunSpec(**given)  # type: ignore[arg-type]
    assert raised.value.field == field
