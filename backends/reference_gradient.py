"""How the reference differentiates: central differences in float64, of a function that holds still what gradients do not see.

What `stop_gradient` gives, every integer and boolean, and the side that a `relu`, `abs`, `maximum` or `max` takes are recorded at the point
and played back in the evaluations around it. So the function is smooth wherever the target's gradient is defined, a straight-through
estimate has the gradient that it is made for, and large steps, which cancel little, can be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from dsl.diagnostics import Diagnostic, InternalError, SpecError
from dsl.ir import Graph, Node

Compute = Callable[[list[np.ndarray]], tuple[np.ndarray, ...]]
Watch = Callable[[Graph, Node, tuple[np.ndarray, ...]], None]
Hold = Callable[[Callable[[], np.ndarray]], np.ndarray]

STEPS = tuple(2.0**-k for k in (9, 12, 15, 18, 21))
"""Steps to try, relative to the scale of what is moved: the first at which two formulas agree is taken."""

AGREED = 1e-8
"""How far two formulas may be apart, relative to the slope, to count as agreed; noise of 1e-11 of the function's size is let through."""

LINEAR = 0.05
"""How far, relatively, the gradient of a sum may be from the sum of gradients: noise that stands for rounding to 16 bits is let through."""

NO_SLOPE = frozenset({"stop_gradient", "floor", "ceil", "round", "sign", "floor_divide", "bernoulli"})
"""Operations with a floating result that gradients take as a constant."""


@dataclass(slots=True)
class Tape:
    """What is held still, in the order in which it is met: recorded at the point, then played back."""

    values: list[object] = field(default_factory=list)
    at: int | None = None

    def rewind(self) -> None:
        self.at = 0

    @property
    def playing(self) -> bool:
        return self.at is not None

    def next(self) -> object:
        if self.at is None or self.at >= len(self.values):
            raise InternalError("the reference meets more constants around a point than at it")
        self.at += 1
        return self.values[self.at - 1]


@dataclass(frozen=True, slots=True)
class Slope:
    """A derivative, how far two estimates of it are apart, and how large the function is nearby."""

    value: np.ndarray
    doubt: float
    size: float = 0.0


def slope(f: Callable[[float], np.ndarray], scale: float) -> Slope:
    """The derivative of `f` at 0, by the five-point formula at two steps and Richardson's extrapolation of the two."""
    best: Slope | None = None
    for step in STEPS:
        h = step * scale
        with np.errstate(all="ignore"):
            ahead = [f(k * h) for k in (1, 2, 4)]
            near, middle, far = (there - f(-k * h) for there, k in zip(ahead, (1, 2, 4), strict=True))
            size = float(np.max(np.abs(ahead[0]), initial=0.0))
            fine = (8 * near - middle) / (12 * h)
            coarse = (8 * middle - far) / (24 * h)
            found = np.asarray((16 * fine - coarse) / 15)
            apart = float(np.max(np.abs(fine - coarse), initial=0.0))
        if np.isnan(apart):
            continue
        if best is None or apart < best.doubt:
            best = Slope(found, apart, size)
        if apart <= AGREED * float(np.max(np.abs(found), initial=0.0)) + 1e-11 * size / scale:
            return Slope(found, apart, size)
    if best is None:
        return Slope(np.full_like(np.asarray(f(0.0), np.float64), np.nan), float("inf"))
    return best


def scale_of(x: np.ndarray) -> np.ndarray:
    """By how much each element may reasonably be moved: its own size, at least that of the tensor's elements in the mean."""
    mean = float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
    return np.asarray(np.maximum(np.abs(x), mean if np.isfinite(mean) and mean > 0 else 1.0))


