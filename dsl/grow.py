"""The weights of a smaller network inside those of a larger one of the same layers, so that it computes the same.

What was there stands in front of each axis. New units begin as the spec says, and nothing that was there reads them: their outgoing weights
are 0. Then both networks are run, for not every layer can be given more units so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from backends.base import Arrays
from backends.reference import Interpreter
from dsl.diagnostics import Diagnostic, SpecError
from dsl.initial_values import initial_weights
from dsl.ir import Graph, Program
from dsl.verification.inputs import make_inputs
from dsl.verification.sizes import choose_sizes
from dsl.weights import listed, load_weights

UNITS_LAST = frozenset({"Embedding", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"})
"""Layers whose weight is [in, out]; that of the others is [out, in]."""

SAME = 1e-6
"""How far the outputs of both networks may be apart, relatively to the largest."""


def grown_weights(path: str | Path, small: Program, large: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights of `large` with those of `small` in front, which are in a file; the others are the initial ones of the seed.

    SpecError where a tensor has no room, or where the larger network would compute something else.
    """
    old = load_weights(path, small)
    _check_room(path, small, large)
    axes, found = _unit_axes(large), initial_weights(large, seed)
    for name, value in old.items():
        if value.ndim > 1:
            np.moveaxis(found[name], axes[name], 0)[: value.shape[axes[name]]] = 0  # a unit that was there reads no new one
        found[name][tuple(slice(size) for size in value.shape)] = value
    _check_same(small, old, large, found, seed)
    return found


def _check_room(path: str | Path, small: Program, large: Program) -> None:
    """Raise where the larger network has not the same tensors, each as large at least along its first two axes and equal along others."""
    before, after = small.parameters(), large.parameters()
    problems = [f"`{name}` ({p.type}) is no tensor of the larger network" for name, p in before.items() if name not in after]
    problems += [f"`{name}` ({p.type}) is no tensor of the smaller network" for name, p in after.items() if name not in before]
    for name in before:
        if name in after and not _fits(before[name].type.shape, after[name].type.shape):
            problems.append(f"`{name}` is {before[name].type} in the file and {after[name].type} in the larger network")
    if problems:
        help = "units are added along the first two axes of a tensor; kernels keep their size, and the layers are the same"
        raise SpecError(listed("DL0818", f"the tensors of `{path}` do not fit into the larger network", problems, help))


def _fits(small: tuple[object, ...], large: tuple[object, ...]) -> bool:
    grown = all(isinstance(s, int) and isinstance(n, int) and s <= n for s, n in zip(small, large, strict=False))
    return len(small) == len(large) and grown and small[2:] == large[2:]


def _unit_axes(program: Program) -> dict[str, int]:
    """The axis of each tensor along which the units of its layer are."""

    def of(graph: Graph, prefix: str) -> Iterator[tuple[str, int]]:
        last = graph.library and graph.definition in UNITS_LAST
        for name in graph.parameters:
            yield prefix + name, int(last)
        for node in graph.layers():
            call = node.target
            assert call is not None
            for copy in [""] if call.count is None else [f"{i}." for i in range(call.start, call.start + call.count)]:
                yield from of(call.graph, f"{prefix}{call.child}.{copy}")

    return {name: axis for graph in program.entries.values() for name, axis in of(graph, "")}


def _check_same(small: Program, old: Arrays, large: Program, new: Mapping[str, np.ndarray], seed: int) -> None:
    """Raise where an output of the larger network is not that of the smaller one, in inference."""
    for entry, graph in small.entries.items():
        sizes = choose_sizes(graph, 1, seed)[0]
        inputs = make_inputs(graph, sizes, seed)
        before = Interpreter(old, seed=seed).run(graph, inputs)
        after = Interpreter(new, seed=seed).run(large.entries[entry], inputs)
        for name, value in before.items():
            problem = _difference(value, after[name])
            if problem is not None:
                message = f"the larger network computes another `{name}` than the smaller one: {problem}"
                help = "a layer that reads all features together cannot be given more of them so: LayerNorm, LSTM, heads of attention"
                raise SpecError(Diagnostic("DL0819", message, graph.span, help=help))


def _difference(before: np.ndarray, after: np.ndarray) -> str | None:
    if before.shape != after.shape:
        return f"it is {list(after.shape)}, not {list(before.shape)}"
    scale = max(float(np.abs(before).max(initial=0.0)), 1e-12)
    apart = float(np.abs(after.astype(np.float64) - before).max(initial=0.0)) / scale
    return None if apart <= SAME else f"a relative difference of {apart:.2g}"
