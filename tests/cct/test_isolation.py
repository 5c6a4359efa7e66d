"""Training leaves the process that it runs in as it was, and the process does not disturb it."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cct.events import EpochRecord, Event
from cct.isolation import isolated
from cct.spec import RunSpec
from cct.training import train
from tests.cct.told import first, only
from worker.supervisor import trainer_environment

SPEC = RunSpec(
    model="vit_2_4_32",
    kernel_size=8,
    dataset="digits",
    epochs=2,
    batch_size=256,
    precision="fp32",
    dropout=0.1,
    val_share=0.8,
)


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


UNCHANGED = """
import ctypes, os, sys
environment = dict(os.environ)

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2

def is_mapped():
    "Whether glibc maps a large block, as it does by default."
    import torch
    before = mallinfo2().hblks
    block = torch.empty(2**30, dtype=torch.uint8)  # larger than what was freed and not given back
    return mallinfo2().hblks > before

import cct
assert "torch" not in sys.modules
from pathlib import Path
spec = cct.RunSpec(model="vit_2_4_32", kernel_size=8, dataset="digits", epochs=1, batch_size=512, augmentation="none")
from cct.events import EpochRecord
told = list(cct.train(spec, data_dir=Path(), checkpoint_dir=Path(sys.argv[1])))
assert [event.epoch for event in told if isinstance(event, EpochRecord)] == [1]
assert dict(os.environ) == environment
assert is_mapped()
from cct.cpu import keep_large_blocks
keep_large_blocks()
assert not is_mapped()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is meant")
def test_neither_import_nor_training_changes_environment_or_allocator(tmp_path: Path) -> None:
    """And a process of its own gains from an allocator that keeps large blocks."""
    if torch.cuda.is_available():
        pytest.skip("blocks are kept where a CPU trains")
    subprocess.run([sys.executable, "-c", UNCHANGED, str(tmp_path)], check=True)


def spin_count(*command: str, environment: Mapping[str, str] = os.environ) -> set[str]:
    """What OpenMP says of it when torch is loaded."""
    said = subprocess.run(
        [sys.executable, *command],
        env={**environment, "OMP_DISPLAY_ENV": "verbose"},
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    return set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", said))


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is meant")
def test_only_a_process_that_does_nothing_but_train_says_how_its_threads_wait(tmp_path: Path) -> None:
    options = "--model vit_2_4_32 --kernel-size 8 --dataset digits --epochs 1 --augmentation none --val-share 0.9"
    assert spin_count("-m", "cct", *options.split()) == {"1000"}
    by_default = spin_count("-c", "import torch")
    assert len(by_default - {"1000"}) == 1
    assert spin_count("-c", "import cct, cct.training") == by_default
    assert spin_count("-c", "import torch", environment=trainer_environment(2)) == {"1000"}
    assert spin_count("-m", "cct", *options.split(), environment={**os.environ, "GOMP_SPINCOUNT": "7"}) == {"7"}
