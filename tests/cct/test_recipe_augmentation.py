"""The reference's training script is fed by timm, which is the oracle here."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment
from timm.data.mixup import FastCollateMixup, cutmix_bbox_and_lam, mixup_target
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from cct.augment import augment
from cct.boxes import CROP_RATIO, ERASED_AREA, ERASED_RATIO, _resizing, draw_boxes, erased_areas, random_resized_crop
from cct.mixing import BatchAugmentation, Mix, draw_mix, mixed, mixed_labels
from cct.randaugment import OPERATIONS, RESAMPLING, argument, draw_magnitudes, randaugment
from cct.spec import RunSpec

FILL = (125, 123, 114)


@pytest.fixture(scope="module")
def images() -> Tensor:
    coarse = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_equals_timms_at_each_images_own_magnitude(images: Tensor, name: str) -> None:
    level = torch.linspace(0, 10, len(images), dtype=torch.float64)
    _, operate = OPERATIONS[name]
    level_of: Any = auto_augment.LEVEL_TO_ARG[name]
    theirs: Any = auto_augment.NAME_TO_OP[name]
    for sign in (1, -1):
        ours_argument = argument(name, level, torch.full((len(images),), sign))
        for cubic in (False, True) if name in RESAMPLING else (False,):
            ours = operate(images, ours_argument, cubic, torch.tensor(FILL, dtype=torch.uint8))
            for number, image in enumerate(images):
                value = ours_argument[number].item()
                given = [int(value) if name.startswith(("Posterize", "Solarize")) else value] if level_of else []
                if (name, given) == ("PosterizeIncreasing", [0]):  # black; recent Pillows refuse it
                    assert not ours[number].any()
                    continue
                resample = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
                picture = theirs(to_pil_image(image), *given, fillcolor=FILL, resample=resample)
                worst = (ours[number].int() - pil_to_tensor(picture).int()).abs().max()
                assert worst <= 1, (name, number, sign, cubic)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if auto_augment.LEVEL_TO_ARG[name]])
def test_magnitudes_become_what_timm_makes_of_them(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for level in np.linspace(0, 10, 41):
        for sign in (1, -1):
            monkeypatch.setattr(auto_augment, "_randomly_negate", lambda value, sign=sign: sign * value)
            level_of: Any = auto_augment.LEVEL_TO_ARG[name]
            [theirs] = level_of(level, {})
            ours = argument(name, torch.tensor([level], dtype=torch.float64), torch.tensor([sign]))
            assert ours.item() == pytest.approx(theirs, abs=1e-12)


def test_operations_and_magnitudes_are_drawn_as_by_timm() -> None:
    theirs = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": FILL})
    assert [operation.name for operation in theirs.ops] == list(OPERATIONS)
    assert {(one.prob, one.magnitude, one.magnitude_std, theirs.num_layers) for one in theirs.ops} == {(0.5, 9, 0.5, 2)}
    drawn = draw_magnitudes(40_000, torch.Generator().manual_seed(0)).numpy()
    random.seed(0)
    expected = np.clip([random.gauss(9, 0.5) for _ in drawn], 0, 10)
    quantiles = np.linspace(0.01, 0.99, 25)
    assert np.quantile(drawn, quantiles) == pytest.approx(np.quantile(expected, quantiles), abs=0.06)


def test_a_flat_image_is_changed_as_often_and_to_the_same_colours_as_by_timm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(auto_augment.NAME_TO_OP, "PosterizeIncreasing", _posterize)
    flat = torch.full((6_000, 3, 8, 8), 100, dtype=torch.uint8)
    random.seed(1)
    np.random.seed(1)
    transform = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": FILL})
    theirs = torch.stack([pil_to_tensor(transform(to_pil_image(image))) for image in flat])
    ours = randaugment(flat, torch.Generator().manual_seed(0), torch.tensor(FILL, dtype=torch.uint8))
    shares = []
    for result in (ours, theirs):
        middle = result[:, 0, 4, 4].long()
        shares.append(torch.bincount(middle, minlength=256).float() / len(middle))
    assert shares[0][100].item() == pytest.approx(shares[1][100].item(), abs=0.03)
    assert (shares[0].cumsum(0) - shares[1].cumsum(0)).abs().max() < 0.03, "Kolmogorov-Smirnov"


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Recent Pillows refuse to keep no bit at all, those of the reference's time made the image black."""
    return image.point([value & -(2 ** (8 - bits)) for value in range(256)] * 3)


