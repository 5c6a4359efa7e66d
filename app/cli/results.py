"""The command for results that were trained elsewhere."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.connection import api_client, ask
from app.cli.output import Json, UsageError, print_json, say, visible
from app.cli.plans import value_of

commands = typer.Typer()


@commands.command("import-results")
def import_results(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files of results, one for each training.")],
    spec: Annotated[
        list[str],
        typer.Option(
            metavar="FIELD=VALUE",
            help="What the files do not say: model, pooling, dataset and seed; with several files one value, or one "
            "for each with commas between.",
        ),
    ] = [],  # noqa: B006
    experiment: Annotated[
        str | None, typer.Option(help="Id of the experiment to stand in; without it a new one.", show_default=False)
    ] = None,
    column: Annotated[
        list[str], typer.Option(metavar="OURS=THEIRS", help="Which column of a table is which, such as val_top1=acc.")
    ] = [],  # noqa: B006
    fractions: Annotated[bool, typer.Option("--fractions", help="Top-1 in the table lies between 0 and 1.")] = False,
    as_json: Json = False,
) -> None:
    """Keep results from elsewhere as runs: logs of the reference's script, summary.csv of timm, tables of epochs.

    Example: cctboard import-results log.txt --spec model=cct_2_3x2_32 --spec pooling=seqpool --spec dataset=cifar10
    --spec seed=0
    """
    given = {name: text.split(",") for name, text in map(_pair, spec)}
    for name, values in given.items():
        if len(values) not in (1, len(paths)):
            raise UsageError(f"--spec {name} has {len(values)} values for {len(paths)} files; give one, or one each")
    columns = dict(map(_pair, column))
    imported = []
    with api_client() as client:
        for number, path in enumerate(paths):
            told = {name: value_of(some[number if len(some) > 1 else 0]) for name, some in given.items()}
            params: dict[str, Any] = {"spec": json.dumps(told), "name": path.name, "columns": json.dumps(columns)}
            params |= {"fractions": fractions} | ({"experiment": experiment} if experiment else {})
            try:
                content = path.read_bytes()
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror}") from error
            run = ask(client, "POST", "/results", content, params=params, has="external")
            experiment = run["experiment_id"]
            imported.append(run)
            if not as_json:
                what = visible(f"{path}: {run['external']['kind']}, final top-1 {run['final_top1']:.2f} %")
                say(f"{what}; run {run['id']} of experiment {experiment}")
        if as_json:
            print_json({"runs": imported})
        else:
            say("they stand beside other runs; to let one enter verdicts, say so on its page")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is not NAME=VALUE; for example seed=0")
    return name, value
