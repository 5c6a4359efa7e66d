"""Where the seconds of an experiment go, from the request to the verdict: what of them is training, and what is not.

A board of its own with one worker trains an experiment of two poolings on digits. Its trainers write down when they
enter and leave what a run is made of; when a run was queued, claimed and released is in its history. Prints the mean
seconds of each part of a run and its share, the time from a run's release to the next run's first step, and what came
before the first run and after the last.

Run: `python benchmarks/seconds_of_a_run.py [--epochs 10] [--seeds 3] [--val-share 0]`.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2 as httpx

from app.cli.board import running
from app.cli.services import free_port
from app.web.demo import DEMO

TRACE = """
import sys, time
begun = time.time()
if "worker.trainer" in sys.orig_argv:
    import atexit, functools, json, os
    import cct.checkpoint, cct.cpu, cct.training, cct.weights, cct.answers, worker.attempt, worker.outbox, cct.step

    lines = [["imports", begun, time.time()]]

    def timed(owner, name, part):
        function = getattr(owner, name)
        @functools.wraps(function)
        def wrapper(*arguments, **options):
            began = time.time()
            try:
                return function(*arguments, **options)
            finally:
                lines.append([part, began, time.time()])
        setattr(owner, name, wrapper)

    def write():
        with open(f"{os.environ['SECONDS_FOLDER']}/{os.getpid()}", "w") as file:
            json.dump(lines, file)

    def epochs(*arguments, **options):
        began = time.time()
        yield from train_epoch(*arguments, **options)
        lines.append(["training", began, time.time()])

    def begin(newest, folder, attempt):
        lines.append([f"run {folder.name}", time.time(), time.time()])
        return begin_attempt(newest, folder, attempt)

    def drain(*arguments):
        began = time.time()
        drain_outbox(*arguments)
        lines.append(["delivery", began, time.time()])
        write()

    train_epoch, cct.training.train_epoch = cct.training.train_epoch, epochs
    begin_attempt, worker.attempt.begin = worker.attempt.begin, begin
    drain_outbox, worker.outbox.Outbox.drain = worker.outbox.Outbox.drain, drain
    def step(self, *batch):
        if not any(line[0] == "first step" for line in lines):
            lines.append(["first step", time.time(), time.time()])
        execute(self, *batch)

    execute, cct.step.TrainingStep.__call__ = cct.step.TrainingStep.__call__, step
    timed(cct.cpu, "keep_large_blocks", "main")
    timed(cct.training, "load", "data")
    timed(cct.training, "duplicates", "data")
    timed(cct.training, "_create_model", "model")
    timed(cct.training, "training_step", "model")
    timed(cct.training, "provenance_of", "provenance")
    timed(cct.training, "validate", "validation")
    timed(cct.training, "look", "lens")
    timed(cct.training, "pictures", "lens")
    timed(cct.training.Checkpoint, "save", "checkpoint")
    timed(cct.weights, "export_safetensors", "weights for download")
    timed(cct.answers, "export_answers", "weights for download")
"""
"""For Python's start. A trainer's parts in the order in which they end, with their instants; written before its end."""

Part = tuple[str, float, float]
INSIDE = (
    *("data", "model", "provenance", "training", "validation", "lens", "checkpoint"),
    *("weights for download", "delivery"),
)


def run_parts(parts: list[Part], claimed: float, released: float) -> dict[str, float]:
    """Seconds of each part of one run, which add up to those between claim and release."""
    began = next(begin for name, begin, _ in parts if name == "main")
    seconds = defaultdict[str, float](float)
    seconds["start of the trainer"] = began - claimed
    for name, begin, end in parts:
        if name in INSIDE:
            seconds[name] += end - begin
    ended = max(end for _, _, end in parts)
    seconds["rest of the trainer"] = ended - began - sum(seconds[name] for name in INSIDE)
    seconds["end and release"] = released - ended
    return seconds


def at(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["at"]).timestamp()


def traces(folder: Path) -> dict[str, list[Part]]:
    """What trainers wrote down, by run."""
    found: dict[str, list[Part]] = {}
    for file in folder.iterdir():
        parts = [(name, begin, end) for name, begin, end in json.loads(file.read_text())]
        [run_id] = [name.removeprefix("run ") for name, _, _ in parts if name.startswith("run ")]
        found[run_id] = parts
    return found


def measure(client: httpx.Client, folder: Path, spec: dict[str, Any], seeds: int) -> None:
    axes = {"pooling": ["seqpool", "mean"], "seed": list(range(seeds))}
    asked = time.time()
    created = client.post("/experiments", json={"name": "Seconds", "spec": spec, "axes": axes}).raise_for_status()
    experiment = created.json()["id"]
    answered = time.time()
    while client.get(f"/experiments/{experiment}").raise_for_status().json()["completed"] < 2 * seeds:
        time.sleep(0.05)
    seen = time.time()
    client.get("/comparison", params={"experiment": experiment}).raise_for_status()
    compared = time.time()

    runs = client.get("/runs", params={"experiment": experiment}).raise_for_status().json()["runs"]
    histories = {run["id"]: client.get(f"/runs/{run['id']}/history").json()["entries"] for run in runs}
    claimed = {run: at(next(e for e in history if e["what"] == "started")) for run, history in histories.items()}
    released = {run: at(next(e for e in history if e["what"] == "completed")) for run, history in histories.items()}
    order = sorted(claimed, key=lambda run: claimed[run])
    parts = traces(folder)
    means = (
        {name: statistics.mean(one[name] for one in all_parts) for name in all_parts[0]}
        if (all_parts := [run_parts(parts[run], claimed[run], released[run]) for run in order])
        else {}
    )
    between = [claimed[after] - released[before] for before, after in pairwise(order)]
    first_steps = [next(begin for name, begin, _ in parts[run] if name == "first step") for run in order]
    to_step = [step - released[before] for before, step in zip(order, first_steps[1:], strict=False)]

    print(f"{len(runs)} runs of {spec['epochs']} epochs: {released[order[-1]] - asked:.2f} s to the last release")
    print(f"  request {answered - asked:.3f} s, queue {claimed[order[0]] - answered:.3f} s to the first claim,")
    print(f"  last release seen after {seen - released[order[-1]]:.3f} s, verdict {compared - seen:.3f} s")
    total = sum(means.values()) + statistics.mean(between)
    for name, seconds in [("between runs", statistics.mean(between)), *means.items()]:
        print(f"  {name:22} {seconds:7.3f} s {100 * seconds / total:5.1f} %")
    print(f"release to first step of the next: {statistics.median(to_step):.2f} s (median; longest {max(to_step):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--val-share", type=float, default=0.0, help="the larger, the shorter is an epoch")
    options = parser.parse_args()
    spec = DEMO["spec"] | {"epochs": options.epochs, "val_share": options.val_share}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(TRACE)
        (folder / "seconds").mkdir()
        os.environ |= {"PYTHONPATH": name, "SECONDS_FOLDER": str(folder / "seconds")}
        port = free_port()
        with (
            running(folder / "data", "127.0.0.1", port, workers=1, redis_url=None),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            while not client.get("/workers").raise_for_status().json()["workers"]:
                time.sleep(0.1)
            measure(client, folder / "seconds", spec, options.seeds)


if __name__ == "__main__":
    main()