@pytest.mark.parametrize(
    ("side", "size", "top", "left", "height", "width"), [(32, 32, 3, 5, 28, 24), (48, 32, 0, 1, 47, 40)]
)
def test_a_window_is_resized_as_by_pillow(side: int, size: int, top: int, left: int, height: int, width: int) -> None:
    image = torch.randint(256, (1, 3, side, side), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    for cubic, resample in ((False, Image.Resampling.BILINEAR), (True, Image.Resampling.BICUBIC)):
        rows, columns = (
            _resizing(torch.tensor([float(start)]), torch.tensor([float(length)]), side, size, torch.tensor([cubic]))
            for start, length in ((top, height), (left, width))
        )
        across = (image.float() @ columns[:, None].mT).round().clamp(0, 255)
        ours = (rows[:, None] @ across).round().clamp(0, 255)
        window = to_pil_image(image[0]).crop((left, top, left + width, top + height))
        theirs = pil_to_tensor(window.resize((size, size), resample))
        assert (ours[0] - theirs).abs().max() <= 1


def test_windows_and_erased_boxes_are_distributed_as_by_timm() -> None:
    count, quantiles = 4_000, np.linspace(0.02, 0.98, 17)
    transform = RandomResizedCropAndInterpolation(32, scale=(0.3, 1.0))
    random.seed(0)
    windows = np.array(
        [transform.get_params(Image.new("RGB", (32, 32)), (0.3, 1.0), (3 / 4, 4 / 3)) for _ in range(count)]
    )
    ours = draw_boxes(count, 32, (0.3, 1.0), CROP_RATIO, 32, torch.Generator().manual_seed(0)).numpy().T
    for number in range(4):
        assert np.quantile(ours[:, number], quantiles) == pytest.approx(
            np.quantile(windows[:, number], quantiles), abs=1.01
        )
    areas = [boxes[:, 2] * boxes[:, 3] / 1024 for boxes in (ours, windows)]
    assert np.quantile(areas[0], quantiles) == pytest.approx(np.quantile(areas[1], quantiles), abs=0.03)

    erase = RandomErasing(0.25, mode="pixel", max_count=1, device="cpu")
    assert (erase.min_area, erase.max_area) == ERASED_AREA
    assert erase.log_aspect_ratio == pytest.approx((-np.log(ERASED_RATIO), np.log(ERASED_RATIO)))
    erased = erase(torch.zeros(count, 3, 32, 32))[:, :1] != 0
    masks = erased_areas(count, 32, 0.25, torch.Generator().manual_seed(0), torch.device("cpu"))
    sizes = [mask.flatten(1).sum(dim=1).numpy() / 1024 for mask in (masks, erased)]
    assert np.mean(sizes[0] > 0) == pytest.approx(np.mean(sizes[1] > 0), abs=0.03)
    found = [np.quantile(one[one > 0], quantiles) for one in sizes]
    assert found[0] == pytest.approx(found[1], abs=0.035)


def test_mixed_images_and_labels_are_timms() -> None:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (8,), generator=generator)
    pairs = [(image.numpy(), int(label)) for image, label in zip(images, labels, strict=True)]
    for mixup, cutmix in ((0.8, 0.0), (0.0, 1.0), (0.8, 1.0)):
        collate = FastCollateMixup(mixup, cutmix, prob=1.0, switch_prob=0.5, label_smoothing=0.1, num_classes=10)
        for seed in range(4):
            np.random.seed(seed)
            theirs, target = collate(pairs)
            share = _share(target, labels)
            difference = (theirs != images).any(dim=1)
            mix = Mix(share, None)
            if difference.any() and collate_cut(theirs, images):
                rows, columns = difference.any(dim=0).any(dim=1).nonzero(), difference.any(dim=0).any(dim=0).nonzero()
                box = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
                mix = Mix(share, tuple(int(edge) for edge in box))  # type: ignore[arg-type]
            assert (mixed(images, mix).int() - theirs.int()).abs().max() <= 1
            ours = mixed_labels(labels, mix, 10)
            torch.testing.assert_close(0.9 * ours + 0.01, target, atol=1e-5, rtol=0)
            torch.testing.assert_close(0.9 * ours + 0.01, mixup_target(labels, 10, share, 0.1), atol=1e-5, rtol=0)


