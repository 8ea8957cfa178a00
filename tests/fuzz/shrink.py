"""Shrinks a spec of which something does not hold: results, statements and inputs are left out while the same is found.

It works on the text, so that what is left out is a statement and never half of one. Most of what is tried is refused at once, for a name
that is not defined any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

MOST = 250
"""How many smaller specs are tried."""


def shrink(spec: str, same: Callable[[str], bool]) -> str:
    """The spec without what the finding does not need. `same` says whether it is there in another spec."""
    tried = 0
    smaller = True
    while smaller:
        smaller = False
        for leave_out in (_results, _statements, _inputs):
            place = 0
            while tried < MOST and (candidate := next(leave_out(spec, place), None)) is not None:
                tried += 1
                if same(candidate):
                    spec, smaller = candidate, True
                else:
                    place += 1
    return spec


def _results(spec: str, place: int) -> Iterator[str]:
    """Without the declared results of the model, then without one of the names in a `return`."""
    candidates = []
    if re.search(r"^model.* -> \(.*\) \{$", spec, re.MULTILINE):
        candidates.append(re.sub(r"^(model.*) -> \(.*\) \{$", r"\1 {", spec, flags=re.MULTILINE))
    for found in re.finditer(r"return ((?:\w+, )+\w+)$", spec, re.MULTILINE):
        names = found[1].split(", ")
        for i in range(len(names)):
            kept = ", ".join(names[:i] + names[i + 1 :])
            candidates.append(spec[: found.start(1)] + kept + spec[found.end(1) :])
    yield from candidates[place:]


def _statements(spec: str, place: int) -> Iterator[str]:
    """Without a line, or without a line that opens a block and all to its end; the last first."""
    lines = spec.splitlines()
    candidates = []
    for start in reversed(range(len(lines))):
        end = _end(lines, start)
        if lines[start].strip() != "}" and not lines[start].startswith("model"):
            candidates.append("\n".join([*lines[:start], *lines[end:]]) + "\n")
    yield from candidates[place:]


def _end(lines: list[str], start: int) -> int:
    """The line after a statement."""
    depth = 0
    for i in range(start, len(lines)):
        depth += lines[i].count("{") - lines[i].count("}")
        if depth <= 0:
            return i + 1
    return len(lines)


def _inputs(spec: str, place: int) -> Iterator[str]:
    """Without one of the inputs of the model."""
    found = re.search(r"^(?:model \w+\(\)|  def \w+)\(([^)]*)\)", spec, re.MULTILINE)
    if found is None:
        return
    inputs = re.findall(r"\w+: \w+\[[^\]]*\]", found[1])
    candidates = [
        spec[: found.start(1)] + ", ".join(inputs[:i] + inputs[i + 1 :]) + spec[found.end(1) :] for i in range(len(inputs))
    ]
    yield from candidates[place:]
