"""How long whole runs take, from queueing to the last record: one of 200 epochs, then 3 poolings x 5 seeds of it.

A board of its own with one worker trains CCT-2/3x2 by the reference recipe, with all that a run does: augmentation,
validation and checkpoint in each epoch, the trial that chooses how steps are executed, start and end of a process. The
images are as many and as large as CIFAR-10's (50,000 and 10,000 of 3 x 32 x 32 bytes, in files of MNIST's format), and
random: what they show does not change the time. Prints how long each part took; the worker's log says what was chosen.

Run: `python benchmarks/whole_runs.py [--epochs 200] [--images 50000] [--slots auto] [--poolings 3] [--seeds 5]
[--compile auto]`.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

from app.cli.board import running
from app.cli.services import free_port
from cct.spec import COMPILE

POOLINGS = ["seqpool", "seqpool_softmax_tokens", "mean", "max", "class_token"]


def write_images(folder: Path, images: int, test_images: int) -> None:
    """Random idx files, named as MNIST's."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", images), ("t10k", test_images)):
        for name, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            values = random.integers(256 if len(shape) == 3 else 10, size=shape, dtype=np.uint8)
            header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(header + values.tobytes())


def train(client: httpx.Client, spec: dict[str, Any], poolings: list[str], seeds: int) -> float:
    """Seconds from the request until all runs are completed; prints what they were made of."""
    axes = {"pooling": poolings, "seed": list(range(seeds))}
    began = time.perf_counter()
    created = client.post("/experiments", json={"name": "Whole runs", "spec": spec, "axes": axes}).raise_for_status()
    while True:
        runs = client.get("/runs", params={"experiment": created.json()["id"]}).raise_for_status().json()["runs"]
        if any(run["state"] in ("failed", "cancelled") for run in runs):
            raise SystemExit(f"a run ended otherwise: {json.dumps(runs, indent=1)}")
        if all(run["state"] == "completed" for run in runs):
            break
        time.sleep(0.5)
    seconds = time.perf_counter() - began
    run = client.get(f"/runs/{runs[0]['id']}").raise_for_status().json()
    records = client.get(f"/runs/{run['id']}/epochs").raise_for_status().json()
    rate = statistics.median(record["images_per_second"] for record in records)
    epoch_seconds = statistics.median(record["seconds"] for record in records)
    chosen = {key: run["provenance"].get(key) for key in ("device", "precision", "compile", "torch")}
    print(f"{len(runs)} runs of {spec['epochs']} epochs: {seconds:.1f} s, {seconds / len(runs):.1f} s per run")
    print(f"  in one of them: {rate:,.0f} images/s, {epoch_seconds:.2f} s per epoch with validation; {chosen}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--images", type=int, default=50_000, help="for training; a fifth as many for validation")
    parser.add_argument("--slots", default="auto", help="runs at the same time, for the second measurement")
    parser.add_argument("--poolings", type=int, default=3, choices=range(1, len(POOLINGS) + 1))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--compile", choices=COMPILE, default="auto")
    options = parser.parse_args()
    spec = {"dataset": "mnist", "epochs": options.epochs, "compile": options.compile}
    for slots, poolings, seeds in (("1", 1, 1), (options.slots, options.poolings, options.seeds)):
        os.environ["CCTBOARD_SLOTS"] = slots
        with tempfile.TemporaryDirectory() as folder:
            data, port = Path(folder), free_port()
            write_images(data / "datasets" / "mnist", options.images, options.images // 5)
            with (
                running(data, "127.0.0.1", port, workers=1, redis_url=None),
                httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
            ):
                while not client.get("/workers").raise_for_status().json()["workers"]:  # measures its slots first
                    time.sleep(0.5)
                print(f"slots: {slots}")
                train(client, spec, POOLINGS[:poolings], seeds)


if __name__ == "__main__":
    main()
