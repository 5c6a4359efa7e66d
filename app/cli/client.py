"""The commands that talk to a board's API, and what they print."""

import io
import re
import sys
import threading
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx2 as httpx
import typer
from rich.console import Group as ScreenGroup
from rich.live import Live
from rich.text import Text

from app.cli.connection import Missing, api_client, ask, download, list_runs, path_of
from app.cli.output import Column, FittingTable, Json, UsageError, console, print_json, say, tell, visible, writing
from app.cli.plans import is_unfinished, parse_fields, plan_lines, value_of
from app.limits import PRIORITY
from app.store.plan import FINAL
from cct.whole_file import whole_file

commands = typer.Typer()

MIXES = "* mixes the batch: an image's output depends on its batch-mates"
LONGEST_FOLDER_NAME = 100

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
Group = Annotated[str, typer.Option(help="Spec field whose values are the variants.")]
OwnGroup = Annotated[
    str | None,
    typer.Option(
        help="Spec field whose values are the variants, or several with commas between; without it one that the "
        "experiment varies.",
        show_default=False,
    ),
]
OfBaseline = Annotated[str | None, typer.Option(help="The variant to compare others with.", show_default=False)]
OfMeasure = Annotated[
    str | None,
    typer.Option(
        help="The result that is compared, such as 'final test_top1' of runs that hold training data out; without it "
        "the final val_top1, or that of a plan.",
        show_default=False,
    ),
]


