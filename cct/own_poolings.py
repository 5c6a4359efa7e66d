"""Poolings of the user's own: in a folder outside this package, found without being executed, and kept as they were.

Each `*.py` of the folder may register variants as `cct/pooling.py` does, and may take from others of the folder:
`from .other import Name`. What a variant consists of, its class and what that needs of the folder, is its `Source`. A
checksum of that code ends its full name, `mine@1f2e3d4c`: the same full name is always the same code, whatever becomes
of the file, and a spec that was accepted has full names only. Comments, docstrings and other variants in the same file
make no difference.

Standard library only, never torch; `cct.own_code` executes a source.
"""

import ast
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cct.catalog import Found as FoundClass
from cct.catalog import Lookup, PoolingInfo, Undeclared, class_here, code_here, described, poolings, registered_name
from cct.misspelt import unknown

NAME = r"[a-z][a-z0-9_]{0,59}"
FULL_NAME = rf"{NAME}@[0-9a-f]{{8}}"
MOST_BYTES = 200_000
"""Of a file of the folder."""
TOO_DEEP = "it is nested too deeply; write it in several steps"


class UnusablePooling(Exception):
    """A variant whose code is not known, or cannot be imported."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Why a file of the folder, or a variant in it, cannot be used."""

    file: str
    line: int
    """Counted from 1; 0 where it is the file as a whole."""
    error: str


@dataclass(frozen=True, slots=True)
class Source:
    """The code of a variant, complete but for what this package has."""

    name: str
    """The full name."""
    file: str
    """The one of `files` that registers the variant."""
    files: Mapping[str, str]
    """Texts by name without ending. Lines of other variants are empty, so that the others keep their numbers."""

    @property
    def bare_name(self) -> str:
        return self.name.partition("@")[0]

    def told(self) -> str:
        """As JSON, for `Source.read`."""
        return json.dumps({"name": self.name, "file": self.file, "files": dict(self.files)})

    @classmethod
    def read(cls, told: str) -> "Source":
        return cls(**json.loads(told))


@dataclass(frozen=True, slots=True)
class Folder:
    """What is in the folder now."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    """By bare name, in the order of files and lines."""
    broken: Sequence[Broken] = ()


DEFAULT = Path(os.environ.get("CCTBOARD_POOLINGS", "data/poolings"))
"""The folder of programs that do not `use` another."""

_folder = DEFAULT
_seen: tuple[object, Folder] = (None, Folder())
_known: dict[str, tuple[Source, PoolingInfo]] = {}
"""By full name; never changed, as the same name is the same code."""


def use(folder: Path) -> None:
    """From now on names are looked up in this folder, which need not exist yet."""
    global _folder
    _folder = folder


def found() -> Folder:
    """The variants in the folder now, each `learn`ed; its files are read again when they have changed."""
    global _seen
    paths = sorted(_folder.glob("*.py"))
    state = [(str(path), _stamp(path)) for path in paths]
    if state != _seen[0]:
        _seen = state, _read(paths)
    return _seen[1]


def _stamp(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError as error:  # a link to nowhere
        return error.errno
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def full_name(name: str) -> str:
    """The full name of a variant in the folder, as it is now; names of this package and full names stay as they are.

    Raises `UnusablePooling`.
    """
    if name in poolings() or name in _known:
        return name
    if source := found().sources.get(name):
        return source.name
    if re.fullmatch(FULL_NAME, name):
        bare = name.partition("@")[0]
        raise UnusablePooling(f"the code of {name!r} is not known here; name {bare!r} for that in the folder now")
    if broken := next((one for one in found().broken if one.file == f"{name}.py"), None):
        raise UnusablePooling(f"{name!r} cannot be read: {told(broken)}")
    raise UnusablePooling(unknown(name, [*poolings(), *found().sources]))


def told(broken: Broken) -> str:
    """In one line: `unexpected indent (mine.py, line 3)`."""
    return f"{broken.error} ({broken.file}{f', line {broken.line}' if broken.line else ''})"


def learn(source: Source) -> None:
    """From now on the source is known by its full name."""
    if source.name not in _known:
        files = {name: _File.read(name, text) for name, text in source.files.items()}
        _known[source.name] = source, files[source.file].info(source.bare_name, files, source.name)


def is_name(name: str) -> bool:
    """Whether a variant of one's own can have this name."""
    return re.fullmatch(NAME, name) is not None


def is_known(name: str) -> bool:
    """Whether a name is of this package, or a full one whose source is known here."""
    return name in poolings() or name in _known


def source_of(name: str) -> Source:
    """The source of a full name. Raises `UnusablePooling`."""
    full_name(name)
    return _known[name][0]


def inherited_code(name: str) -> str:
    """What the source of a full name derives from of this package. Raises `UnusablePooling`."""
    source = source_of(name)
    files = {file: _File.read(file, text) for file, text in source.files.items()}
    return code_here(files[source.file].variants[source.bare_name], files[source.file].lookup(files))


def pooling_info(name: str) -> PoolingInfo:
    """What is known of a variant by its name, of this package or a full one. Raises `UnusablePooling`."""
    name = full_name(name)
    return poolings()[name] if name in poolings() else _known[name][1]


# The folder's files


