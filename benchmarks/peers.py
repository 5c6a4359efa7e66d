"""Other boards, for `compare_chart.py`: how each is filled, started, and asked for the chart of one metric.

Run with a board's own Python, `peers.py NAME FOLDER FIRST COUNT` fills it with runs FIRST to COUNT by its own writer
and prints their ids. Requests are those that its page makes for one chart of all runs, found in its frontend's source.
Each run has one metric of 200 epochs, no more: that favours trackio, whose page asks for all metrics of a run at once.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

EPOCHS = 200
METRIC = "val_top1"


def top1(run: int, epoch: int) -> float:
    """A made-up curve of percents with two digits, as 10,000 validation images give."""
    return round(95 - 60 / epoch**0.5 + 0.3 * math.sin(7 * epoch + run) + 0.013 * run, 2)


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes | None = None
    """Of a POST."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    fill: Callable[[Path, int, int], list[str]]
    """Adds runs; in the peer's own Python."""
    command: Callable[[Path, int], Sequence[str]]
    """Of its server, over a folder and on a port; the first word is a program of its virtual environment."""
    requests: Callable[[Sequence[str]], list[Request]]
    """What its page asks for a chart of these runs, one after another."""
    points: Callable[[bytes], int]
    """How many an answer holds, about."""
    environment: Callable[[Path, int], dict[str, str]] = lambda folder, port: {}


def fill_trackio(folder: Path, first: int, count: int) -> list[str]:
    from trackio.sqlite_storage import SQLiteStorage

    for run in range(first, count):
        values = [{METRIC: top1(run, epoch)} for epoch in range(1, EPOCHS + 1)]
        SQLiteStorage.bulk_log("benchmark", f"run-{run}", values, list(range(1, EPOCHS + 1)), run_id=f"id{run}")
    return [f"id{run}" for run in range(first, count)]


def ask_trackio(ids: Sequence[str]) -> list[Request]:
    """64 runs in a request, one after another; of each run all metrics."""
    runs = [{"run": f"run-{run_id[2:]}", "run_id": run_id} for run_id in ids]
    parts = [runs[at : at + 64] for at in range(0, len(runs), 64)]
    bodies = [{"project": "benchmark", "runs": part, "scalar_only": True} for part in parts]
    headers = {"Content-Type": "application/json"}
    return [Request("/api/get_logs_batch", json.dumps(body).encode(), headers) for body in bodies]


def fill_tensorboard(folder: Path, first: int, count: int) -> list[str]:
    """The bytes that PyTorch's SummaryWriter writes."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in range(first, count):
        writer = EventFileWriter(str(folder / f"run-{run:03}"))
        for epoch in range(1, EPOCHS + 1):
            value = Summary.Value(tag=METRIC, simple_value=top1(run, epoch))
            writer.add_event(Event(wall_time=time.time(), step=epoch, summary=Summary(value=[value])))
        writer.close()
    return [f"run-{run:03}" for run in range(first, count)]


def ask_tensorboard(ids: Sequence[str]) -> list[Request]:
    """The time series page: all runs that have the tag."""
    asked = json.dumps([{"plugin": "scalars", "tag": METRIC}])
    body = f'--part\r\nContent-Disposition: form-data; name="requests"\r\n\r\n{asked}\r\n--part--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=part"}
    path = "/experiment/defaultExperimentId/data/plugin/timeseries/timeSeries"
    return [Request(path, body.encode(), headers)]


def fill_mlflow(folder: Path, first: int, count: int) -> list[str]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = client.get_experiment_by_name("benchmark")
    experiment = found.experiment_id if found else client.create_experiment("benchmark")
    ids = []
    for run in range(first, count):
        run_id = client.create_run(experiment, run_name=f"run-{run}").info.run_id
        now = int(time.time() * 1000)
        client.log_batch(run_id, [Metric(METRIC, top1(run, epoch), now, epoch) for epoch in range(1, EPOCHS + 1)])
        client.set_terminated(run_id)
        ids.append(run_id)
    return ids


def ask_mlflow(ids: Sequence[str]) -> list[Request]:
    """The runs' charts: 100 runs in a request, up to 320 points of each."""
    query = urlencode({"run_ids": ids, "metric_key": METRIC, "max_results": 320}, doseq=True)
    return [Request(f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{query}")]


def fill_aim(folder: Path, first: int, count: int) -> list[str]:
    from aim import Run

    ids = []
    for number in range(first, count):
        run = Run(repo=str(folder), experiment="benchmark", system_tracking_interval=None, capture_terminal_logs=False)
        for epoch in range(1, EPOCHS + 1):
            run.track(top1(number, epoch), name=METRIC, step=epoch)
        run.close()
        ids.append(run.hash)
    return ids


def ask_aim(ids: Sequence[str]) -> list[Request]:
    """The metrics explorer: all runs that have the metric, up to 500 points of each."""
    query = urlencode({"q": f'((metric.name == "{METRIC}"))', "p": 500})
    return [Request(f"/api/runs/search/metric/?{query}")]


def _address(port: int) -> list[str]:
    return ["--host", "127.0.0.1", "--port", str(port)]


PEERS = {
    "trackio": Peer(
        fill_trackio,
        lambda folder, port: ["trackio", "show"],
        ask_trackio,
        lambda answer: answer.count(b'"val_top1"'),
        lambda folder, port: {
            "TRACKIO_DIR": str(folder),
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "BROWSER": "true",  # it opens a page by itself
        },
    ),
    "tensorboard": Peer(
        fill_tensorboard,
        lambda folder, port: ["tensorboard", "--logdir", str(folder), *_address(port)],
        ask_tensorboard,
        lambda answer: answer.count(b'"wallTime"'),
    ),
    "mlflow": Peer(
        fill_mlflow,
        lambda folder, port: [
            *("mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
            *("--default-artifact-root", str(folder / "artifacts"), *_address(port)),
        ],
        ask_mlflow,
        lambda answer: answer.count(b'"timestamp"'),
    ),
    "aim": Peer(
        fill_aim,
        lambda folder, port: ["aim", "up", "--yes", "--repo", str(folder), *_address(port)],
        ask_aim,
        lambda answer: len(answer) // 24,  # arrays of 8 bytes a number: values, epochs, times
        lambda folder, port: {"AIM_UI_TELEMETRY_ENABLED": "0"},
    ),
}

if __name__ == "__main__":
    name, to, since, until = sys.argv[1:]
    print(json.dumps(PEERS[name].fill(Path(to), int(since), int(until))))
