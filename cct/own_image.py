"""What trained runs make of an image of the user's own, which is in no dataset."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from cct import checkpoint
from cct.events import Look
from cct.lens import look
from cct.models import build
from cct.named_datasets import DATASETS
from cct.named_models import ModelConfig
from cct.pixels import UNREADABLE, OtherScale, in_colour
from cct.spec import RunSpec
from cct.step import normalisation
from cct.weights import UnusableWeights

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 50_000_000
"""The most that a picture may have, as a small file may hold one that fills the memory."""


class UnreadableImage(Exception):
    """The file is damaged, too large when unpacked, or no image."""


def read_image(content: bytes, bits: int = 0) -> PIL.Image.Image:
    """The picture in a file, upright, in colour, on white where it is transparent; of 16 bits, scaled by those of the
    training images. Raises `UnreadableImage`, `OtherScale`.
    """
    try:
        with PIL.Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage(f"{image.width} x {image.height} pixels are too many; at most {MAX_PIXELS:,}")
            return in_colour(image, bits)
    except OtherScale:
        raise
    except UNREADABLE as error:
        raise UnreadableImage(f"the image cannot be read ({error}); save it anew as PNG or JPEG") from error


def as_dataset(image: PIL.Image.Image, spec: RunSpec) -> Tensor:
    """The middle of the image at the size of the dataset's, grey if those are: `(3, size, size)`, uint8.

    At the size of the model if the dataset has images of all sizes.
    """
    info = DATASETS[spec.dataset]
    assert isinstance(spec.config, ModelConfig)
    size = info.image_size or spec.config.image_size
    if len(set(info.mean)) == 1:
        image = image.convert("L").convert("RGB")
    fitted = PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1).contiguous()


def look_with_checkpoints(
    spec: RunSpec, folder: Path, pixels: Tensor, companions: tuple[Tensor, ...] = ()
) -> dict[str, Look]:
    """What the run's `last` and `best` checkpoint make of an image `(3, size, size)`, on the CPU; empty if there is
    none.

    `companions` are images that are in the same batch, for a pooling that mixes it; they may have other sizes. Raises
    `UnusableWeights`.
    """
    looks: dict[str, Look] = {}
    for name, file in (("last", checkpoint.LAST), ("best", checkpoint.BEST)):
        if not (folder / file).exists():
            continue
        weights, epoch = checkpoint.read_snapshot(folder / file)
        try:
            classes = len(weights["classifier.fc.bias"])
            model = build(replace(spec.config, num_classes=classes), spec.seed)
            model.load_state_dict(weights)
        except (KeyError, RuntimeError) as error:
            raise UnusableWeights("its checkpoint does not fit the model as it is now; train it anew") from error
        prepared = map(normalisation(spec, model), (image[None] for image in (pixels, *companions)))
        whole = look(model, torch.cat([*prepared]), epoch)
        looks[name] = Look(epoch, whole.shares[:1], whole.entropy[:1], whole.predicted[:1], whole.confidence[:1])
    return looks
