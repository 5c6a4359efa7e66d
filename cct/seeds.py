"""Independent streams of random numbers from one seed."""

from zlib import crc32

import torch


def seed_of(*stream: object) -> int:
    """The seed of the stream with this name, for example `seed_of(7, "dropout", 3)`.

    A hash of the whole name, because PyTorch's CPU generator looks at the lowest 32 bits of a seed only.
    """
    return crc32(repr(stream).encode())


def seed_generators(device: torch.device, seed: int) -> None:
    """Seeds what is drawn from when no generator is named: on the CPU, and if the device is a GPU, on all GPUs."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
