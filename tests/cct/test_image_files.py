import hashlib
import math
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import Flowers102

from cct.augment import augment, centre_crop
from cct.data import Split, load
from cct.download import DatasetUnavailable
from cct.events import Confusion, EpochRecord, Facts, Image
from cct.image_files import CACHE, ImageFiles, _fingerprint, decoded
from cct.named_datasets import DATASETS
from cct.own_image import as_dataset, look_with_checkpoints
from cct.spec import RunSpec, SpecError
from cct.training import train
from tests.cct.test_data import NOWHERE, published, server
from tests.cct.told import only

__all__ = ["published", "server"]

SPEC = RunSpec(dataset="image_folder", image_folder="pets", epochs=2, batch_size=4, lr=2e-3, warmup_epochs=0)
COLOURS = {"ant": (200, 30, 30), "bee": (30, 200, 30), "cat": (30, 30, 200)}


def noise(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (60, 44)) -> PIL.Image.Image:
    random = np.random.default_rng(seed)
    pixels = random.normal(0, 20, (size[1], size[0], 3)) + np.array(colour)
    return PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_folder(root: Path, test: str = "val") -> Path:
    for part, count in (("train", 6), (test, 2)):
        for name, colour in COLOURS.items():
            (root / part / name).mkdir(parents=True)
            for seed in range(count):
                noise(colour, seed).save(root / part / name / f"{seed}.{'jpg' if seed else 'png'}")
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "image_folder" / "pets")


@pytest.mark.parametrize("test", ["val", "valid", "test"])
def test_a_folder_per_class_becomes_squares_of_the_models_size_with_room_for_crops(test: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "image_folder" / "pets", test)
    (root / "train" / "bee" / "more").mkdir()
    noise((30, 200, 30), 9).save(root / "train" / "bee" / "more" / "deep.webp")
    (root / "train" / "bee" / "more" / "again").symlink_to(root / "train")
    for left_over in (".DS_Store", "ant/.hidden", "ant/Thumbs.db"):
        (root / "train" / left_over).write_text("no image")
    train_split, test_split = load("image_folder", tmp_path, 32, "pets")
    assert train_split.images.shape == (19, 3, 37, 37)
    assert test_split.images.shape == (6, 3, 37, 37)
    assert train_split.class_names == test_split.class_names == ("ant", "bee", "cat")
    assert train_split.labels.tolist() == [0] * 6 + [1] * 7 + [2] * 6
    for image, label in zip(train_split.images, train_split.labels, strict=True):
        assert image.float().mean(dim=(1, 2)).argmax() == label
    assert load("image_folder", tmp_path, 224, "pets")[1].images.shape == (6, 3, 256, 256)


def test_images_of_all_kinds_are_upright_in_colour_and_cut_to_their_middle(pets: Path) -> None:
    def stripes(mode: str) -> PIL.Image.Image:
        """Black, white, black, from left to right; the middle square is white."""
        image = PIL.Image.new("RGB", (120, 40), "black")
        image.paste("white", (40, 0, 80, 40))
        return image.convert(mode)

    turned = PIL.Image.Exif()
    turned[0x0112] = 6  # its left side is up
    folder = pets / "val" / "ant"
    shutil.rmtree(folder)
    folder.mkdir()
    stripes("L").save(folder / "a.png")
    stripes("CMYK").save(folder / "b.jpg", quality=95)
    stripes("RGB").save(folder / "c.jpg", quality=95, exif=turned)
    stripes("P").save(folder / "d.gif")
    stripes("1").save(folder / "e.tiff")
    PIL.Image.new("RGBA", (50, 80)).save(folder / "f.png")  # white where nothing is
    PIL.Image.fromarray(np.full((50, 50), 60_000, np.uint16)).save(folder / "g.png")
    shutil.copy(folder / "g.png", pets / "train" / "ant")
    (folder / "gg.pgm").write_bytes(b"P5 50 50 65535 " + np.full((50, 50), 60_000, ">u2").tobytes())
    half = PIL.Image.new("RGB", (40, 80), "black")
    half.paste("white", (0, 0, 20, 80))
    half.save(folder / "h.png", exif=turned)
    *white, deep, deep_too, halves = load("image_folder", pets.parents[1], 32, "pets")[1].images[:9]
    for image in white:
        assert image.float().mean() > 250
    assert deep.unique().tolist() == deep_too.unique().tolist() == [60_000 >> 8]
    assert halves[:, 2].min() > 250, "what was left is up"
    assert halves[:, -3].max() < 5


