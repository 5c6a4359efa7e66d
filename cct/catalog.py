"""The names of the pooling variants, read without importing torch.

`cct/pooling.py` is the one file a user edits to add a variant. The API validates and lists variants by name but must
not import torch, so this module reads that file's syntax tree: each class with `@register("name")` is an entry.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class PoolingInfo:
    """What the board says of a pooling variant: its registered name, its docstring's first paragraph, its formula."""

    name: str
    summary: str
    formula: str
    coefficients: tuple[int, ...] = ()
    """The number of the pooling's own weights as a polynomial of the channels, lowest power first."""
    uses_class_token: bool = False

    def parameters(self, channels: int) -> int:
        """The number of the pooling's own weights, the class token included."""
        return sum(coefficient * channels**power for power, coefficient in enumerate(self.coefficients))


@cache
def poolings() -> dict[str, PoolingInfo]:
    """All pooling variants by name, in the order of `cct/pooling.py` (the baseline first)."""
    tree = ast.parse(Path(__file__).with_name("pooling.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found: dict[str, PoolingInfo] = {}
    for node in classes.values():
        for decorator in node.decorator_list:
            if (
                isinstance(decorator, ast.Call)
                and isinstance(decorator.func, ast.Name)
                and decorator.func.id == "register"
            ):
                name = ast.literal_eval(decorator.args[0])
                found[name] = PoolingInfo(name, _summary(node), **_attributes(node, classes))
    return found


def _summary(node: ast.ClassDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def _attributes(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Any]:
    """What the class declares of itself; all but the formula is inherited, as in Python."""
    found: dict[str, Any] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found |= _attributes(classes[base.id], classes)
    found["formula"] = ""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in ("formula", "coefficients", "uses_class_token"):
                found[name] = ast.literal_eval(statement.value)
    return found
