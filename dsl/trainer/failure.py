"""Where a loss that is not a finite number comes from: the first step that had one is done again, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backends.base import Arrays
from backends.reference import Interpreter
from dsl.build import numpy_dtype
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Graph, Node, Value
from dsl.source import NOWHERE, Span
from dsl.trainer.checkpoint import Checkpoints
from dsl.trainer.job import Job, batches_from
from dsl.trainer.settings import Settings
from dsl.training import Objective, Update
from dsl.types import DType

_STEEP = frozenset({"sqrt", "norm", "pow"})
"""Primitives whose slope is infinite where they are 0."""


@dataclass(frozen=True, slots=True)
class NotFinite:
    """The first value that is not finite: of step `step`, counted from 0."""

    step: int
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Culprit:
    """An operation whose result is not finite though what it reads is, or whose slope is infinite."""

    what: str
    span: Span


def explain(found: NotFinite, job: Job, settings: Settings, checkpoints: Checkpoints, saved: int) -> SpecError:
    """The error for a loss that is not finite: the step, the first operation that gives such a number, its place in the spec."""
    before, batch = _replayed(found.step, job, settings, checkpoints, saved)
    turn = next(turn for turn in job.training.turns if found.name in job.training.reported(turn))
    broken = [name for name, value in before.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    where = f"`{found.name}` is {_shown(found.value)} in step {found.step + 1}"
    kept = f"the checkpoint of step {saved} is in `{settings.out}`" if saved else "there is no checkpoint yet"
    if broken:
        notes, span = _from_the_update(found, job, settings, checkpoints, saved, broken)
        return _error(where, span, [*notes, kept])
    culprit = _culprit(job, turn, before, batch)
    if culprit is None:
        return _error(where, turn.span, ["the reference computes a finite number there: random draws or rounding differ", kept])
    return _error(f"{where}; {culprit.what}", culprit.span, [kept])


def _error(message: str, span: Span, notes: list[str]) -> SpecError:
    help = "a smaller learning rate, `clip`, or an epsilon where the number arises"
    return SpecError(Diagnostic("DL0845", message, span, notes=tuple(notes), help=help))


def _shown(value: float) -> str:
    return "NaN" if np.isnan(value) else "infinite"


def _replayed(step: int, job: Job, settings: Settings, checkpoints: Checkpoints, saved: int) -> tuple[Arrays, Arrays]:
    """The weights before a step and its batch, from the last checkpoint or from the beginning on."""
    session = job.begin(job.weights(settings.seed), settings.seed)
    start = saved if saved <= step else 0
    if start and start == saved:
        session.restore(*checkpoints.tensors())
    batches = batches_from(job.data, settings, start, job.data.batch_count(settings.batch))
    for number in range(start, step):
        session.step(number, next(batches))
    return session.weights(), next(batches)


def _from_the_update(
    found: NotFinite, job: Job, settings: Settings, checkpoints: Checkpoints, saved: int, broken: list[str]
) -> tuple[list[str], Span]:
    """The loss before was finite, its gradient was not: which parameter shows it, and which operation is steep."""
    before, batch = _replayed(found.step - 1, job, settings, checkpoints, saved) if found.step else ({}, {})
    turn = next((u for u in job.training.updates if broken[0] in u.assigned), None) or next(
        (o for o in job.training.objectives if broken[0] in o.parameters), job.training.turns[0]
    )
    notes = [f"`{broken[0]}` became so by the update of step {found.step}"]
    notes[0] += ": its gradient was not finite" if isinstance(turn, Objective) else ""
    steep = _culprit(job, turn, before, batch, steep=isinstance(turn, Objective)) if found.step else None
    return (notes, turn.span) if steep is None else ([*notes, steep.what], steep.span)


class _Rounding(Interpreter):
    """The reference with every result rounded to its own element type, so that numbers overflow where those of a backend do."""

    def _node(
        self,
        graph: Graph,
        node: Node,
        values: dict[Value, np.ndarray],
        sizes: Mapping[str, int],
        inputs: Mapping[str, np.ndarray],
        prefix: str,
    ) -> tuple[np.ndarray, ...]:
        results = super()._node(graph, node, values, sizes, inputs, prefix)
        with np.errstate(all="ignore"):
            rounded = tuple(
                r.astype(numpy_dtype(t.dtype)).astype(np.float64) if t.dtype in (DType.F16, DType.F32) else r
                for r, t in zip(results, node.types, strict=True)
            )
        return self._straight(results, rounded)


def _culprit(job: Job, turn: Objective | Update, weights: Arrays, batch: Arrays, *, steep: bool = False) -> Culprit | None:
    """The first operation that makes a number that is not finite; with `steep`, the first that is 0 where its slope is infinite."""
    found: list[Culprit] = []

    def watch(graph: Graph, node: Node, results: tuple[np.ndarray, ...]) -> None:
        if found or node.target is not None or node.op in ("input", "param", "buffer", "const"):
            return
        floats = [r for r in results if r.dtype.kind == "f"]
        if steep:
            if node.op in _STEEP and any((r == 0).any() for r in floats) and not _smooth(graph, node):
                found.append(Culprit(f"the slope of `{node.op}` is infinite at 0", _place(node, graph)))
        elif any(not np.isfinite(r).all() for r in floats):
            count = sum(int((~np.isfinite(r)).sum()) for r in floats)
            size = sum(r.size for r in floats)
            called = f" (`{node.name}`)" if node.name else ""
            found.append(
                Culprit(f"the first such numbers are {count} of the {size} results of `{node.op}`{called}", _place(node, graph))
            )

    interpreter = _Rounding(weights, training=True, seed=0, watch=watch)
    graph = job.training.program.entries[turn.entry]
    given = dict(batch)
    if job.training.draws is not None:
        given |= interpreter.run(job.training.draws, {n: batch[n] for n in job.training.draws.inputs})
    interpreter.run(graph, {name: given[name] for name in graph.inputs})
    return found[0] if found else None


def _smooth(graph: Graph, node: Node) -> bool:
    """Whether a power has an exponent that makes it smooth at 0."""
    if node.op != "pow":
        return False
    content = graph.node(node.inputs[1]).attributes.get("value")
    return content is not None and bool(np.all(np.asarray(content, dtype=float) >= 1))


def _place(node: Node, graph: Graph) -> Span:
    return next((s for s in node.spans if s is not NOWHERE), graph.span)
