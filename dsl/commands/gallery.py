"""A section of Markdown that shows a spec: what it says of itself, picture, layers. `make gallery` puts those of all specs together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dsl import syntax
from dsl.compiler import Spec, load
from dsl.draw import draw
from dsl.ir import Program
from dsl.source import Source
from dsl.summary import summarize


def section(spec: str, program: Program, table: str) -> Iterator[str]:
    """The lines of the section. `table` is the summary as the terminal shows it."""
    text = Path(spec).read_text(encoding="utf-8")
    summary = summarize(program)
    yield f"## {program.name}"
    yield ""
    yield f"[{spec}](../{spec}): {code_lines(spec)} lines, {summary.parameters:,} parameters."
    yield ""
    yield from opening_comment(text)
    for title, kind, body in (("Picture", "mermaid", draw(program, "mermaid")), ("Layers", "text", table)):
        yield ""
        yield f"<details><summary>{title}</summary>"
        yield ""
        yield f"```{kind}"
        yield from (line.rstrip() for line in body.strip("\n").splitlines())
        yield "```"
        yield ""
        yield "</details>"


def opening_comment(text: str) -> Iterator[str]:
    """The comment that a spec begins with, without its signs."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line.removeprefix("#").strip()


def code_lines(spec: Spec) -> int:
    """How many lines of a spec are its models and what they are made of: without comments, empty lines, tests and train blocks."""
    unit, _ = load(spec)
    source: Source = unit.file.source
    found: set[int] = set()
    for definition in unit.file.definitions:
        if not isinstance(definition, syntax.Test | syntax.Train):
            start = source.text.count("\n", 0, definition.span.start)
            found |= set(range(start, start + definition.span.text.rstrip().count("\n") + 1))
    lines = source.text.split("\n")
    return sum(bool(lines[i].strip()) and not lines[i].lstrip().startswith("#") for i in found)
