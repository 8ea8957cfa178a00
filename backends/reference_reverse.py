"""How the reference computes `grad` nodes: reverse mode, with the derivatives of each primitive at the values that it was given.

What is computed from the variables is recorded step by step, and cotangents go back through the steps. A gradient inside a gradient is
one step of the outer recording. Its Jacobian times a direction is one difference of gradients along that direction, and since second
derivatives are symmetric this is the product that going backwards needs: an order costs a few evaluations, however many elements there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from backends.reference_gradient import NO_SLOPE, Compute, Differentiator, Slope, Tape, held_primitive, named, scale_of
from backends.reference_vjp import Application, Cotangents, vjp
from dsl.ir import Graph, Node
from dsl.ops.card import Attributes
from dsl.types import DType

Pull = Callable[[Cotangents], Sequence["np.ndarray | None"]]
"""From the cotangents of the results of a step to those of its operands."""

Scalar = Callable[[list[np.ndarray]], np.ndarray]


LEVELS = tuple(2.0**-k for k in range(4, 22))
"""Steps of `sharp_slope`, relative to the scale of what is moved."""

COLUMNS = 5
"""How often a difference is extrapolated at most: more makes nothing better, and noise larger."""


def sharp_slope(f: Callable[[float], np.ndarray], scale: float) -> Slope:
    """The derivative of a smooth `f` at 0 by Ridders' method: central differences of ever smaller steps, extrapolated to the step 0, until
    that gets no better. It is nearly as exact as `f`, which gradients of gradients need, and takes two evaluations a step."""
    best: Slope | None = None
    before: list[np.ndarray] = []
    for step in LEVELS:
        with np.errstate(all="ignore"):
            row = [np.asarray((f(step * scale) - f(-step * scale)) / (2 * step * scale))]
            if np.isnan(row[0]).any():
                continue
            for k, coarser in enumerate(before[:COLUMNS], start=1):
                row.append(row[-1] + (row[-1] - coarser) / (4**k - 1))
        size = float(np.max(np.abs(row[-1]), initial=0.0))
        for k in range(1, len(row)):
            doubt = max(_apart(row[k], row[k - 1]), _apart(row[k], before[k - 1]))
            if best is None or doubt < best.doubt:
                best = Slope(row[k], doubt, size)
        if best is not None and (
            best.doubt <= 1e-15 * size or (best.doubt <= 1e-9 * size and _apart(row[-1], before[-1]) > 8 * best.doubt)
        ):
            break
        before = row
    return best or Slope(np.full_like(np.asarray(f(0.0), np.float64), np.nan), float("inf"))


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b), initial=0.0))


@dataclass(frozen=True, slots=True)
class Step:
    operands: tuple[np.ndarray, ...]
    results: tuple[np.ndarray, ...]
    pull: Pull


@dataclass(slots=True)
class Recording:
    """The steps from the variables on. Arrays are told apart by identity: each result of a step is an array of its own, and `active` has
    those that depend on a variable."""

    active: set[int]
    steps: list[Step] = field(default_factory=list)

    def concerns(self, operands: Sequence[np.ndarray]) -> bool:
        return any(id(x) in self.active for x in operands)

    def add(self, operands: Sequence[np.ndarray], results: Sequence[np.ndarray], pull: Pull) -> tuple[np.ndarray, ...]:
        """The results, as the arrays by which later steps are found to depend on this one."""
        own = _own(results)
        self.steps.append(Step(tuple(operands), own, pull))
        self.active.update(id(r) for r in own if r.dtype.kind == "f")
        return own

    def pulled(self, result: np.ndarray) -> dict[int, np.ndarray]:
        """The cotangents of the variables, by identity, where that of the result is 1."""
        found: dict[int, np.ndarray] = {id(result): np.ones(result.shape)}
        for step in reversed(self.steps):
            given = [found.get(id(r)) for r in step.results]
            if all(c is None for c in given):
                continue
            cotangents = [np.zeros(r.shape) if c is None else c for c, r in zip(given, step.results, strict=True)]
            for x, g in zip(step.operands, step.pull(cotangents), strict=True):
                if g is not None and id(x) in self.active:
                    found[id(x)] = found[id(x)] + g if id(x) in found else g
        return found


class ReverseMode(Differentiator):
    """The part of the interpreter that differentiates backwards. While something is recorded, the innermost tape is the recording's."""

    def __init__(self, state: dict[str, np.ndarray], random: np.random.Generator) -> None:
        super().__init__(random)
        self.state = state
        self.recording: Recording | None = None

    # --- what is recorded ---

    def _applied(
        self, node: Node, operands: list[np.ndarray], attributes: Attributes, compute: Compute
    ) -> tuple[np.ndarray, ...]:
        """A primitive; `compute` is its card."""
        recording = self.recording
        if recording is None:
            return held_primitive(node, operands, compute, self._held) if self.tapes else compute(operands)
        held: list[np.ndarray] = []
        start = self._generators()

        def hold(constant: Callable[[], np.ndarray]) -> np.ndarray:
            held.append(self._held(constant))
            return held[-1]

        results = tuple(np.asarray(r) for r in held_primitive(node, operands, compute, hold))
        flat = node.op in NO_SLOPE or not any(t.dtype.is_float for t in node.types)
        if flat or not recording.concerns(operands):
            return _own(results)

        def again(moved: list[np.ndarray]) -> tuple[np.ndarray, ...]:
            with self._drawing(start):
                return compute(moved)

        mask = again([np.ones(operands[0].shape)])[0] if node.op == "dropout" else None
        wanted = tuple(id(x) in recording.active for x in operands)
        at = Application(node, tuple(operands), results, attributes, wanted, again, self._noted, tuple(held), mask)
        return recording.add(operands, results, partial(self._pull_primitive, at))

    def _pull_primitive(self, at: Application, cotangents: Cotangents) -> list[np.ndarray | None]:
        return [None if g is None else self._rounded(g, at.node.type.dtype) for g in vjp(at, cotangents)]

    def _rounded(self, value: np.ndarray, dtype: DType) -> np.ndarray:
        """A cotangent in that element type: here it is exact."""
        return value

    def _straight(self, results: tuple[np.ndarray, ...], changed: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """`changed` in place of `results`, as gradients do not see."""
        if self.recording is None or not self.recording.concerns(results):
            return changed
        return self.recording.add(results, changed, lambda cotangents: cotangents)

    def _unstacked(self, x: np.ndarray, axis: int) -> list[np.ndarray]:
        """The slices of a tensor along an axis."""
        slices = [np.asarray(np.take(x, i, axis=axis)) for i in range(x.shape[axis])]
        if self.recording is None or not self.recording.concerns([x]):
            return slices
        return list(
            self.recording.add([x], slices, lambda cotangents: [np.stack(cotangents, axis=axis)] if cotangents else [None])
        )

    def _stacked(self, slices: list[np.ndarray], axis: int) -> np.ndarray:
        """Slices as one tensor."""
        whole = np.stack(slices, axis=axis)
        if self.recording is None or not self.recording.concerns(slices):
            return whole
        return self.recording.add(slices, [whole], lambda cotangents: list(np.moveaxis(cotangents[0], axis, 0)))[0]

    def _with_backward(self, graph: Graph, operands: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """A function that brings its gradient along: recorded as a step of its own, which pulls with that gradient."""
        recording = self.recording
        if recording is None:
            return super()._with_backward(graph, operands)
        with self._unrecorded(), self._outside():
            results = tuple(np.asarray(r) for r in self._with_backward(graph, operands))
        if not recording.concerns(operands):
            return _own(results)

        def pull(cotangents: Cotangents) -> list[np.ndarray | None]:
            assert graph.backward is not None
            given = [c for c, r in zip(cotangents, results, strict=True) if r.dtype.kind == "f"]
            found = iter(self.run(graph.backward, named(graph.backward, [*given, *operands])).values())
            return [next(found) if x.dtype.kind == "f" else None for x in operands]

        return recording.add(operands, results, pull)

    # --- gradients ---

    def _gradient(self, value: Scalar, operands: list[np.ndarray], wrt: int, *, symmetric: bool) -> tuple[np.ndarray, ...]:
        """The gradient of a scalar function with respect to the first `wrt` operands. `symmetric` says that its second derivatives are:
        that it is the derivative of a function, not what a spec gives as one."""
        outer, start, state = self.recording, self._generators(), dict(self.state)
        results = tuple(self._reverse(value, operands, list(range(wrt)), [])[:wrt])
        if outer is None:
            return results
        places = [i for i, x in enumerate(operands) if id(x) in outer.active]
        names = [name for name, x in state.items() if id(x) in outer.active]
        if not places and not names:
            return _own(results)
        inner = _Inner(value, tuple(operands), wrt, places, names, state)

        def pull(cotangents: Cotangents) -> Cotangents:
            with self._drawing(start), self._with_state(state):
                return self._along(inner, cotangents) if symmetric else self._by_element(inner, cotangents)

        return outer.add([*(operands[i] for i in places), *(state[name] for name in names)], results, pull)

    def _reverse(self, value: Scalar, operands: Sequence[np.ndarray], places: list[int], names: list[str]) -> list[np.ndarray]:
        """The gradients by the operands at `places` and by the parameters `names`."""
        given = _own(operands)
        own_state = dict(self.state) | {name: self.state[name].view() for name in names}
        variables = [*(given[i] for i in places), *(own_state[name] for name in names)]
        recording = Recording({id(x) for x in variables if x.dtype.kind == "f"})
        self.tapes.append(Tape())
        with self._with_state(own_state):
            before, self.recording = self.recording, recording
            result = value(list(given))
            self.recording = None
            found = recording.pulled(result)
            self.recording = before
        self.tapes.pop()
        return [np.array(found[id(x)]) if id(x) in found else np.zeros(x.shape) for x in variables]

    def _along(self, inner: _Inner, direction: Cotangents) -> Cotangents:
        """The derivative of all gradients as the differentiated operands move in a direction."""
        at, shapes = inner.operands, [x.shape for x in inner.variables]

        def gradients(t: float) -> np.ndarray:
            moved = [x + t * v for x, v in zip(at, direction, strict=False)]
            found = self._reverse(inner.value, [*moved, *at[inner.wrt :]], inner.places, inner.names)
            return np.concatenate([g.ravel() for g in found])

        with np.errstate(all="ignore"):
            fastest = max(
                (float(np.max(np.abs(v) / scale_of(x), initial=0.0)) for x, v in zip(at, direction, strict=False)), default=0.0
            )
        scale = 1.0 / fastest if 0.0 < fastest < float("inf") else 1.0
        with self._around(lambda: gradients(0.0)) as again:
            found = sharp_slope(lambda t: again(lambda: gradients(t)), scale)
        return _parts(self._noted(found), shapes)

    def _by_element(self, inner: _Inner, cotangents: Cotangents) -> Cotangents:
        """The same, element by element: for gradients that a spec gives, whose derivatives need not be symmetric."""

        def weighted(moved: list[np.ndarray]) -> np.ndarray:
            operands = list(inner.operands)
            for i, x in zip(inner.places, moved, strict=False):
                operands[i] = x
            with self._with_state(inner.state | dict(zip(inner.names, moved[len(inner.places) :], strict=True))):
                found = self._reverse(inner.value, operands, list(range(inner.wrt)), [])
            return np.asarray(sum(np.sum(g * c) for g, c in zip(found, cotangents, strict=True)))

        return self.gradients(weighted, inner.variables)

    # --- what is around ---

    @contextmanager
    def _drawing(self, states: list[Mapping[str, object]]) -> Iterator[None]:
        """With the generators as they were, unseen; what they are now comes back afterwards."""
        now, watch, self.watch = self._generators(), self.watch, None
        self._set_generators(states)
        yield
        self._set_generators(now)
        self.watch = watch

    @contextmanager
    def _with_state(self, state: dict[str, np.ndarray]) -> Iterator[None]:
        before, self.state = self.state, dict(state)
        yield
        self.state = before

    @contextmanager
    def _unrecorded(self) -> Iterator[None]:
        recording, self.recording = self.recording, None
        yield
        self.recording = recording


@dataclass(frozen=True, slots=True)
class _Inner:
    """A gradient that is differentiated: its function, at which operands and parameters, and which of these move."""

    value: Scalar
    operands: tuple[np.ndarray, ...]
    wrt: int
    places: list[int]
    names: list[str]
    state: dict[str, np.ndarray]

    @property
    def variables(self) -> list[np.ndarray]:
        return [*(self.operands[i] for i in self.places), *(self.state[name] for name in self.names)]


def _own(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The same values as arrays of their own identity."""
    return tuple(np.asarray(x).view() for x in arrays)


def _parts(whole: np.ndarray, shapes: list[tuple[int, ...]]) -> Cotangents:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(whole, ends[:-1]), shapes, strict=True)]
