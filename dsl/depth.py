"""The limit on how deep a tree may be, so that every later stage may walk it recursively.

Brackets are counted by the tokenizer; this finds what is deep without brackets: `a + a + a ...`, `- - - x`, long chains of `else if`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass

from dsl import text_errors
from dsl.diagnostics import Diagnostic
from dsl.limits import limits
from dsl.source import Source, Span


def too_deep(nodes: Iterable[object]) -> list[Diagnostic]:
    """An error for the first node that is nested too deep, if there is one."""
    highest = limits().nesting
    for node in nodes:
        waiting: list[tuple[object, int]] = [(node, 1)]
        while waiting:
            inner, depth = waiting.pop()
            span = getattr(inner, "span", None)
            if depth > highest and isinstance(span, Span):
                return [text_errors.too_deep(span, highest)]
            if isinstance(span, Span) and (highest - depth) // 2 > span.end - span.start:
                continue  # two levels take a character at least
            waiting.extend((child, depth + 1) for child in children(inner))
    return []


def children(node: object) -> Iterator[object]:
    """The nodes directly inside a node."""
    if not is_dataclass(node):
        return
    for name in getattr(node, "__slots__", ()):
        value = getattr(node, name)
        if isinstance(value, tuple) and not isinstance(value, Span):
            yield from (item for item in value if is_dataclass(item))
        elif is_dataclass(value) and not isinstance(value, Source):
            yield value
