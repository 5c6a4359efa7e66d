"""Tries an own pooling, in a process of its own: `python -m worker.checker CHECK`.

On the CPU and nicely, beside a run that may be training.
"""

import os
import signal
import sys
from dataclasses import asdict

import torch

from app.settings import Settings
from app.store.pooling_checks import PoolingChecks
from app.store.run_store import RunStore
from cct.pooling_check import check

LIMIT_SECONDS = 60


def main(check_id: str) -> None:
    """What fails is printed last, for the worker to tell."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(LIMIT_SECONDS)  # also ends what hangs or has lost its worker
    os.nice(10)
    torch.set_num_threads(1)
    checks = PoolingChecks(RunStore(Settings()))
    for number, finding in enumerate(check(checks.name_of(check_id))):
        checks.add(check_id, number, asdict(finding))


def _give_up(*_: object) -> None:
    print(f"it was given up after {LIMIT_SECONDS} s: does a loop in it not end?", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
