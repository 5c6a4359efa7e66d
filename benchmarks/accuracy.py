"""Does the fast path learn as well as the plain one? Top-1 after the same epochs, seed by seed.

The fast path is ours as it trains by default on this machine, or with --precision. The plain one is the reference's own
training function: float32, one image at a time through its AutoAugment, its model. Both get the same images, initial
weights, schedule and number of epochs, and are validated by the same code. Prints the difference of the means, with the
95 % interval of two independent samples.

Needs what `training_throughput.py` needs.

Run: `python benchmarks/accuracy.py --reference CHECKOUT [--seeds 3] [--epochs 10] [--images 60000]`.
"""

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from training_throughput import DEBIAN, Reference, reference

from cct.data import Split, load
from cct.device import default_device, device_name
from cct.download import DatasetUnavailable
from cct.models import create_model
from cct.schedule import learning_rate
from cct.spec import PRECISIONS, RunSpec
from cct.training import train_epoch
from cct.trial import training_step
from cct.validation import validate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEBIAN)
    parser.add_argument("--reference", type=Path, required=True, help="a checkout of SHI-Labs/Compact-Transformers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=60_000, help="of the training split")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--workers", type=int, default=2, help="of the plain path's data loader")
    options = parser.parse_args()
    device = default_device()
    try:
        train_split, test_split = load("fashion_mnist", options.data)
    except DatasetUnavailable as error:
        sys.exit(f"{error}; on Debian install the package dataset-fashion-mnist")
    train_split = Split(train_split.images[: options.images].clone(), train_split.labels[: options.images].clone())
    print(f"{device_name(device)}, torch {torch.__version__}, {options.images} images, {options.epochs} epochs")

    results: dict[str, list[float]] = {"plain": [], "fast": []}
    for seed in range(options.seeds):
        fixed = {"epochs": options.epochs, "compile": "graph"}  # as a long run on a GPU; a CPU knows nothing of it
        spec = RunSpec(dataset="fashion_mnist", precision=options.precision, seed=seed, **fixed)
        torch.manual_seed(seed)
        trainer = reference(train_split, spec, device, options.reference, options.workers)
        initial = copy.deepcopy(trainer.model.state_dict())
        results["plain"].append(plain(trainer, spec, test_split, device))
        results["fast"].append(fast(initial, spec, train_split, test_split, device))
    for name, top1 in results.items():
        shown = ", ".join(f"{value:.2f}" for value in top1)
        print(f"{name:6} top-1 {statistics.mean(top1):.2f} ± {statistics.stdev(top1):.2f} % ({shown})")
    interval = stats.ttest_ind(results["fast"], results["plain"]).confidence_interval()
    difference = statistics.mean(results["fast"]) - statistics.mean(results["plain"])
    print(f"fast minus plain: {difference:+.2f} points (95 % CI {interval.low:+.2f} to {interval.high:+.2f})")


def fast(initial: dict[str, Any], spec: RunSpec, train_split: Split, test_split: Split, device: torch.device) -> float:
    model = create_model(spec.model, num_classes=10)
    model.load_state_dict(initial)
    train_split, test_split = train_split.to(device), test_split.to(device)
    step = training_step(model, spec, train_split, device)
    began = time.perf_counter()
    for epoch in range(spec.epochs):
        for _ in train_epoch(step, train_split, epoch):
            pass
    seconds = time.perf_counter() - began
    top1 = validate(model, test_split, step.spec, spec.batch_size).top1
    print(f"seed {spec.seed}, fast: {top1:.2f} % after {seconds:.0f} s", flush=True)
    return top1


def plain(trainer: Reference, spec: RunSpec, test_split: Split, device: torch.device) -> float:
    began = time.perf_counter()
    for epoch in range(spec.epochs):
        for group in trainer.optimizer.param_groups:
            group["lr"] = learning_rate(spec, epoch)
        trainer.epoch()
    seconds = time.perf_counter() - began
    # The same architecture with the same keys, so that one function validates both.
    model = create_model(spec.model, num_classes=10).to(device)
    model.load_state_dict(trainer.model.state_dict())
    top1 = validate(model, test_split.to(device), RunSpec(dataset=spec.dataset, precision="fp32"), spec.batch_size).top1
    print(f"seed {spec.seed}, plain: {top1:.2f} % after {seconds:.0f} s", flush=True)
    return top1


if __name__ == "__main__":
    main()
