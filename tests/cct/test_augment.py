import itertools

import pytest
import torch
from PIL.Image import Transform
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from cct.augment import OPERATIONS, POLICIES, SIGNED, augment, autoaugment, draw_operations, magnitude, random_crop
from cct.data import load
from cct.spec import RunSpec


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Coloured natural-ish images, so that colour operations have something to do."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, 3, 8, 8, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8)


@pytest.mark.parametrize("level", [0, 4, 9])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_on_a_batch_equals_torchvisions_on_each_image(images: Tensor, name: str, level: int) -> None:
    size = magnitude(name, level, 32)
    # It shears with interpolation only in Pillow, as the reference does.
    is_shear, shearing = name.startswith("Shear"), InterpolationMode.BICUBIC
    for sign in (1, -1) if name in SIGNED else (1,):
        ours = OPERATIONS[name](images, sign * size)
        for image, transformed in zip(images, ours, strict=True):
            if is_shear:
                sheared = _apply_op(to_pil_image(image), name, sign * size, shearing, [128.0] * 3)
                theirs = pil_to_tensor(sheared)
            else:
                theirs = _apply_op(image, name, sign * size, InterpolationMode.NEAREST, [128.0] * 3)
            assert (transformed.int() - theirs.int()).abs().max() <= 1


def test_magnitudes_are_the_references() -> None:
    """At level 9 of `examples/utils/autoaug.py`; Pillow rounds translations when it takes the nearest pixel."""
    strongest = {
        name: magnitude(name, 9, 32) for name in OPERATIONS if name not in ("AutoContrast", "Equalize", "Invert")
    }
    assert strongest == pytest.approx(
        {
            "ShearX": 0.3,
            "ShearY": 0.3,
            "TranslateX": 15,  # 150 / 331 of 32 pixels are 14.5015
            "TranslateY": 15,
            "Rotate": 30,
            "Brightness": 0.9,
            "Color": 0.9,
            "Contrast": 0.9,
            "Sharpness": 0.9,
            "Posterize": 4,
            "Solarize": 0,
        }
    )
    assert [magnitude("TranslateY", level, 32) for level in (3, 8)] == [5, 13]
    assert magnitude("Solarize", 5, 32) == pytest.approx(256 * 4 / 9)
    assert "Rotate" not in SIGNED


@pytest.mark.parametrize(("name", "axis"), [("TranslateX", 0), ("TranslateY", 1)])
def test_a_translation_moves_as_pillow_does_with_fractions_of_pixels(images: Tensor, name: str, axis: int) -> None:
    shares = torch.arange(10) / 9
    for level, sign in itertools.product(range(10), (1, -1)):
        moved = [0.0, 0.0]
        moved[axis] = -sign * 150 / 331 * 32 * shares[level].item()
        matrix = (1, 0, moved[0], 0, 1, moved[1])
        picture = to_pil_image(images[0])
        theirs = picture.transform(picture.size, Transform.AFFINE, matrix, fillcolor=(128, 128, 128))
        ours = OPERATIONS[name](images[:1], sign * magnitude(name, level, 32))[0]
        assert torch.equal(ours, pil_to_tensor(theirs))


def test_the_policies_are_the_25_of_cifar10() -> None:
    assert len(POLICIES) == 25
    assert AutoAugment(AutoAugmentPolicy.CIFAR10).policies == POLICIES


def test_operations_are_drawn_as_often_as_the_policy_says() -> None:
    count = 100_000
    for position, drawn in enumerate(draw_operations(count, 32, torch.Generator().manual_seed(0))):
        expected: dict[tuple[str, float], float] = {}
        for sub_policy in POLICIES:
            name, probability, level = sub_policy[position]
            for sign in (1, -1) if name in SIGNED else (1, 1):
                group = (name, sign * magnitude(name, level, 32))
                expected[group] = expected.get(group, 0) + probability / len(POLICIES) / 2
        images = torch.cat(list(drawn.values()))
        assert len(torch.unique(images)) == len(images), "an image draws at most one operation at a time"
        for group, share in expected.items():
            assert len(drawn.get(group, [])) / count == pytest.approx(share, abs=5 * (share / count) ** 0.5)


def test_each_image_draws_its_own_sub_policy(images: Tensor) -> None:
    """In sub-policies 1 and 22 the one visible operation of a flat image is Invert; elsewhere Solarize may follow."""
    count = 20_000
    flat = torch.full((count, 3, 8, 8), 100, dtype=torch.uint8)
    augmented = autoaugment(flat, torch.Generator().manual_seed(0))
    torchvision = AutoAugment(AutoAugmentPolicy.CIFAR10, fill=[128.0] * 3)
    torch.manual_seed(0)
    expected = torch.stack([torchvision(image) for image in flat[:4_000]])
    for value in (100, 155):
        ours = (augmented == value).flatten(1).all(dim=1).float().mean().item()
        theirs = (expected == value).flatten(1).all(dim=1).float().mean().item()
        assert ours == pytest.approx(theirs, abs=0.03)
        assert ours > 0.01


def test_crops_shift_by_up_to_the_padding() -> None:
    index = torch.arange(1, 32 * 32 + 1).reshape(1, 1, 32, 32).expand(3_000, 3, 32, 32)
    cropped = random_crop(index, 32, 4, torch.Generator().manual_seed(0))
    centre = cropped[:, 0, 16, 16] - 1
    rows, columns = centre // 32 - 16, centre % 32 - 16
    assert [x.item() for x in (rows.min(), rows.max(), columns.min(), columns.max())] == [-4, 4, -4, 4]
    assert len(torch.unique(rows * 100 + columns)) == 81
    assert cropped.shape == index.shape


def test_augmentation_is_reproducible_and_leaves_its_input_alone(images: Tensor) -> None:
    before = images.clone()
    first, second = (augment(images, "autoaugment", torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.dtype == torch.uint8
    assert not torch.equal(first, augment(images, "autoaugment", torch.Generator().manual_seed(8)))
    assert torch.equal(augment(images, "none", torch.Generator()), images)


def test_flips_are_left_to_recipes_that_want_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    train, _ = load("digits", tmp_path_factory.mktemp("digits"))
    column = torch.zeros_like(train.images)
    column[..., 10] = 255
    cropped = augment(column, "crop", torch.Generator().manual_seed(0))
    flipped = augment(column, "crop_flip", torch.Generator().manual_seed(0))
    assert cropped.sum(dim=(1, 2)).argmax(dim=1).max() <= 14
    assert flipped.sum(dim=(1, 2)).argmax(dim=1).max() >= 17


def test_texts_are_not_augmented() -> None:
    assert RunSpec(model="text_cct_2", dataset="trec").augmentation == "none"
    assert RunSpec(model="text_cct_2", dataset="trec", augmentation="crop").augmentation == "none"