def _share(target: Tensor, labels: Tensor) -> float:
    number = next(i for i in range(len(labels)) if labels[i] != labels[-1 - i])
    return (target[number, labels[number]].item() - 0.01) / 0.9


def collate_cut(theirs: Tensor, images: Tensor) -> bool:
    """Whether every pixel is one of the two images', as CutMix leaves them."""
    return bool(((theirs == images) | (theirs == images.flip(0))).all())


def test_shares_and_boxes_are_drawn_as_by_timm() -> None:
    spec, count = RunSpec(mixup=0.8, cutmix=1.0), 4_000
    collate = FastCollateMixup(0.8, 1.0, prob=1.0, switch_prob=0.5, num_classes=10)
    np.random.seed(0)
    theirs = {False: list[float](), True: list[float]()}
    for _ in range(count):
        share, cuts = collate._params_per_batch()
        if cuts:
            _, share = cutmix_bbox_and_lam((3, 32, 32), share)
        theirs[bool(cuts)].append(share)
    generator = np.random.default_rng(0)
    ours = {False: list[float](), True: list[float]()}
    for _ in range(count):
        mix = draw_mix(spec, 32, generator)
        ours[mix.box is not None].append(mix.share)
    quantiles = np.linspace(0.05, 0.95, 19)
    for cuts in (False, True):
        assert len(ours[cuts]) == pytest.approx(len(theirs[cuts]), abs=0.05 * count)
        assert np.quantile(ours[cuts], quantiles) == pytest.approx(np.quantile(theirs[cuts], quantiles), abs=0.06)


def test_batches_are_mixed_until_the_off_epoch_and_labels_stay_shares() -> None:
    spec = RunSpec(mixup=0.8, mixup_off_epoch=2, random_erasing=1.0, batch_size=4)
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 3])

    def at(epoch: int) -> tuple[Tensor, Tensor]:
        return BatchAugmentation(spec, epoch, 10, lambda batch: batch.float(), torch.device("cpu"))(images, labels)

    (first, shares), (repeated, _), (other, _), (_, whole) = at(1), at(1), at(0), at(2)
    assert torch.equal(first, repeated)
    assert not torch.equal(first, other)
    assert 0 < shares.max() < 1
    assert torch.equal(whole, torch.nn.functional.one_hot(labels, 10).float())
    noise = first[(first != mixed(images, Mix(shares.max().item(), None))) & (first.abs() < 6)]
    assert noise.std() == pytest.approx(1, abs=0.15)


def test_a_recipe_augments_reproducibly_and_leaves_its_input_alone(images: Tensor) -> None:
    before = images.clone()
    first, second = (augment(images, "randaugment", torch.Generator().manual_seed(7), 32, 0.8) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.shape == images.shape
    larger = torch.nn.functional.pad(images, [8] * 4)
    assert random_resized_crop(larger, 32, 0.5, torch.Generator().manual_seed(0)).shape == images.shape
