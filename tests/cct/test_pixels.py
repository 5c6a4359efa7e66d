"""Images of 16 bits, of which microscopes and X-ray use fewer: all are scaled by what those of training use."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cct.data import load
from cct.download import DatasetUnavailable
from cct.events import Facts
from cct.image_files import CACHE
from cct.pixels import OtherScale, bits_of, in_colour
from cct.provenance import bits_recorded
from cct.spec import RunSpec
from cct.training import train
from tests.cct.told import first


def deep(highest: int, seed: int = 0) -> PIL.Image.Image:
    values = np.random.default_rng(seed).integers(0, highest + 1, (40, 40))
    values[0, 0] = highest
    return PIL.Image.fromarray(values.astype(np.uint16))


def deep_colours(highest: int) -> bytes:
    """A PNG file with three colours of 16 bits, which Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + np.full(3 * 40, highest, ">u2").tobytes() for _ in range(40))
    header = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder of images of 12 bits in files of 16."""
    root = tmp_path / "image_folder" / "cells"
    for part in ("train", "val"):
        for kind, highest in (("dark", 900), ("light", 3871)):
            (root / part / kind).mkdir(parents=True)
            for seed in range(2):
                deep(highest, seed).save(root / part / kind / f"{seed}.{'png' if seed else 'tiff'}")
    return root


@pytest.mark.parametrize(
    ("highest", "bits"),
    [(0, 8), (200, 8), (255, 8), (256, 9), (1023, 10), (3871, 12), (4095, 12), (4096, 13), (16383, 14), (65535, 16)],
)
def test_the_smallest_range_that_holds_the_values_becomes_black_to_white(highest: int, bits: int) -> None:
    image = deep(highest)
    assert bits_of(image) == bits
    grey = np.asarray(in_colour(image, bits))
    assert np.array_equal(grey, np.repeat((np.asarray(image).astype(int) * 256 // 2**bits)[..., None], 3, axis=2))
    assert bits_of(PIL.Image.new("L", (4, 4))) == bits_of(PIL.Image.new("RGB", (4, 4))) == 0


def test_a_folder_is_scaled_by_its_training_images_which_is_told(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = RunSpec(dataset="image_folder", image_folder="cells", epochs=1, model="vit_2_4_32")
    provenance = first(Facts, train(spec, data_dir=cells.parents[1])).provenance
    assert provenance["images_of_16_bits"] == "scaled by 4095"
    assert bits_recorded(provenance) == 12
    assert "images of 16 bits are scaled by 4095" in capsys.readouterr().err
    train_split, test_split = load("image_folder", cells.parents[1], 32, "cells")
    for split in (train_split, test_split):
        means = [split.images[split.labels == label].float().mean().item() for label in (0, 1)]
        assert means == pytest.approx([900 / 2 / 16, 3871 / 2 / 16], rel=0.05), "dark ones stay dark"
    # What val is scaled by follows the training images, also where its own files stay as they are.
    deep(40_000).save(cells / "train" / "light" / "0.tiff")
    renewed = load("image_folder", cells.parents[1], 32, "cells")[1].images
    assert renewed.float().mean() < test_split.images.float().mean() / 10
    assert len(list((cells.parents[1] / CACHE).glob("*.uint8"))) == 2


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("val", deep(5000), "have values up to 5000, but those of the training images at most 4095, by which all"),
        ("val", deep_colours(4000), "of which only the upper 8 are read, but the training images use the lower 12"),
        ("train", deep_colours(4000), "of which only the upper 8 are read, but the training images use the lower 12"),
    ],
)
def test_what_the_scale_does_not_apply_to_is_refused(
    part: str, content: PIL.Image.Image | bytes, said: str, cells: Path
) -> None:
    path = cells / part / "light" / "odd.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path)
    with pytest.raises(DatasetUnavailable, match=rf"odd\.png \(its (pixels|colours) .*{said}"):
        load("image_folder", cells.parents[1], 32, "cells")


def test_among_images_of_8_bits_one_of_16_is_refused_and_full_colours_are_read() -> None:
    with pytest.raises(OtherScale, match="those of all training images 8, so which value is white is not known"):
        in_colour(deep(4000))
    image = PIL.Image.open(io.BytesIO(deep_colours(50_000)))
    assert bits_of(PIL.Image.open(io.BytesIO(deep_colours(50_000)))) == 16
    assert in_colour(image, 16).getpixel((3, 3)) == (50_000 >> 8,) * 3
    told = PIL.Image.open(io.BytesIO(b"P5 2 2 4095 " + b"\x0f\xff" * 4))
    assert in_colour(told, 16).getpixel((0, 0)) == (255,) * 3, "Pillow scales by what such a file says"
