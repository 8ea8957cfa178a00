"""Sizes for the symbolic dimensions of a graph: small, distinct, and such that every requirement holds and no tensor is empty."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping

from backends.reference import holds
from dsl.diagnostics import Diagnostic, SpecError
from dsl.dims import Dim, Expr, as_symbol, evaluate, substitute, symbols_of
from dsl.ir import Graph

Sizes = dict[str, int]

LARGEST = 1024
"""No dimension is tried beyond this size."""

LENGTHS = (1, 5, 2, 7)
"""How often loops run, where their length is free."""

_TRIES = 300
_REACHES = (3, 5, 9, 17, 33, 65, 129, 257, LARGEST)


def choose_sizes(graph: Graph, count: int, seed: int = 0) -> list[Sizes]:
    """Up to `count` assignments to the symbolic dimensions of a root graph, each dimension different from one to the next where it can
    be. One empty assignment when nothing is symbolic; SpecError when none is found."""
    allowed = _candidates(graph)
    if not allowed:
        return [{}]
    found: list[Sizes] = []
    for sizes in _assignments(allowed, seed):
        fresh = all(all(sizes[n] != other[n] or len(allowed[n]) < count for n in sizes) for other in found)
        if fresh and sizes not in found and feasible(graph, sizes):
            found.append(sizes)
        if len(found) == count:
            break
    if not found:
        names = ", ".join(f"`{n}`" for n in allowed)
        message = f"found no sizes up to {LARGEST} for {names} that `{graph.definition}` allows"
        raise SpecError(Diagnostic("DL0811", message, graph.span))
    return found


def _candidates(graph: Graph) -> dict[str, list[int]]:
    """The sizes that each dimension may have as far as the requirements on it alone say, from 2 on where possible."""
    found: dict[str, list[int]] = {}
    steps = _step_counts(graph)
    for value in graph.inputs.values():
        for d in graph.type(value).shape:
            own = as_symbol(d)
            if own is None or own.name in found:
                continue
            alone = [c for c in graph.constraints if {*symbols_of(c.left), *symbols_of(c.right)} == {own.name}]
            values = [
                n for n in range(own.low, LARGEST + 1) if n % own.multiple == 0 and all(holds(c, {own.name: n}) for c in alone)
            ]
            found[own.name] = _steps_first(values) if own.name in steps else [n for n in values if n > 1] or values
    return found


def _steps_first(values: list[int]) -> list[int]:
    """For how often a loop runs: once, and odd numbers of steps, come first."""
    return [n for n in LENGTHS if n in values] + [n for n in values if n not in LENGTHS]


def _step_counts(graph: Graph) -> set[str]:
    """The symbolic dimensions that say how often a scan runs."""
    found: set[str] = set()
    seen: set[tuple[int, tuple[tuple[str, Dim], ...]]] = set()
    pending: list[tuple[Graph, Mapping[str, Dim]]] = [(graph, {})]
    while pending:
        current, at = pending.pop()
        for node in current.calls():
            assert node.target is not None
            count = node.attributes.get("count")
            own = as_symbol(substitute(count, at)) if isinstance(count, Expr) else None
            if own is not None:
                found.add(own.name)
            block = node.target.graph.kind == "block"
            inner = at if block else {name: substitute(d, at) for name, d in node.target.bindings.items()}
            key = (id(node.target.graph), tuple(sorted(inner.items(), key=lambda item: item[0])))
            if key not in seen:
                seen.add(key)
                pending.append((node.target.graph, inner))
    return found


def _assignments(allowed: Mapping[str, list[int]], seed: int) -> Iterator[Sizes]:
    """Assignments from small ones to large ones."""
    rng = random.Random(seed)
    for reach in _REACHES:
        drawn = [{name: rng.choice(values[:reach]) for name, values in allowed.items() if values} for _ in range(_TRIES)]
        complete = [s for s in drawn if len(s) == len(allowed)]
        distinct = [s for s in complete if len(set(s.values())) == len(s)]
        for group in (distinct, complete):
            yield from sorted(group, key=lambda s: math.prod(s.values()))


def feasible(graph: Graph, sizes: Mapping[str, int]) -> bool:
    """Whether the requirements hold at these sizes and every size in the graph and its callees is at least 1."""
    if not all(holds(c, sizes) or c.training for c in graph.constraints):
        return False
    seen: set[tuple[int, tuple[tuple[str, int], ...]]] = set()
    pending: list[tuple[Graph, Mapping[str, int]]] = [(graph, sizes)]
    while pending:
        current, at = pending.pop()
        for node in current:
            if any(evaluate(d, at) < 1 for t in node.types for d in t.shape if not isinstance(d, int)):
                return False
            if node.target is not None:
                block = node.target.graph.kind == "block"
                inner = at if block else {name: evaluate(d, at) for name, d in node.target.bindings.items()}
                key = (id(node.target.graph), tuple(sorted(inner.items())))
                if key not in seen:
                    seen.add(key)
                    pending.append((node.target.graph, inner))
    return True
