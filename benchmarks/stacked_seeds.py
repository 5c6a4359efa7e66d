"""How long an epoch of runs that are trained together takes, as one stack of models, beside one run by itself.

Trains CCT-2/3x2 by the reference's recipe on random images, as many and as large as CIFAR-10's, with all that a run
does: augmentation, validation and checkpoint in each epoch. Prints for each number of runs the seconds from the end of
an epoch to that of the next, when the first had ended (compilation is a part of that), and for how many seconds of an
epoch the runs' threads were in what is not a step.

Run: `python benchmarks/stacked_seeds.py [--runs 1 5 15] [--epochs 5] [--images 50000] [--alone auto on]`.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import torch
from whole_runs import write_images

import cct.checkpoint
import cct.training
from cct.device import default_device, device_name
from cct.events import EpochRecord
from cct.spec import RunSpec
from cct.together import in_turn, together

SPENT: Counter[str] = Counter()


def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    @wraps(function)
    def measured(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            SPENT[part] += time.perf_counter() - began

    return measured


def measure(name: str, specs: list[RunSpec], data: Path, train_all: Callable[..., Iterator[Any]]) -> None:
    SPENT.clear()
    torch.cuda.empty_cache()
    began = time.perf_counter()
    ends: dict[int, float] = {}  # of an epoch, in the last run to reach it
    with tempfile.TemporaryDirectory() as out:
        trainings = [
            partial(cct.training.train, spec, data_dir=data, checkpoint_dir=Path(out) / str(spec.seed))
            for spec in specs
        ]
        for _, event in train_all(trainings):
            if isinstance(event, Exception):
                raise event
            if isinstance(event, EpochRecord):
                ends[event.epoch] = time.perf_counter() - began
    epochs = len(ends)
    each = statistics.median(ends[epoch] - ends[epoch - 1] for epoch in range(2, epochs + 1))
    rest = ", ".join(f"{part} {seconds / epochs:.2f}" for part, seconds in SPENT.items())
    print(
        f"{name}: {each:.3f} s per epoch, {each / len(specs):.3f} per run; the first ended after {ends[1]:.1f} s; "
        f"seconds of threads per epoch: {rest}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 5, 15])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--alone", nargs="*", default=["auto", "on"], help="ways to execute the steps of one run")
    options = parser.parse_args()
    cct.training.augment = timed(cct.training.augment, "augmentation")
    cct.training.validate = timed(cct.training.validate, "validation")
    cct.training.Checkpoint.save = timed(cct.checkpoint.Checkpoint.save, "checkpoints")  # type: ignore[method-assign]
    print(f"{device_name(default_device())}, torch {torch.__version__}, {options.images} images")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_images(data / "mnist", options.images, options.images // 5)
        spec = partial(RunSpec, dataset="mnist", epochs=options.epochs, augmentation="autoaugment")
        for way in options.alone:
            measure(f"alone, {way}", [spec(compile=way)], data, in_turn)
        for count in options.runs:
            measure(f"{count} together", [spec(seed=seed) for seed in range(count)], data, together)


if __name__ == "__main__":
    main()
