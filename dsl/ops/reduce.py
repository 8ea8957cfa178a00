"""Primitives that reduce axes, and the two that run along one (`argmax`, `cumsum`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod
from typing import cast

import numpy as np

from dsl.dims import Dim
from dsl.ops.card import Accepts, Attribute, Attributes, Card, Example, Form, Infer, Operand, OpError
from dsl.ops.inference import axes, axis, canonical_axes, canonical_axis
from dsl.types import DType, Shape, TensorType

_silent = np.errstate(all="ignore")

OVER = Attribute("over", Form.AXES, None)
ONE_AXIS = Attribute("over", Form.AXIS)
KEEPDIMS = Attribute("keepdims", Form.BOOL, False)


def _reduced(x: TensorType, attributes: Attributes) -> Shape:
    over = axes(attributes)
    if attributes["keepdims"]:
        return tuple(1 if i in over else size for i, size in enumerate(x.shape))
    return tuple(size for i, size in enumerate(x.shape) if i not in over)


def _count(x: TensorType, over: tuple[int, ...]) -> Dim:
    return prod((x.shape[i] for i in over), start=1)


def _infer_kept(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    """The element type stays."""
    return types[0].with_shape(_reduced(types[0], attributes))


def _infer_total(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    """Whole numbers add up in i64."""
    x = types[0]
    return TensorType(x.dtype if x.dtype.is_float else DType.I64, _reduced(x, attributes))


def _infer_mean(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x = types[0]
    return TensorType(x.dtype if x.dtype.is_float else DType.F32, _reduced(x, attributes))


def _infer_extreme(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x = types[0]
    for i in axes(attributes):
        if x.shape[i] == 0:
            raise OpError(f"axis {i} of {x} has size 0, and nothing has no largest or smallest", "over")
    return _infer_kept(types, attributes)


def _infer_position(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x, over = types[0], axis(attributes)
    if x.shape[over] == 0:
        raise OpError(f"axis {over} of {x} has size 0, and nothing has no largest or smallest", "over")
    return TensorType(DType.I64, _reduced(x, {"over": (over,), "keepdims": attributes["keepdims"]}))


def _infer_var(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    count, correction = _count(types[0], axes(attributes)), cast(int, attributes["correction"])
    if isinstance(count, int) and count <= correction:
        raise OpError(
            f"the sum of squares over {count} elements would be divided by {count} - {correction}", "correction", code="DL0402"
        )
    return _infer_kept(types, attributes)


def _infer_norm(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    p = cast(float, attributes["p"])
    if not p > 0:
        raise OpError(f"p must be above 0, and is {p:g}", "p", "2 is the Euclidean norm, 1 the sum of absolute values", "DL0402")
    return _infer_kept(types, attributes)


def _infer_cumsum(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x = types[0]
    return x if x.dtype.is_float else x.with_dtype(DType.I64)


Over = tuple[int, ...]


def _widened(x: np.ndarray) -> np.ndarray:
    return x if x.dtype == np.float64 else x.astype(np.int64)


def _numpy(function: Callable[..., object], widen: bool = False) -> Callable[..., np.ndarray]:
    """The reference of a reduction from NumPy's function."""

    @_silent
    def reference(x: np.ndarray, over: Over, keepdims: bool) -> np.ndarray:
        return np.asarray(function(_widened(x) if widen else x, axis=over, keepdims=keepdims))

    return reference


@_silent
def _mean(x: np.ndarray, over: Over, keepdims: bool) -> np.ndarray:
    count = prod(x.shape[i] for i in over)
    return np.asarray(np.sum(x, axis=over, keepdims=keepdims, dtype=np.float64) / np.float64(count))


@_silent
def _var(x: np.ndarray, over: Over, keepdims: bool, correction: int) -> np.ndarray:
    count = prod(x.shape[i] for i in over)
    centred = x - _mean(x, over, True)
    return np.asarray(np.sum(centred * centred, axis=over, keepdims=keepdims) / np.float64(count - correction))


