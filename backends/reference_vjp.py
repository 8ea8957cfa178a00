"""Vector-Jacobian products of primitives: from the cotangents of the results to those of the operands.

Where the derivative is short and obvious it is written down; every other primitive is differentiated by central differences of that one
node. The tests compare what is written down with differences too, so the reference stays an oracle of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, prod, sqrt
from typing import cast

import numpy as np

from backends.reference_gradient import Compute, Slope, scale_of, slope
from backends.reference_matrix import ADJOINTS, Adjoint
from dsl.ir import Node
from dsl.ops.card import Attributes
from dsl.ops.registry import CARDS
from dsl.ops.windows import Pairs, padded, windows

Cotangents = list[np.ndarray]
Found = Sequence["np.ndarray | None"]


@dataclass(frozen=True, slots=True)
class Application:
    """A primitive where it was applied. `wanted` says which operands a cotangent is asked for; `held` is what was held still, in order
    (see `held_primitive`), and `mask` what a dropout multiplied by; `noted` takes notice of what was found by differences."""

    node: Node
    operands: tuple[np.ndarray, ...]
    results: tuple[np.ndarray, ...]
    attributes: Attributes
    wanted: tuple[bool, ...]
    compute: Compute
    noted: Callable[[Slope], np.ndarray]
    held: tuple[np.ndarray, ...] = ()
    mask: np.ndarray | None = None


Rule = Callable[[Application, Cotangents], Found]


def vjp(at: Application, cotangents: Cotangents) -> list[np.ndarray | None]:
    """The cotangents of the operands, of their shapes; None for those not wanted."""
    with np.errstate(all="ignore"):
        found = rule_of(at.node.op)(at, cotangents)
    return [g if wanted else None for g, wanted in zip(found, at.wanted, strict=True)]


def rule_of(op: str) -> Rule:
    """How a primitive is differentiated."""
    if op in PARTIALS:
        return _elementwise
    return RULES.get(op, by_differences)


# --- any primitive ---


def by_differences(at: Application, cotangents: Cotangents) -> Found:
    """By central differences of the node, one element of an operand after the other."""
    found: list[np.ndarray | None] = []
    for i, x in enumerate(at.operands):
        if not at.wanted[i]:
            found.append(None)
            continue
        scales, gradient = scale_of(x), np.zeros(x.shape)
        for place in np.ndindex(x.shape):

            def along(t: float, i: int = i, x: np.ndarray = x, place: tuple[int, ...] = place) -> np.ndarray:
                moved = np.array(x)
                moved[place] += t
                return _weighted(at.compute([*at.operands[:i], moved, *at.operands[i + 1 :]]), cotangents)

            gradient[place] = at.noted(slope(along, float(scales[place])))
        found.append(gradient)
    return found


def _weighted(results: Sequence[np.ndarray], cotangents: Cotangents) -> np.ndarray:
    return np.asarray(sum(np.sum(r * c) for r, c in zip(results, cotangents, strict=True) if r.dtype.kind == "f"))


def _linear(at: Application, cotangents: Cotangents) -> Found:
    """A primitive that is linear in each operand: what it gives for each element of a basis."""
    found: list[np.ndarray | None] = []
    for i, x in enumerate(at.operands):
        if not at.wanted[i]:
            found.append(None)
            continue
        others = [y if at.node.op != "scatter_add" or y.dtype.kind != "f" else np.zeros(y.shape) for y in at.operands]
        gradient = np.zeros(x.shape)
        for place in np.ndindex(x.shape):
            basis = np.zeros(x.shape)
            basis[place] = 1.0
            gradient[place] = _weighted(at.compute([*others[:i], basis, *others[i + 1 :]]), cotangents)
        found.append(gradient)
    return found


def _moved(at: Application, cotangents: Cotangents) -> Found:
    """A primitive that only moves elements: applied to the numbers of the elements, it says where each comes from."""
    attributes = {**at.attributes, "value": 0.0} if at.node.op == "pad" else at.attributes
    found: list[np.ndarray | None] = []
    for i, x in enumerate(at.operands):
        if not at.wanted[i]:
            found.append(None)
            continue
        numbers = [np.zeros(y.shape) if y.dtype.kind == "f" else y for y in at.operands]
        numbers[i] = np.arange(1.0, x.size + 1).reshape(x.shape)
        results = CARDS[at.node.op].reference(*numbers, **attributes)
        total = np.zeros(x.size + 1)
        for r, c in zip(results if isinstance(results, tuple) else (results,), cotangents, strict=True):
            np.add.at(total, np.asarray(r).astype(np.int64), c)
        found.append(total[1:].reshape(x.shape))
    return found


# --- element by element ---


def _elementwise(at: Application, cotangents: Cotangents) -> Found:
    """The cotangent times each partial derivative (a mask selects), and broadcasting undone."""
    (c,) = cotangents
    found: list[np.ndarray | None] = []
    for x, partial in zip(at.operands, PARTIALS[at.node.op](at), strict=True):
        if partial is None:
            found.append(None)
            continue
        factor = np.asarray(partial)
        found.append(unbroadcast(np.where(factor, c, 0.0) if factor.dtype == bool else c * factor, x.shape))
    return found


def unbroadcast(c: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The sum over the axes along which a tensor of this shape was stretched."""
    c = c.sum(axis=tuple(range(c.ndim - len(shape))))
    stretched = tuple(i for i, size in enumerate(shape) if size == 1 and c.shape[i] != 1)
    return np.broadcast_to(c.sum(axis=stretched, keepdims=True), shape) if stretched else np.broadcast_to(c, shape)


