"""Comments that allow what a warning is about: `# dslc: allow DL1012`, at the end of a statement, above it, or above a definition.

A comment holds for all of the statement, or definition, that it belongs to, and for the codes that it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dsl import syntax
from dsl.diagnostics import Diagnostic
from dsl.loader import Unit
from dsl.source import Span

_ALLOW = re.compile(r"^\s*dslc: allow ((?:DL\d{4}(?:, *| +)?)+)")


def not_allowed(unit: Unit, warnings: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The warnings that no comment allows, in the file of `unit` or in what it imports."""
    kept = tuple(warnings)
    files = {id(u.file.source): u.file for u in _units(unit)} if kept else {}
    for source, file in files.items():
        if "dslc: allow " in file.source.text:
            allowed = list(_allowed(file.definitions))
            kept = tuple(
                w for w in kept if id(w.span.source) != source or not any(w.code in c and _in(w.span, s) for s, c in allowed)
            )
    return kept


def _units(unit: Unit) -> list[Unit]:
    """A unit and the units of what it imports, near or far."""
    found: dict[int, Unit] = {}
    waiting = [unit]
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            found[id(one)] = one
            waiting += [*one.modules.values(), *(home for _, home in one.names.values())]
    return list(found.values())


def _in(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _allowed(nodes: Iterable[object]) -> Iterator[tuple[Span, frozenset[str]]]:
    """What comments allow: the place, and the codes."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        comments, span = getattr(node, "comments", syntax.NO_COMMENTS), getattr(node, "span", None)
        for line in (*comments.leading, comments.trailing or ""):
            match = _ALLOW.match(line)
            if match is not None and span is not None:
                yield span, frozenset(re.findall(r"DL\d{4}", match.group(1)))
        for inner in ("body", "orelse", "entries"):
            waiting.extend(getattr(node, inner, ()))