def test_images_are_decoded_once_and_anew_when_one_has_changed(pets: Path) -> None:
    data = pets.parents[1]
    with ThreadPoolExecutor(3) as pool:
        first, *others = [f.result() for f in [pool.submit(load, "image_folder", data, 32, "pets") for _ in range(3)]]
    assert all(
        torch.equal(ours.images, theirs.images) for other in others for ours, theirs in zip(first, other, strict=True)
    )
    before = {path.name: path.stat().st_ino for path in (data / CACHE).glob("*.uint8")}
    assert len(before) == 2
    load("image_folder", data, 32, "pets")
    assert {path.name: path.stat().st_ino for path in (data / CACHE).glob("*.uint8")} == before
    noise((255, 255, 255), 0).save(pets / "val" / "ant" / "0.png")
    killed = next((data / CACHE).glob("*pets-test-*.uint8"))
    killed.with_name(f"{killed.stem[:-4]}dead.part").write_bytes(b"half written")
    [_, renewed] = load("image_folder", data, 32, "pets")
    assert renewed.images[0].float().mean() > 230 > first[1].images[0].float().mean(), "who had the old ones keeps them"
    after = {path.name for path in (data / CACHE).iterdir()} - {".lock"}
    assert len(after) == 2, "the old ones are gone, and nothing is left half done"
    assert len(after & before.keys()) == 1, "the training split is as it was"


def remove_val(root: Path) -> None:
    shutil.rmtree(root / "val")


def remove_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "bee")


def empty_class(root: Path) -> None:
    for path in (root / "val" / "cat").iterdir():
        path.unlink()


def leave_one_class(root: Path) -> None:
    for part in ("train", "val"):
        for name in ("ant", "bee"):
            shutil.rmtree(root / part / name)


def damage(root: Path) -> None:
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    path = root / "train" / "bee" / "3.jpg"
    path.write_bytes(path.read_bytes()[:400])


def save_as_float(root: Path) -> None:
    half = PIL.Image.fromarray(np.full((50, 50), 0.5, np.float32))
    half.save(root / "train" / "bee" / "half.tiff")
    half.save(root / "train" / "bee" / "half.pfm")


def block_cache(root: Path) -> None:
    (root.parents[1] / CACHE).write_text("a file where the folder should be")


def name_badly(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "ant").rename(root / part / "a\tnt")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, ["there is no folder", "pets/train", "--data", "CCTBOARD_DATASETS"]),
        (remove_val, ["there is no folder", "pets/val"]),
        (remove_class, ["pets/val has a class 'bee', which", "pets/train lacks"]),
        (empty_class, ["pets/val/cat has no images"]),
        (leave_one_class, ["pets/train has 1 classes"]),
        (damage, ["notes.txt", "3.jpg", "cannot be read as images", "remove or replace"]),
        (save_as_float, ["half.tiff", "half.pfm", "fractions; convert it"]),
        (block_cache, ["cannot be written", CACHE, "make room", "CCTBOARD_DATASETS"]),
        (name_badly, ["'a\\tnt'", "rename it"]),
    ],
)
def test_what_is_wrong_with_a_folder_is_told_in_one_line(spoil: object, said: list[str], pets: Path) -> None:
    assert callable(spoil)
    spoil(pets)
    with pytest.raises(DatasetUnavailable) as error:
        load("image_folder", pets.parents[1], 32, "pets")
    for part in said:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    cache = pets.parents[1] / CACHE
    assert not cache.is_dir() or {path.name for path in cache.iterdir()} == {".lock"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dataset": "image_folder"}, "is missing"),
        ({"dataset": "digits", "image_folder": "pets"}, "leave it empty for digits"),
        ({"dataset": "image_folder", "image_folder": "../pets"}, "without .."),
        ({"dataset": "image_folder", "image_folder": "/pets"}, "relative"),
    ],
)
def test_a_spec_names_a_folder_exactly_if_its_dataset_needs_one(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said) as error:
        RunSpec(**fields)
    assert error.value.field == "image_folder"
    assert SPEC.source == "image_folder/pets"


