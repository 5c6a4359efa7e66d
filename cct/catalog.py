"""What is known of pooling variants without importing torch: read from the syntax tree of the file that has them.

The API validates, lists and counts variants by name but must not import torch, nor execute what a user wrote. Those of
this package are in `cct/pooling.py`, those of the user's own in a folder (`cct.own_poolings`).
"""

import ast
from collections.abc import Callable, Mapping
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


class Undeclared(ValueError):
    """A class declares something of itself in a way that cannot be read without executing it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


Found = tuple[ast.ClassDef, "Lookup"]
Lookup = Callable[[ast.expr], Found | None]
"""The class that a base names, if its syntax tree is known, and where the names in that one are looked up."""


@cache
def poolings() -> dict[str, PoolingInfo]:
    """The pooling variants of this package by name, in the order of `cct/pooling.py` (the baseline first)."""
    return {name: described(name, node, class_here) for node in _classes().values() if (name := registered_name(node))}


def class_here(base: ast.expr) -> Found | None:
    """The class of `cct/pooling.py` that a base names, `SeqPool` or `pooling.SeqPool`."""
    node = _classes().get(_last_name(base))
    return (node, class_here) if node else None


@cache
def _classes() -> dict[str, ast.ClassDef]:
    tree = ast.parse(Path(__file__).with_name("pooling.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def code_of(name: str) -> str:
    """The classes of `cct/pooling.py` that make up a variant of this package, as they are written there."""
    return code_here(next(node for node in _classes().values() if registered_name(node) == name), class_here)


def code_here(node: ast.ClassDef, lookup: Lookup) -> str:
    """Of a class and those that it derives from, the code of those that are in `cct/pooling.py`."""
    text = Path(__file__).with_name("pooling.py").read_text(encoding="utf-8")
    known, lines, found = _classes().values(), text.splitlines(), [(node, lookup)]
    for one, its_lookup in found:
        found += [inherited for base in one.bases if (inherited := its_lookup(base)) and inherited not in found]
    parts = []
    for one in (one for one in known if any(one is other for other, _ in found)):
        start = min(one.lineno, *(decorator.lineno for decorator in one.decorator_list))
        parts.append("\n".join(lines[start - 1 : one.end_lineno]))
    return "\n\n\n".join(parts) + "\n" if parts else ""


def registered_name(node: ast.ClassDef) -> str | None:
    """What `@register("name")` before a class says. Raises `Undeclared` for anything but a literal."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and _last_name(decorator.func) == "register":
            given = [*decorator.args, *(keyword.value for keyword in decorator.keywords)]
            if len(given) != 1 or not isinstance(given[0], ast.Constant) or not isinstance(given[0].value, str):
                raise Undeclared(decorator.lineno, 'register needs a name in quotes, such as @register("mine")')
            return given[0].value
    return None


def _last_name(node: ast.expr) -> str:
    """`SeqPool` of `SeqPool` and of `pooling.SeqPool`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def described(name: str, node: ast.ClassDef, lookup: Lookup) -> PoolingInfo:
    """What a class says of itself. Raises `Undeclared`."""
    declared = _declared(node, lookup, {node.name})
    formula = _own(node).get("formula", "")  # which alone is not inherited
    summary = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    return PoolingInfo(**declared | {"name": name, "summary": summary, "formula": formula})


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "formula": lambda value: isinstance(value, str),
    "coefficients": lambda value: isinstance(value, tuple) and all(type(one) is int and one >= 0 for one in value),
    "uses_class_token": lambda value: isinstance(value, bool),
}
_EXAMPLES = {
    "formula": 'a text, such as "mean(x, tokens)"',
    "coefficients": "a tuple of numbers, such as (1, 1) for one weight and one more for each channel",
    "uses_class_token": "True or False",
}


def _declared(node: ast.ClassDef, lookup: Lookup, seen: set[str]) -> dict[str, Any]:
    """What the class declares itself or, as in Python, inherits."""
    found: dict[str, Any] = {}
    for base in reversed(node.bases):
        inherited = lookup(base)
        if inherited and inherited[0].name not in seen:
            found |= _declared(*inherited, seen | {inherited[0].name})
    return found | _own(node)


def _own(node: ast.ClassDef) -> dict[str, Any]:
    """The values of the names in `_EXAMPLES` that the class's body sets. Raises `Undeclared`."""
    found: dict[str, Any] = {}
    for statement in node.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            if isinstance(target, ast.Name) and target.id in _EXAMPLES:
                try:
                    value = ast.literal_eval(statement.value)
                    is_right = _KINDS[target.id](value)
                except ValueError:
                    is_right = False
                if not is_right:
                    raise Undeclared(statement.lineno, f"{target.id} must be {_EXAMPLES[target.id]}")
                found[target.id] = value
    return found
