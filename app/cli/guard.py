"""Ends a board's processes when the process that started them is gone, however it ended: killed, or out of memory.

Reads `name process-id` lines from its standard input. The starter holds the other end, which closes with it. Imports
little, as each board has one of these for as long as it runs.
"""

import os
import signal
import sys
import time
from contextlib import suppress


def main(seconds: float) -> None:
    """Asks each to end, last started first, and kills what has not ended after so many seconds."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes: dict[str, int] = {}
    for line in sys.stdin:
        name, process = line.split()
        processes[name] = int(process)  # one that was started again keeps its place
    for process in reversed(processes.values()):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                time.sleep(0.05)
                os.kill(process, 0)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # also what it had started itself


if __name__ == "__main__":
    main(float(sys.argv[1]))
