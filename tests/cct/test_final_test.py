"""A run that holds training data out reads its test set once, after its last epoch, and tells what it found."""

from dataclasses import replace
from pathlib import Path

import pytest

from cct.data import MNIST, load, load_test
from cct.events import EpochRecord, FinalTest, RunWarning
from cct.spec import RunSpec
from cct.training import train
from tests.cct.test_data import NOWHERE
from tests.cct.test_held_out import pets, trec
from tests.cct.test_image_files import COLOURS, noise

__all__ = ["pets", "trec"]

PETS = RunSpec(dataset="image_folder", image_folder="pets", epochs=2, batch_size=8, val_share=0.2, lr=2e-3)


def test_test_images_that_cannot_be_read_before_the_last_epoch_has_ended_are_tested(pets: Path, tmp_path: Path) -> None:
    """Until then they are no images at all, on which every earlier look would end the run."""
    paths = {name: pets / "test" / name / "one.png" for name in COLOURS}
    for path in paths.values():
        path.parent.mkdir(parents=True)
        path.write_text("not an image yet")
    events = []
    for event in train(PETS, data_dir=tmp_path):
        events.append(event)
        if isinstance(event, EpochRecord) and event.epoch == PETS.epochs:
            for name, path in paths.items():
                noise(COLOURS[name], 99).save(path)
    [tested] = [event for event in events if isinstance(event, FinalTest)]
    assert (tested.images, tested.best_epoch in (1, 2)) == (3, True)
    records = [event for event in events if isinstance(event, EpochRecord)]
    assert tested.best_epoch == max(records, key=lambda record: record.val_top1).epoch
    assert events.index(tested) > events.index(records[-1])
    assert not [event for event in events if isinstance(event, RunWarning) and event.code == "untested"]


def test_test_texts_are_read_after_the_last_epoch(trec: Path) -> None:
    (trec / "trec" / "TREC_10.label").rename(aside := trec / "aside")
    lines = [f"{name}:x {name} number {number}" for name in ("ABBR", "DESC") for number in range(10)]
    (trec / "trec" / "train_5500.label").write_text("\n".join(lines))
    spec = RunSpec(model="text_cct_2", dataset="trec", epochs=1, batch_size=8, val_share=0.2)
    found = []
    for event in train(spec, data_dir=trec):
        found.append(event)
        if isinstance(event, EpochRecord):
            aside.rename(trec / "trec" / "TREC_10.label")
    [tested] = [event for event in found if isinstance(event, FinalTest)]
    assert tested.images == len(load("trec", trec)[1].labels)


def test_a_run_without_held_out_data_or_that_may_not_test_does_not(pets: Path, tmp_path: Path) -> None:
    (pets / "test").mkdir()
    for name, colour in COLOURS.items():
        (pets / "test" / name).mkdir()
        noise(colour, 99).save(pets / "test" / name / "one.png")
    for events in (
        train(replace(PETS, val_share=0.0, epochs=1), data_dir=tmp_path),
        train(replace(PETS, epochs=1), data_dir=tmp_path, may_test=False),
    ):
        assert not [event for event in events if isinstance(event, FinalTest)]


def test_a_test_set_that_is_not_there_is_warned_of_when_the_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_split, _ = load("digits", tmp_path, val_share=0.1)
    tested = load_test("digits", tmp_path, train_split)
    assert tested is not None
    assert tested.labels.tolist() == load("digits", tmp_path)[1].labels.tolist()
    monkeypatch.setattr(MNIST["mnist"], "mirrors", [NOWHERE])
    monkeypatch.setattr("cct.training.load", lambda *_: load("digits", tmp_path, val_share=0.9))
    spec = RunSpec(dataset="mnist", epochs=1, val_share=0.5)
    [warning] = [
        event for event in train(spec, data_dir=tmp_path) if isinstance(event, RunWarning) and event.code == "untested"
    ]
    assert "mnist" in warning.text


def test_a_run_that_goes_on_after_its_end_is_tested_by_the_same_weights(tmp_path: Path) -> None:
    """Its best epoch's weights are those of the file, not of this process, which has trained nothing."""
    spec = RunSpec(model="cvt_2_4_32", kernel_size=8, dataset="digits", epochs=2, val_share=0.9, lr=0.02)
    first, again = (
        [
            event
            for event in train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path / "run")
            if isinstance(event, FinalTest)
        ]
        for _ in range(2)
    )
    assert first == again
    [in_memory] = [event for event in train(spec, data_dir=tmp_path) if isinstance(event, FinalTest)]
    assert [in_memory] == first
