"""No example sees another: what is computed for row i is the same whatever the other rows are. Batch statistics, which a layer declares by
updating buffers, are not in use in inference, where this is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dsl.dims import as_symbol
from dsl.doctor.finding import Finding, Status
from dsl.doctor.record import Seen, users_place
from dsl.doctor.samples import batch_symbol
from dsl.doctor.subject import Subject
from dsl.ir import Graph, Node, Value
from dsl.training import Objective
from dsl.types import TensorType
from dsl.verification.cases import flattened

NAME = "batch"

ROWS = 4
CHANGED = 1
"""The row that is given another input."""


def check_batch(subject: Subject) -> Iterator[Finding]:
    """Change one row, and look for others that change, operation by operation."""
    symbol = batch_symbol(subject.training)
    if symbol is None:
        yield Finding(NAME, Status.SKIPPED, "the inputs have no first axis in common, so there are no examples to tell apart")
        return
    declared = sorted({layer for g in subject.training.program.entries.values() for layer in _with_statistics(g)})
    for objective in subject.training.objectives:
        if not set(subject.graph(objective).inputs) & set(subject.training.inputs):
            message = f"`{objective.name}` reads no input of the batch"
            yield Finding(NAME, Status.SKIPPED, message, span=objective.span)
            continue
        yield _looked_at(subject, objective, symbol, declared)


def _looked_at(subject: Subject, objective: Objective, symbol: str, declared: list[str]) -> Finding:
    flat = flattened(subject.graph(objective), training=False)
    spare = subject.sample.made_up
    batch = {name: values[:ROWS] for name, values in (subject.sample.batch if subject.sample.rows >= ROWS else spare).items()}
    changed = {name: np.array(values) for name, values in batch.items()}
    for name, values in changed.items():
        values[CHANGED] = spare[name][-1]
    before, after = (_values(subject, flat, given) for given in (batch, changed))
    pairs, exact = False, not any(n.op == "grad" for g in flat.callees() for n in g)
    for a, b in zip(before, after, strict=False):
        if a.node is not b.node:
            break
        for x, y, type_ in zip(a.results, b.results, a.node.types, strict=True):
            axes = _axes(type_, symbol)
            pairs = pairs or len(axes) > 1
            far = _difference(x, y, axes)
            if axes and far > (1e-9 if exact else 1e-3):
                return _mixed(flat, objective, a.node, far, pairs)
    statistics = f"; in training, {', '.join(f'`{n}`' for n in declared)} declare statistics of the batch" if declared else ""
    return Finding(
        NAME, Status.OK, f"no example of `{objective.name}` sees another{statistics}", "0", "0", objective.span, {"rows": ROWS}
    )


def _mixed(flat: Graph, objective: Objective, node: Node, far: float, pairs: bool) -> Finding:
    place = users_place(list(node.spans))
    what = f"`{node.name}` ({node.op})" if node.name else f"`{node.op}`"
    numbers = {"difference": far}
    seen, expected = f"a relative change of {far:.2g} in rows that were left alone", "0"
    if node.op != "reshape" and not any(flat.node(i).op == "param" for i in flat.ancestors(Value(node.id))):
        message = (
            f"{what} mixes the examples of `{objective.name}`, before any parameter: is it meant to be normalised over the batch?"
        )
        return Finding(NAME, Status.WARNING, message, seen, expected, place, numbers)
    if pairs:
        message = f"{what} compares the examples of `{objective.name}` with one another: contrastive losses do, others should not"
        return Finding(NAME, Status.WARNING, message, seen, expected, place, numbers)
    message = f"{what} mixes the examples of `{objective.name}`: it is the first to show another row's input"
    return Finding(NAME, Status.FAILED, message, seen, expected, place, numbers)


def _values(subject: Subject, flat: Graph, batch: Mapping[str, np.ndarray]) -> list[Seen]:
    found: list[Seen] = []
    recorder = subject.recorder(subject.moved, training=False, see=found.append)
    recorder.run(flat, subject.inputs(recorder, flat, batch))
    return [seen for seen in found if seen.node.op not in ("input", "param", "buffer", "const")]


def _axes(type_: TensorType, symbol: str) -> tuple[int, ...]:
    """The axes that are the batch."""
    own = [as_symbol(d) for d in type_.shape]
    return tuple(i for i, s in enumerate(own) if s is not None and s.name == symbol)


def _difference(x: np.ndarray, y: np.ndarray, axes: tuple[int, ...]) -> float:
    """How far the rows that were left alone moved, relative to the largest number."""
    if x.shape != y.shape or not axes:
        return 0.0
    for axis in axes:
        x, y = np.delete(x, CHANGED, axis), np.delete(y, CHANGED, axis)
    if x.dtype.kind != "f":
        return float(np.mean(x != y)) if x.size else 0.0
    with np.errstate(invalid="ignore"):
        moved = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
    largest = float(np.max(np.abs(x), where=np.isfinite(x), initial=0.0))
    return float(np.max(moved, initial=0.0)) / (largest or 1.0)


def _with_statistics(graph: Graph, prefix: str = "") -> Iterator[str]:
    """The layers that update buffers."""
    if graph.updates:
        yield prefix.removesuffix(".") or graph.definition
    for node in graph.layers():
        assert node.target is not None
        yield from _with_statistics(node.target.graph, f"{prefix}{node.target.child}.")
