"""Training images per second: our loop in each precision, the reference's own, and vit-pytorch's CCT, alternating.

All train CCT-2/3x2 on the same Fashion-MNIST images in three channels, from uint8 images in memory to updated weights,
validation excluded. Most do so by the reference's bare recipe (batch 128, AutoAugment, crop, flip, AdamW, label
smoothing), some by its strong one, paper-cifar-1500 (random resized crop, RandAugment, mixup, CutMix, random erasing).
The reference runs as it is: model, augmentation and training function of its `examples/main.py`, fed by a data loader;
for the strong recipe its model is fed by timm's loader, mixed, and stepped by timm's optimizer, as its `train.py` does.
vit-pytorch brings a model only; it is fed by the same data loader as the bare reference.

Needs the dataset (Debian: dataset-fashion-mnist), and for comparison `pip install vit-pytorch timm` and a checkout of
SHI-Labs/Compact-Transformers.

Run: `python benchmarks/training_throughput.py --reference CHECKOUT [--data FOLDER] [--rounds 7] [--images 2560]`.
"""

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from cct.cpu import keep_large_blocks
from cct.data import Split, load
from cct.device import default_device, device_name
from cct.download import DatasetUnavailable
from cct.models import create_model
from cct.named_datasets import DATASETS
from cct.spec import RunSpec
from cct.training import train_epoch
from cct.trial import training_step

DEBIAN = Path("/usr/share/datasets")

Epoch = Callable[[], None]


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images that are augmented one by one when a data loader asks for them."""

    def __init__(self, split: Split, spec: RunSpec, policy: Callable[[Any], Any]) -> None:
        info = DATASETS[spec.dataset]
        self.images = [to_pil_image(image) for image in split.images]
        self.labels = split.labels.tolist()
        self.transform = transforms.Compose(
            [
                policy,
                transforms.RandomCrop(info.image_size, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(info.mean, info.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def our_epoch(split: Split, spec: RunSpec, device: torch.device) -> Epoch:
    model = create_model(spec.model, num_classes=DATASETS[spec.dataset].num_classes, seed=0)
    split = split.to(device)
    step = training_step(model, replace(spec, compile="graph"), split, device)  # which a CPU does not have
    return lambda: _discard(list(train_epoch(step, split, 0)))


class Reference(NamedTuple):
    model: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: Epoch


def reference(split: Split, spec: RunSpec, device: torch.device, checkout: Path, workers: int) -> Reference:
    """The reference's CCT-2/3x2 and its own training function."""
    sys.path[:0] = [str(checkout), str(checkout / "examples")]
    main = import_module("main")
    policy = import_module("utils.autoaug").CIFAR10Policy()
    args = main.init_parser().parse_args(["", *([] if device.type == "cuda" else ["--no-cuda"])])
    model = import_module("src").cct_2("", False, False, img_size=32, num_classes=10, n_conv_layers=2, kernel_size=3)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    criterion = main.LabelSmoothingCrossEntropy()
    loader = _loader(PilImages(split, spec, policy), spec, workers)

    def epoch() -> None:
        with redirect_stdout(io.StringIO()):
            main.cls_train(loader, model, criterion, optimizer, 0, args)

    return Reference(model, optimizer, epoch)


