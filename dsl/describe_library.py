"""The library for people: its files in words, for `dslc ops` and docs/ops.md. The words are the comments above the definitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dsl.loader import library_index, library_unit
from dsl.syntax import BLANK_LINE, Entry, Function, Module, Parameter


@dataclass(frozen=True, slots=True)
class Definition:
    """One layer or function of the library. `family` is its file, `text` its source."""

    name: str
    family: str
    signature: str
    summary: str
    text: str

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "family": self.family, "signature": self.signature, "summary": self.summary}


def described_library() -> dict[str, Definition]:
    """Every definition of the library by name, file by file."""
    found: dict[str, Definition] = {}
    for path in dict.fromkeys(library_index().values()):
        for one in library_unit(path).file.definitions:
            if isinstance(one, Module | Function):
                summary = " ".join(one.comments.documentation.split())
                found[one.name] = Definition(one.name, path.stem, _signature(one), summary, one.span.text)
    return found


def library_section() -> str:
    """The part of docs/ops.md about the library."""
    parts = [
        "## The library\n",
        "Layers and functions written in the language, in [dsl/lib](../dsl/lib). `dslc ops NAME` shows their text.\n",
    ]
    for path in dict.fromkeys(library_index().values()):
        parts += [f"### dsl/lib/{path.name}\n", *_head(path.stem)]
        for one in described_library().values():
            if one.family == path.stem:
                parts.append(f"`{one.signature}`\\\n{one.summary}\n")
    return "\n".join(parts)


def _head(family: str) -> Iterator[str]:
    """What a file says of itself: the comments at its beginning, up to those of its first definition."""
    path = next(p for p in library_index().values() if p.stem == family)
    first = library_unit(path).file.definitions[0]
    lines = [line.strip() for line in first.comments.leading]
    while lines and lines[-1] != BLANK_LINE.strip():
        lines.pop()
    text = "\n".join(lines).strip()
    if text:
        yield f"{text}\n"


def _signature(one: Module | Function) -> str:
    if isinstance(one, Function):
        return f"{one.name}({_listed(one.parameters)})"
    made = f"{one.name}({_listed(one.parameters)})"
    if [entry.name for entry in one.entries] == ["forward"]:
        return f"{made}{_entry(one.entries[0])}"
    return f"{made}: {', '.join(f'{entry.name}{_entry(entry)}' for entry in one.entries)}"


def _entry(entry: Entry) -> str:
    """What one entry point takes and gives."""
    results = ", ".join(f"{o.name}: {o.type.span.text}" if o.name else o.type.span.text for o in entry.outputs)
    given = f"({_listed(entry.inputs)})"
    if not results:
        return given
    return f"{given} -> {f'({results})' if len(entry.outputs) > 1 or entry.outputs[0].name else results}"


def _listed(parameters: tuple[Parameter, ...]) -> str:
    return ", ".join(" ".join(p.span.text.split()) for p in parameters)
