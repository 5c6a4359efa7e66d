import difflib
from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.errors import Conflict, NotFound
from app.store.pooling_checks import PoolingCheck, PoolingChecks
from app.store.run_store import RunStore
from app.web.dependencies import Store
from cct import own_poolings
from cct.catalog import code_of, poolings
from cct.own_poolings import UnusablePooling

router = APIRouter(prefix="/poolings", tags=["catalog"])


class CodeFile(BaseModel):
    name: str
    text: str


class PoolingDetail(BaseModel):
    """A pooling and its code. The code of an own one is kept with the runs that were queued with it."""

    name: str = Field(description="Of an own one the full name, which tells its code")
    summary: str
    formula: str
    is_own: bool
    is_current: bool = Field(description="Whether this is what its name stands for now")
    files: Sequence[CodeFile] = Field(
        description="The first registers it, the others are what that needs and derives from"
    )
    check: PoolingCheck | None = Field(description="What a worker has found out about it; of own ones")


class DifferenceLine(BaseModel):
    kind: str = Field(
        description="`+` is in the second alone, `-` in the first, blank in both, `@` where lines are left out"
    )
    text: str


class CodeDifference(BaseModel):
    first: str
    second: str
    lines: Sequence[DifferenceLine]


@router.get("/{name}", summary="Read a pooling, with its code")
def read_pooling(store: Store, name: str) -> PoolingDetail:
    """By its name, which of an own one stands for the code as it is now, or by a full name, `mine@1f2e3d4c`."""
    full_name = _full_name(store, name)
    info = own_poolings.pooling_info(full_name)
    is_own = full_name not in poolings()
    current = own_poolings.found().sources.get(full_name.partition("@")[0]) if is_own else None
    return PoolingDetail(
        name=full_name,
        summary=info.summary,
        formula=info.formula,
        is_own=is_own,
        is_current=not is_own or (current is not None and current.name == full_name),
        files=[CodeFile(name=name, text=text) for name, text in _code(full_name).items()],
        check=PoolingChecks(store).found(full_name) if is_own else None,
    )


@router.get("/{name}/difference/{other}", summary="See in which lines another pooling's code differs")
def read_difference(store: Store, name: str, other: str) -> CodeDifference:
    first, second = _full_name(store, name), _full_name(store, other)
    # What both derive from comes first in both.
    before, after = ("\n\n".join([*_code(one).values()][::-1]).splitlines() for one in (first, second))
    _, _, *lines = [*difflib.unified_diff(before, after, lineterm="", n=3)] or ["", ""]
    told = [DifferenceLine(kind=line[:1], text=line.strip("@ ") if line[0] == "@" else line[1:]) for line in lines]
    return CodeDifference(first=first, second=second, lines=told)


@router.post("/{name}/check", status_code=202, summary="Have a worker check an own pooling")
def check_pooling(store: Store, name: str) -> PoolingDetail:
    """In seconds, also if all workers are training; an event `pooling_check` tells when there is more of it."""
    full_name = _full_name(store, name)
    if full_name in poolings():
        raise Conflict(f"{full_name} is a pooling of CCT Board, which its tests check")
    PoolingChecks(store).ask(full_name)
    return read_pooling(store, full_name)


def _full_name(store: RunStore, name: str) -> str:
    if "@" in name and not own_poolings.is_known(name):
        store.poolings.learn_names([name])
    try:
        return own_poolings.full_name(name)
    except UnusablePooling as error:
        raise NotFound("pooling", name, str(error)) from error


def _code(full_name: str) -> dict[str, str]:
    if full_name in poolings():
        return {"cct/pooling.py": code_of(full_name)}
    source = own_poolings.source_of(full_name)
    names = sorted(source.files, key=lambda name: (name != source.file, name))
    inherited = {"cct/pooling.py": code} if (code := own_poolings.inherited_code(full_name)) else {}
    return {f"{name}.py": source.files[name] for name in names} | inherited
