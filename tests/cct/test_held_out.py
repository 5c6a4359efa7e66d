"""What is held out of the training data to validate on, and what is in both by mistake."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cct.data import MNIST, duplicates, load
from cct.download import DatasetUnavailable
from cct.events import Facts
from cct.held_out import content_of, hold_out
from cct.image_files import CACHE
from cct.spec import RunSpec, SpecError
from cct.training import train
from tests.cct.test_data import NOWHERE, write_published_idx
from tests.cct.test_image_files import COLOURS, noise
from tests.cct.test_texts import trec
from tests.cct.told import first

__all__ = ["trec"]

NAMES = ("ant", "bee")


def test_a_share_of_each_class_is_held_out_by_content_alone() -> None:
    labels = [0] * 40 + [1] * 10
    contents = [content_of(bytes([label, number])) for number, label in enumerate(labels)]
    held_out, rest, checksum = hold_out(labels, contents, 0.2, NAMES)
    assert Counter(labels[number] for number in held_out) == {0: 8, 1: 2}
    assert sorted([*held_out, *rest]) == list(range(50))
    chosen = {contents[number] for number in held_out}
    # In another order, as by other names of the files, the same are chosen.
    turned, _, same = hold_out(labels[::-1], contents[::-1], 0.2, NAMES)
    assert {contents[::-1][number] for number in turned} == chosen
    assert same == checksum
    more, rest_of_more, other = hold_out(labels, contents, 0.5, NAMES)
    assert [*more, *rest_of_more] == [*held_out, *rest], "so that images are decoded once for all shares"
    assert other != checksum


def test_what_is_there_twice_is_on_one_side() -> None:
    labels = [0] * 30
    contents = [content_of(bytes([number // 3])) for number in range(30)]
    for share in (0.1, 0.2, 0.35, 0.5):
        held_out, rest, _ = hold_out(labels, contents, share, NAMES)
        assert not {contents[number] for number in held_out} & {contents[number] for number in rest}


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.1, "val_share 0.1 would hold out none of the 4 training images or texts of class 'bee'; use a larger share"),
        (0.9, "val_share 0.9 would hold out all of the 4 training images or texts of class 'bee'; use a smaller share"),
    ],
)
def test_a_class_without_images_on_one_side_is_named(share: float, said: str) -> None:
    contents = [content_of(bytes([number])) for number in range(24)]
    with pytest.raises(DatasetUnavailable, match=said):
        hold_out([0] * 20 + [1] * 4, contents, share, NAMES)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder without `val`."""
    root = tmp_path / "image_folder" / "pets"
    for name, colour in COLOURS.items():
        (root / "train" / name).mkdir(parents=True)
        for seed in range(10):
            noise(colour, seed).save(root / "train" / name / f"{seed}.png")
    return root


def test_a_folder_without_validation_images_is_split_the_same_for_all_models_and_names(pets: Path) -> None:
    data = pets.parents[1]
    train_split, val = load("image_folder", data, 32, "pets", 0.3)
    assert train_split.labels.bincount().tolist() == [7, 7, 7]
    assert val.labels.bincount().tolist() == [3, 3, 3]
    assert val.class_names == train_split.class_names == tuple(COLOURS)
    for split in (train_split, val):
        for image, label in zip(split.images, split.labels, strict=True):
            assert image.float().mean(dim=(1, 2)).argmax() == label
    assert load("image_folder", data, 32, "pets", 0.5)[1].labels.bincount().tolist() == [5, 5, 5]
    assert len(list((data / CACHE).glob("*.uint8"))) == 1, "decoded once"
    large = load("image_folder", data, 64, "pets", 0.3)[1]
    for number, path in enumerate(sorted((pets / "train" / "bee").iterdir(), reverse=True)):
        path.rename(path.with_name(f"renamed {number}.png"))
    renamed = load("image_folder", data, 32, "pets", 0.3)[1]
    assert renamed.held_out_sha256 == large.held_out_sha256 == val.held_out_sha256
    assert torch.equal(renamed.images, val.images)
    noise((0, 255, 0), 99).save(pets / "train" / "bee" / "one more.png")
    assert load("image_folder", data, 32, "pets", 0.4)[1].held_out_sha256 != val.held_out_sha256


def test_a_folder_without_validation_images_trains_and_says_what_was_held_out(pets: Path, tmp_path: Path) -> None:
    spec = RunSpec(dataset="image_folder", image_folder="pets", epochs=1, batch_size=8, val_share=0.2)
    one, other = (first(Facts, train(replace(spec, seed=seed), data_dir=tmp_path)) for seed in (0, 1))
    assert one.provenance["held_out_sha256"] == other.provenance["held_out_sha256"]
    assert (one.provenance["train_images"], one.provenance["held_out_images"]) == ("24", "6")
    assert spec.source == "image_folder/pets (val_share 0.2)"


def test_what_cannot_be_held_out_is_told_in_one_line(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=r"pets/val; make it, .*, or hold out a share .* with val_share"):
        load("image_folder", tmp_path, 32, "pets")
    shutil.copytree(pets / "train", pets / "valid")
    with pytest.raises(
        DatasetUnavailable, match=r"has a folder valid to validate on, .* to 0, or rename valid to test"
    ):
        load("image_folder", tmp_path, 32, "pets", 0.2)
    assert duplicates(*load("image_folder", tmp_path, 32, "pets")) == 30, "all of them"
    with pytest.raises(SpecError, match=r"val_share: 1.0 is out of range; allowed: at least 0 and at most 0.9"):
        RunSpec(val_share=1.0)
    with pytest.raises(SpecError, match="batch_size: 1000 is larger than the training split of digits, 718"):
        RunSpec(dataset="digits", batch_size=1000, val_share=0.5)


def test_with_a_share_test_files_are_neither_needed_nor_read(
    trec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MNIST["mnist"], "mirrors", [NOWHERE])
    whole, _ = load("digits", tmp_path)
    kept, held_out = load("digits", tmp_path, val_share=0.1)
    found = {content_of(image) for split in (kept, held_out) for image in split.images.numpy()}
    assert found == {content_of(image) for image in whole.images.numpy()}
    assert (len(kept.labels), len(held_out.labels)) == (1294, 143)
    assert duplicates(kept, held_out) == 0
    for folder in (tmp_path / "mnist", tmp_path / "trec"):
        folder.mkdir(exist_ok=True)
    write_published_idx(tmp_path / "mnist")
    for path in (tmp_path / "mnist").glob("t10k*"):
        path.unlink()
    with pytest.raises(DatasetUnavailable, match="would hold out none of the 1 training images"):
        load("mnist", tmp_path, val_share=0.2)  # it was read up to there
    (tmp_path / "trec" / "TREC_10.label").unlink()
    lines = [f"{name}:x {name} number {number}" for name in ("ABBR", "DESC") for number in range(10)]
    lines.append("ABBR:x ABBR number 3")
    (tmp_path / "trec" / "train_5500.label").write_text("\n".join(lines))
    texts, held_out_texts = load("trec", tmp_path, val_share=0.2)
    assert len(texts.texts) + len(held_out_texts.texts) == 21
    assert duplicates(texts, held_out_texts) == 0
    assert set(texts.vocabulary[2:]) == {word for text in texts.texts for word in text.lower().split()}


def test_a_text_that_is_tested_and_trained_on_is_counted(trec: Path) -> None:
    assert duplicates(*load("trec", trec)) == 0
    path = trec / "trec" / "TREC_10.label"
    path.write_text(path.read_text() + "NUM:date When was Ozzy Osbourne born ?\n")
    assert duplicates(*load("trec", trec)) == 1
