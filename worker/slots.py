"""How many runs to train side by side on this machine's device: measured, as a small model does not fill a GPU.

`python -m worker.slots [COMMAND...]` prints a table, and becomes the command with `CCTBOARD_SLOTS` set to the best.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from itertools import takewhile

import torch

from cct.cpu import keep_large_blocks
from cct.data import Split
from cct.device import default_device, device_name
from cct.machine import OPENMP, cores
from cct.models import create_model
from cct.named_datasets import DATASETS
from cct.recording import RecordingFailed
from cct.spec import RunSpec
from cct.training import train_epoch
from cct.trial import training_step

CANDIDATES = (1, 2, 4, 8, 16)
SECONDS = 6.0
"""How long each of them is measured."""
WORTH_IT = 1.05
"""More slots make each run slower, so all together must train this many times the images per second."""

_TRAINER = [sys.executable, "-c", "from worker.slots import train; train()"]
_PLAIN_TRAINER = [sys.executable, "-c", "from worker.slots import train; train(may_record=False)"]


def measure() -> int:
    """Trains in 1, 2, 4, ... processes at the same time, at most one for each core, for as long as more pays.

    Prints the images per second of all together; returns the best number.
    """
    best, best_rate = 1, 0.0
    with ExitStack() as stack:
        trainers: list[subprocess.Popen[str]] = []
        for slots in takewhile(lambda slots: slots <= cores(), CANDIDATES):
            new = [
                stack.enter_context(
                    subprocess.Popen(
                        _TRAINER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=OPENMP | os.environ
                    )
                )
                for _ in range(slots - len(trainers))
            ]
            trainers += new
            devices = [_answer(trainer) for trainer in new]
            for trainer in trainers:
                _tell(trainer, cores() // slots)
            rates = [_answer(trainer) for trainer in trainers]
            if not all(rates):
                print(f"{slots:5}  does not fit into the device's memory", flush=True)
                break
            rate = sum(map(float, rates))
            if slots == 1:
                print(f"{devices[0]}, {cores()} cores\nslots  images/s", flush=True)
            print(f"{slots:5}  {rate:8.0f}", flush=True)
            if rate < WORTH_IT * best_rate:
                break
            best, best_rate = slots, rate
    print(f"best: {best}", flush=True)
    return best


def _tell(trainer: subprocess.Popen[str], threads: int) -> None:
    assert trainer.stdin is not None
    with suppress(BrokenPipeError):
        print(threads, SECONDS, file=trainer.stdin, flush=True)


def _answer(trainer: subprocess.Popen[str]) -> str:
    """A line; empty if the trainer has ended."""
    assert trainer.stdout is not None
    return trainer.stdout.readline().strip()


def train(may_record: bool = True) -> None:
    """A trainer: names its device; then trains for each line of input, threads and seconds, and prints images/s.

    It trains CCT-2/3x2 by the reference recipe on random 32x32 images.
    """
    keep_large_blocks()
    device, spec = default_device(), RunSpec(dataset="cifar10")
    size = DATASETS[spec.dataset].train_size
    assert size
    count = size if device.type == "cuda" else 4 * spec.batch_size  # an epoch of a CPU would take too long
    split = Split(torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8), torch.arange(count) % 10).to(device)
    model = create_model(spec.model, num_classes=DATASETS[spec.dataset].num_classes, seed=spec.seed)
    try:
        step = training_step(model, spec, split, device, may_record=may_record)
    except RecordingFailed:  # PyTorch is of no more use to this process
        os.execv(sys.executable, _PLAIN_TRAINER)

    def images_per_second(seconds: float) -> float:
        trained, began = 0, time.monotonic()
        while time.monotonic() - began < seconds:
            for _ in train_epoch(step, split, 0):
                pass
            step.means()  # waits for the device
            trained += count
        return trained / (time.monotonic() - began)

    print(device_name(device), flush=True)
    for line in sys.stdin:
        threads, seconds = line.split()
        torch.set_num_threads(int(threads))
        images_per_second(1.0)  # kernels are chosen, and the others are under way
        print(images_per_second(float(seconds)), flush=True)


if __name__ == "__main__":
    best = measure()
    if command := sys.argv[1:]:
        os.environ["CCTBOARD_SLOTS"] = str(best)
        os.execv(command[0], command)
