"""Whatever happens while a checkpoint is written, the one before is there and whole; and only a run's own is read."""

import gzip
import re
import struct
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cct import checkpoint
from cct.answers import export_answers
from cct.card import Card
from cct.checkpoint import Checkpoint, CheckpointMismatch, CheckpointNotWritten
from cct.events import Confusion, EpochRecord, Facts
from cct.extension import ANSWERS
from cct.models import create_model
from cct.spec import RunSpec
from cct.training import train
from cct.weights import UnusableWeights, read_weights
from tests.cct.told import only

KILLS = 30

SPEC = RunSpec(model="vit_2_4_32", dataset="digits", epochs=2, batch_size=512, seed=1, augmentation="none")
SPEC = replace(SPEC, precision="fp32")
OF_0_1 = Path(__file__).with_name("checkpoint_of_0.1.pt.gz")
"""What version 0.1 left of `SPEC` after its first epoch, but that all weights are 0, which makes it small."""

# Forks instead of starting interpreters: the import of torch would take most of the time.
KILLED_WHILE_SAVING = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from cct import checkpoint
from cct.answers import export_answers

torch.set_num_threads(1)
folder, kills = Path(sys.argv[1]), int(sys.argv[2])

def save(number):
    checkpoint._write(folder / checkpoint.LAST, {"number": number, "values": torch.full((200_000,), number)})

save(0)
last = interrupted = 0
for _ in range(kills):
    before = set(folder.iterdir())
    child = os.fork()
    if child == 0:
        number = last
        while True:
            number += 1
            save(number)
    time.sleep(random.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    interrupted += set(folder.iterdir()) > before
    found = torch.load(folder / checkpoint.LAST, weights_only=True)
    assert (found["values"] == found["number"]).all() and found["number"] >= last, found
    last = found["number"]
print(last, interrupted)
"""

SAVE_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from cct import checkpoint
from cct.answers import export_answers

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
checkpoint._write(Path(sys.argv[1]) / checkpoint.LAST, {"number": 2, "values": torch.ones(100_000)})
"""


def test_a_kill_at_any_instant_leaves_a_valid_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path), str(KILLS)]
    saved, interrupted = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert saved > 0
    assert interrupted > 0, "some kills must hit a half written file, or this test shows nothing"


def after(epochs: int, values: torch.Tensor, spec: RunSpec = SPEC, best: int = 1) -> Checkpoint:
    """A run's checkpoint as far as its file is concerned."""
    record = EpochRecord(
        epoch=1,
        train_loss=2.0,
        train_top1=20.0,
        val_loss=2.0,
        val_top1=20.0,
        val_top5=60.0,
        lr=1e-3,
        seconds=1.0,
        images_per_second=100.0,
        peak_memory_bytes=1,
    )
    return Checkpoint(
        spec=spec,
        model={"values": values},
        optimizer={},
        records=[replace(record, epoch=epoch + 1) for epoch in range(epochs)],
        confusions=[Confusion(epoch, [[3, 0], [1, 2]]) for epoch in sorted({best, epochs})],
        precision="fp32",
        compile="off",
        threads=2,
        provenance={"code": "c"},
        started_from={},
    )


def test_what_is_saved_is_loaded_and_the_best_weights_are_kept_apart(tmp_path: Path) -> None:
    for epochs, best in ((1, 1), (2, 2), (3, 2)):
        saved = after(epochs, torch.full((3,), float(epochs)), best=best)
        saved.save(tmp_path)
        loaded = Checkpoint.load(tmp_path, SPEC)
        assert loaded
        assert torch.equal(loaded.model["values"], saved.model["values"])
        assert replace(loaded, model={}) == replace(saved, model={})
        weights, epoch = checkpoint.read_snapshot(tmp_path / checkpoint.BEST)
        assert (epoch, weights["values"][0].item()) == (best, best)


def test_the_next_attempt_removes_what_a_kill_left_half_written(tmp_path: Path) -> None:
    half = tmp_path / f"{checkpoint.LAST}.12345.tmp"
    half.write_bytes(b"half")
    assert Checkpoint.load(tmp_path, SPEC) is None
    after(2, torch.ones(1)).save(tmp_path)
    half.write_bytes(b"half")
    assert Checkpoint.load(tmp_path, SPEC) == after(2, torch.ones(1))
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]


