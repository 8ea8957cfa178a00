"""Patterns of names: `*` stands for anything within a part of a name, `**` for any number of parts."""

from __future__ import annotations

import re

from dsl.elaborate.context import error
from dsl.elaborate.values import ParameterSet
from dsl.source import Span

_GLOB = {"**.": r"(?:.*\.)?", "**": ".*", "*": "[^.]*"}


def matches(pattern: str, path: str) -> bool:
    """Whether the name `path` is one that `pattern` means."""
    parts = [_GLOB.get(p, re.escape(p)) for p in re.split(r"(\*\*\.|\*\*|\*)", pattern)]
    return re.fullmatch("".join(parts), path) is not None


def matching(parameters: ParameterSet, pattern: str, span: Span) -> ParameterSet:
    """Those of a set of parameters that a pattern means, at least one."""
    found = {name: tensor for name, tensor in parameters.tensors.items() if matches(pattern, name)}
    if not found:
        raise error("DL0528", "no parameter has such a name", span, help=f"there is {', '.join(list(parameters.tensors)[:8])}")
    return ParameterSet(found)
