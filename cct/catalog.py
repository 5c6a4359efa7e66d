"""The names of the pooling variants, read without importing torch.

`cct/pooling.py` is the one file a user edits to add a variant. The API validates and lists variants by name but must
not import torch, so this module reads that file's syntax tree: each class with `@register("name")` is an entry.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PoolingInfo:
    """What the board says of a pooling variant: its registered name, its docstring's first paragraph, its formula."""

    name: str
    summary: str
    formula: str


@cache
def poolings() -> dict[str, PoolingInfo]:
    """All pooling variants by name, in the order of `cct/pooling.py` (the baseline first)."""
    tree = ast.parse(Path(__file__).with_name("pooling.py").read_text(encoding="utf-8"))
    found: dict[str, PoolingInfo] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if (
                isinstance(decorator, ast.Call)
                and isinstance(decorator.func, ast.Name)
                and decorator.func.id == "register"
            ):
                name = ast.literal_eval(decorator.args[0])
                found[name] = PoolingInfo(name, _summary(node), _formula(node))
    return found


def _summary(node: ast.ClassDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def _formula(node: ast.ClassDef) -> str:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "formula" for t in statement.targets
        ):
            return str(ast.literal_eval(statement.value))
    return ""