def test_a_run_goes_on_from_a_checkpoint_of_the_same_training_or_not_at_all(tmp_path: Path) -> None:
    (saved := after(2, torch.ones(1))).save(tmp_path)
    [first, second] = saved.records
    for recorded in ([], [first], [first, second]):
        assert Checkpoint.load(tmp_path, SPEC, recorded)
    for recorded, why in (
        (
            [first, second, replace(second, epoch=3)],
            "epochs 1 to 3 of this run are recorded, but .* is of epoch 2; put",
        ),
        ([first, replace(second, seconds=1.5)], "is of another training of this spec: what it measured in epoch 2"),
    ):
        with pytest.raises(CheckpointMismatch, match=why):
            Checkpoint.load(tmp_path, SPEC, recorded)
    with pytest.raises(CheckpointMismatch, match="epoch 1 of this run is recorded, but there is no checkpoint in"):
        Checkpoint.load(tmp_path / "other", SPEC, [first])


def test_a_process_that_was_overtaken_drops_what_it_trained(tmp_path: Path) -> None:
    """One that was frozen, say, while another went on with its run."""
    after(3, torch.ones(1), best=2).save(tmp_path)
    with pytest.raises(CheckpointMismatch, match=r"last\.pt is of epoch 3 already, .* epoch 2 is dropped"):
        after(2, torch.zeros(1), best=2).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST], "nor was it written as the best one"
    after(3, torch.ones(1), best=2).save(tmp_path)
    after(4, torch.ones(1), best=2).save(tmp_path)
    loaded = Checkpoint.load(tmp_path, SPEC)
    assert loaded
    assert len(loaded.records) == 4


def test_a_folder_that_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(CheckpointNotWritten, match="No such file or directory"):
        after(1, torch.ones(1)).save(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {"weight": torch.ones(1)}}, "it has no 'spec'"),
        (torch.ones(3), "no checkpoint"),
        ([1, 2], "no checkpoint"),
        ({"spec": [1, 2]}, "no checkpoint"),
        ({"spec": asdict(SPEC), "model": {}, "optimizer": {}, "records": [{"epoch": 1}]}, "missing"),
    ],
)
def test_something_else_is_not_taken_for_a_checkpoint(content: Any, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / checkpoint.LAST)
    with pytest.raises(UnusableWeights, match=r"last\.pt is damaged or no checkpoint \(.*; put .*") as error:
        Checkpoint.load(tmp_path, SPEC)
    assert said in str(error.value)


def test_weights_of_another_version_of_a_model_are_named() -> None:
    model = create_model("vit_2_4_32", seed=0)
    with pytest.raises(CheckpointMismatch, match=r'another version of vit_2_4_32 with class_token \(.*"values"'):
        after(1, torch.ones(1)).restore(model, torch.optim.AdamW(model.parameters()))


def test_a_run_of_version_0_1_goes_on(tmp_path: Path) -> None:
    for name in (checkpoint.LAST, "0.1.pt"):
        (tmp_path / name).write_bytes(gzip.decompress(OF_0_1.read_bytes()))
    saved = Checkpoint.load(tmp_path, SPEC)
    assert saved
    assert (saved.precision, saved.compile, saved.threads) == ("fp32", "off", 1)
    [confusion] = saved.confusions
    assert (confusion.epoch, sum(map(sum, confusion.counts))) == (1, 360)
    events = list(train(SPEC, data_dir=tmp_path, checkpoint_dir=tmp_path))
    [facts], [first, second] = only(Facts, events), only(EpochRecord, events)
    assert first.train_loss == 2.315123534816458
    assert first == saved.records[0]
    assert only(Confusion, events)[0] == confusion
    assert facts.provenance["code"].startswith("1109abfcdbd0350f; from epoch 2: ")
    assert second.val_loss == pytest.approx(2.302585, abs=1e-3), "ln 10, as all weights were 0"
    # What this version leaves has the same entries, and some that 0.1 does not look at.
    entries = ("settled", "provenance", "optimizer")
    before, now = (torch.load(path, weights_only=True) for path in (tmp_path / "0.1.pt", tmp_path / checkpoint.LAST))
    assert now.keys() == before.keys() | {"vocabulary", "card", "warnings", "answers", "labels"}
    export_answers(tmp_path)
    assert (tmp_path / ANSWERS).exists() == (second.val_top1 > first.val_top1), "0.1 has kept no answers of its epoch"
    assert now["spec"].keys() > before["spec"].keys()
    assert [now[entry].keys() for entry in entries] == [before[entry].keys() for entry in entries]
    assert [type(value) for value in now["confusions"][0]] == [type(value) for value in before["confusions"][0]]


