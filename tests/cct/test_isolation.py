"""Training leaves the process that it runs in as it was, and the process does not disturb it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cct.events import EpochRecord, Event
from cct.isolation import isolated
from cct.spec import RunSpec
from cct.training import train
from tests.cct.told import first, only

SPEC = RunSpec(model="vit_2_4_32", dataset="digits", epochs=2, batch_size=256, precision="fp32", dropout=0.1)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_random_numbers_and_threads_are_the_callers_between_events_and_afterwards(tmp_path: Path) -> None:
    torch.manual_seed(5)
    undisturbed = torch.rand(4)
    first(EpochRecord, train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path / "run"))  # with two threads
    torch.set_num_threads(1)
    torch.manual_seed(5)
    drawn, events = list[Tensor](), list[Event]()
    for event in train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path / "run"):
        events.append(event)
        assert torch.get_num_threads() == 1
        if len(drawn) < 3:
            drawn.append(torch.rand(1))
    assert torch.get_num_threads() == 1
    assert torch.equal(torch.cat([*drawn, torch.rand(1)]), undisturbed)
    torch.set_num_threads(2)
    straight = only(EpochRecord, train(SPEC, data_dir=tmp_path))
    assert [record.train_loss for record in only(EpochRecord, events)] == [record.train_loss for record in straight]


def test_they_are_the_callers_after_an_error_and_when_training_is_left() -> None:
    @isolated
    def failing() -> Iterator[int]:
        torch.manual_seed(1)
        yield 1
        torch.manual_seed(2)
        raise ValueError("lost")

    torch.manual_seed(5)
    undisturbed = torch.rand(1)
    for events in (1, 2):
        torch.manual_seed(5)
        training = failing()
        assert next(training) == 1
        if events == 2:
            with pytest.raises(ValueError, match="lost"):
                next(training)
        del training
        assert torch.equal(torch.rand(1), undisturbed)