Partials = Callable[[Application], Sequence["np.ndarray | float | bool | None"]]


def _unary(derivative: Callable[[np.ndarray, np.ndarray], np.ndarray | float]) -> Partials:
    """From the operand and the result."""
    return lambda at: (derivative(at.operands[0], at.results[0]),)


def _pow(at: Application) -> Sequence[np.ndarray]:
    (a, b), (y,) = at.operands, at.results
    return np.where(b == 0, 0.0, b * np.power(a, b - 1)), np.where((a == 0) & (b >= 0), 0.0, y * np.log(a))


def _larger(at: Application) -> Sequence[np.ndarray]:
    side = at.held[0]
    first = np.where(np.isnan(side), np.nan, 0.5 * (1 + side))
    return first, 1 - first


PARTIALS: dict[str, Partials] = {
    "add": lambda at: (1.0, 1.0),
    "sub": lambda at: (1.0, -1.0),
    "mul": lambda at: (at.operands[1], at.operands[0]),
    "div": lambda at: (1 / at.operands[1], -at.operands[0] / at.operands[1] ** 2),
    "pow": _pow,
    "maximum": _larger,
    "minimum": _larger,
    "remainder": lambda at: (1.0, -np.floor(at.operands[0] / at.operands[1])),
    "neg": lambda at: (-1.0,),
    "abs": lambda at: (at.held[0],),
    "exp": _unary(lambda x, y: y),
    "log": _unary(lambda x, y: 1 / x),
    "log1p": _unary(lambda x, y: 1 / (1 + x)),
    "expm1": _unary(lambda x, y: y + 1),
    "sqrt": _unary(lambda x, y: 0.5 / y),
    "rsqrt": _unary(lambda x, y: -0.5 * y / x),
    "sin": _unary(lambda x, y: np.cos(x)),
    "cos": _unary(lambda x, y: -np.sin(x)),
    "tanh": _unary(lambda x, y: 1 - y * y),
    "sigmoid": _unary(lambda x, y: y * (1 - y)),
    "erf": _unary(lambda x, y: 2 / sqrt(pi) * np.exp(-x * x)),
    "softplus": _unary(lambda x, y: np.exp(x - y)),
    "relu": lambda at: (at.held[0],),
    "clip": lambda at: (at.held[0],),
    "where": lambda at: (None, at.operands[0], ~at.operands[0]),
    "cast": lambda at: (1.0,),
    "dropout": lambda at: (at.mask,),
}
"""The partial derivatives of elementwise primitives; None for an operand that is no number."""


# --- reductions ---


def _axes(at: Application) -> tuple[int, ...]:
    over = at.attributes["over"]
    return cast("tuple[int, ...]", over) if isinstance(over, tuple) else (cast(int, over),)


def _kept(at: Application, y: np.ndarray) -> np.ndarray:
    """A result of a reduction, or a cotangent of it, with the axes that were reduced."""
    return y if at.attributes["keepdims"] else np.expand_dims(y, _axes(at))


