"""Files as people have them: of another dataset, damaged, moved, renamed. They are read, or refused by name."""

import codecs
import io
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest
import torch

from cct.data import CIFAR, MNIST, load
from cct.download import DatasetUnavailable
from cct.image_files import CACHE, _square
from cct.pixels import in_colour
from cct.texts import read_ag_news, read_trec, read_vectors
from tests.cct.test_data import NOWHERE, write_idx, write_published_cifar, write_published_idx
from tests.cct.test_image_files import noise, write_folder


@pytest.fixture
def idx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Fashion-MNIST's files; there is no network."""
    monkeypatch.setattr(MNIST["fashion_mnist"], "mirrors", [NOWHERE])
    folder = tmp_path / "fashion_mnist"
    folder.mkdir()
    write_published_idx(folder)
    return folder


def images(*shape: int) -> Callable[[Path], None]:
    return lambda folder: write_idx(folder / "train-images-idx3-ubyte.gz", np.zeros(shape))


def labels(part: str, values: object) -> Callable[[Path], None]:
    return lambda folder: write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.array(values))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (labels("train", [0, 1, 2]), "train-images.* has 5 images, but .*train-labels.* has 3 labels"),
        (labels("t10k", [0]), "t10k-images.* has 3 images, but .*t10k-labels.* has 1 labels"),
        (labels("train", [1, 2, 3, 9, 10]), "has labels from 1 to 10, but Fashion-MNIST has classes 0 to 9"),
        (labels("train", [[0], [1], [2], [3], [4]]), "train-labels.* has 5x1 values instead of one label"),
        (images(5, 64, 64), "train-images.* has 5x64x64 values instead of images of 28x28"),
        (images(5, 28, 28, 3), "has 5x28x28x3 values instead of images of 28x28"),
        (images(0, 28, 28), "has 0x28x28 values instead of images of 28x28"),
        (images(5), "has 5 values instead of images of 28x28"),
    ],
)
def test_idx_files_that_do_not_fit_are_told_in_one_line(spoil: Callable[[Path], None], said: str, idx: Path) -> None:
    load("fashion_mnist", idx.parent)
    spoil(idx)
    with pytest.raises(DatasetUnavailable, match=said) as error:
        load("fashion_mnist", idx.parent)
    assert "\n" not in str(error.value)
    assert "put the files published as Fashion-MNIST there" in str(error.value)


def test_idx_files_of_any_content_are_read_or_refused_by_name(idx: Path) -> None:
    path, random = idx / "t10k-images-idx3-ubyte", np.random.default_rng(0)
    write_idx(path, np.zeros((3, 28, 28)))
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(16)] = random.integers(256)
        path.write_bytes(damaged[: random.integers(len(damaged) + 1)] if random.random() < 0.3 else damaged)
        refused = ""
        try:
            load("fashion_mnist", idx.parent)
        except DatasetUnavailable as error:
            refused = str(error)
        assert not refused or str(path) in refused


def test_idx_files_are_found_under_the_names_that_unpacking_gives_them(idx: Path) -> None:
    expected = load("fashion_mnist", idx.parent)
    for path in list(idx.glob("*.gz")):
        path.rename(idx / path.name.replace("-idx", ".idx"))
    for one, other in zip(expected, load("fashion_mnist", idx.parent), strict=True):
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize("inside", ["cifar-10-batches-py", "NAME", "NAME/cifar-10-batches-py", "."])
def test_cifar_is_found_also_without_its_own_folder(
    name: str, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR[name], "url", NOWHERE)
    written = write_published_cifar(name, tmp_path / "made", monkeypatch)
    place = tmp_path / "data" / inside.replace("NAME", name).replace("cifar-10-batches-py", CIFAR[name].base_folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "made" / CIFAR[name].base_folder).rename(place)
    train_split, test_split = load(name, tmp_path / "data")
    assert len(train_split.labels) + len(test_split.labels) == 2 * len(written)


def test_files_of_cifar_that_are_damaged_or_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR["cifar10"], "url", NOWHERE)
    write_published_cifar("cifar10", tmp_path, monkeypatch)
    folder = tmp_path / CIFAR["cifar10"].base_folder
    (folder / "data_batch_3").write_bytes(b"half of it")
    (folder / "test_batch").unlink()
    with pytest.raises(DatasetUnavailable) as error:
        load("cifar10", tmp_path)
    said = f"{folder} is not CIFAR-10 as published: data_batch_3 is damaged or another file, test_batch is missing"
    assert said in str(error.value)


def test_an_image_that_was_replaced_at_the_same_time_is_decoded_anew(tmp_path: Path) -> None:
    """With the size and the time of modification of the old one, as programs that restore files set them."""
    folder = write_folder(tmp_path / "image_folder" / "pets")
    path, before = folder / "train" / "ant" / "0.bmp", load("image_folder", tmp_path, 32, "pets")[0].images.clone()
    noise((200, 30, 30), 0).save(path)
    (folder / "train" / "ant" / "0.png").unlink()
    same = load("image_folder", tmp_path, 32, "pets")[0].images.clone()
    assert torch.equal(same, before)
    status = path.stat()
    PIL.Image.new("RGB", (60, 44), "white").save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (load("image_folder", tmp_path, 32, "pets")[0].images[0] == 255).all()


