"""Executes the source of an own pooling, in a package of its own, so that every version of it can be used at once."""

import sys
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from torch import nn

from cct.own_poolings import Source, UnusablePooling, source_of

_loaded: dict[str, type[nn.Module]] = {}


def load(name: str) -> type[nn.Module]:
    """The class of a full name, whose source is executed when it is first asked for. Raises `UnusablePooling`.

    Not from several threads at a time.
    """
    from cct.pooling import POOLINGS  # which has `pooling_class`, that does not care whose a pooling is

    if name in _loaded:
        return _loaded[name]
    source = source_of(name)
    before = dict(POOLINGS)
    package = f"cct_pooling_{name.replace('@', '_')}"
    finder = _Finder(package, source)
    sys.modules[package] = ModuleType(package)
    sys.modules[package].__path__ = []
    sys.meta_path.insert(0, finder)
    try:
        import_module(f"{package}.{source.file}")
        found = POOLINGS.get(source.bare_name)
    except (Exception, SystemExit) as error:
        for module in [module for module in sys.modules if module.startswith(f"{package}.")]:
            del sys.modules[module]
        raise UnusablePooling(f"{name} cannot be imported: {why(error, source)}") from error
    finally:
        sys.meta_path.remove(finder)
        POOLINGS.clear()
        POOLINGS.update(before)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UnusablePooling(f"{name} is no pooling: {source.bare_name!r} must be registered by a class of nn.Module")
    _loaded[name] = found
    return found


def why(error: BaseException, source: Source) -> str:
    """The last line of a traceback, and where in the source it was: `NameError: ... (mine.py, line 3)`."""
    where, traceback = "", error.__traceback__
    while traceback:
        folder, _, file = traceback.tb_frame.f_code.co_filename.partition("/")
        if folder == source.name:
            where = f" ({file}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {said}' if said else ''}{where}"


class _Finder(InspectLoader):
    """Finds the modules of a source; tracebacks and `inspect` read their lines here too."""

    def __init__(self, package: str, source: Source) -> None:
        self._package, self._source = package, source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, file = name.rpartition(".")
        if package != self._package or file not in self._source.files:
            return None
        spec = ModuleSpec(name, self, origin=f"{self._source.name}/{file}.py")
        spec.has_location = True  # gives modules a `__file__`, without which `inspect` and compilers give up
        return spec

    def is_package(self, fullname: str) -> bool:
        return False

    def get_source(self, fullname: str) -> str:
        return self._source.files[fullname.rpartition(".")[2]]

    def get_code(self, fullname: str) -> CodeType:
        path = f"{self._source.name}/{fullname.rpartition('.')[2]}.py"
        return compile(self.get_source(fullname), path, "exec", dont_inherit=True)