def _sum(at: Application, cotangents: Cotangents) -> Found:
    return (np.broadcast_to(_kept(at, cotangents[0]), at.operands[0].shape),)


def _mean(at: Application, cotangents: Cotangents) -> Found:
    (x,) = at.operands
    return (np.broadcast_to(_kept(at, cotangents[0]), x.shape) / prod(x.shape[i] for i in _axes(at)),)


def _var(at: Application, cotangents: Cotangents) -> Found:
    (x,) = at.operands
    count = prod(x.shape[i] for i in _axes(at)) - cast(int, at.attributes["correction"])
    return (_kept(at, cotangents[0]) * 2 * (x - x.mean(axis=_axes(at), keepdims=True)) / count,)


def _logsumexp(at: Application, cotangents: Cotangents) -> Found:
    y = _kept(at, at.results[0])
    return (_kept(at, cotangents[0]) * np.exp(at.operands[0] - np.where(np.isneginf(y), 0.0, y)),)


def _norm(at: Application, cotangents: Cotangents) -> Found:
    if at.attributes["p"] != 2:
        return by_differences(at, cotangents)
    y = _kept(at, at.results[0])
    return (_kept(at, cotangents[0]) * np.where(y == 0, 0.0, at.operands[0] / y),)


def _extreme(at: Application, cotangents: Cotangents) -> Found:
    chosen = at.held[0]
    count = chosen.sum(axis=_axes(at), keepdims=True)
    share = np.where(count > 0, _kept(at, cotangents[0]) / np.maximum(count, 1), np.nan)
    return (np.where(chosen | (count == 0), share, 0.0),)


def _cumsum(at: Application, cotangents: Cotangents) -> Found:
    (axis,) = _axes(at)
    return (np.flip(np.cumsum(np.flip(cotangents[0], axis), axis=axis), axis),)


def _ordered(at: Application, cotangents: Cotangents) -> Found:
    gradient = np.zeros(at.operands[0].shape)
    np.put_along_axis(gradient, at.held[0], cotangents[0], _axes(at)[0])
    return (gradient,)


# --- products ---


def _matmul(at: Application, cotangents: Cotangents) -> Found:
    a, b = at.operands
    rows, columns = a.reshape(1, -1) if a.ndim == 1 else a, b.reshape(-1, 1) if b.ndim == 1 else b
    c = cotangents[0]
    c = np.expand_dims(c, -1) if b.ndim == 1 else c
    c = np.expand_dims(c, -2) if a.ndim == 1 else c
    by_a, by_b = np.matmul(c, np.swapaxes(columns, -1, -2)), np.matmul(np.swapaxes(rows, -1, -2), c)
    return unbroadcast(by_a, rows.shape).reshape(a.shape), unbroadcast(by_b, columns.shape).reshape(b.shape)


def _adjoint(of: Adjoint) -> Rule:
    """A rule of backends/reference_matrix.py; leading axes that were stretched are summed over."""

    def rule(at: Application, cotangents: Cotangents) -> Found:
        found = of(at.operands, at.results, at.attributes, cotangents)
        return [unbroadcast(g, x.shape) for g, x in zip(found, at.operands, strict=True)]

    return rule


def _einsum(at: Application, cotangents: Cotangents) -> Found:
    left, result = str(at.attributes["pattern"]).replace(" ", "").split("->")
    terms = left.split(",")
    if any("." in term or len(set(term)) < len(term) for term in terms):
        return _linear(at, cotangents)
    found: list[np.ndarray | None] = []
    for i, (term, x) in enumerate(zip(terms, at.operands, strict=True)):
        others = [result, *terms[:i], *terms[i + 1 :], term]  # the last, of ones, brings the letters that nothing else has
        tensors = [*cotangents, *at.operands[:i], *at.operands[i + 1 :], np.ones(x.shape)]
        found.append(np.einsum(f"{','.join(others)}->{term}", *tensors))
    return found


