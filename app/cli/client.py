"""The commands that talk to a board's API, and what they print."""

import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import httpx2 as httpx
import typer
from rich.console import Console
from rich.table import Table

from app.proxies import DIRECT
from app.settings import Settings

commands = typer.Typer()
console = Console()


class UsageError(Exception):
    """What the user must change, in one line."""


@commands.command()
def submit(
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE[,VALUE...]", help="Fields of the run's spec.")
    ] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Name of the experiment, if there is more than one run.")] = "Experiment",
    priority: Annotated[int, typer.Option(help="Higher is trained earlier.", min=-100, max=100)] = 0,
) -> None:
    """Queue a run, or with several values per field an experiment of their product.

    Example: cctboard submit dataset=digits epochs=8 pooling=seqpool,mean seed=0,1,2
    """
    spec: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    for field in fields:
        key, equals, text = field.partition("=")
        if not equals:
            raise UsageError(f"{field!r} is not FIELD=VALUE; for example epochs=20")
        values = [_value(part) for part in text.split(",")]
        if len(values) > 1:
            axes[key] = values
        else:
            spec[key] = values[0]
    with api_client() as client:
        if axes:
            request = {"name": name, "spec": spec, "axes": axes, "priority": priority}
            created = ask(client, "POST", "/experiments", request)
            console.print(f"experiment {created['id']}: {created['runs']} runs queued")
        else:
            created = ask(client, "POST", "/runs", spec | {"priority": priority})
            console.print(f"run {created['id']} queued")


@commands.command()
def runs(limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20) -> None:
    """List the newest runs."""
    with api_client() as client:
        console.print(runs_table(ask(client, "GET", f"/runs?limit={limit}")["runs"]))


@commands.command()
def compare(
    experiment: Annotated[str, typer.Argument(help="Id of the experiment.")],
    group: Annotated[str, typer.Option(help="Spec field whose values are the variants.")] = "pooling",
) -> None:
    """Show an experiment's comparison table."""
    with api_client() as client:
        print_comparison(ask(client, "GET", "/comparison", params={"experiment": experiment, "group": group}))


