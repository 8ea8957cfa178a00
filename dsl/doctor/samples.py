"""The rows that a training is examined on: from data, or made up in the ranges that the block allows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from backends.base import Arrays
from backends.reference import check_constraints
from dsl.diagnostics import Diagnostic, SpecError
from dsl.dims import as_symbol, evaluate, symbols_of
from dsl.doctor.known_losses import LOSSES
from dsl.initial_values import generator, in_dtype
from dsl.ir import Graph, Value
from dsl.trainer.prepare import check_sizes, integer_ranges, open_batches
from dsl.training import Training
from dsl.types import DType, TensorType
from dsl.verification.input_ranges import UNUSED
from dsl.verification.sizes import choose_sizes, feasible

FREE = 6
"""The size that a symbolic dimension has where nobody gives one, if the block allows it."""

FEW = 8
"""How many rows a network has to learn by heart, at most."""

FEW_NUMBERS = 16
"""How many places along symbolic axes, such as the length of a sequence, that may be; two rows are never too many."""

SPARE = 4
"""How many made-up rows there are at least."""

PARAMETERS_EACH = 8
"""How many parameters there should be for each number that is learned by heart."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A `batch`, `other` rows as many, and `few` rows to learn by heart. `made_up` values, of `SPARE` rows at
    least, stand in for an input's own where these do not vary. `source` is what the user called the data, None where all is made up."""

    batch: Arrays
    other: Arrays
    few: Arrays
    made_up: Arrays
    sizes: Mapping[str, int]
    source: str | None

    @property
    def rows(self) -> int:
        return len(next(iter(self.batch.values())))


def take_sample(training: Training, data: str | None, sizes: Mapping[str, int], batch: int, seed: int) -> Sample:
    """The rows for a training; SpecError where data does not fit, or no sizes do."""
    if data is None:
        check_sizes(training, sizes)
        found = _free_sizes(training, sizes, batch, seed)
        _refuse(training, found)
        make = _Maker(training, found)
        rows, other = make.rows(batch, f"{seed}"), make.rows(batch, f"{seed} other")
        made_up = make.rows(max(batch, SPARE), f"{seed} made up")
        return Sample(rows, other, _few(training, rows), made_up, found, None)
    dataset, _ = open_batches(training, data, sizes, 0.0)
    count = min(batch, dataset.rows)
    rows, other = (next(dataset.batches(count, seed=seed, epoch=epoch)) for epoch in (0, 1))
    known = _bound(training, rows)
    _refuse(training, known)
    made_up = _Maker(training, known).rows(max(count, SPARE), f"{seed} made up")
    return Sample(rows, other, _few(training, rows), made_up, known, data)


def _bound(training: Training, rows: Arrays) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, type_ in training.inputs.items():
        for d, size in zip(type_.shape, rows[name].shape, strict=True):
            symbol = as_symbol(d)
            if symbol is not None:
                sizes[symbol.name] = size
    return sizes


def batch_symbol(training: Training) -> str | None:
    """The symbol of the first axis, where all inputs have the same one."""
    first = {s for t in training.inputs.values() for s in (symbols_of(t.shape[0]) if t.rank else ("",))}
    return next(iter(first)) if len(first) == 1 and "" not in first else None


def _free_sizes(training: Training, given: Mapping[str, int], batch: int, seed: int) -> dict[str, int]:
    """Sizes for every symbol of the inputs: as given, a batch, and moderate ones for the rest."""
    symbols = {s for t in training.inputs.values() for d in t.shape for s in symbols_of(d)}
    graphs = list(training.program.entries.values())
    own = batch_symbol(training)
    rows = {own: batch} if own is not None else {}
    for size in (FREE, 2 * FREE, 4 * FREE):
        sizes = {**dict.fromkeys(symbols, size), **rows, **given}
        if all(feasible(graph, sizes) for graph in graphs):
            return sizes
    largest = max(graphs, key=lambda g: len(g.inputs))
    return {**choose_sizes(largest, 1, seed)[0], **given}


def _refuse(training: Training, sizes: Mapping[str, int]) -> None:
    """Raise SpecError for sizes that a requirement of the block rules out, or at which a tensor would be empty."""
    for graph in training.program.entries.values():
        check_constraints(graph, sizes, training=True)
        if not feasible(graph, sizes):
            shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise SpecError(Diagnostic("DL0811", f"a tensor of `{training.name}` is empty at {shown}", help="try larger sizes"))


def _few(training: Training, rows: Arrays) -> Arrays:
    """The first rows, few enough for the parameters there are."""
    own = batch_symbol(training)
    if own is None:
        return rows
    parameters = sum(
        int(np.prod([d for d in p.type.shape if isinstance(d, int)])) for p in training.program.parameters().values() if p.trained
    )
    smallest = max(1, min(values[0].size for values in rows.values()))
    places = max(1, min(_places(type_, rows[name]) for name, type_ in training.inputs.items()))
    count = max(1, min(FEW, max(2, FEW_NUMBERS // places), parameters // (PARAMETERS_EACH * smallest)))
    return {name: values[:count] for name, values in rows.items()}


def _places(type_: TensorType, values: np.ndarray) -> int:
    """The product of the symbolic axes but the first."""
    return math.prod(size for d, size in list(zip(type_.shape, values.shape, strict=True))[1:] if not isinstance(d, int))


class _Maker:
    """Makes rows up: normal numbers, integers that are valid indices, 0 or 1 for targets that are probabilities."""

    def __init__(self, training: Training, sizes: Mapping[str, int]) -> None:
        self.training = training
        self.sizes = dict(sizes)
        self.ranges = integer_ranges(training, sizes)
        self.binary = set(_binary_targets(training))

    def rows(self, count: int, key: str) -> dict[str, np.ndarray]:
        own = batch_symbol(self.training)
        sizes = {**self.sizes, **({own: count} if own is not None else {})}
        found = {}
        for name, type_ in self.training.inputs.items():
            rng = generator(f"doctor {key} {name}", 0)
            shape = tuple(evaluate(d, sizes) for d in type_.shape)
            found[name] = self._values(name, type_.dtype, shape, rng)
        return found

    def _values(self, name: str, dtype: DType, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        if dtype.is_int:
            return in_dtype(rng.integers(*self.ranges.get(name, UNUSED.bounds({})), shape), dtype)
        if not dtype.is_float or name in self.binary:
            truth = rng.random(shape) < 0.5
            return in_dtype(truth.astype(np.float64), dtype) if dtype.is_float else np.asarray(truth)
        return in_dtype(rng.standard_normal(shape), dtype)


def _binary_targets(training: Training) -> Iterator[str]:
    """The floating inputs that are, or make, the target of a binary cross entropy."""
    for graph in training.program.entries.values():
        for value in _targets(graph):
            for node_id in graph.ancestors(value):
                node = graph.node(node_id)
                if node.op == "input":
                    yield str(node.attributes["name"])
        if any(_is_binary(n.target.graph) for g in graph.callees() for n in g.calls() if n.target and g is not graph):
            yield from training.inputs


def _targets(graph: Graph) -> Iterator[Value]:
    for node in graph.calls():
        assert node.target is not None
        called = node.target.graph
        if _is_binary(called):
            yield node.inputs[list(called.inputs).index(LOSSES[called.definition].target)]


def _is_binary(graph: Graph) -> bool:
    return graph.library and graph.definition in LOSSES and LOSSES[graph.definition].kind == "binary"
