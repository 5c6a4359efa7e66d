"""An image of the user's own, shown to trained runs."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from cct import checkpoint
from cct.data import load
from cct.events import EpochRecord, Look
from cct.lens import chosen_images, pixels_of, url_of
from cct.own_image import UnreadableImage, as_dataset, look_with_checkpoints, read_image
from cct.spec import RunSpec
from cct.training import train
from cct.weights import UnusableWeights
from tests.cct.told import only

SPEC = RunSpec(dataset="digits", augmentation="none", warmup_epochs=0, epochs=2, embed_dim=64, val_share=0.8)


def file(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_middle_of_a_picture_is_brought_to_the_datasets_size(kind: str) -> None:
    picture = PIL.Image.new("RGB", (300, 100), "black")
    picture.paste("red", (100, 0, 200, 100))
    seen = as_dataset(read_image(file(picture, kind)), RunSpec(dataset="cifar10"))
    assert (seen.shape, seen.dtype) == ((3, 32, 32), torch.uint8)
    middle = seen[:, 16, 16].tolist()
    assert middle[0] > 240
    assert max(middle[1:]) < 15
    grey = as_dataset(read_image(file(picture, kind)), RunSpec(dataset="mnist"))
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(pixels_of(url_of(seen)), seen)
    flower = as_dataset(read_image(file(picture, kind)), RunSpec(dataset="flowers102", model="cct_7_7x2_224"))
    assert flower.shape == (3, 256, 256), "larger than the model's images, whose middle is validated"
    assert pixels_of(url_of(flower)).shape == (3, 128, 128), "browsers get a smaller one"


def test_a_picture_is_upright_and_white_where_it_is_transparent() -> None:
    turned = PIL.Image.new("RGB", (64, 32), "black")
    turned.paste("white", (0, 0, 32, 32))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # its left side is up
    upright = read_image(file(turned, "JPEG", exif=exif))
    assert upright.size == (32, 64)
    assert np.array(upright)[8, 16].min() > 240
    assert np.array(upright)[56, 16].max() < 15
    assert read_image(file(PIL.Image.new("RGBA", (9, 9)), "PNG")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        b"\x89PNG\r\n\x1a\n",
        file(PIL.Image.new("RGB", (50, 50), "red"), "PNG")[:-40],
        file(PIL.Image.effect_noise((50, 50), 50), "JPEG")[:300],
        file(PIL.Image.new("RGB", (50, 50)), "TIFF"),
        file(PIL.Image.new("1", (8000, 8000)), "PNG"),
    ],
    ids=["empty", "text", "header", "cut png", "cut jpeg", "tiff", "bomb"],
)
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImage, match=r"save it anew|too many"):
        read_image(content)


@pytest.mark.parametrize("pooling", ["seqpool", "class_token", "seqpool_softmax_batch"])
def test_checkpoints_say_of_an_image_what_training_said_of_it(pooling: str, tmp_path: Path) -> None:
    spec = replace(SPEC, pooling=pooling)
    assert look_with_checkpoints(spec, tmp_path, torch.zeros(3, 32, 32, dtype=torch.uint8)) == {}
    events = list(train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    test_split = load("digits", tmp_path, val_share=SPEC.val_share)[1]
    first, *others = test_split.images[chosen_images(test_split)]
    seen = look_with_checkpoints(spec, tmp_path, first, tuple(others))
    best = max(only(EpochRecord, events), key=lambda record: record.val_top1).epoch
    assert (seen["last"].epoch, seen["best"].epoch) == (2, best)
    for look in seen.values():
        [then] = [earlier for earlier in only(Look, events) if earlier.epoch == look.epoch]
        assert look.predicted == then.predicted[:1]
        assert look.confidence == pytest.approx(then.confidence[:1], rel=1e-3)
        assert look.entropy == pytest.approx(then.entropy[:1], rel=1e-3)
        assert look.shares[0] == pytest.approx(then.shares[0], abs=2e-4)


def test_a_damaged_or_foreign_checkpoint_is_told_of(tmp_path: Path) -> None:
    pixels = torch.zeros(3, 32, 32, dtype=torch.uint8)
    (tmp_path / checkpoint.LAST).write_bytes(b"damaged")
    with pytest.raises(UnusableWeights, match=r"last\.pt cannot be read"):
        look_with_checkpoints(SPEC, tmp_path, pixels)
    torch.save({"model": {"weight": torch.zeros(1)}, "records": [{"epoch": 1}]}, tmp_path / checkpoint.LAST)
    with pytest.raises(UnusableWeights, match="train it anew"):
        look_with_checkpoints(SPEC, tmp_path, pixels)
