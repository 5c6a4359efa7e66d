"""Whatever happens while a file is written, the one before is there and whole."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cct.whole_file import whole_file

WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from cct.whole_file import whole_file

with whole_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
"""

WRITE_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from cct.whole_file import whole_file

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with whole_file(Path(sys.argv[1])) as file:
    file.write(bytes(5000))
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that is there already, in a folder of its own."""
    path = tmp_path / "folder" / "board.tar"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


def test_the_new_file_takes_the_old_ones_place_and_permissions(old: Path) -> None:
    old.chmod(0o640)
    with whole_file(old) as file:
        file.write(b"new")
        assert old.read_bytes() == b"old"
    assert (old.read_bytes(), old.stat().st_mode & 0o777) == (b"new", 0o640)
    assert list(old.parent.iterdir()) == [old]
    with whole_file(old.with_name("first")) as file:
        file.write(b"1")
    expected = 0o666 & ~_umask()
    assert old.with_name("first").stat().st_mode & 0o777 == expected


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_an_error_leaves_the_old_file(old: Path) -> None:
    with pytest.raises(TypeError), whole_file(old) as file:
        file.writelines([b"half", "text"])  # type: ignore[list-item]
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_whoever_is_ended_leaves_the_old_file(old: Path, name: str) -> None:
    done = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(old), name], capture_output=True)
    assert done.returncode == -getattr(signal, name)
    assert old.read_bytes() == b"old"
    left = sorted(path.name for path in old.parent.iterdir())
    assert left[0] == "board.tar"
    assert (len(left) == 1) == (name == "SIGINT"), "who is killed cannot clean up"


def test_a_full_disk_leaves_the_old_file(old: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITE_ON_A_FULL_DISK, str(old)], capture_output=True, text=True)
    assert f"[Errno {errno.EFBIG}]" in done.stderr
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_a_link_stays_a_link(old: Path, tmp_path: Path) -> None:
    link = tmp_path / "newest.tar"
    link.symlink_to(old)
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


def test_what_is_no_regular_file_is_written_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        with whole_file(pipe) as file:
            file.write(b"through")
        assert reader.communicate(timeout=20)[0] == b"through"
    assert pipe.is_fifo()
