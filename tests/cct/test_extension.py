"""A finished run gets more epochs as another run, which begins where it ended."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cct.__main__ import main
from cct.checkpoint import BEST, LAST, Checkpoint, CheckpointMismatch
from cct.events import EpochRecord, Facts
from cct.extension import hold
from cct.run_warnings import extended
from cct.schedule import learning_rate
from cct.spec import RunSpec
from cct.training import train
from tests.cct.test_training import numbers
from tests.cct.told import first, only

# While it warms up the learning rate does not depend on the number of epochs: so long in one go is the same.
SPEC = RunSpec(
    model="vit_2_4_32",
    kernel_size=8,
    dataset="digits",
    epochs=2,
    batch_size=512,
    warmup_epochs=9,
    seed=1,
    ema_decay=0.9,
)
TINY = ["--dataset", "digits", "--model", "vit_2_4_32", "--batch-size", "512", "--augmentation", "none"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    list(train(SPEC, data_dir=folder, checkpoint_dir=folder))
    return folder


def test_an_extended_run_goes_on_from_weights_their_average_optimizer_and_random_numbers(
    finished: Path, tmp_path: Path
) -> None:
    more = replace(SPEC, epochs=4)
    in_one_go = only(EpochRecord, train(more, data_dir=tmp_path))
    hold(finished, tmp_path / "held")
    assert {path.name for path in (tmp_path / "held").iterdir()} == {LAST, BEST}
    events = train(more, data_dir=tmp_path, checkpoint_dir=tmp_path / "held", extends=2)
    facts = first(Facts, events)
    assert [warning.code for warning in facts.warnings] == ["warm-up-longer-than-run", "extended"]
    assert facts.provenance["extended_after_epoch"] == "2"
    begun = [first(EpochRecord, events) for _ in range(3)]
    again = list(train(more, data_dir=tmp_path, checkpoint_dir=tmp_path / "held", recorded=begun, extends=2))
    assert numbers(only(EpochRecord, again)) == numbers(in_one_go)
    assert only(Facts, again)[0].provenance["extended_after_epoch"] == "2"
    hold(tmp_path / "held", tmp_path / "twice")
    still_more = replace(SPEC, epochs=5)
    facts = first(Facts, train(still_more, data_dir=tmp_path, checkpoint_dir=tmp_path / "twice", extends=4))
    assert facts.provenance["extended_after_epoch"] == "2, 4"
    assert len(Checkpoint.read(finished / LAST).records) == 2, "the finished run is as it was"


def test_a_run_begins_with_no_other_checkpoint_than_that_which_it_extends(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match="goes on after epoch 2 of another, but there is no checkpoint in"):
        list(train(replace(SPEC, epochs=4), data_dir=tmp_path, checkpoint_dir=tmp_path, extends=2))
    hold(finished, tmp_path)
    for spec, extends in (
        (replace(SPEC, epochs=4), 3),
        (replace(SPEC, epochs=4), 0),
        (replace(SPEC, epochs=4, seed=7), 2),
    ):
        with pytest.raises(CheckpointMismatch, match="belongs to another spec"):
            list(train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path, extends=extends))
    with pytest.raises(FileNotFoundError, match=r"best\.pt"):
        hold(tmp_path / "gone", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_schedule_of_an_extended_run_is_told() -> None:
    spec = RunSpec(epochs=300)
    assert f"{learning_rate(spec, 200):.2g}" == "0.00013"
    assert extended(spec, 0) == []
    [warning] = extended(spec, 200)
    assert warning.text == (
        "Epochs 1 to 200 are those of a finished run, by its schedule of 200 epochs. From epoch 201 on the learning "
        "rate follows the schedule of 300, so it goes from 3.2e-08 to 0.00013: this is not the same as 300 epochs in "
        "one go."
    )


def test_a_run_is_extended_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, more = tmp_path / "one", tmp_path / "more"
    assert main([*TINY, "--epochs", "1", "--out", str(one)]) == 0
    command = ["--extend", str(one), "--epochs", "2", "--out", str(more)]
    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()[3:5]] == ["1", "2"]
    assert "warning: Epochs 1 to 1 are those of a finished run" in told.err
    shutil.rmtree(more)
    (more).mkdir()
    assert main(["--extend", str(tmp_path), "--epochs", "2", "--out", str(more)]) == 2
    for wrong, said in {
        ("--lr", "0.1"): "--lr: is that of the run that is extended; leave it out",
        ("--epochs", "1"): f"--epochs: the run in {one} has 1 already; give more",
        ("--out", str(one)): "--out: name another folder",
    }.items():
        with pytest.raises(SystemExit) as exit_:
            main([*command, *wrong])
        assert exit_.value.code == 2
        assert said in capsys.readouterr().err