@pytest.mark.parametrize("size", [0, 1, -1, 1000])
def test_decoded_images_that_were_cut_short_are_made_anew(size: int, tmp_path: Path) -> None:
    write_folder(tmp_path / "image_folder" / "pets")
    before = load("image_folder", tmp_path, 32, "pets")[0].images.clone()
    for cached in (tmp_path / CACHE).glob("*.uint8"):
        os.truncate(cached, size if size >= 0 else cached.stat().st_size + size)
    assert torch.equal(load("image_folder", tmp_path, 32, "pets")[0].images, before)


def test_an_orientation_beside_a_damaged_field_still_turns_the_image(tmp_path: Path) -> None:
    half = PIL.Image.new("RGB", (40, 40), "black")
    half.paste("white", (0, 0, 40, 20))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    half.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    told = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    told[0x0112] = 6
    told.tagtype[0x0128] = 2
    told[0x0128] = "inches"
    half.save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0" + told.tobytes(8), quality=95)
    with PIL.Image.open(tmp_path / "turned.jpg") as turned, PIL.Image.open(tmp_path / "odd.jpg") as odd:
        assert odd.getexif()[0x0128] == "inches"
        assert np.array_equal(np.asarray(in_colour(turned)), np.asarray(in_colour(odd)))
    assert isinstance(_square(tmp_path / "odd.jpg", 32), bytes)


@pytest.mark.parametrize("kind", ["jpg", "png", "gif", "webp", "tiff", "bmp"])
def test_whatever_a_decoder_trips_over_is_told_with_the_files_name(kind: str, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x0128] = 6, 2
    content, random = io.BytesIO(), np.random.default_rng(0)
    noise((200, 30, 30), 0, (24, 24)).save(content, {"jpg": "jpeg"}.get(kind, kind), exif=exif)
    path = tmp_path / f"damaged.{kind}"
    for _ in range(150):
        damaged = bytearray(content.getvalue())
        for _ in range(random.integers(1, 6)):
            damaged[random.integers(min(len(damaged), 300))] = random.integers(256)
        path.write_bytes(damaged)
        found = _square(path, 16)
        assert isinstance(found, bytes) or re.match(rf"{re.escape(str(path))} \(.+\)", found, re.DOTALL)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_what_editors_and_publishers_add_to_texts_is_left_out(mark: bytes, end: bytes, tmp_path: Path) -> None:
    rows = [b"Class Index,Title,Description", b"1,A,b", b"", b'4,C,"d, e"', b""]
    (tmp_path / "ag.csv").write_bytes(mark + end.join(rows))
    assert read_ag_news(tmp_path / "ag.csv") == [(0, "A b"), (3, "C d, e")]
    (tmp_path / "trec.label").write_bytes(mark + end.join([b"DESC:manner How", b"", b"HUM:ind Who is it ?", b""]))
    assert [text for _, text in read_trec(tmp_path / "trec.label")] == ["How", "Who is it ?"]
    for first in ([], [b"2 2"]):
        (tmp_path / "vectors.txt").write_bytes(mark + end.join([*first, b"one 1 2", b"", b"two 3 4", b""]))
        found, _ = read_vectors(tmp_path / "vectors.txt", ("<pad>", "<unk>", "one", "two"), 2)
        assert {number: vector.tolist() for number, vector in found.items()} == {2: [1, 2], 3: [3, 4]}


def test_a_byte_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    lines = [b'1,A,"b"'] * 300
    lines[200] = b'1,A,"\xff"'
    (tmp_path / "ag.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match="line 201 is not class, title, description: 'utf-8' codec can't decode"):
        read_ag_news(tmp_path / "ag.csv")


def spoilt(content: bytes, random: np.random.Generator) -> bytes:
    """With one to three other bytes."""
    damaged = bytearray(content)
    for _ in range(random.integers(1, 4)):
        damaged[random.integers(len(damaged))] = random.integers(256)
    return bytes(damaged)


def told_with_a_line(read: Callable[[], object]) -> None:
    """What is refused must be refused with the line's number."""
    refused = "line 0"
    try:
        read()
    except ValueError as error:
        refused = str(error)
    assert re.match(r"line \d+ ", f"{refused} "), refused


def test_texts_of_any_content_are_read_or_refused_with_a_line(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "texts"
    whole = {
        read_ag_news: b'1,A,"b ""c"" d"\n4,C,"d, e"\n' * 5,
        read_trec: b"DESC:manner How ?\nHUM:ind Who is it ?\n" * 5,
    }
    for read, content in whole.items():
        for _ in range(200):
            path.write_bytes(spoilt(content, random))
            told_with_a_line(partial(read, path))


def test_word_vectors_of_any_content_are_read_or_refused_with_a_line(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "vectors.txt"
    words = tuple(f"word{number}" for number in range(20))
    for mark in (b"", codecs.BOM_UTF8, b"20 3\n"):
        whole = mark + b"".join(f"{word} 0.5 -1.25 3e-2\n".encode() for word in words)
        for _ in range(200):
            path.write_bytes(spoilt(whole, random))
            told_with_a_line(lambda: read_vectors(path, words, 3))
    path.write_bytes(b"word1 1 2 3\nword2 1 \xff 3\n")
    with pytest.raises(ValueError, match=r"line 2 is not UTF-8 \(invalid start byte\)"):
        read_vectors(path, words, 3)
