"""Primitives that pick by position: gathering and scattering, sorting, and the triangles of a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from dsl.dims import Dim
from dsl.ops.card import Accepts, Attribute, Attributes, Card, Example, Form, Operand, OpError
from dsl.ops.inference import axis, canonical_axis, canonical_dtype, dtype_of, promoted, require_at_most, require_equal
from dsl.ops.numpy_types import computed
from dsl.types import DType, TensorType

ONE_AXIS = Attribute("over", Form.AXIS)
LAST_AXIS = Attribute("over", Form.AXIS, -1)
DESCENDING = Attribute("descending", Form.BOOL, False)


def _others_match(x: TensorType, index: TensorType, over: int) -> None:
    """The axes of `x` but `over` against those of `index`, which has the axis `over` too or lacks it."""
    lacking = index.rank < x.rank
    for i in range(x.rank):
        if i != over:
            have = index.shape[i - 1 if lacking and i > over else i]
            require_equal(have, x.shape[i], f"x is {x} and index is {index}: axis {i} of x differs", "index")


def _infer_gather(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x, index = types
    if index.rank not in (x.rank, x.rank - 1):
        wanted = f"{x.rank} axes, or {x.rank - 1} to pick one entry a row"
        help = "`take` looks up whole rows, with an index of any shape"
        raise OpError(f"x is {x} and index is {index}: the index needs {wanted}", "index", help)
    _others_match(x, index, axis(attributes))
    return x.with_shape(index.shape)


def _gather(x: np.ndarray, index: np.ndarray, over: int) -> np.ndarray:
    if index.ndim == x.ndim:
        return np.take_along_axis(x, index.astype(np.int64), axis=over)
    picked = np.take_along_axis(x, np.expand_dims(index, over).astype(np.int64), axis=over)
    return np.asarray(np.squeeze(picked, axis=over))


def _infer_take(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    (x, index), over = types, axis(attributes)
    return x.with_shape((*x.shape[:over], *index.shape, *x.shape[over + 1 :]))


def _take(x: np.ndarray, index: np.ndarray, over: int) -> np.ndarray:
    return np.asarray(np.take(x, index, axis=over))


def _infer_scatter_add(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x, index, updates = types
    if index.rank != x.rank:
        raise OpError(f"x is {x} and index is {index}: {x.rank} axes against {index.rank}", "index", "`expand` the index first")
    if updates.rank != index.rank:
        raise OpError(f"index is {index} and updates is {updates}: {index.rank} axes against {updates.rank}", "updates")
    if promoted(x, updates, ("x", "updates")) is not x.dtype:
        raise OpError(f"x is {x} and updates is {updates}: the sum would not fit the type of x", "updates", code="DL0403")
    for i, (have, want) in enumerate(zip(updates.shape, index.shape, strict=True)):
        require_equal(have, want, f"index is {index} and updates is {updates}, axis {i}", "updates")
    _others_match(x, index, axis(attributes))
    return x


def _scatter_add(x: np.ndarray, index: np.ndarray, updates: np.ndarray, over: int) -> np.ndarray:
    result = x.copy()
    places: list[np.ndarray] = list(np.indices(index.shape, sparse=True))
    places[over] = index.astype(np.int64)
    np.add.at(result, tuple(places), updates)
    return result


def _infer_one_hot(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return TensorType(dtype_of(attributes), (*types[0].shape, cast(Dim, attributes["classes"])))


def _one_hot(x: np.ndarray, classes: int, dtype: DType) -> np.ndarray:
    return np.asarray(np.expand_dims(x, -1) == np.arange(classes), dtype=computed(dtype))


def _order(x: np.ndarray, over: int, descending: bool) -> np.ndarray:
    """The indices that sort `x`; equal elements keep their order, in a descending sort too."""
    if not descending:
        return np.asarray(np.argsort(x, axis=over, kind="stable"), dtype=np.int64)
    backwards = np.argsort(np.flip(x, over), axis=over, kind="stable")
    return np.asarray(x.shape[over] - 1 - np.flip(backwards, over), dtype=np.int64)


def _same(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0]


def _indices(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    return types[0].with_dtype(DType.I64)


def _sort(x: np.ndarray, over: int, descending: bool) -> np.ndarray:
    return np.take_along_axis(x, _order(x, over, descending), axis=over)


def _infer_topk(types: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, TensorType]:
    x, over, k = types[0], axis(attributes), cast(int, attributes["k"])
    require_at_most(k, x.shape[over], f"k against the size of axis {over} of {x}", "k")
    values = x.with_shape((*x.shape[:over], k, *x.shape[over + 1 :]))
    return values, values.with_dtype(DType.I64)


def _topk(x: np.ndarray, k: int, over: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    indices = np.take(_order(x, over, largest), np.arange(k), axis=over)
    return np.take_along_axis(x, indices, axis=over), indices


def _infer_triangle(types: tuple[TensorType, ...], attributes: Attributes) -> TensorType:
    x = types[0]
    if x.rank < 2:
        raise OpError(f"x is {x}: a matrix has two axes or more, and it has {x.rank}", "x")
    return x


def _triangle(function: Callable[..., object]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, diagonal: int) -> np.ndarray:
        return np.asarray(function(x, k=diagonal))

    return reference


IN_RANGE = (
    "An index must lie in 0 to size - 1; another, a negative one too, is undefined (NumPy wraps, PyTorch stops, JAX clamps)."
)
TIES = (
    "Equal elements come in the order they had, the smaller index first (PyTorch's and NumPy's sorts promise that only when "
    "stable)."
)
DIAGONAL = "Of the last two axes. `diagonal` moves the edge: 0 is the main diagonal, 1 the one above it, -1 the one below."

CARDS: tuple[Card, ...] = (
    Card(
        name="gather",
        family="index",
        summary="Along one axis, the entries at given positions, each row by its own index.",
        operands=(Operand("x"), Operand("index", Accepts.INT)),
        attributes=(ONE_AXIS,),
        infer=_infer_gather,
        normalize=canonical_axis,
        reference=_gather,
        examples=(
            Example("gather([[1.0, 2.0], [3.0, 4.0]], [1, 0], over=1)", [2.0, 3.0]),
            Example("gather([[1.0, 2.0], [3.0, 4.0]], [[1, 1], [0, 1]], over=1)", [[2.0, 2.0], [3.0, 4.0]]),
        ),
        notes="An index with as many axes as x is NumPy's take_along_axis and torch.gather; with one less it picks one entry a "
        "row, and the axis is gone. The other axes must be equal (torch.gather allows a shorter "
        "index, NumPy stretches). " + IN_RANGE,
    ),
    Card(
        name="take",
        family="index",
        summary="Along one axis, the slices at given positions; written `x[index]` for the first axis.",
        operands=(Operand("x"), Operand("index", Accepts.INT)),
        attributes=(Attribute("over", Form.AXIS, 0),),
        infer=_infer_take,
        normalize=canonical_axis,
        reference=_take,
        examples=(
            Example("take([[1.0, 2.0], [3.0, 4.0]], [1, 1, 0])", [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]),
            Example("take([[1, 2], [3, 4]], [1], over=1)", [[2], [4]]),
        ),
        notes="The axes of the index take the place of the axis: an embedding is `take(table, tokens)`. ONNX calls this Gather. "
        + IN_RANGE,
    ),
    Card(
        name="scatter_add",
        family="index",
        summary="x with updates added at given positions along one axis.",
        operands=(Operand("x", Accepts.NUMBER), Operand("index", Accepts.INT), Operand("updates", Accepts.NUMBER)),
        attributes=(ONE_AXIS,),
        infer=_infer_scatter_add,
        normalize=canonical_axis,
        reference=_scatter_add,
        examples=(
            Example("scatter_add([0.0, 0.0, 0.0], [0, 2, 2], [1.0, 2.0, 3.0], over=0)", [1.0, 0.0, 5.0]),
            Example("scatter_add([[1, 1]], [[1]], [[5]], over=1)", [[1, 6]]),
        ),
        notes="Updates for the same place all count. The index has the shape of the updates, and all its axes but `over` are "
        "those of x. The order of the additions is the target's, so the last bits of floating sums may differ from run to run on "
        "a GPU. " + IN_RANGE,
    ),
    Card(
        name="one_hot",
        family="index",
        summary="A new last axis with 1 at the index and 0 elsewhere.",
        operands=(Operand("x", Accepts.INT),),
        attributes=(Attribute("classes", Form.DIM), Attribute("dtype", Form.DTYPE, None)),
        infer=_infer_one_hot,
        normalize=canonical_dtype,
        reference=_one_hot,
        examples=(Example("one_hot([2, 0], 3)", [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), Example("one_hot(1, 2, i64)", [0, 1])),
        notes="In the model's floating type unless a dtype is given (torch.nn.functional.one_hot gives i64). An index out of "
        "range is undefined (JAX gives zeros, PyTorch stops, ONNX counts a negative one from the end).",
        differentiable=False,
    ),
    Card(
        name="topk",
        family="index",
        summary="The k largest along one axis, in order, and their indices.",
        operands=(Operand("x", Accepts.NUMBER),),
        attributes=(Attribute("k", Form.INT, low=1), LAST_AXIS, Attribute("largest", Form.BOOL, True)),
        infer=_infer_topk,
        normalize=canonical_axis,
        reference=_topk,
        results=("values", "indices"),
        examples=(
            Example("topk([1.0, 5.0, 3.0], 2)[0]", [5.0, 3.0]),
            Example("topk([[4, 1, 4]], 2, largest=true)[1]", [[0, 2]]),
        ),
        notes="Sorted, the largest first (the smallest first with largest=false). Among equal ones the smaller index comes "
        "first, as in JAX and ONNX; PyTorch promises no order.",
    ),
    Card(
        name="sort",
        family="index",
        summary="x sorted along one axis.",
        operands=(Operand("x", Accepts.NUMBER),),
        attributes=(LAST_AXIS, DESCENDING),
        infer=_same,
        normalize=canonical_axis,
        reference=_sort,
        examples=(
            Example("sort([3.0, 1.0, 2.0])", [1.0, 2.0, 3.0]),
            Example("sort([[3], [1]], over=0, descending=true)", [[3], [1]]),
        ),
        notes="Only the values; `argsort` has the indices. NaN counts as larger than every number.",
    ),
    Card(
        name="argsort",
        family="index",
        summary="The indices that sort x along one axis.",
        operands=(Operand("x", Accepts.NUMBER),),
        attributes=(LAST_AXIS, DESCENDING),
        infer=_indices,
        normalize=canonical_axis,
        reference=_order,
        examples=(Example("argsort([3.0, 1.0, 2.0])", [1, 2, 0]), Example("argsort([1, 1, 2], descending=true)", [2, 0, 1])),
        notes="Stable. " + TIES,
        differentiable=False,
    ),
    Card(
        name="tril",
        family="index",
        summary="The lower triangle of a matrix, zero above.",
        operands=(Operand("x"),),
        attributes=(Attribute("diagonal", Form.INT, 0),),
        infer=_infer_triangle,
        reference=_triangle(np.tril),
        examples=(
            Example("tril([[1.0, 2.0], [3.0, 4.0]])", [[1.0, 0.0], [3.0, 4.0]]),
            Example("tril([[1, 2], [3, 4]], -1)", [[0, 0], [3, 0]]),
        ),
        notes=DIAGONAL,
    ),
    Card(
        name="triu",
        family="index",
        summary="The upper triangle of a matrix, zero below.",
        operands=(Operand("x"),),
        attributes=(Attribute("diagonal", Form.INT, 0),),
        infer=_infer_triangle,
        reference=_triangle(np.triu),
        examples=(
            Example("triu([[1.0, 2.0], [3.0, 4.0]])", [[1.0, 2.0], [0.0, 4.0]]),
            Example("triu([[1, 2], [3, 4]], 1)", [[0, 2], [0, 0]]),
        ),
        notes=DIAGONAL,
    ),
)