def _conv(at: Application, cotangents: Cotangents) -> Found:
    """Each place of the kernel is a product of channels, of the input seen through that place."""
    x, weight = at.operands
    stride, dilation = (cast("tuple[int, ...]", at.attributes[n]) for n in ("stride", "dilation"))
    padding, groups = cast(Pairs, at.attributes["padding"]), cast(int, at.attributes["groups"])
    wide = np.array(padded(x, padding))
    kernel, out = weight.shape[2:], cotangents[0].shape[2:]
    seen = windows(wide, kernel, stride, dilation)
    batch, channels = x.shape[:2]
    c = cotangents[0].reshape(batch, groups, -1, *out)
    w = weight.reshape(groups, -1, *weight.shape[1:])
    by_w, by_x = np.zeros(w.shape), np.zeros(wide.shape)
    for place in np.ndindex(kernel):
        part = seen[(..., *place)].reshape(batch, groups, channels // groups, *out)
        by_w[(..., *place)] = np.einsum("ngo...,ngi...->goi...", c, part).sum(axis=tuple(range(3, 3 + len(out))))
        reach = tuple(slice(p * d, p * d + s * (n - 1) + 1, s) for p, d, s, n in zip(place, dilation, stride, out, strict=True))
        back = np.einsum("goi,ngo...->ngi...", w[(..., *place)], c)
        by_x[(slice(None), slice(None), *reach)] += back.reshape(batch, channels, *out)
    inside = tuple(slice(low, low + n) for (low, _), n in zip(padding, x.shape[2:], strict=True))
    return by_x[(slice(None), slice(None), *inside)], by_w.reshape(weight.shape)


def _conv_transpose(at: Application, cotangents: Cotangents) -> Found:
    """The cotangent, with what the padding cut off, seen from each place of the input through each place of the kernel."""
    x, weight = at.operands
    stride, dilation = (cast("tuple[int, ...]", at.attributes[n]) for n in ("stride", "dilation"))
    padding, groups = cast(Pairs, at.attributes["padding"]), cast(int, at.attributes["groups"])
    batch, spatial = x.shape[0], x.shape[2:]
    seen = windows(padded(cotangents[0], padding), weight.shape[2:], stride, dilation)
    places = x.reshape(batch, groups, -1, *spatial)
    w = weight.reshape(groups, -1, *weight.shape[1:])
    by_w, by_x = np.zeros(w.shape), np.zeros(places.shape)
    for place in np.ndindex(weight.shape[2:]):
        part = seen[(slice(None), slice(None), *map(slice, spatial), *place)].reshape(batch, groups, -1, *spatial)
        by_w[(..., *place)] = np.einsum("ngi...,ngf...->gif...", places, part).sum(axis=tuple(range(3, 3 + len(spatial))))
        by_x += np.einsum("gif,ngf...->ngi...", w[(..., *place)], part)
    return by_x.reshape(x.shape), by_w.reshape(weight.shape)


def _max_pool(at: Application, cotangents: Cotangents) -> Found:
    (x,) = at.operands
    images, index = prod(x.shape[:2]), at.held[0].reshape(prod(x.shape[:2]), -1)
    total = np.zeros((images, prod(x.shape[2:]) + 1))  # the last for windows that see nothing
    np.add.at(total, (np.arange(images)[:, None], index), cotangents[0].reshape(images, -1))
    return (total[:, :-1].reshape(x.shape),)


def _spatial(at: Application, cotangents: Cotangents) -> Found:
    """Linear, and the same for every image and channel: one matrix from the places of the input to those of the result."""
    (x,) = at.operands
    places = prod(x.shape[2:])
    (basis,) = at.compute([np.eye(places).reshape(places, 1, *x.shape[2:])])
    images = prod(x.shape[:2])
    return ((cotangents[0].reshape(images, -1) @ basis.reshape(places, -1).T).reshape(x.shape),)


_MOVES = (
    "reshape", "permute", "expand", "flip", "roll", "tile", "pad", "concat", "stack", "slice", "split", "gather", "take", "tril", "triu",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **dict.fromkeys(_MOVES, _moved),
    "scatter_add": _linear,
    **dict.fromkeys(("avg_pool", "adaptive_avg_pool", "interpolate"), _spatial),
    "sum": _sum,
    "mean": _mean,
    "var": _var,
    "logsumexp": _logsumexp,
    "norm": _norm,
    "max": _extreme,
    "min": _extreme,
    "cumsum": _cumsum,
    "sort": _ordered,
    "topk": _ordered,
    "matmul": _matmul,
    "einsum": _einsum,
    **{name: _adjoint(of) for name, of in ADJOINTS.items()},
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
}
"""How primitives that are not elementwise are differentiated; those not here by differences."""
