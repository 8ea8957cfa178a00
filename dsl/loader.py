"""Finding and reading specs: the file that was asked for, the files it imports, and the library.

A `Unit` is one file with its names. Library files are parsed only when a name of theirs is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError, did_you_mean
from dsl.parse import parse, read_source
from dsl.source import Source, Span

LIBRARY = Path(__file__).parent / "lib"
SPECS = "specs"


@dataclass(slots=True, eq=False)
class Unit:
    """One parsed file. `names` are its own definitions and its imports, each with the unit that defines it."""

    file: syntax.File
    path: Path | None
    library: bool = False
    names: dict[str, tuple[syntax.Definition, Unit]] = field(default_factory=dict)
    modules: dict[str, Unit] = field(default_factory=dict)


class Loader:
    """Loads files once. `Loader().load(source, path)` gives the unit of a spec with its imports resolved."""

    def __init__(self) -> None:
        self._units: dict[Path, Unit] = {}
        self._loading: dict[Path, Span | None] = {}
        self.warnings: list[Diagnostic] = []

    def load(self, source: Source, path: Path | None) -> Unit:
        """The unit of `source`, which was read from `path` (None for text that has no file)."""
        file = syntax_of(source, path)
        unit = Unit(file, path)
        if path is not None:
            self._loading[path.resolve()] = None
        self._define(unit)
        if path is not None:
            del self._loading[path.resolve()]
        return unit

    def _define(self, unit: Unit) -> None:
        errors: list[Diagnostic] = []
        for definition in unit.file.definitions:
            match definition:
                case syntax.Import():
                    try:
                        self._import(unit, definition)
                    except SpecError as error:
                        errors.extend(error.diagnostics)
                case syntax.Test():
                    pass
                case _:
                    known = unit.names.get(definition.name)
                    if known is not None:
                        first = known[0]
                        where = first.name_span if not isinstance(first, syntax.Import | syntax.Test) else first.span
                        errors.append(
                            Diagnostic(
                                "DL0206",
                                f"`{definition.name}` is defined twice",
                                definition.name_span,
                                labels=(Label(where, "first defined here"),),
                            )
                        )
                    elif not unit.library and definition.name in library_index():
                        self.warnings.append(
                            Diagnostic(
                                "DL1002",
                                f"`{definition.name}` replaces the definition of the library",
                                definition.name_span,
                                help="give it another name to keep both",
                                severity="warning",
                            )
                        )
                    unit.names.setdefault(definition.name, (definition, unit))
                    errors.extend(_declared_twice(definition))
        if errors:
            raise SpecError(errors)

    def _import(self, unit: Unit, statement: syntax.Import) -> None:
        path = self._find(unit, statement)
        imported = self._load_file(path, statement)
        if not statement.names:
            unit.modules[statement.alias or statement.path.split(".")[-1]] = imported
            return
        for wanted in statement.names:
            found = imported.names.get(wanted.name)
            if found is None:
                near = did_you_mean(wanted.name, imported.names)
                raise SpecError(
                    Diagnostic(
                        "DL0211",
                        f"`{statement.path}` has no definition `{wanted.name}`",
                        wanted.span,
                        help=f"did you mean `{near}`?" if near else f"it defines {', '.join(imported.names) or 'nothing'}",
                    )
                )
            unit.names[wanted.alias or wanted.name] = found

    def _find(self, unit: Unit, statement: syntax.Import) -> Path:
        parts = statement.path.split(".")
        tried: list[Path] = []
        for root in import_roots(unit.path):
            for suffix in (".dl", ".yaml", ".yml"):
                candidate = root.joinpath(*parts).with_suffix(suffix)
                if candidate.is_file():
                    return candidate
                tried.append(candidate)
        raise SpecError(
            Diagnostic(
                "DL0210",
                f"no spec `{statement.path}` was found",
                statement.path_span,
                notes=tuple(f"looked for {displayed(p)}" for p in tried if p.suffix == ".dl"),
                help="imports are dotted names of files beside this one or under `specs/`",
            )
        )

    def _load_file(self, path: Path, statement: syntax.Import) -> Unit:
        key = path.resolve()
        if key in self._units:
            return self._units[key]
        if key in self._loading:
            chain = list(self._loading.items())
            start = [p for p, _ in chain].index(key)
            names = " -> ".join([*(p.name for p, _ in chain[start:]), key.name])
            labels = tuple(Label(s, "imported here") for _, s in chain[start + 1 :] if s is not None)
            raise SpecError(Diagnostic("DL0212", f"these specs import each other: {names}", statement.path_span, labels=labels))
        self._loading[key] = statement.path_span
        source = read_source(displayed(path))
        unit = Unit(syntax_of(source, path), path)
        self._define(unit)
        del self._loading[key]
        self._units[key] = unit
        return unit


def _declared_twice(definition: syntax.Definition) -> Iterator[Diagnostic]:
    """Hyper-parameters, inputs and outputs of one name in the head of a definition."""
    if not isinstance(definition, syntax.Module | syntax.Function | syntax.Train):
        return
    entries = definition.entries if isinstance(definition, syntax.Module) else ()
    heads: list[list[tuple[str, Span]]] = [[(p.name, p.span) for p in definition.parameters]]
    if isinstance(definition, syntax.Train):
        heads.append([*heads[0], *((i.name, i.span) for i in definition.inputs)])
    for entry in entries:
        heads.append([*heads[0], *((i.name, i.span) for i in entry.inputs)])
        heads.append([(o.name, o.span) for o in entry.outputs if o.name is not None])
    reported: set[int] = set()
    for head in heads:
        first: dict[str, Span] = {}
        for name, span in head:
            if name in first and span.start not in reported:
                reported.add(span.start)
                yield Diagnostic(
                    "DL0206", f"`{name}` is declared twice", span, labels=(Label(first[name], "first declared here"),)
                )
            first.setdefault(name, span)


def displayed(path: Path) -> str:
    """A path as messages show it: from the working directory on where it is below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def import_roots(path: Path | None) -> list[Path]:
    """Where imports are looked for: beside the file, then in the nearest `specs/` above it, then in `./specs`."""
    beside = (path.parent if path is not None else Path()).resolve()
    roots = [beside]
    for folder in (beside, *beside.parents):
        if folder.name == SPECS:
            roots.append(folder)
            break
        if (folder / SPECS).is_dir():
            roots.append(folder / SPECS)
            break
    shipped = Path(__file__).parent.parent / SPECS
    if shipped.is_dir():
        roots.append(shipped)
    return list(dict.fromkeys(roots))