@commands.command()
def report(
    experiment: Annotated[str, typer.Argument(help="Id of the experiment.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    group: Annotated[str, typer.Option(help="Spec field whose values are the variants.")] = "pooling",
) -> None:
    """Save an experiment's answer, table and figures as one HTML file."""
    with api_client() as client:
        name = ask(client, "GET", f"/experiments/{experiment}")["name"]
        response = client.get("/report", params={"experiment": experiment, "group": group, "title": name})
        if response.is_error:
            raise UsageError(response.json()["detail"])
    out.write_bytes(response.content)
    console.print(f"{out} written")


@commands.command()
def tensorboard(
    what: Annotated[str, typer.Argument(metavar="RUN|EXPERIMENT", help="Id of a run or of an experiment.")],
    to: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("tensorboard"),
    group: Annotated[str, typer.Option(help="Spec field whose values are the variants.")] = "pooling",
) -> None:
    """Write event files for `tensorboard --logdir`: a folder for each run, named by variant and seed."""
    with api_client() as client:
        found = _runs_of(client, what)
        if group not in found[0]["spec"]:
            raise UsageError(f"{group!r} is not a field of the spec; choose one of {', '.join(found[0]['spec'])}")
        names = [re.sub(r"[^\w.-]", "_", f"{run['spec'][group]}-seed-{run['spec']['seed']}") for run in found]
        count = Counter(names)
        for run, name in zip(found, names, strict=True):
            folder = to / (name if count[name] == 1 else f"{name}-{run['id']}")
            response = client.get(f"/runs/{run['id']}/tensorboard")
            if response.is_error:
                raise UsageError(response.json()["detail"])
            with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
                [file] = archive.namelist()
                folder.mkdir(parents=True, exist_ok=True)
                (folder / Path(file).name).write_bytes(archive.read(file))
    console.print(f"{len(found)} {'run' if len(found) == 1 else 'runs'} written; tensorboard --logdir {to} shows them")


def _runs_of(client: httpx.Client, what: str) -> list[dict[str, Any]]:
    """The run of this id, or the runs of the experiment of this id."""
    if (run := client.get(f"/runs/{what}")).is_success:
        return [run.json()]
    if client.get(f"/experiments/{what}").status_code == 404:
        raise UsageError(f"there is no run or experiment {what!r}")
    query = {"experiment": what, "archived": "shown", "limit": "1000"}
    if not (found := ask(client, "GET", "/runs", params=query)["runs"]):
        raise UsageError(f"experiment {what} has no runs")
    return list(found)


@commands.command()
def cancel(run: Annotated[str, typer.Argument(help="Id of the run.")]) -> None:
    """Cancel a queued or running run; what was measured is kept."""
    with api_client() as client:
        cancelled = ask(client, "POST", f"/runs/{run}/cancel")
    console.print(f"run {run} {'is stopping' if cancelled['state'] == 'running' else cancelled['state']}")


@commands.command()
def retry(run: Annotated[str, typer.Argument(help="Id of the run.")]) -> None:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint."""
    with api_client() as client:
        ask(client, "POST", f"/runs/{run}/retry")
    console.print(f"run {run} queued")


@commands.command()
def delete(
    run: Annotated[str, typer.Argument(help="Id of the run.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a run, its measurements and its checkpoints."""
    with api_client() as client:
        found = ask(client, "GET", f"/runs/{run}")
        spec, epoch = found["spec"], found["epoch"]
        what = f"run {run} ({spec['pooling']}, seed {spec['seed']}, {epoch} epochs) and its checkpoints"
        if yes or typer.confirm(f"Delete {what}?"):
            ask(client, "DELETE", f"/runs/{run}")
            console.print(f"run {run} deleted")


@commands.command()
def pause() -> None:
    """Start no more runs; what runs goes on."""
    with api_client() as client:
        queue = ask(client, "POST", "/queue/pause")
    console.print(f"paused; {len(queue['entries'])} runs wait")


@commands.command()
def resume() -> None:
    """Start queued runs again."""
    with api_client() as client:
        queue = ask(client, "POST", "/queue/resume")
    console.print(f"resumed; {len(queue['entries'])} runs wait")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def api_client(url: str | None = None) -> httpx.Client:
    settings = Settings()
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"} if settings.token else {}
    return httpx.Client(base_url=url or settings.url, headers=headers, timeout=30, mounts=DIRECT)


def ask(client: httpx.Client, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
    response = client.request(method, path, json=body, params=params)
    if response.is_error:
        raise UsageError(response.json()["detail"])
    return response.json() if response.content else None


def runs_table(found: list[dict[str, Any]]) -> Table:
    table = Table("run", "pooling", "seed", "state", "epoch", "left", "best", "final", box=None, caption=MIXES)
    for column in table.columns:
        column.no_wrap = column.header != "state"
    for run in found:
        within = f" +{100 * run['step'] // run['steps']} %" if run["steps"] else ""
        eta = f"{run['eta_seconds']:.0f} s" if run["eta_seconds"] is not None else ""
        table.add_row(
            run["id"],
            run["spec"]["pooling"] + (" *" if run["mixes_batch"] else ""),
            str(run["spec"]["seed"]),
            run["state"] + (f": {run['error']}" if run["error"] else ""),
            f"{run['epoch']}/{run['spec']['epochs']}{within}",
            eta,
            _percent(run["best_top1"]),
            _percent(run["final_top1"]),
        )
    return table


def print_comparison(comparison: dict[str, Any]) -> None:
    console.print(_comparison_table(comparison))
    console.print(comparison["answer"])
    for row in comparison["variants"]:
        if row["variant"] != comparison["baseline"]:
            console.print(f"- {row['verdict']}")


def _comparison_table(comparison: dict[str, Any]) -> Table:
    table = Table(
        "variant", "seeds", "best", "final", "minutes", f"difference to {comparison['baseline']}", title="Comparison"
    )
    for row in comparison["variants"]:
        table.add_row(
            row["variant"] + (" *" if row["mixes_batch"] else ""),
            str(row["seeds"]),
            _stat(row["best"], " %"),
            _stat(row["final"], " %"),
            _stat(row["minutes"]),
            "baseline"
            if row["variant"] == comparison["baseline"]
            else _stat(row["difference"], " points", signed=True),
        )
    for reference in comparison["references"]:
        table.add_row(
            f"{reference['label']}: {reference['model']}, {reference['pooling']}", "", "", _percent(reference["top1"])
        )
    return table


MIXES = "* mixes the batch: an image's output depends on its batch-mates"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"


def _stat(stat: dict[str, Any] | None, unit: str = "", signed: bool = False) -> str:
    if stat is None:
        return "-"
    mean = f"{stat['mean']:{'+' if signed else ''}.2f}"
    spread = "" if stat["sd"] is None else f" ± {stat['sd']:.2f}"
    return mean + spread + unit
