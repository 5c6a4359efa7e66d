"""Pixels of image files as models read them: upright, in colour, on white, of 8 bits.

Files of 16 bits often hold fewer, as many as a camera has: 12 bits by their full range would be 16 levels of black. So
they are scaled by the bits that the highest value of the training images takes, all images by the same.
"""

import numpy as np
import PIL.ExifTags
import PIL.Image

UNREADABLE = Exception
"""What Pillow raises for a file that is damaged or no image: documented errors, and whatever a decoder trips over."""

_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""What undoes each value of EXIF's Orientation."""


ALL_BITS = 16
"""The number of bits by which every image can be scaled that can be read at all."""


class OtherScale(ValueError):
    """An image of 16 bits to whose values the scale of the training images does not apply."""


def in_colour(image: PIL.Image.Image, bits: int = 0) -> PIL.Image.Image:
    """The image upright, in RGB, on white where it is transparent; `bits` are `bits_of` the training images.

    Raises `OtherScale`, and `UNREADABLE`, also for over 16 bits.
    """
    is_deep_grey, is_deep_colour = _is_deep_grey(image), _is_deep_colour(image)
    upright = _upright(image)
    if is_deep_grey or is_deep_colour:
        values = np.asarray(upright)
        if not bits:
            raise OtherScale(
                "its pixels have 16 bits and those of all training images 8, so which value is white is not known; "
                "convert it to 8 bits"
            )
        if is_deep_colour and bits < ALL_BITS:
            raise OtherScale(
                "its colours have 16 bits, of which only the upper 8 are read, but the training images use the lower "
                f"{bits}; convert it to 8 bits"
            )
        if values.max() >> (8 if is_deep_colour else bits):
            raise OtherScale(
                f"its pixels have values up to {values.max()}, but those of the training images at most "
                f"{2**bits - 1}, by which all are scaled; scale it like those, or train on some like it"
            )
        if is_deep_grey:
            upright = PIL.Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    elif upright.mode[0] in "IF":  # Pillow would cut at 255
        raise ValueError("its pixels have more than 16 bits, a sign or fractions; convert it")
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    white = PIL.Image.new("RGBA", upright.size, "white")
    return PIL.Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB")


def bits_of(image: PIL.Image.Image) -> int:
    """How many bits the highest value of an image of 16 bits takes, at least 8; 0 for an image of 8 bits.

    Raises `UNREADABLE`.
    """
    if _is_deep_grey(image):
        return max(8, int(np.asarray(image).max()).bit_length())
    if _is_deep_colour(image):
        return 8 + int(np.asarray(image).max()).bit_length()
    return 0


def _is_deep_grey(image: PIL.Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM")


def _is_deep_colour(image: PIL.Image.Image) -> bool:
    """Known before the pixels are read only, from what their decoder is told."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ()
    raw_mode = arguments if isinstance(arguments, str) else next(iter(arguments or ()), "")
    return image.mode[0] not in "IF" and ";16" in str(raw_mode)


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """Turned as its camera says; as it is where what the camera says cannot be read."""
    try:
        turned = _UPRIGHT.get(image.getexif().get(PIL.ExifTags.Base.Orientation, 1))
    except UNREADABLE:
        turned = None
    return image if turned is None else image.transpose(turned)