@dataclass(frozen=True, slots=True)
class _File:
    """A file's syntax tree, and the variants that it registers."""

    name: str
    text: str
    tree: ast.Module
    variants: Mapping[str, ast.ClassDef]
    needed: Mapping[str, int]
    """Which others of the folder it takes from, and in which line."""

    @classmethod
    def read(cls, name: str, text: str) -> "_File":
        """Raises `SyntaxError`, `Undeclared`, `ValueError`."""
        tree = ast.parse(text)
        variants: dict[str, ast.ClassDef] = {}
        needed: dict[str, int] = {}
        for node in (one for one in tree.body if isinstance(one, ast.ClassDef)):
            if (registered := registered_name(node)) is not None:
                if not is_name(registered):
                    message = f"{registered!r} is no name of a pooling; use a to z, digits and _, at most 60 characters"
                    raise Undeclared(node.lineno, message)
                if registered in poolings():
                    raise Undeclared(node.lineno, f"{registered!r} is a pooling of CCT Board; choose another name")
                if registered in variants:
                    raise Undeclared(node.lineno, f"{registered!r} is registered twice; choose another name")
                variants[registered] = node
        for inner in ast.walk(tree):
            if isinstance(inner, ast.ImportFrom) and inner.level == 1:
                modules = [inner.module.split(".")[0]] if inner.module else [alias.name for alias in inner.names]
                needed |= dict.fromkeys(modules, inner.lineno)
        return cls(name, text, tree, variants, needed)

    def info(self, variant: str, files: Mapping[str, "_File"], name: str) -> PoolingInfo:
        """Raises `Undeclared`."""
        return described(name, self.variants[variant], self.lookup(files))

    def lookup(self, files: Mapping[str, "_File"]) -> Lookup:
        def lookup(base: ast.expr) -> FoundClass | None:
            name = base.id if isinstance(base, ast.Name) else ""
            for node in self.tree.body:
                if isinstance(node, ast.ClassDef) and node.name == name:
                    return node, lookup
                if isinstance(node, ast.ImportFrom) and node.level == 1 and (other := files.get(node.module or "")):
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            return other.lookup(files)(ast.Name(alias.name))
            return class_here(base)

        return lookup


def _read(paths: Sequence[Path]) -> Folder:
    files: dict[str, _File] = {}
    broken: list[Broken] = []
    for path in paths:
        try:
            content = path.read_bytes()
            if len(content) > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
            files[path.stem] = _File.read(path.stem, content.decode("utf-8-sig"))
        except Undeclared as error:
            broken.append(Broken(path.name, error.line, str(error)))
        except SyntaxError as error:
            broken.append(Broken(path.name, error.lineno or 0, f"SyntaxError: {error.msg}"))
        except UnicodeDecodeError:
            broken.append(Broken(path.name, 0, "it is not UTF-8; save it so"))
        except OSError as error:
            broken.append(Broken(path.name, 0, f"it cannot be read: {error.strerror}"))
        except (RecursionError, MemoryError):
            broken.append(Broken(path.name, 0, TOO_DEEP))
        except ValueError as error:
            broken.append(Broken(path.name, 0, str(error)))
    sources: dict[str, Source] = {}
    for file in files.values():
        for variant, node in file.variants.items():
            try:
                if variant in sources:
                    other = sources[variant].file
                    raise Undeclared(node.lineno, f"{variant!r} is registered by {other}.py too; choose another name")
                source = _source(variant, file, files)
                learn(source)
                sources[variant] = source
            except Undeclared as error:
                broken.append(Broken(f"{file.name}.py", error.line, str(error)))
            except RecursionError:
                broken.append(Broken(f"{file.name}.py", node.lineno, TOO_DEEP))
    return Folder(sources, broken)


def _source(variant: str, file: _File, files: Mapping[str, _File]) -> Source:
    """What the variant consists of. Raises `Undeclared` if a file that it takes from is not there."""
    together = {file.name: file}
    for one in (queue := [file]):
        for name, line in one.needed.items():
            if name not in files:
                where = "" if one is file else f" in {one.name}.py"
                raise Undeclared(line, f"it takes from .{name}{where}, but {name}.py is missing or broken")
            if name not in together:
                together[name] = files[name]
                queue.append(files[name])
    # Other variants count only where their class or name is mentioned by what counts.
    left_out = {id(node): {node.name, name} for one in together.values() for name, node in one.variants.items()}
    del left_out[id(file.variants[variant])]
    while True:
        kept = [node for one in together.values() for node in one.tree.body if id(node) not in left_out]
        mentioned = {word for node in kept for word in _words(node)}
        if not (needed := [key for key, names in left_out.items() if names & mentioned]):
            break
        for key in needed:
            del left_out[key]
    texts = {one.name: _without(one, left_out) for one in together.values()}
    checksum = hashlib.sha256()
    for name in (file.name, *sorted(texts.keys() - {file.name})):
        # Not the file's own name, which may change.
        checksum.update(f"{name if name != file.name else ''}\n{_code(texts[name])}\n".encode())
    return Source(f"{variant}@{checksum.hexdigest()[:8]}", file.name, texts)


def _words(node: ast.AST) -> set[str]:
    """All names, attributes and texts in it."""
    found = set[str]()
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            found.add(one.id)
        elif isinstance(one, ast.Attribute):
            found.add(one.attr)
        elif isinstance(one, ast.alias):
            found |= {one.name, one.asname or ""}
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            found.add(one.value)
    return found


def _without(file: _File, left_out: Mapping[int, object]) -> str:
    lines = file.text.splitlines()
    for node in file.tree.body:
        if id(node) in left_out and isinstance(node, ast.ClassDef):
            first = min(node.lineno, *(decorator.lineno for decorator in node.decorator_list))
            last = node.end_lineno or node.lineno
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(lines).rstrip() + "\n"


def _code(text: str) -> str:
    """Without what makes no difference."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