def syntax_of(source: Source, path: Path | None) -> syntax.File:
    """The tree of a source: YAML by its suffix, else `.dl`."""
    if path is not None and path.suffix in (".yaml", ".yml"):
        from dsl.load_yaml import load_yaml  # PyYAML is only needed here

        return load_yaml(source)
    return parse(source)


_DEFINITION = re.compile(r"^(?:module|model|fn|const) +([A-Za-z_]\w*)", re.MULTILINE)


@lru_cache(maxsize=1)
def library_index() -> dict[str, Path]:
    """Each name of the library and the file that defines it, found without parsing."""
    index: dict[str, Path] = {}
    for path in sorted(LIBRARY.glob("*.dl")):
        for match in _DEFINITION.finditer(path.read_text(encoding="utf-8")):
            index[match.group(1)] = path
    return index


@cache
def library_unit(path: Path) -> Unit:
    """A parsed file of the library."""
    source = Source(f"dsl/lib/{path.name}", path.read_text(encoding="utf-8"))
    unit = Unit(parse(source), path, library=True)
    Loader()._define(unit)
    return unit


def library_definition(name: str) -> tuple[syntax.Definition, Unit] | None:
    """The library's definition of `name`."""
    path = library_index().get(name)
    return library_unit(path).names.get(name) if path is not None else None