@_silent
def _logsumexp(x: np.ndarray, over: Over, keepdims: bool) -> np.ndarray:
    highest = np.max(x, axis=over, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(highest), highest, 0.0)
    total = np.log(np.sum(np.exp(x - shift), axis=over, keepdims=True)) + shift
    return np.asarray(total if keepdims else np.squeeze(total, axis=over))


@_silent
def _norm(x: np.ndarray, over: Over, keepdims: bool, p: float) -> np.ndarray:
    size = np.abs(x)
    if p == math.inf:
        return np.asarray(np.max(size, axis=over, keepdims=keepdims, initial=0.0))
    return np.asarray(np.sum(size**p, axis=over, keepdims=keepdims) ** (1.0 / p))


def _position(function: Callable[..., object]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, over: int, keepdims: bool) -> np.ndarray:
        return np.asarray(function(x, axis=over, keepdims=keepdims), dtype=np.int64)

    return reference


def _cumsum(x: np.ndarray, over: int) -> np.ndarray:
    return np.cumsum(_widened(x), axis=over)


def _reduction(
    name: str,
    summary: str,
    accepts: Accepts,
    infer: Infer,
    reference: Callable[..., np.ndarray],
    examples: tuple[Example, Example],
    notes: str,
) -> Card:
    """A card of a plain reduction: `over` and `keepdims`."""
    return Card(
        name, "reduce", summary, (Operand("x", accepts),), (OVER, KEEPDIMS), infer, reference, examples, notes,
        normalize=canonical_axes, differentiable=accepts is not Accepts.BOOL,
    )  # fmt: skip


WIDE = "Integers and bool add up in i64, as in NumPy and PyTorch (JAX and ONNX keep the type)."
EXTREME = "NaN wins over every number. Integers stay as they are. Of a size 0 an error."
FIRST = (
    "The first one where several are equal, as in NumPy, PyTorch and JAX (ONNX with select_last_index=0). With NaN it is "
    "undefined."
)

_PLAIN = (
    _reduction(
        "sum", "The sum over axes.", Accepts.ANY, _infer_total, _numpy(np.sum, widen=True),
        (Example("sum([[1.0, 2.0], [3.0, 4.0]], over=1)", [3.0, 7.0]), Example("sum([1, 2, 3])", 6)), WIDE,
    ),
    _reduction(
        "mean", "The mean over axes.", Accepts.ANY, _infer_mean, _mean,
        (Example("mean([[1.0, 2.0], [3.0, 6.0]], over=0, keepdims=true)", [[2.0, 4.0]]), Example("mean([1, 2])", 1.5)),
        "Of integers or bool it is the model's floating type, f32 where none is set (PyTorch refuses them). Over nothing it is "
        "NaN.",
    ),
    _reduction(
        "prod", "The product over axes.", Accepts.NUMBER, _infer_total, _numpy(np.prod, widen=True),
        (Example("prod([[1.0, 2.0], [3.0, 4.0]], over=1)", [2.0, 12.0]), Example("prod([2, 3])", 6)),
        "Integers multiply in i64. Over nothing it is 1.",
    ),
    _reduction(
        "max", "The largest over axes.", Accepts.NUMBER, _infer_extreme, _numpy(np.max),
        (Example("max([[1.0, 4.0], [3.0, 2.0]], over=1)", [4.0, 3.0]), Example("max([1, 3, 2])", 3)), EXTREME,
    ),
    _reduction(
        "min", "The smallest over axes.", Accepts.NUMBER, _infer_extreme, _numpy(np.min),
        (Example("min([[1.0, 4.0], [3.0, 2.0]], over=1)", [1.0, 2.0]), Example("min([1, 3, 2])", 1)), EXTREME,
    ),
    _reduction(
        "any", "True where at least one is, over axes.", Accepts.BOOL, _infer_kept, _numpy(np.any),
        (Example("any([[true, false], [false, false]], over=1)", [True, False]), Example("any(arange(3) > 3)", False)),
        "Takes bool only: compare with zero first.",
    ),
    _reduction(
        "all", "True where every one is, over axes.", Accepts.BOOL, _infer_kept, _numpy(np.all),
        (Example("all([[true, false], [true, true]], over=1)", [False, True]), Example("all(arange(3) < 3)", True)),
        "Takes bool only: compare with zero first.",
    ),
    _reduction(
        "logsumexp", "log(sum(exp(x))) over axes, without overflow.", Accepts.FLOAT, _infer_kept, _logsumexp,
        (Example("logsumexp([0.0, 0.0])", math.log(2)), Example("logsumexp([[1000.0, 1000.0]], over=1)", [1000 + math.log(2)])),
        "Where every element is minus infinity, or there is none, it is minus infinity, not NaN.",
    ),
)  # fmt: skip

