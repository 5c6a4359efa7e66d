"""The commands for poolings of the user's own."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.connection import Missing, api_client, ask
from app.cli.output import Data, Json, UsageError, print_json, say, visible
from app.settings import Settings
from cct.catalog import poolings
from cct.own_poolings import is_name

commands = typer.Typer()

WAIT_SECONDS = 120.0
_SKELETON = '''"""A pooling of your own. Save this file: the board reads it at once, and a worker checks it."""

from torch import Tensor

from cct.pooling import SeqPool, register


@register("{name}")
class {title}(SeqPool):
    """Sequence pooling whose scores are twice as large."""

    # What stands on the board beside the name. `x` are the tokens after the last norm, (batch, tokens, channels), and
    # `g` is a learned linear score per token.
    formula = "softmax(2 g(x), tokens)ᵀ x"

    # The number of its own weights as a polynomial of the channels, lowest power first. SeqPool has channels + 1, and
    # whoever adds a weight says so here: coefficients = (2, 1)

    # SeqPool weighs tokens by a softmax over their scores. Change one of its three steps, or write `forward`, which
    # makes (batch, channels) of the tokens; `mask` tells which tokens of a text are no padding.
    def scores(self, x: Tensor) -> Tensor:
        return 2 * super().scores(x)

    # def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
    # def values(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
'''


@commands.command("new-pooling")
def new_pooling(
    name: Annotated[str, typer.Argument(metavar="NAME", help="By which it is chosen: a to z, digits and _.")],
    data: Data = None,
) -> None:
    """Write a pooling to begin with into the folder of your own poolings."""
    if not is_name(name):
        raise UsageError(f"{name!r} is no name of a pooling; use a to z, digits and _, beginning with a letter")
    if name in poolings():
        raise UsageError(f"{name!r} is a pooling of CCT Board; choose another name")
    settings = Settings()
    folder: Path = settings.poolings or (data or settings.data) / "poolings"
    path = folder / f"{name}.py"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_SKELETON.format(name=name, title="".join(part.title() for part in name.split("_"))))
    except FileExistsError as error:
        raise UsageError(f"{path} is there already; choose another name, or edit it") from error
    then = f"`cctboard check {name}` and `cctboard submit pooling={name}`"
    say(f"{path} is a pooling to begin with: edit it, then {then}")


@commands.command()
def check(
    pooling: Annotated[str, typer.Argument(metavar="NAME", help="Name of an own pooling.")], as_json: Json = False
) -> None:
    """Have a worker check a pooling of your own, in seconds; exit code 1 if a check has failed."""
    if not is_name(pooling.partition("@")[0]):
        raise Missing(f"there is no pooling {pooling!r}")
    with api_client() as client:
        found = ask(client, "POST", f"/poolings/{pooling}/check", has="check")
        address = f"/poolings/{found['name']}"
        deadline, shown = time.monotonic() + WAIT_SECONDS, 0
        if not as_json:
            say(found["name"])
        while True:
            result: dict[str, Any] = found["check"]
            if not as_json:
                for finding in result["findings"][shown:]:
                    say(f"  {finding['outcome']:7} {visible(finding['name'])}: {visible(finding['text'])}")
                shown = len(result["findings"])
            if result["done"]:
                break
            if time.monotonic() > deadline:
                raise UsageError("no worker has checked it; start one with `cctboard worker`")
            time.sleep(0.2)
            found = ask(client, "GET", address, has="check")
    if as_json:
        print_json(found)
    elif result["error"]:
        say(f"  failed  {visible(result['error'])}")
    if result["error"] or any(finding["outcome"] == "failed" for finding in result["findings"]):
        raise typer.Exit(1)