def vit_pytorch_epoch(split: Split, spec: RunSpec, device: torch.device, workers: int) -> Epoch:
    info = DATASETS[spec.dataset]
    model = import_module("vit_pytorch.cct").cct_2(
        img_size=info.image_size,
        kernel_size=3,
        n_conv_layers=2,
        num_classes=info.num_classes,
        positional_embedding="learnable",
        attention_dropout=spec.attention_dropout,
        stochastic_depth_rate=spec.stochastic_depth,
        dropout_rate=spec.dropout,
    )
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    criterion = nn.CrossEntropyLoss(label_smoothing=spec.label_smoothing)
    policy = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)
    loader = _loader(PilImages(split, spec, policy), spec, workers)

    def epoch() -> None:
        for images, labels in loader:
            loss = criterion(model(images.to(device, non_blocking=True)), labels.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def timm_epoch(split: Split, spec: RunSpec, device: torch.device, checkout: Path, workers: int) -> Epoch:
    """The reference's CCT-2/3x2 by its strong recipe: what its `train.py` does in an epoch, on one device."""
    data, mixing, optim = (import_module(f"timm.{name}") for name in ("data", "data.mixup", "optim"))
    sys.path[:0] = [str(checkout)]
    operations = import_module("timm.data.auto_augment").NAME_TO_OP
    posterize = operations["PosterizeIncreasing"]  # which recent Pillows refuse to do with 0 bits
    operations["PosterizeIncreasing"] = lambda image, bits, **options: posterize(image, max(1, bits), **options)
    info, cpu = DATASETS[spec.dataset], device.type == "cpu"
    model = import_module("src").cct_2("", False, False, img_size=32, num_classes=10, n_conv_layers=2, kernel_size=3)
    model.to(device)
    optimizer = optim.create_optimizer_v2(model, opt="adamw", lr=spec.lr, weight_decay=spec.weight_decay)
    mixed = {"mixup_alpha": spec.mixup, "cutmix_alpha": spec.cutmix, "switch_prob": spec.mixup_switch_prob}
    mixed |= {"label_smoothing": spec.label_smoothing, "num_classes": info.num_classes}
    # With a GPU timm mixes while it puts a batch together, and normalises and erases there.
    mix = mixing.Mixup(**mixed) if cpu else None
    loader = data.create_loader(
        PilImages(split, spec, lambda image: image),
        input_size=(3, 32, 32),
        batch_size=spec.batch_size,
        is_training=True,
        use_prefetcher=not cpu,
        re_prob=spec.random_erasing,
        re_mode="pixel",
        scale=(spec.scale, 1.0),
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="random",
        mean=info.mean,
        std=info.std,
        num_workers=workers,
        collate_fn=None if cpu else mixing.FastCollateMixup(**mixed),
        device=device,
    )

    def epoch() -> None:
        model.train()
        for images, labels in loader:
            images, labels = (images, labels) if mix is None else mix(images, labels)
            loss = torch.sum(-labels * model(images).log_softmax(dim=-1), dim=-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def _loader(images: PilImages, spec: RunSpec, workers: int) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(images, spec.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def _discard(result: object) -> None:
    """Of an epoch, only the time is of interest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEBIAN)
    parser.add_argument("--reference", type=Path, help="a checkout of SHI-Labs/Compact-Transformers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the data loaders beside ours")
    options = parser.parse_args()
    spec = RunSpec(dataset="fashion_mnist", precision="fp32")
    try:
        train_split, _ = load(spec.dataset, options.data)
    except DatasetUnavailable as error:
        sys.exit(f"{error}; on Debian install the package dataset-fashion-mnist")
    split = Split(train_split.images[: options.images].clone(), train_split.labels[: options.images].clone())

    device = default_device()
    keep_large_blocks()  # as a trainer does; the others gain from it, too
    epochs: dict[str, Epoch] = {}
    if options.reference:
        epochs["reference"] = reference(split, spec, device, options.reference, options.workers).epoch
    if find_spec("vit_pytorch"):
        epochs["vit-pytorch"] = vit_pytorch_epoch(split, spec, device, options.workers)
    strong = {"dataset": spec.dataset, "recipe": "paper-cifar-1500"}
    if options.reference and find_spec("timm"):
        by_timm = RunSpec.given(strong | {"precision": "fp32"})
        epochs["timm strong"] = timm_epoch(split, by_timm, device, options.reference, options.workers)
    for precision in ("fp32", "bf16"):
        epochs[f"cct {precision}"] = our_epoch(split, replace(spec, precision=precision), device)
        epochs[f"cct strong {precision}"] = our_epoch(split, RunSpec.given(strong | {"precision": precision}), device)
    for epoch in epochs.values():
        epoch()  # starts data loaders, chooses kernels
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for round_number in range(options.rounds):
        for name in sorted(epochs, reverse=round_number % 2 == 1):
            began = time.perf_counter()
            epochs[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            rates[name].append(options.images / (time.perf_counter() - began))

    print(
        f"{device_name(device)}, {os.cpu_count()} cores, torch {torch.__version__}; {options.rounds} rounds of "
        f"{options.images} images; data loaders with {options.workers} workers"
    )
    base = next(iter(epochs))
    print(f"{'':15} images/s (median of rounds, range)   ratio to {base} (median of rounds, range)")
    for name, measured in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(measured, rates[base], strict=True)]
        print(
            f"{name:15} {statistics.median(measured):8.0f} ({min(measured):.0f} to {max(measured):.0f})"
            f"{statistics.median(ratios):22.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    for precision in ("fp32", "bf16"):
        pairs = zip(rates[f"cct strong {precision}"], rates[f"cct {precision}"], strict=True)
        shares = [theirs / ours for theirs, ours in pairs]
        share = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        print(f"the strong recipe has {share} of the bare one's images/s in {precision}")


if __name__ == "__main__":
    main()