CARDS: tuple[Card, ...] = (
    *_PLAIN,
    Card(
        name="argmax",
        family="reduce",
        summary="The index of the largest along one axis.",
        operands=(Operand("x", Accepts.NUMBER),),
        attributes=(ONE_AXIS, KEEPDIMS),
        infer=_infer_position,
        normalize=canonical_axis,
        reference=_position(np.argmax),
        examples=(Example("argmax([[1.0, 4.0], [3.0, 2.0]], over=1)", [1, 0]), Example("argmax([5, 5, 1], over=0)", 0)),
        notes=FIRST,
        differentiable=False,
    ),
    Card(
        name="argmin",
        family="reduce",
        summary="The index of the smallest along one axis.",
        operands=(Operand("x", Accepts.NUMBER),),
        attributes=(ONE_AXIS, KEEPDIMS),
        infer=_infer_position,
        normalize=canonical_axis,
        reference=_position(np.argmin),
        examples=(Example("argmin([[1.0, 4.0], [3.0, 2.0]], over=1)", [0, 1]), Example("argmin([5, 1, 1], over=0)", 1)),
        notes=FIRST,
        differentiable=False,
    ),
    Card(
        name="var",
        family="reduce",
        summary="The variance over axes.",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(OVER, KEEPDIMS, Attribute("correction", Form.INT, 0, low=0)),
        infer=_infer_var,
        normalize=canonical_axes,
        reference=_var,
        examples=(Example("var([1.0, 3.0])", 1.0), Example("var([[1.0, 3.0], [2.0, 6.0]], over=1, correction=1)", [2.0, 8.0])),
        notes="Squares are divided by n - correction. The default 0 is NumPy's and JAX's, and what BatchNorm and LayerNorm "
        "normalise by; torch.var has 1.",
    ),
    Card(
        name="norm",
        family="reduce",
        summary="The p-norm over axes: sum(abs(x) ** p) ** (1 / p).",
        operands=(Operand("x", Accepts.FLOAT),),
        attributes=(Attribute("p", Form.FLOAT, 2.0), OVER, KEEPDIMS),
        infer=_infer_norm,
        normalize=canonical_axes,
        reference=_norm,
        examples=(Example("norm([3.0, 4.0])", 5.0), Example("norm([[1.0, -2.0]], p=1, over=1)", [3.0])),
        notes="Several axes are taken as one vector (never a matrix norm); an infinite p gives the largest absolute value. No "
        "epsilon: the gradient of the Euclidean norm at zero is NaN in most targets, so add one inside a square root where zero "
        "can occur.",
    ),
    Card(
        name="cumsum",
        family="reduce",
        summary="Running sums along one axis.",
        operands=(Operand("x", Accepts.ANY),),
        attributes=(ONE_AXIS,),
        infer=_infer_cumsum,
        normalize=canonical_axis,
        reference=_cumsum,
        examples=(
            Example("cumsum([1.0, 2.0, 3.0], over=0)", [1.0, 3.0, 6.0]),
            Example("cumsum([[1, 2], [3, 4]], over=1)", [[1, 3], [3, 7]]),
        ),
        notes="Each sum includes its own element. " + WIDE,
    ),
)