def test_a_model_learns_from_a_folder_and_its_numbers_can_be_repeated(pets: Path, tmp_path: Path) -> None:
    events = list(train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path / "run"))
    assert [sum(row) for row in only(Confusion, events)[-1].counts] == [2, 2, 2]
    [facts] = only(Facts, events)
    provenance = facts.provenance
    assert provenance["classes"] == "ant / bee / cat"
    assert (provenance["train_images"], provenance["test_images"]) == ("18", "6")
    assert [image.label for image in facts.images] == [0, 1, 2] * 2
    again = list(train(SPEC, data_dir=tmp_path))
    losses, repeated = ([record.train_loss for record in only(EpochRecord, told)] for told in (events, again))
    assert repeated == losses
    assert only(Facts, again)[0].provenance["dataset_sha256"] == provenance["dataset_sha256"]
    picture = PIL.Image.open(pets / "val" / "cat" / "1.jpg")
    seen = look_with_checkpoints(SPEC, tmp_path / "run", as_dataset(picture, SPEC))
    assert seen["last"].predicted[0] in range(3)


def test_larger_images_are_cropped_at_random_for_training_and_in_the_middle_for_validation(pets: Path) -> None:
    index = torch.arange(37 * 37).reshape(1, 1, 37, 37).expand(500, 3, 37, 37)
    cropped = augment(index, "crop", torch.Generator().manual_seed(0), 32)
    assert cropped.shape == (500, 3, 32, 32)
    corners = cropped[:, 0, 0, 0]
    assert len(corners.unique()) == 36
    assert torch.equal(cropped - corners[:, None, None, None], (index - index[0, 0, 0, 0])[..., :32, :32])
    assert centre_crop(index, 32)[0, 0, 0, 0] == 2 * 37 + 2
    assert torch.equal(augment(index, "none", torch.Generator(), 32), index)