@commands.command()
def submit(
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE[,VALUE...]", help="Fields of the run's spec.")
    ] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Name of the experiment, if there is more than one run.")] = "Experiment",
    priority: Annotated[int, typer.Option(help="Higher is trained earlier.", min=-PRIORITY, max=PRIORITY)] = 0,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD=VALUE[,...]",
            help="Queue seeds until each variant is settled: fields of a plan or a JSON object, {} for the defaults.",
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='Search settings for each variant first, such as {"fields": {"lr": {"low": 0.0001, "high": 0.01, '
            '"log": true}}, "trials": 12}, then compare the best on fresh seeds; needs val_share.',
        ),
    ] = None,
    variant: Annotated[
        list[str],
        typer.Option(
            metavar="FIELD=VALUE[,...]",
            help="A variant of several fields that go together, such as pooling=gem,lr=0.002; give one or more.",
        ),
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Queue a run, or with several values per field an experiment of their product.

    Examples: cctboard submit dataset=digits epochs=8 pooling=seqpool,mean seed=0,1,2

    cctboard submit dataset=digits epochs=8 pooling=seqpool,mean --plan max_seeds=10
    """
    given: dict[str, list[Any]] = {}
    for part in fields:
        key, equals, text = part.partition("=")
        if not equals:
            raise UsageError(f"{part!r} is not FIELD=VALUE; for example epochs=20")
        if key in given:
            raise UsageError(f"{key} is given twice; give several values as {key}=VALUE,VALUE")
        given[key] = [value_of(value) for value in text.split(",")]
    spec = {key: values[0] for key, values in given.items() if len(values) == 1}
    axes = {key: values for key, values in given.items() if len(values) > 1}
    with api_client() as client:
        if axes or variant or plan is not None or tune is not None:
            request: dict[str, Any] = {"name": name, "spec": spec, "axes": axes, "priority": priority}
            if variant:
                request["variants"] = [parse_fields(one, "--variant") for one in variant]
            if tune is not None:
                request["tune"] = parse_fields(tune, "--tune")
            if plan is not None:
                request["plan"] = parse_fields(plan, "--plan")
            created = ask(client, "POST", "/experiments", request, has="id")
            message = f"experiment {created['id']}: {created['runs']} runs queued"
            if created["plan"]:
                message += f"; more follow until each variant is settled, at most {created['max_seeds']} seeds each"
            preview = ask(client, "POST", "/experiments/preview", request, has="warnings")
            warnings = [f"{one['text']} ({one['runs']} of {preview['runs']} runs)" for one in preview["warnings"]]
        else:
            created = ask(client, "POST", "/runs", spec | {"priority": priority}, has="id")
            message = f"run {created['id']} queued"
            warnings = [warning["text"] for warning in created["warnings"]]
    tell(created, as_json, message)
    for warning in warnings:
        print(visible(f"warning: {warning}"), file=sys.stderr)


@commands.command()
def runs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20, as_json: Json = False
) -> None:
    """List the newest runs."""
    with api_client() as client:
        found = list_runs(client, limit)
    if as_json:
        print_json(found)
    else:
        console.print(runs_table(found["runs"]))


@commands.command()
def compare(
    experiment: Annotated[str, typer.Argument(help="Id of the experiment.")],
    group: OwnGroup = None,
    baseline: OfBaseline = None,
    measure: OfMeasure = None,
    as_json: Json = False,
) -> None:
    """Show an experiment's comparison table."""
    with api_client() as client:
        query = {"experiment": experiment} | _given(group=group, baseline=baseline, measure=measure)
        comparison = ask(client, "GET", "/comparison", params=query, has="variants")
        if not as_json:
            print_comparison(comparison)
            print_plan(ask(client, "GET", path_of("experiment", experiment), has="plan"))
    if as_json:
        print_json(comparison)


@commands.command()
def watch(experiment: Annotated[str, typer.Argument(help="Id of the experiment.")]) -> None:
    """Follow an experiment and its plan to its end; Ctrl-C stops watching, nothing else."""
    with suppress(KeyboardInterrupt), api_client() as client:
        row = ask(client, "GET", path_of("experiment", experiment), has="plan_state")
        follow(client, row, threading.Event())
        print_comparison(ask(client, "GET", "/comparison", params={"experiment": experiment}, has="variants"))
        print_plan(ask(client, "GET", path_of("experiment", experiment), has="plan"))


def follow(client: httpx.Client, experiment: dict[str, Any], stop_asked: threading.Event) -> None:
    """Shows an experiment's runs and its plan until it has ended."""

    def shown() -> ScreenGroup:
        found = list_runs(client, experiment=experiment["id"])["runs"][::-1]
        return ScreenGroup(runs_table(found), *(Text(visible(line)) for line in plan_lines(experiment)))

    with Live(console=console, refresh_per_second=4) as live:
        while is_unfinished(experiment) and not stop_asked.is_set():
            live.update(shown())
            stop_asked.wait(0.5)
            experiment = ask(client, "GET", f"/experiments/{experiment['id']}")
        live.update(shown())
    if not console.is_terminal:
        console.line()  # on a terminal `Live` has ended its last line


@commands.command()
def report(
    experiment: Annotated[str, typer.Argument(help="Id of the experiment.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    group: OwnGroup = None,
    baseline: OfBaseline = None,
    measure: OfMeasure = None,
) -> None:
    """Save an experiment's answer, table and figures as one HTML file."""
    with api_client() as client:
        name = ask(client, "GET", path_of("experiment", experiment), has="name")["name"]
        query = {"experiment": experiment, "title": name} | _given(group=group, baseline=baseline, measure=measure)
        page = download(client, "/report", "text/html", query)
    with writing(out, "--out"), whole_file(out) as file:
        file.write(page)
    say(f"{out} written")


@commands.command()
def tensorboard(
    what: Annotated[str, typer.Argument(metavar="RUN|EXPERIMENT", help="Id of a run or of an experiment.")],
    to: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("tensorboard"),
    group: Group = "pooling",
) -> None:
    """Write event files for `tensorboard --logdir`: a folder for each run, named by variant and seed."""
    with api_client() as client:
        found = _runs_of(client, what)
        if group not in found[0]["spec"]:
            raise UsageError(f"{group!r} is not a field of the spec; choose one of {', '.join(found[0]['spec'])}")
        names = [_folder_name(run, group) for run in found]
        count = Counter(names)
        for run, name in zip(found, names, strict=True):
            folder = to / (name if count[name] == 1 else f"{name}-{run['id']}")
            packed = download(client, path_of("run", run["id"], "tensorboard"), "application/zip")
            with zipfile.ZipFile(io.BytesIO(packed)) as archive, writing(folder, "--to"):
                [member] = archive.namelist()
                folder.mkdir(parents=True, exist_ok=True)
                with whole_file(folder / Path(member).name) as file:
                    file.write(archive.read(member))
    say(f"{len(found)} {'run' if len(found) == 1 else 'runs'} written; tensorboard --logdir {to} shows them")


def _folder_name(run: dict[str, Any], group: str) -> str:
    name = re.sub(r"[^\w.-]", "_", f"{run['spec'][group]}"[:LONGEST_FOLDER_NAME])
    return f"{name}-seed-{run['spec']['seed']}"


def _runs_of(client: httpx.Client, what: str) -> list[dict[str, Any]]:
    """The run of this id, or the runs of the experiment of this id."""
    with suppress(Missing):
        return [ask(client, "GET", path_of("run", what), has="spec")]
    try:
        ask(client, "GET", path_of("experiment", what), has="name")
    except Missing as error:
        raise UsageError(f"there is no run or experiment {what!r}") from error
    if not (found := list_runs(client, experiment=what, archived="shown")["runs"]):
        raise UsageError(f"experiment {what} has no runs")
    return list(found)


@commands.command()
def cancel(run: Run, as_json: Json = False) -> None:
    """Cancel a queued or running run; what was measured is kept."""
    with api_client() as client:
        cancelled = ask(client, "POST", path_of("run", run, "cancel"), has="state")
    message = f"run {run} {'is stopping' if cancelled['state'] == 'running' else cancelled['state']}"
    tell(cancelled, as_json, message)


@commands.command()
def retry(run: Run, as_json: Json = False) -> None:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint."""
    with api_client() as client:
        queued = ask(client, "POST", path_of("run", run, "retry"), has="state")
    tell(queued, as_json, f"run {run} queued")


@commands.command()
def extend(
    run: Run,
    epochs: Annotated[int, typer.Option(help="All epochs, with those that the run has.", min=1)],
    as_json: Json = False,
) -> None:
    """Train a completed run for more epochs, as a new run that goes on where it ended."""
    with api_client() as client:
        extending = ask(client, "POST", path_of("run", run, "extend"), {"epochs": epochs}, has="id")
    message = f"run {extending['id']} queued, which goes on after epoch {extending['extends_epoch']} of run {run}"
    tell(extending, as_json, message)
    for warning in extending["warnings"]:
        print(visible(f"warning: {warning['text']}"), file=sys.stderr)


@commands.command()
def delete(run: Run, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a run, its measurements and its checkpoints."""
    with api_client() as client:
        found = ask(client, "GET", path_of("run", run), has="spec")
        spec = found["spec"]
        done = f"{found['epoch']} epochs" if spec["epochs"] else "an evaluation"
        what = f"run {run} ({spec['pooling']}, seed {spec['seed']}, {done}) and its checkpoints"
        if yes or typer.confirm(f"Delete {what}?"):
            ask(client, "DELETE", path_of("run", run))
            say(f"run {run} deleted")


@commands.command()
def pause(as_json: Json = False) -> None:
    """Start no more runs; what runs goes on."""
    _set_queue("pause", "paused", as_json)


@commands.command()
def resume(as_json: Json = False) -> None:
    """Start queued runs again."""
    _set_queue("resume", "resumed", as_json)


def _set_queue(action: str, done: str, as_json: bool) -> None:
    with api_client() as client:
        queue = ask(client, "POST", f"/queue/{action}", has="total")
    tell(queue, as_json, f"{done}; {queue['total']} runs wait")


def runs_table(found: list[dict[str, Any]]) -> FittingTable:
    def spec(name: str) -> list[str]:
        return [str(run["spec"][name]) for run in found]

    are_tested = any(run["test_top1"] is not None for run in found)
    tested = [Column("test", [_percent(run["test_top1"]) for run in found], rank=3)] if are_tested else []
    columns = [
        Column("run", [run["id"] for run in found]),
        Column("pooling", [run["spec"]["pooling"] + (" *" if run["mixes_batch"] else "") for run in found]),
        *(Column(name, spec(name), rank=6) for name in ("dataset", "model") if len(set(spec(name))) > 1),
        Column("seed", spec("seed"), rank=1),
        Column("state", [run["state"] + (" !" if run["warnings"] else "") for run in found]),
        Column("epoch", [_progress(run) for run in found], rank=2),
        Column("left", [_seconds(run["eta_seconds"]) for run in found], rank=5),
        Column("best", [_percent(run["best_top1"]) for run in found], rank=4),
        Column("final", [_percent(run["final_top1"]) for run in found], rank=3),
        *tested,
        Column("balanced", [_percent(run["final_balanced"]) for run in found], rank=7),
    ]
    notes = [MIXES] if any(run["mixes_batch"] for run in found) else []
    notes += [f"{run['id']} {run['state']}: {run['error']}" for run in found if run["error"]]
    return FittingTable(
        columns, notes + [f"{run['id']} ! {warning['text']}" for run in found for warning in run["warnings"]]
    )


def _progress(run: dict[str, Any]) -> str:
    if not run["spec"]["epochs"]:
        return "evaluation"
    within = f" +{100 * run['step'] // run['steps']} %" if run["steps"] else ""
    return f"{run['epoch']}/{run['spec']['epochs']}{within}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


def print_comparison(comparison: dict[str, Any]) -> None:
    console.print(comparison_table(comparison))
    console.print(Text(visible(comparison["answer"])))
    console.print(Text(visible(comparison["validated"])))
    for row in comparison["variants"]:
        if row["variant"] != comparison["baseline"]:
            console.print(Text(visible(f"- {row['verdict']}")))
    for doubt in comparison["doubts"]:
        concerned = f"{len(doubt['runs'])} {'run' if len(doubt['runs']) == 1 else 'runs'}"
        console.print(Text(visible(f"! {doubt['text']} ({', '.join(doubt['variants'])}: {concerned})")))


def print_plan(experiment: dict[str, Any]) -> None:
    if experiment["exploratory"]:
        console.print(Text("exploratory: seeds were added after results were seen, so p values do not hold"))
    for line in plan_lines(experiment):
        console.print(Text(visible(line)))


def comparison_table(comparison: dict[str, Any]) -> FittingTable:
    rows, baseline = comparison["variants"], comparison["baseline"]
    differences = [
        "baseline" if row["variant"] == baseline else _stat(row["difference"], " points", signed=True) for row in rows
    ]
    variants = [row["variant"] + (" *" if row["mixes_batch"] else "") for row in rows]
    columns = [
        Column("variant", variants, may_fold=True),
        Column("seeds", [str(row["seeds"]) for row in rows], rank=2),
        Column("best", [_stat(row["best"], " %") for row in rows], rank=3),
        Column("final", [_stat(row["final"], " %") for row in rows]),
        *([Column("test", [_stat(row["test"], " %") for row in rows])] if any(row["test"] for row in rows) else []),
        Column("minutes", [_stat(row["minutes"]) for row in rows], rank=4),
        Column("difference", differences, rank=1),
    ]
    measure = "" if comparison["measure"] == FINAL else f" in {comparison['measure']}"
    notes = [f"differences are those to {baseline}{measure}"] if len(rows) > 1 else []
    notes += [MIXES] if any(row["mixes_batch"] for row in rows) else []
    for reference in comparison["references"]:
        what = f"{reference['label']}: {reference['model']}, {reference['pooling']}"
        notes.append(f"{what}: {reference['said']}")
    return FittingTable(columns, notes)


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"


def _stat(stat: dict[str, Any] | None, unit: str = "", signed: bool = False) -> str:
    if stat is None:
        return "-"
    mean = f"{stat['mean']:{'+' if signed else ''}.2f}"
    spread = "" if stat["sd"] is None else f" ± {stat['sd']:.2f}"
    return mean + spread + unit