@pytest.mark.parametrize("room", [0, 1, 1_000, 65_536, 400_000])
def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(room: int, tmp_path: Path) -> None:
    checkpoint._write(tmp_path / checkpoint.LAST, {"number": 1})
    command = [sys.executable, "-c", SAVE_ON_A_FULL_DISK, str(tmp_path), str(room)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1
    said = process.stderr.strip().splitlines()[-1]
    assert said.startswith(f"cct.checkpoint.CheckpointNotWritten: cannot write {tmp_path / checkpoint.LAST}")
    assert "File too large" in said
    assert torch.load(tmp_path / checkpoint.LAST, weights_only=True) == {"number": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]


def test_what_cannot_be_stored_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoint._write(tmp_path / checkpoint.LAST, {"good": 1})
    with pytest.raises(Exception, match=r"pickle|local"):
        checkpoint._write(tmp_path / checkpoint.LAST, {"bad": lambda: None})
    assert torch.load(tmp_path / checkpoint.LAST, weights_only=True) == {"good": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", bytes(1000)])
def test_a_damaged_checkpoint_is_named_and_stays(content: bytes, tmp_path: Path) -> None:
    (tmp_path / checkpoint.LAST).write_bytes(content)
    with pytest.raises(UnusableWeights, match=r"last\.pt is damaged or no checkpoint \(.+\); put"):
        Checkpoint.load(tmp_path, SPEC)
    assert (tmp_path / checkpoint.LAST).read_bytes() == content
    (tmp_path / checkpoint.LAST).unlink()
    (tmp_path / checkpoint.LAST).mkdir()
    with pytest.raises(UnusableWeights, match=r"last\.pt cannot be read \(Is a directory\)"):
        Checkpoint.load(tmp_path, SPEC)


def test_checkpoints_of_any_content_are_read_as_they_were_or_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = torch.arange(4000, dtype=torch.float32)
    (saved := after(1, values)).save(tmp_path)
    saved = replace(saved, model={})
    for name in (checkpoint.LAST, checkpoint.BEST):
        path = tmp_path / name
        whole = path.read_bytes()
        refused: list[str] = []
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(random.integers(1, 4)):
                damaged[random.integers(len(damaged))] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged[: random.integers(len(damaged) + 1)] if random.random() < 0.3 else damaged)
            try:
                if name == checkpoint.LAST:
                    read = Checkpoint.read(path)
                    assert replace(read, model={}) == saved
                    weights = read.model
                else:
                    weights, epoch = checkpoint.read_snapshot(path)
                    assert epoch == 1
                assert torch.equal(weights["values"], values)
            except UnusableWeights as error:
                refused.append(str(error))
        assert len(refused) > 100, "weights are most of the file"
        assert all(re.match(r".*(last\.pt is damaged or|best\.pt cannot be read \()", error) for error in refused)


def test_a_wrong_bit_in_weights_from_here_is_found_before_they_start_others(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.BEST
    card = Card(spec=SPEC, class_names=("0", "1"))
    replace(after(1, torch.full((4000,), 1.5)), card=card).save(tmp_path)
    assert read_weights(path).card == card
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(struct.pack("<3f", 1.5, 1.5, 1.5)) + 4003] ^= 8
    path.write_bytes(damaged)
    with pytest.raises(UnusableWeights, match=r"the checksum of .* does not fit"):
        read_weights(path)


def test_specs_of_before_pretrained_weights_are_continued(tmp_path: Path) -> None:
    earlier = {name: value for name, value in asdict(SPEC).items() if name != "pretrained"}
    after(1, torch.ones(1)).save(tmp_path)
    content = torch.load(tmp_path / checkpoint.LAST, weights_only=True)
    torch.save(content | {"spec": earlier}, tmp_path / checkpoint.LAST)
    assert Checkpoint.load(tmp_path, SPEC) == after(1, torch.ones(1))
