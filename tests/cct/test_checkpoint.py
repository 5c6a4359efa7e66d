"""Whatever happens while a checkpoint is written, the one before is there and whole."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from cct import checkpoint
from cct.checkpoint import UnusableWeights
from cct.spec import RunSpec

KILLS = 30

# Forks instead of starting interpreters: the import of torch would take most of the time.
KILLED_WHILE_SAVING = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from cct import checkpoint

torch.set_num_threads(1)
folder, kills = Path(sys.argv[1]), int(sys.argv[2])

def save(number):
    checkpoint.save(folder, checkpoint.LAST, {"number": number, "values": torch.full((200_000,), number)})

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

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
checkpoint.save(Path(sys.argv[1]), checkpoint.LAST, {"number": 2, "values": torch.ones(100_000)})
"""


def test_a_kill_at_any_instant_leaves_a_valid_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path), str(KILLS)]
    saved, interrupted = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert saved > 0
    assert interrupted > 0, "some kills must hit a half written file, or this test shows nothing"


def test_the_next_attempt_removes_what_a_kill_left_half_written(tmp_path: Path) -> None:
    spec = RunSpec(dataset="digits")
    half = tmp_path / f"{checkpoint.LAST}.12345.tmp"
    half.write_bytes(b"half")
    assert checkpoint.load_last(tmp_path, spec) is None
    checkpoint.save(tmp_path, checkpoint.LAST, {"spec": asdict(spec)})
    half.write_bytes(b"half")
    assert checkpoint.load_last(tmp_path, spec) == {"spec": asdict(spec)}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]


@pytest.mark.parametrize("room", [0, 1, 1_000, 65_536, 400_000])
def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(room: int, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, checkpoint.LAST, {"number": 1})
    command = [sys.executable, "-c", SAVE_ON_A_FULL_DISK, str(tmp_path), str(room)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1
    said = process.stderr.strip().splitlines()[-1]
    assert said.startswith(f"cct.checkpoint.CheckpointNotWritten: cannot write {tmp_path / checkpoint.LAST}")
    assert "File too large" in said
    assert torch.load(tmp_path / checkpoint.LAST, weights_only=True) == {"number": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]


def test_what_cannot_be_stored_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, checkpoint.LAST, {"good": 1})
    with pytest.raises(Exception, match=r"pickle|local"):
        checkpoint.save(tmp_path, checkpoint.LAST, {"bad": lambda: None})
    assert torch.load(tmp_path / checkpoint.LAST, weights_only=True) == {"good": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", bytes(1000)])
def test_a_damaged_checkpoint_is_named_and_stays(content: bytes, tmp_path: Path) -> None:
    (tmp_path / checkpoint.LAST).write_bytes(content)
    with pytest.raises(UnusableWeights, match=r"last\.pt is damaged or no checkpoint \(.+\); put"):
        checkpoint.load_last(tmp_path, RunSpec())
    assert (tmp_path / checkpoint.LAST).read_bytes() == content
    (tmp_path / checkpoint.LAST).unlink()
    (tmp_path / checkpoint.LAST).mkdir()
    with pytest.raises(UnusableWeights, match=r"last\.pt cannot be read \(Is a directory\)"):
        checkpoint.load_last(tmp_path, RunSpec())


def test_specs_of_before_pretrained_weights_are_continued(tmp_path: Path) -> None:
    spec = RunSpec(dataset="digits")
    earlier = {name: value for name, value in asdict(spec).items() if name != "pretrained"}
    checkpoint.save(tmp_path, checkpoint.LAST, {"spec": earlier})
    assert checkpoint.load_last(tmp_path, spec) == {"spec": earlier}
