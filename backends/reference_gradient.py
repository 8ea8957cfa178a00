"""How the reference differentiates: central differences in float64, of a function that holds still what gradients do not see.

What `stop_gradient` gives, every integer and boolean, and the side that a `relu`, `abs`, `maximum` or `max` takes are recorded at the point
and played back in the evaluations around it. So the function is smooth wherever the target's gradient is defined, a straight-through
estimate has the gradient that it is made for, and large steps, which cancel little, can be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dsl.diagnostics import InternalError
from dsl.ir import Node

Compute = Callable[[list[np.ndarray]], tuple[np.ndarray, ...]]
Hold = Callable[[Callable[[], np.ndarray]], np.ndarray]

STEPS = tuple(2.0**-k for k in (9, 12, 15, 18, 21))
"""Steps to try, relative to the scale of what is moved: the first at which two formulas agree is taken."""

AGREED = 1e-8
"""How far two formulas may be apart, relative to the slope, to count as agreed; noise of 1e-11 of the function's size is let through."""

_NO_SLOPE = frozenset({"stop_gradient", "floor", "ceil", "round", "sign", "floor_divide", "bernoulli"})
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
    """A derivative and how far two estimates of it are apart."""

    value: np.ndarray
    doubt: float


def slope(f: Callable[[float], np.ndarray], scale: float) -> Slope:
    """The derivative of `f` at 0, by the five-point formula at two steps and Richardson's extrapolation of the two."""
    best: Slope | None = None
    for step in STEPS:
        h = step * scale
        with np.errstate(all="ignore"):
            near, middle, far = (f(k * h) - f(-k * h) for k in (1, 2, 4))
            size = float(np.max(np.abs(f(h)), initial=0.0))
            fine = (8 * near - middle) / (12 * h)
            coarse = (8 * middle - far) / (24 * h)
            found = np.asarray((16 * fine - coarse) / 15)
            apart = float(np.max(np.abs(fine - coarse), initial=0.0))
        if np.isnan(apart):
            continue
        if best is None or apart < best.doubt:
            best = Slope(found, apart)
        if apart <= AGREED * float(np.max(np.abs(found), initial=0.0)) + 1e-11 * size / scale:
            return Slope(found, apart)
    if best is None:
        return Slope(np.full_like(np.asarray(f(0.0), np.float64), np.nan), float("inf"))
    return best


def scale_of(x: np.ndarray) -> np.ndarray:
    """By how much each element may reasonably be moved: its own size, at least that of the tensor's elements in the mean."""
    mean = float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
    return np.asarray(np.maximum(np.abs(x), mean if np.isfinite(mean) and mean > 0 else 1.0))


def held_primitive(node: Node, operands: list[np.ndarray], compute: Compute, hold: Hold) -> tuple[np.ndarray, ...]:
    """A primitive as gradients see it: `hold` gives what was computed at the point."""
    floating = [x for x in operands if x.dtype.kind == "f"]
    if not floating:
        return compute(operands)
    if node.op in _NO_SLOPE or not any(t.dtype.is_float for t in node.types):
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
}
