"""A trainer's process, and the one that a slot has waiting for its next run: what it imports takes seconds."""

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from worker.vitals import available_bytes

ENOUGH_BYTES = 2 << 30
"""With less memory left no trainer is started before it has a run."""
SCARCE_BYTES = ENOUGH_BYTES // 2
"""With less left one that waits is ended; so much lies between that its end does not make room for the next."""

_ROOT = Path(__file__).parent.parent


class Trainer:
    """A process of `worker.trainer`, which waits for its run; ends with the context."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Raises `OSError`."""
        self._started_at = time.time()
        # It has no name, so that nothing is left of it however this process ends.
        self._sign_of_life = tempfile.TemporaryFile()  # noqa: SIM115
        sign_of_life = self._sign_of_life.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.trainer", str(sign_of_life)],
            stdin=subprocess.PIPE,  # by which it sees whether this process is alive
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            pass_fds=(sign_of_life,),
        )
        self.news = threading.Event()
        """Set when the process has ended; whoever watches it may set it for other reasons."""
        threading.Thread(target=self._wait, name=f"trainer-{self.process.pid}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)  # with what it has started, which could hold its output
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._sign_of_life.close()

    def train(self, run_id: str, token: str, *options: str) -> None:
        """Gives it its run."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has just ended, which is seen at once
            self.process.stdin.write(" ".join([run_id, token, *options]).encode())
            self.process.stdin.flush()

    def shown_life(self) -> int:
        """Changes when the trainer shows that it lives."""
        return os.fstat(self._sign_of_life.fileno()).st_mtime_ns

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def can_train(self) -> bool:
        """Whether it lives, and has the code that a new one would have."""
        return self.process.poll() is None and _code_changed_at() < self._started_at

    def _wait(self) -> None:
        self.process.wait()
        self.news.set()


class Spare:
    """At most one trainer that waits for the next run of a slot."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._waiting: Trainer | None = None
        self._closed = False

    def prepare(self) -> None:
        """Has a trainer wait unless memory is short. Raises `OSError`."""
        with self._lock:
            self._drop_unless(available_bytes() > SCARCE_BYTES)
            if self._waiting is None and not self._closed and available_bytes() > ENOUGH_BYTES:
                self._waiting = Trainer(self._environment)

    def take(self) -> Trainer:
        """The trainer that waits, or a new one. Raises `OSError`."""
        with self._lock:
            self._drop_unless(True)
            trainer, self._waiting = self._waiting, None
        return trainer or Trainer(self._environment)

    def close(self) -> None:
        """Ends the one that waits; there will be no other."""
        with self._lock:
            self._closed = True
            self._drop_unless(False)

    @property
    def process_id(self) -> int | None:
        waiting = self._waiting
        return waiting.process.pid if waiting else None

    def _drop_unless(self, wanted: bool) -> None:
        if self._waiting and not (wanted and self._waiting.can_train()):
            with self._waiting as trainer:
                assert trainer.process.stdout is not None
                trainer.process.stdout.close()
            self._waiting = None


def _code_changed_at() -> float:
    """When a file of ours was last written or a package installed, in seconds since the epoch."""
    ours = (file for package in ("app", "cct", "worker") for file in (_ROOT / package).rglob("*.py"))
    installed = map(Path, {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    return max(path.stat().st_mtime for path in (*ours, *installed))
