"""Training images per second: our loop beside vit-pytorch's CCT fed by a per-image PIL pipeline, alternating.

Both train CCT-2/3x2 by the reference recipe (batch 128, AutoAugment, crop, flip, AdamW, label smoothing) on the same
Fashion-MNIST images, forward, backward and update included, validation excluded.
Needs `pip install vit-pytorch` and the dataset (Debian: dataset-fashion-mnist).

Run: `python benchmarks/training_throughput.py [--data FOLDER] [--rounds 7] [--images 2560] [--precision fp32]`.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import transforms
from torchvision.transforms.autoaugment import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.functional import to_pil_image

from cct.config import DATASETS, RunSpec
from cct.data import DatasetUnavailable, Split, load
from cct.models import create_model
from cct.train import default_device, device_name, train_epoch

DEBIAN = Path("/usr/share/datasets")


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images that are augmented one by one when a data loader asks for them."""

    def __init__(self, split: Split, spec: RunSpec) -> None:
        info = DATASETS[spec.dataset]
        self.images = [to_pil_image(image) for image in split.images]
        self.labels = split.labels.tolist()
        self.transform = transforms.Compose(
            [
                AutoAugment(AutoAugmentPolicy.CIFAR10),
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


def our_epoch(split: Split, spec: RunSpec, device: torch.device) -> Callable[[], None]:
    model = create_model(spec.model, num_classes=DATASETS[spec.dataset].num_classes, seed=0)
    model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
    split = split.to(device)

    def epoch() -> None:
        train_epoch(model, optimizer, split, spec, 0, lambda: False, lambda progress: None)

    return epoch


def their_epoch(split: Split, spec: RunSpec, device: torch.device, workers: int) -> Callable[[], None]:
    from vit_pytorch.cct import cct_2

    info = DATASETS[spec.dataset]
    model = cct_2(
        img_size=info.image_size,
        kernel_size=3,
        n_conv_layers=2,
        num_classes=info.num_classes,
        positional_embedding="learnable",
        attention_dropout=spec.attention_dropout,
        stochastic_depth_rate=spec.stochastic_depth,
        dropout_rate=spec.dropout,
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=spec.label_smoothing)
    loader = DataLoader(
        PilImages(split, spec),
        spec.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )

    def epoch() -> None:
        for images, labels in loader:
            with torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
                logits = model(images.to(device, non_blocking=True))
            loss = criterion(logits.float(), labels.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEBIAN)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the data loader beside ours")
    options = parser.parse_args()
    spec = RunSpec(dataset="fashion_mnist", precision=options.precision)
    try:
        train_split, _ = load(spec.dataset, options.data)
    except DatasetUnavailable as error:
        sys.exit(f"{error}; on Debian install the package dataset-fashion-mnist")
    split = Split(train_split.images[: options.images].clone(), train_split.labels[: options.images].clone())

    device = default_device()
    epochs = {
        "cct": our_epoch(split, spec, device),
        "vit-pytorch": their_epoch(split, spec, device, options.workers),
    }
    for epoch in epochs.values():
        epoch()  # starts data loaders, chooses kernels
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for round_number in range(options.rounds):
        for name in sorted(epochs, reverse=round_number % 2 == 1):
            began = time.perf_counter()
            epochs[name]()
            rates[name].append(options.images / (time.perf_counter() - began))

    print(
        f"{device_name(device)}, {os.cpu_count()} cores, torch {torch.__version__}, {options.precision}; "
        f"{options.rounds} rounds of {options.images} images; data loader with {options.workers} workers"
    )
    for name, measured in rates.items():
        spread = f"{min(measured):.0f} to {max(measured):.0f}"
        print(f"{name:12} {statistics.median(measured):8.0f} images/s (median; {spread})")
    ratios = [ours / theirs for ours, theirs in zip(rates["cct"], rates["vit-pytorch"], strict=True)]
    print(f"ratio        {statistics.median(ratios):8.2f} (median of rounds; {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
