"""What trained runs make of an image of the user's own, which is in no dataset."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
import torch.nn.functional as F
from torch import Tensor

from cct import checkpoint
from cct.events import Look
from cct.image_files import MARGIN, draft
from cct.lens import look
from cct.models import model_of
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
    """The middle square of the image as the run's dataset has its images: `(3, size, size)`, uint8.

    Grey if those are, within a border if those are unless the image is of their size with it, and larger than the
    model's by `MARGIN` if those are of all sizes.
    """
    info = DATASETS[spec.dataset]
    size = info.image_size or _side(spec)
    if len(set(info.mean)) == 1:
        image = image.convert("L").convert("RGB")
    border = 0 if image.size == (size, size) else info.border
    inner = size - 2 * border
    fitted = PIL.ImageOps.fit(image, (inner, inner), PIL.Image.Resampling.BICUBIC)
    return F.pad(torch.from_numpy(np.array(fitted)).permute(2, 0, 1), [border] * 4).contiguous()


def file_as_dataset(path: Path, spec: RunSpec, bits: int) -> Tensor:
    """The same of a file in any format that datasets may have. Raises `UnreadableImage`, which names it."""
    try:
        with PIL.Image.open(path) as image:
            if DATASETS[spec.dataset].image_size is None:
                draft(image, _side(spec))
            return as_dataset(in_colour(image, bits), spec)
    except UNREADABLE as error:
        why = str(error) or type(error).__name__
        raise UnreadableImage(f"{path} cannot be read as an image ({why}); name a whole one") from error


def _side(spec: RunSpec) -> int:
    assert isinstance(spec.config, ModelConfig)
    return round(MARGIN * spec.config.image_size)


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
            model = model_of(spec, len(weights["classifier.fc.bias"]))
            model.load_state_dict(weights)
        except (KeyError, RuntimeError) as error:
            raise UnusableWeights("its checkpoint does not fit the model as it is now; train it anew") from error
        prepared = map(normalisation(spec, model), (image[None] for image in (pixels, *companions)))
        whole = look(model, torch.cat([*prepared]), epoch)
        looks[name] = Look(epoch, whole.shares[:1], whole.entropy[:1], whole.predicted[:1], whole.confidence[:1])
    return looks
