import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cct.events import EpochRecord
from cct.schedule import learning_rate
from cct.spec import RunSpec
from cct.training import train
from tests.cct.told import only


def test_the_schedule_is_the_references() -> None:
    spec = RunSpec(epochs=200)
    assert [learning_rate(spec, epoch) for epoch in range(5)] == [5e-4 / 5, 5e-4 / 4, 5e-4 / 3, 5e-4 / 2, 5e-4]
    assert learning_rate(spec, 5) == 5e-4
    assert learning_rate(spec, 102) == pytest.approx(5e-4 * 0.5 * (1 + math.cos(math.pi * 97 / 195)))
    assert 0 < learning_rate(spec, 199) < 1e-7


def test_a_compiled_step_computes_the_same(tmp_path: Path) -> None:
    # Without random numbers, which compiled code draws otherwise.
    spec = RunSpec(model="vit_2_4_32", kernel_size=8, dataset="digits", epochs=2, batch_size=400, warmup_epochs=0)
    spec = replace(spec, attention_dropout=0.0, stochastic_depth=0.0, augmentation="none", precision="fp32")
    torch._dynamo.utils.counters.clear()
    (*_, plain), (*_, compiled) = (
        only(EpochRecord, train(replace(spec, compile=c), data_dir=tmp_path)) for c in ("off", "on")
    )
    # The compiler's test and one step, not another for the smaller batch.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert compiled.val_loss == pytest.approx(plain.val_loss, rel=1e-3)
