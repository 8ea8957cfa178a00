"""Markdown that shows specs: what each says of itself, its picture, its layers. `make gallery` makes docs/gallery.md of all.

A page has a chapter for each folder, its specs by year, and a table of contents. Big nets are shown at the level of their blocks.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from dsl import syntax
from dsl.compiler import Spec, load
from dsl.diagnostics import printable
from dsl.draw import mermaid
from dsl.elaborate.program import models
from dsl.ir import Graph, Program
from dsl.picture import Picture, picture
from dsl.source import Source
from dsl.summary import Row, summarize

MOST_ROWS = 24
MOST_BOXES = 36
TOO_MANY_BOXES = 48
DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """One spec to show. `table` is its summary as the terminal shows it."""

    spec: str
    program: Program
    table: str

    @property
    def family(self) -> str:
        return Path(self.spec).resolve().parent.name


def page(shown: Sequence[Shown], output: str) -> Iterator[str]:
    """The lines of a page that is written to `output` ("-": here): one section, or a table of contents and a chapter for each folder."""
    if len(shown) == 1:
        yield from section(shown[0], output, "##")
        return
    chapters = [(family, sorted(of, key=_year)) for family, of in groupby(shown, key=lambda s: s.family)]
    headings = [h for family, of in chapters for h in (_spoken(family), *(s.program.name for s in of))]
    anchors = iter(_anchors(headings))
    for family, of in chapters:
        yield f"**[{_spoken(family)}](#{next(anchors)})**"
        yield ""
        yield "| model | year | | lines | parameters |"
        yield "|---|---|---|--:|--:|"
        for one in of:
            numbers = f"{code_lines(one.spec)} | {summarize(one.program).parameters:,}"
            yield f"| [{one.program.name}](#{next(anchors)}) | {_year(one) or ''} | {escaped(_first_sentence(one.spec))} | {numbers} |"
        yield ""
    for family, of in chapters:
        yield f"## {_spoken(family)}"
        yield ""
        for one in of:
            yield from section(one, output, "###")


def section(one: Shown, output: str, heading: str) -> Iterator[str]:
    """The lines of the section of one spec."""
    place = quote(
        Path(os.path.relpath(one.spec, Path(output).parent if output != "-" else ".")).as_posix(), errors="surrogateescape"
    )
    summary = summarize(one.program)
    yield f"{heading} {one.program.name}"
    yield ""
    yield f"[{_path(one.spec)}]({place}): {code_lines(one.spec)} lines, {summary.parameters:,} parameters."
    yield ""
    yield from (escaped(line) for line in opening_comment(one.spec))
    yield ""
    yield from _others(one)
    drawn = blocks_picture(one.program.main)
    if drawn is None:
        yield f"The picture is too large for a page: `dslc show {_path(one.spec)} --graph html -o {_path(Path(one.spec).stem)}.html`."
        yield ""
    else:
        yield from _details("Picture", "mermaid", mermaid(drawn))
    if summary.rows:
        yield from _details("Layers", "text", one.table)


def _details(title: str, kind: str, body: str) -> Iterator[str]:
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield f"```{kind}"
    yield from (line.rstrip() for line in body.strip("\n").splitlines())
    yield "```"
    yield ""
    yield "</details>"
    yield ""


def _others(one: Shown) -> Iterator[str]:
    """What else the file has: its other models, how they are trained."""
    definitions = load(one.spec)[0].file.definitions
    found = {
        "Other models": [d.name for d in definitions if isinstance(d, syntax.Module) and d.kind == "model"],
        "Trainings": [d.name for d in definitions if isinstance(d, syntax.Train)],
    }
    named = {title: [f"`{n}`" for n in names if n != one.program.name] for title, names in found.items()}
    said = [f"{title}: {', '.join(names)}." for title, names in named.items() if names]
    if said:
        yield " ".join(said)
        yield ""


# --- how much is shown ----------------------------------------------------------------------------------------------------------------


def block_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of as many levels as a page has room for, and at least the outermost."""
    for depth in range(max((row.depth for row in rows), default=0), 0, -1):
        found = [row for row in rows if row.depth <= depth]
        if len(found) <= MOST_ROWS:
            return found
    return [row for row in rows if row.depth == 0]


def blocks_picture(graph: Graph) -> Picture | None:
    """The picture of a graph with the spec's own modules opened as far as there is room; none without room for one level."""
    for depth in range(DEEPEST, 0, -1):
        found = picture(graph, depth, library=False)
        if _boxes(found) <= MOST_BOXES:
            return found
    return found if _boxes(found) <= TOO_MANY_BOXES else None


def _boxes(one: Picture) -> int:
    return sum(1 if box.opened is None else 1 + _boxes(box.opened) for box in one.boxes)


# --- text -----------------------------------------------------------------------------------------------------------------------------


def opening_comment(spec: str) -> Iterator[str]:
    """The comment that a spec begins with, without its signs."""
    for line in Path(spec).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        yield line.removeprefix("#").strip()


def _first_sentence(spec: str) -> str:
    text = " ".join(opening_comment(spec))
    end = re.search(r"\.(?= |$)", text)
    return text[: end.end()] if end else text


def _year(one: Shown) -> int:
    """The year that the opening comment names, 0 if it names none."""
    found = re.search(r"\b(\d{4})\. Systems?:", " ".join(opening_comment(one.spec)))
    return int(found[1]) if found else 0


def _spoken(family: str) -> str:
    return escaped(printable(family.replace("_", " ")))


def _anchors(headings: Sequence[str]) -> Iterator[str]:
    """The names that GitHub gives to headings."""
    seen: Counter[str] = Counter()
    for heading in headings:
        name = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        yield f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1


def _path(name: str) -> str:
    """The name of a file as a link shows it."""
    return re.sub(r"([\\<>`\]])", r"\\\1", printable(name))


def escaped(text: str) -> str:
    """Text whose signs mean nothing to Markdown, but for what is in backticks; one that is never closed quotes nothing."""
    parts = text.split("`")
    quoted = range(1, len(parts) - 1, 2)
    return "`".join(part if i in quoted else re.sub(r"([\\*_<|]|\](?=\())", r"\\\1", part) for i, part in enumerate(parts))


def code_lines(spec: Spec) -> int:
    """How many lines of a spec are its models and what they are made of: without comments, empty lines, tests and train blocks. Of a spec
    without a model those of its train blocks."""
    unit, _ = load(spec)
    left_out = syntax.Test | syntax.Train if models(unit) else syntax.Test
    source: Source = unit.file.source
    found: set[int] = set()
    for definition in unit.file.definitions:
        if not isinstance(definition, left_out):
            start = source.text.count("\n", 0, definition.span.start)
            found |= set(range(start, start + definition.span.text.rstrip().count("\n") + 1))
    lines = source.text.split("\n")
    return sum(bool(lines[i].strip()) and not lines[i].lstrip().startswith("#") for i in found)
