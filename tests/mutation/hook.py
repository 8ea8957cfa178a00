"""Gives Python another syntax tree for some of our files, when a process imports them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

Change = Callable[[str], ast.Module]
"""From the text of a file to the tree that is run in its place."""


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, change: Change) -> None:
        super().__init__(name, path)
        self.change = change

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.change(Path(self.path).read_text()), self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, root: Path, changes: Mapping[str, Change]) -> None:
        self.changes = {module_name(path): (str(root / path), change) for path, change in changes.items()}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in self.changes:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _Loader(fullname, *self.changes[fullname])
        return spec


def module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def install(root: Path, changes: Mapping[str, Change]) -> None:
    """From now on these files, named from the root, are imported changed. They must not be imported yet."""
    early = [path for path in changes if module_name(path) in sys.modules]
    if early:
        raise RuntimeError(f"imported before they could be changed: {', '.join(early)}")
    sys.meta_path.insert(0, _Finder(root, changes))
