"""What the command line prints: users' text as it is, tables of any width, JSON."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from rich.console import Console

from app.cli import connection
from app.cli.client import comparison_table, runs_table
from app.cli.output import Column, FittingTable, console, say, visible
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from tests.app.cli.conftest import Command
from tests.app.store.test_store import RECORD, SPEC

ODD = "[/red] got [port] [bold]x[/bold] :warning: \x1b[2J\nand more"
POOLINGS = ["seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch"]


def program(command: str, server: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a command line in which $CCTBOARD is the program; its output goes into a pipe."""
    known = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    known |= {"CCTBOARD_URL": server, "CCTBOARD": f"{sys.executable} -m app.cli"} | environment
    return subprocess.run(["bash", "-c", command], env=known, capture_output=True, text=True, timeout=60)


@pytest.fixture
def trained(store: RunStore, claim: Callable[[], Lease]) -> str:
    """The id of an experiment of three poolings and two seeds whose runs completed, but for one that failed oddly and
    one that is trained."""
    specs = [replace(SPEC, epochs=200, pooling=pooling, seed=seed) for seed in (0, 1) for pooling in POOLINGS]
    experiment = store.create_experiment("[/red]", {}, {"pooling": POOLINGS, "seed": [0, 1]}, specs)
    for number in range(6):
        lease = claim()
        lease.describe(mixes_batch=int(specs[number].pooling == "seqpool_softmax_batch"), step=7, steps=10)
        lease.record_epoch(replace(RECORD, val_top1=50.0 + number))
        if number == 4:
            lease.release(State.failed, ODD)
        elif number < 5:
            lease.release(State.completed)
    return experiment.id


def drawn(table: FittingTable, width: int) -> list[str]:
    """The lines of a table in a terminal of this width."""
    out = io.StringIO()
    Console(file=out, width=width, markup=False).print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert all(len(line) <= width for line in lines)
    return lines


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_tables_show_what_tells_rows_apart_at_every_width(
    trained: str, server: str, store: RunStore, width: int
) -> None:
    runs = store.runs()
    table = drawn(runs_table(httpx.get(f"{server}/runs").json()["runs"]), width)
    for run in runs:
        [line] = [line for line in table if line.startswith(f"{run.id}  ")]
        assert run.spec.pooling in line.split()
        assert run.state.value in line.split()
    text = " ".join(table)
    for column, from_width in {"seed": 60, "epoch": 80, "final": 80, "best": 80, "left": 120}.items():
        assert (column in table[0].split()) == (width >= from_width), column
        assert f"not shown in {width} columns" in text or width >= from_width
    query = {"experiment": trained, "group": "pooling"}
    compared = drawn(comparison_table(httpx.get(f"{server}/comparison", params=query).json()), width)
    for pooling in POOLINGS:
        [line] = [line for line in compared if line.split()[:1] == [pooling]]
        assert " %" in line
    assert "difference" in compared[0].split() or width < 80


def test_a_pipe_gets_each_row_on_one_line_with_all_columns(trained: str, server: str) -> None:
    table = program("$CCTBOARD runs", server).stdout.splitlines()
    assert table[0].split() == ["run", "pooling", "seed", "state", "epoch", "left", "best", "final", "balanced"]
    assert len([line for line in table if "/200" in line]) == 6
    narrow = program("$CCTBOARD runs", server, COLUMNS="60").stdout.splitlines()
    assert "epoch" not in narrow[0]
    assert max(map(len, narrow)) <= 60


def test_a_value_that_is_too_long_for_any_terminal_is_folded() -> None:
    long = "https://example.org/" + "weights" * 20
    lines = drawn(FittingTable([Column("variant", [long, "x"], may_fold=True), Column("final", ["1 %", "2 %"])]), 60)
    assert "".join(line[:53].strip() for line in lines[1:-1]) == long
    assert [lines[1].split()[-1], lines[-1].split()] == [["1", "%"][-1], ["x", "2", "%"]]


