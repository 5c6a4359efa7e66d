"""Independent streams of random numbers from one seed."""

from zlib import crc32


def seed_of(*stream: int | str) -> int:
    """The seed of the stream with this name, for example `seed_of(7, "dropout", 3)`.

    A hash of the whole name, because PyTorch's CPU generator looks at the lowest 32 bits of a seed only.
    """
    return crc32(repr(stream).encode())