def test_on_a_cpu_images_stay_in_their_file_which_may_be_larger_than_the_memory(pets: Path) -> None:
    split, _ = load("image_folder", pets.parents[1], 32, "pets")
    assert split.to(torch.device("cpu")).images.data_ptr() == split.images.data_ptr()
    files = ImageFiles(sorted((pets / "val" / "ant").iterdir()), [0, 0])
    side = math.isqrt(psutil.virtual_memory().total // 3)
    large = pets / f"large-{side}-{_fingerprint(files.paths, pets, 0)}.0.uint8"
    with large.open("wb") as file:
        file.truncate(len(files.paths) * 3 * side**2)  # zeros, which take no room on the disk
    squares, _ = decoded(files, side, "large", pets, 0)
    assert squares.nbytes > 1.9 * psutil.virtual_memory().total
    assert squares[torch.tensor([1, 0]), 2, -1, -1].tolist() == [0, 0]


@pytest.fixture
def flowers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the published files' names and formats, but few and small flowers."""
    root = tmp_path_factory.mktemp("flowers")
    (root / "jpg").mkdir()
    colours = list(COLOURS.values())
    for number in range(1, 10):
        noise(colours[number % 3], number, (90, 70)).save(root / "jpg" / f"image_{number:05}.jpg")
    savemat(root / "imagelabels.mat", {"labels": np.array([[number % 3 + 100 for number in range(1, 10)]])})
    savemat(root / "setid.mat", {"trnid": [[1, 2, 3]], "valid": [[6, 5, 4]], "tstid": [[7, 8, 9]]})
    with tarfile.open(root / "102flowers.tgz", "w:gz") as tar:
        tar.add(root / "jpg", "jpg")
    checksums = {
        part: (name, hashlib.md5((root / name).read_bytes()).hexdigest())
        for part, (name, _) in Flowers102._file_dict.items()
    }
    monkeypatch.setattr(Flowers102, "_file_dict", checksums)
    monkeypatch.setattr(Flowers102, "_download_url_prefix", NOWHERE)
    return root


def is_right(splits: tuple[Split, Split]) -> bool:
    """Train and validation images together, labels from 0."""
    train_split, test_split = splits
    assert train_split.labels.tolist() == [100, 101, 99, 99, 101, 100]
    assert test_split.labels.tolist() == [100, 101, 99]
    hues = [image.float().mean(dim=(1, 2)).argmax().item() for image in train_split.images]
    return hues == [1, 2, 0, 0, 2, 1] and train_split.images.shape == (6, 3, 37, 37)


@pytest.mark.parametrize("inside", ["flowers102", "flowers-102", "."])
def test_flowers_are_read_where_the_user_put_them(inside: str, flowers: Path, tmp_path: Path) -> None:
    (tmp_path / inside).mkdir(exist_ok=True)
    for name in ("jpg", "imagelabels.mat", "setid.mat"):
        os.symlink(flowers / name, tmp_path / inside / name)
    assert is_right(load("flowers102", tmp_path))
    (tmp_path / inside / "setid.mat").unlink()
    (tmp_path / inside / "setid.mat").write_bytes(b"damaged")
    with pytest.raises(DatasetUnavailable, match=r"setid\.mat is damaged or another file; put the published one there"):
        load("flowers102", tmp_path)


def test_flowers_are_downloaded_and_unpacked_once(
    flowers: Path, tmp_path: Path, published: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetUnavailable) as error:
        load("flowers102", tmp_path)
    for part in ("Oxford 102 Flower", "102flowers.tgz", "setid.mat", str(tmp_path / "flowers102"), "CCTBOARD_DATASETS"):
        assert part in str(error.value)
    for name in ("102flowers.tgz", "imagelabels.mat", "setid.mat"):
        shutil.copy(flowers / name, published)
    monkeypatch.setattr(Flowers102, "_download_url_prefix", server)
    with ThreadPoolExecutor(2) as pool:
        results = [future.result() for future in [pool.submit(load, "flowers102", tmp_path) for _ in range(2)]]
    assert all(map(is_right, results))
    monkeypatch.setattr(Flowers102, "_download_url_prefix", NOWHERE)
    assert is_right(load("flowers102", tmp_path))


def test_a_model_of_224_pixels_trains_on_flowers(flowers: Path) -> None:
    spec = RunSpec(
        model="cct_7_7x2_224", dataset="flowers102", epochs=1, batch_size=3, warmup_epochs=0, precision="fp32"
    )
    events = list(train(spec, data_dir=flowers))
    [facts], [record] = only(Facts, events), only(EpochRecord, events)
    assert 3 < (record.train_loss or 0) < 7, "102 classes are ln 102 = 4.6 nats for who knows nothing"
    assert len(facts.images) == 3
    pictures = [image for image in facts.images if isinstance(image, Image)]
    assert all(image.url.startswith("data:image/jpeg") and len(image.url) < 20_000 for image in pictures)
    assert "classes" not in facts.provenance, "their names are known"
    assert len(DATASETS["flowers102"].class_names) == 102
    assert replace(spec, seed=1).source == "flowers102"