def test_users_text_is_no_markup(
    trained: str, board: Command, store: RunStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    console.print("[/red] [bold]x[/bold] :warning:")
    say("[/red]")
    assert capsys.readouterr().out == "[/red] [bold]x[/bold] :warning:\n[/red]\n"
    [failed] = [run for run in store.runs() if run.state is State.failed]
    listed = board("runs")
    shown = f"{failed.id} failed: [/red] got [port] [bold]x[/bold] :warning: \\x1b[2J\\nand more"
    assert shown in listed.stdout.splitlines(), listed.stderr
    out = tmp_path / "[port] [/red].html"
    out.parent.mkdir()
    saved = board("report", trained, "--out", str(out))
    assert saved.stdout == f"{out} written\n"
    assert out.exists()
    folder = tmp_path / "[/red]"
    written = board("tensorboard", failed.id, "--to", str(folder))
    assert written.stdout == f"1 run written; tensorboard --logdir {folder} shows them\n"
    assert board("compare", trained).stdout.count("seqpool_softmax_batch") >= 2


def test_what_a_terminal_would_obey_is_shown_as_an_escape() -> None:
    assert visible("a\x1b]0;title\x07\r\n\u202eb\udcff ä 字") == "a\\x1b]0;title\\x07\\r\\n\\u202eb\\udcff ä 字"


def test_a_terminal_without_the_characters_gets_escapes(trained: str, server: str) -> None:
    done = program(f"$CCTBOARD compare {trained}", server, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xb1" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(trained: str, server: str) -> None:
    done = program("$CCTBOARD runs | true", server)
    assert done.stderr in ("", "cctboard: standard output: Broken pipe\n")


def test_an_output_that_cannot_be_written_is_named(trained: str, server: str) -> None:
    done = program("$CCTBOARD runs > /dev/full", server)
    assert (done.returncode, done.stderr) == (2, "cctboard: standard output: No space left on device\n")


@pytest.mark.parametrize("command", [["report", "--out"], ["tensorboard", "--to"]])
@pytest.mark.parametrize(
    ("place", "reason"), [("file/x", "Not a directory"), ("/proc/x", "No such file or directory"), ("folder", "Is a")]
)
def test_a_place_that_takes_no_file_is_named(
    trained: str, board: Command, tmp_path: Path, command: list[str], place: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    out = tmp_path / place
    if (command[0], place) == ("tensorboard", "folder"):
        out, reason = tmp_path / "file", "Not a directory"
    done = board(command[0], trained, command[1], str(out))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"cctboard: {out}")
    assert f"cannot be written: {reason}" in done.stderr
    assert f"name another place with {command[1]}" in done.stderr


def test_an_old_report_stays_when_the_disk_is_full(trained: str, server: str, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        f"sys.argv = ['cctboard', 'report', {trained!r}, '--out', {str(out)!r}]; from app.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited], env=os.environ | {"CCTBOARD_URL": server}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"cctboard: {out} cannot be written: File too large; name another place with --out\n",
    )
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]
    assert out.read_text() == "old"


def test_commands_print_the_apis_json(board: Command, server: str, trained: str, store: RunStore) -> None:
    def answer(path: str) -> Any:
        return httpx.get(f"{server}{path}").json()

    def printed(*arguments: str) -> Any:
        return json.loads(board(*arguments, "--json").stdout)

    assert printed("runs", "--limit", "4") == answer("/runs?limit=4")
    assert printed("compare", trained) == answer(f"/comparison?experiment={trained}")
    of_other = printed("compare", trained, "--baseline", "seqpool_softmax_batch")
    assert of_other == answer(f"/comparison?experiment={trained}&baseline=seqpool_softmax_batch")
    assert of_other["baseline"] == "seqpool_softmax_batch"
    run = printed("submit", "dataset=digits", "epochs=3")
    assert run == answer(f"/runs/{run['id']}")
    experiment = printed("submit", "dataset=digits", "seed=1,2")
    assert experiment == answer(f"/experiments/{experiment['id']}")
    assert printed("cancel", run["id"]) == answer(f"/runs/{run['id']}")
    assert printed("retry", run["id"]) == answer(f"/runs/{run['id']}")
    assert printed("pause") == answer("/queue")
    assert printed("resume") == answer("/queue")
    assert not store.paused()


def test_lists_are_read_page_by_page(
    board: Command, trained: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connection, "RUNS_PER_PAGE", 4)
    assert "6 runs written" in board("tensorboard", trained, "--to", str(tmp_path)).stdout
    assert len(list(tmp_path.glob("*-seed-*/events.out.tfevents.*"))) == 6
    for limit in (1, 4, 5, 6, 100):
        found = json.loads(board("runs", "--limit", str(limit), "--json").stdout)
        assert (len({run["id"] for run in found["runs"]}), found["total"]) == (min(limit, 6), 6)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", "9" * 5000, "[" * 100_000])
def test_a_number_that_is_none_is_the_servers_to_refuse(board: Command, value: str) -> None:
    done = board("submit", "dataset=digits", f"lr={value}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("cctboard: lr: Input should be a valid number")


def test_the_help_tells_all_defaults(cctboard: Command) -> None:
    """Typer takes brackets in a help text for markup, and leaves them out."""
    told = cctboard("up", "--help").stdout
    assert [default for default in ("(data)", "8000", "1", "(1)") if f"[default: {default}]" not in told] == []
