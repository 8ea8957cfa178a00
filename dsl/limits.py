"""How much a spec may ask for. The limits protect programs that compile specs of others; each has an error that names it.

`--limit NAME=N` sets one for a command line, and `with limited(NAME=N):` for Python. Knows nothing of what is limited.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits and what they are unless a user says otherwise."""

    bytes: int = 2 * 1024 * 1024
    """Of the text of a spec."""
    nesting: int = 200
    """Brackets, blocks and operators inside one another."""
    modules: int = 60
    """Modules and functions inside one another."""
    nodes: int = 2_000_000
    """Operations of a graph."""
    rounds: int = 200_000
    """Rounds of all `for` loops together: each is executed when the graph is made."""
    copies: int = 1_000_000
    """Copies that a `repeat` makes."""
    tensors: int = 2_000_000
    """Parameters and buffers of a program, whatever their sizes."""


STANDARD = Limits()

HIGHEST = {"nesting": 1000, "modules": 300}
"""Beyond these Python itself has no room for what walks the tree."""

_LIMITS: ContextVar[Limits] = ContextVar("limits", default=STANDARD)


def limits() -> Limits:
    """The limits that hold here."""
    return _LIMITS.get()


def names() -> tuple[str, ...]:
    """The names of the limits."""
    return tuple(field.name for field in fields(Limits))


@contextmanager
def limited(**wanted: int) -> Iterator[None]:
    """Other limits within the block. Recursion gets as much more room as nesting and modules do."""
    found = replace(limits(), **wanted)
    token = _LIMITS.set(found)
    recursion = sys.getrecursionlimit()
    factor = max(1, -(-found.nesting // STANDARD.nesting)) * max(1, -(-found.modules // STANDARD.modules))
    sys.setrecursionlimit(max(recursion, 1000 * factor))
    try:
        yield
    finally:
        sys.setrecursionlimit(recursion)
        _LIMITS.reset(token)


def raising(name: str) -> str:
    """The help of the error of a limit."""
    highest = f", up to {HIGHEST[name]}" if name in HIGHEST else ""
    return f"`--limit {name}=N` raises the limit{highest}"