class Differentiator:
    """The half of the interpreter that differentiates. `tapes` has one for each differentiation that is under way; `doubt` is how far two
    estimates of a gradient were apart at most."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.tapes: list[Tape] = []
        self.doubt = 0.0
        self.watch: Watch | None = None

    def run(self, graph: Graph, inputs: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
        """The outputs of `graph` by name. `prefix` is the path of the graph's owner, with a final dot."""
        raise InternalError("this half of the interpreter does not run graphs")

    def gradients(self, value: Callable[[list[np.ndarray]], np.ndarray], at: list[np.ndarray]) -> list[np.ndarray]:
        """The gradient of a scalar function with respect to each of its arguments, element by element."""
        found = []
        with self._around(lambda: value(at)) as again:
            for i, x in enumerate(at):
                scales, gradient = scale_of(x), np.zeros_like(x, dtype=np.float64)
                for place in np.ndindex(x.shape):

                    def along(t: float, i: int = i, x: np.ndarray = x, place: tuple[int, ...] = place) -> np.ndarray:
                        moved = np.array(x)
                        moved[place] += t
                        return again(lambda: value([*at[:i], moved, *at[i + 1 :]]))

                    gradient[place] = self._noted(slope(along, float(scales[place])))
                found.append(gradient)
        return found

    def derivative(self, value: Callable[[float], np.ndarray], scale: float = 1.0) -> Slope:
        """The derivative of a function of a number at 0, any shape; what gradients take as constant is as it is at 0."""
        with self._around(lambda: value(0.0)) as again:
            return slope(lambda t: again(lambda: value(t)), scale)

    def _noted(self, found: Slope) -> np.ndarray:
        self.doubt = max(self.doubt, found.doubt)
        return found.value

    @contextmanager
    def _around(self, at_point: Callable[[], np.ndarray]) -> Iterator[Callable[[Callable[[], np.ndarray]], np.ndarray]]:
        """Computes at the point, and gives what computes around it: with the same draws, and the same constants."""
        start, tape = self._generators(), Tape()
        self.tapes.append(tape)
        at_point()
        end, watch, self.watch = self._generators(), self.watch, None

        def again(compute: Callable[[], np.ndarray]) -> np.ndarray:
            tape.rewind()
            self._set_generators(start)
            return compute()

        yield again
        self.tapes.pop()
        self.watch = watch
        self._set_generators(end)

    def _generators(self) -> list[Mapping[str, object]]:
        """The states of all generators of random numbers."""
        return [self.random.bit_generator.state]

    def _set_generators(self, states: list[Mapping[str, object]]) -> None:
        self.random.bit_generator.state = states[0]

    def _held(self, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """What `compute` gave at the point of the innermost differentiation that is under way."""
        if not self.tapes:
            return compute()
        tape = self.tapes[-1]
        if tape.playing:
            value = tape.next()
            assert isinstance(value, np.ndarray | np.generic)
            return np.asarray(value)
        with self._outside():
            computed = self._held(compute)
        tape.values.append(computed)
        return computed

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """Without the innermost differentiation."""
        tape = self.tapes.pop()
        yield
        self.tapes.append(tape)

    def _with_backward(self, graph: Graph, operands: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """A function that brings its gradient along, where it is differentiated: at the point its value, around it the line that has
        this gradient."""
        if not self.tapes:
            return tuple(self.run(graph, named(graph, operands)).values())
        tape = self.tapes[-1]
        if tape.playing:
            tangent = tape.next()
            assert isinstance(tangent, _Tangent)
            return tangent.at(operands)
        with self._outside():
            results = self._with_backward(graph, operands)
            jacobian = self._jacobian(graph, operands, results)
        tape.values.append(_Tangent(tuple(operands), results, jacobian))
        return results

    def _jacobian(self, graph: Graph, operands: list[np.ndarray], results: tuple[np.ndarray, ...]) -> np.ndarray:
        """The derivatives of all floating results by all floating operands, as the graph's `backward` has them."""
        ends = list(accumulate(r.size for r in results))
        weights = np.eye(ends[-1])
        weights[:, : ends[-1]][:, ~np.concatenate([np.full(r.size, r.dtype.kind == "f") for r in results])] = 0.0
        columns = sum(x.size for x in operands if x.dtype.kind == "f")
        rows = np.array([self._pulled_back(graph, operands, results, row, ends) for row in weights]).reshape(
            len(weights), columns
        )
        total = np.linspace(-1.0, 2.0, ends[-1])
        whole, summed = self._pulled_back(graph, operands, results, weights @ total, ends), total @ rows
        most = LINEAR * float(np.max(np.abs(summed), initial=0.0))
        if np.any(np.abs(whole - summed) > most):
            raise SpecError(
                Diagnostic(
                    "DL0814",
                    f"the reference cannot differentiate `{graph.definition}`: its `backward` is not linear in the gradient it gets",
                    graph.span,
                    help="compare torch with jax alone: `dslc verify --gradients`",
                )
            )
        return rows

    def _pulled_back(
        self, graph: Graph, operands: list[np.ndarray], results: tuple[np.ndarray, ...], weights: np.ndarray, ends: list[int]
    ) -> np.ndarray:
        assert graph.backward is not None
        parts = [part.reshape(r.shape) for part, r in zip(np.split(weights, ends[:-1]), results, strict=True)]
        gradients = [part for part, r in zip(parts, results, strict=True) if r.dtype.kind == "f"]
        found = self.run(graph.backward, named(graph.backward, [*gradients, *operands])).values()
        return np.concatenate([g.ravel() for g in found])


@dataclass(frozen=True, slots=True)
class _Tangent:
    """The line through a point: results there, and their derivatives by the floating operands."""

    operands: tuple[np.ndarray, ...]
    results: tuple[np.ndarray, ...]
    jacobian: np.ndarray

    def at(self, operands: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        floating = [(x, x0) for x, x0 in zip(operands, self.operands, strict=True) if x0.dtype.kind == "f"]
        moved = np.concatenate([(x - x0).ravel() for x, x0 in floating]) @ self.jacobian.T
        parts = np.split(moved, list(accumulate(r.size for r in self.results))[:-1])
        return tuple(r + part.reshape(r.shape) if r.dtype.kind == "f" else r for r, part in zip(self.results, parts, strict=True))


def named(graph: Graph, operands: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Operands by the names of the inputs that they are for."""
    return dict(zip(graph.inputs, operands, strict=True))


def held_primitive(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    """A primitive as gradients see it: `hold` gives what was computed at the point."""
    floating = [x for x in operands if x.dtype.kind == "f"]
    if not floating:
        return compute(operands)
    if node.op in NO_SLOPE or not any(t.dtype.is_float for t in node.types):
        results: list[np.ndarray] = []
        for i in range(len(node.types)):
            results.append(hold(lambda i=i: compute(operands)[i]))  # type: ignore[misc]
        return tuple(results)
    branch = _BRANCHES.get(node.op)
    return compute(operands) if branch is None else branch(node, operands, compute, hold)


def _relu(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    (x,) = operands
    return (np.where(hold(lambda: ~(x <= 0)), x, 0.0),)


def _abs(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    (x,) = operands
    return (x * hold(lambda: np.sign(x)),)


def _larger(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    """`maximum` and `minimum`: where both are equal, half of each."""
    a, b = operands
    sign = 1.0 if node.op == "maximum" else -1.0
    side = hold(lambda: np.sign(sign * (a - b)))
    both = np.where(side == 0, 0.5 * (a + b), np.where(side > 0, a, b))
    return (np.where(np.isnan(side), compute(operands)[0], both),)


def _clip(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    (x,) = operands
    (clipped,) = compute(operands)
    return (np.where(hold(lambda: clipped == x), x, hold(lambda: clipped)),)


def _extreme(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    """`max` and `min`: the mean of the elements that are the largest."""
    (x,) = operands
    over, keepdims = node.attributes["over"], bool(node.attributes["keepdims"])
    assert isinstance(over, tuple)
    axes = tuple(int(axis) for axis in over if isinstance(axis, int))
    chosen = hold(lambda: x == (np.max if node.op == "max" else np.min)(x, axis=axes, keepdims=True))
    count = chosen.sum(axis=axes, keepdims=keepdims)
    mean = np.where(chosen, x, 0.0).sum(axis=axes, keepdims=keepdims) / np.maximum(count, 1)
    return (np.where(count > 0, mean, np.nan),)


def _ordered(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    """`sort` and `topk`: the elements that were chosen, in the order that they had."""
    (x,) = operands
    axis = node.attributes["over"]
    assert isinstance(axis, int)
    if node.op == "topk":
        index = hold(lambda: compute(operands)[1])
        return np.take_along_axis(x, index, axis), index
    descending = bool(node.attributes["descending"])
    index = hold(lambda: np.argsort(-x if descending else x, axis=axis, kind="stable"))
    return (np.take_along_axis(x, index, axis),)


def _max_pool(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    """The elements that were the largest of their windows, the first where several are."""
    (x,) = operands
    flat = x.reshape(*x.shape[:2], -1)

    def chosen() -> np.ndarray:
        """Where they are in an image: windows of ranks find them; -1 for a window that sees nothing."""
        by_rank = flat.shape[-1] - 1 - np.argsort(flat[..., ::-1], axis=-1, kind="stable")
        (ranks,) = compute([np.argsort(by_rank, axis=-1).astype(np.float64).reshape(x.shape)])
        known = np.where(np.isfinite(ranks), np.rint(ranks), 0).astype(np.int64).reshape(*flat.shape[:2], -1)
        return np.where(np.isfinite(ranks), np.take_along_axis(by_rank, known, -1).reshape(ranks.shape), -1)

    index = hold(chosen)
    found = np.take_along_axis(flat, np.maximum(index, 0).reshape(*flat.shape[:2], -1), -1).reshape(index.shape)
    return (np.where(index < 0, -np.inf, found),)


_BRANCHES: dict[str, Callable[[Node, list[np.ndarray], Compute, Hold], tuple[np.ndarray, ...]]] = {
    "relu": _relu,
    "abs": _abs,
    "maximum": _larger,
    "minimum": _larger,
    "clip": _clip,
    "max": _extreme,
    "min": _extreme,
    "sort": _ordered,
    "topk": _ordered,
    "max_pool": _max_pool,
}
