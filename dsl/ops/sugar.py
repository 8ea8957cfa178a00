"""Functions of the language that are short for primitives: each lowers to the fewest of them while the graph is built.

No backend knows these names. A lowering talks to the graph through `Builder` alone, and what it gets is any kind of value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dsl.dims import Dim, dims_equal, format_dim
from dsl.ops.card import Attribute, Attributes, AttributeValue, Example, Form, Operand, OpError
from dsl.ops.einops_patterns import Pattern, axis_sizes, expand_ellipsis, parse_pattern, refused, written
from dsl.ops.inference import within
from dsl.ops.sizes import BAD_ATTRIBUTE, distinct_axes, integers, product, size
from dsl.types import DType, Shape, TensorType

Value = TypeVar("Value")


class Builder(Protocol[Value]):
    """What makes nodes: checks and normalizes the attributes, runs the shape rule and gives the first result."""

    @property
    def float_type(self) -> DType:
        """The floating type of the model."""

    def build(self, op: str, operands: tuple[Value, ...], **attributes: AttributeValue) -> Value: ...

    def type_of(self, value: Value, /) -> TensorType: ...


class Lowering(Protocol):
    def __call__(self, builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes, /) -> Value: ...


@dataclass(frozen=True, slots=True)
class Sugar:
    """A function that is short for primitives; fields as those of a Card.

    With `extra_sizes` the function takes any further keyword arguments, each a size: `rearrange(x, "b (h w) -> b h w", h=4)`.
    """

    name: str
    family: str
    summary: str
    operands: tuple[Operand, ...]
    attributes: tuple[Attribute, ...]
    lower: Lowering
    examples: tuple[Example, ...]
    notes: str = ""
    extra_sizes: bool = False


# --- shapes ---------------------------------------------------------------------------------------------------------------


def _reshaped(builder: Builder[Value], x: Value, shape: Shape) -> Value:
    """`x` in that shape; `x` itself where it has it."""
    have = builder.type_of(x).shape
    if len(have) == len(shape) and all(map(dims_equal, have, shape)):
        return x
    return builder.build("reshape", (x,), shape=shape)


def _permuted(builder: Builder[Value], x: Value, order: tuple[int, ...]) -> Value:
    """`x` with its axes in that order; `x` itself where they are."""
    return x if order == tuple(range(len(order))) else builder.build("permute", (x,), order=order)


def _flatten(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    (x,) = operands
    type = builder.type_of(x)
    start, end = within(attributes["start"], type.rank, "start"), within(attributes["end"], type.rank, "end")
    if start > end:
        raise OpError(f"`start` = {start} comes after `end` = {end}", "start", code=BAD_ATTRIBUTE)
    return _reshaped(builder, x, (*type.shape[:start], product(type.shape[start : end + 1]), *type.shape[end + 1 :]))


def _transpose(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    (x,) = operands
    rank = builder.type_of(x).rank
    a, b = within(attributes["a"], rank, "a"), within(attributes["b"], rank, "b")
    order = list(range(rank))
    order[a], order[b] = b, a
    return _permuted(builder, x, tuple(order))


def _matrix_transpose(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    type = builder.type_of(operands[0])
    if type.rank < 2:
        raise OpError(f"x is {type}, and only a tensor with at least 2 axes can be transposed", "x")
    return _transpose(builder, operands, {"a": type.rank - 2, "b": type.rank - 1})


def _squeeze(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    (x,) = operands
    type = builder.type_of(x)
    over = distinct_axes(attributes["over"], type.rank, "over")
    for axis in over:
        if not dims_equal(type.shape[axis], 1):
            raise OpError(f"axis {axis} of x, which is {type}, is {format_dim(type.shape[axis])} and not 1", "over")
    return _reshaped(builder, x, tuple(size for axis, size in enumerate(type.shape) if axis not in over))


def _unsqueeze(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    (x,) = operands
    shape = builder.type_of(x).shape
    places = integers(attributes["over"], "over")
    over = distinct_axes(places, len(shape) + len(places), "over")
    rest = iter(shape)
    return _reshaped(builder, x, tuple(1 if axis in over else next(rest) for axis in range(len(shape) + len(places))))


# --- einops ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Axes:
    """A pattern matched with a tensor."""

    pattern: Pattern
    sizes: Mapping[str, Dim]

    @property
    def result(self) -> Shape:
        return tuple(product(self.sizes[axis] for axis in group) for group in self.pattern.right)

    def shape(self, axes: tuple[str, ...]) -> Shape:
        return tuple(self.sizes[axis] for axis in axes)


def _matched(type: TensorType, attributes: Attributes, dropped: bool = False, added: bool = False) -> _Axes:
    """The pattern on a tensor of that type. Some axes may be `dropped` on the right, or `added` there."""
    text = attributes["pattern"]
    assert isinstance(text, str)
    pattern = expand_ellipsis(parse_pattern(text), type)
    left, right = pattern.left_axes, pattern.right_axes
    lost = [axis for axis in left if axis not in right]
    new = [axis for axis in right if axis not in left]
    if lost and not dropped:
        raise refused(text, f"`{_written(lost[0])}` is only on the left", "`reduce` drops axes" if not added else None)
    if new and not added:
        raise refused(text, f"`{_written(new[0])}` is only on the right", "`repeat` adds axes" if not dropped else None)
    given = {name: size(value, name) for name, value in attributes.items() if name not in ("pattern", "reduction")}
    found = axis_sizes(pattern, type, given)
    for axis in new:
        if axis not in found:
            raise refused(text, f"the size of the new axis `{axis}` is not given", f"as in `{axis}=2`")
    return _Axes(pattern, found)


def _written(axis: str) -> str:
    return "..." if axis.startswith("...") else written((axis,))


def _arranged(
    builder: Builder[Value], x: Value, axes: _Axes, have: tuple[str, ...], want: tuple[str, ...], shape: Shape
) -> Value:
    """`x`, whose elements are in the order of the axes `have`, in the order `want` and in that shape."""
    if have != want:
        x = _reshaped(builder, x, axes.shape(have))
        x = _permuted(builder, x, tuple(have.index(axis) for axis in want))
    return _reshaped(builder, x, shape)


def _rearrange(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    (x,) = operands
    axes = _matched(builder.type_of(x), attributes)
    return _arranged(builder, x, axes, axes.pattern.left_axes, axes.pattern.right_axes, axes.result)


def _repeat(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    (x,) = operands
    axes = _matched(builder.type_of(x), attributes, added=True)
    left, right = axes.pattern.left_axes, axes.pattern.right_axes
    kept = tuple(axis for axis in right if axis in left)
    if kept == right:
        return _arranged(builder, x, axes, left, right, axes.result)
    first = right.index(kept[0]) if kept else len(right)
    stretched = tuple(axes.sizes[axis] if axis in left else 1 for axis in right[first:])
    x = _arranged(builder, x, axes, left, kept, stretched)
    x = builder.build("expand", (x,), shape=axes.shape(right))
    return _reshaped(builder, x, axes.result)


def _reduce(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    (x,) = operands
    axes = _matched(builder.type_of(x), attributes, dropped=True)
    reduction = attributes["reduction"]
    left, right = axes.pattern.left_axes, axes.pattern.right_axes
    over = tuple(i for i, axis in enumerate(left) if axis not in right)
    if not over:
        return _arranged(builder, x, axes, left, right, axes.result)
    if _keeps_places(axes.pattern):
        return builder.build(str(reduction), (x,), over=over, keepdims=True)
    x = _reshaped(builder, x, axes.shape(left))
    x = builder.build(str(reduction), (x,), over=over, keepdims=False)
    return _arranged(builder, x, axes, tuple(axis for axis in left if axis in right), right, axes.result)


def _keeps_places(pattern: Pattern) -> bool:
    """Whether the result is the input with 1 in place of each reduced axis, as in `b c h w -> b c 1 1`."""
    if len(pattern.left) != len(pattern.right) or any(len(group) != 1 for group in pattern.left):
        return False
    kept = pattern.right_axes
    return all(b == (a if a[0] in kept else ()) for a, b in zip(pattern.left, pattern.right, strict=True))


# --- constant tensors -----------------------------------------------------------------------------------------------------


def _filled(builder: Builder[Value], shape: AttributeValue, value: AttributeValue, dtype: AttributeValue) -> Value:
    return builder.build("full", (), shape=shape, value=value, dtype=dtype)


def _zeros(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    return _filled(builder, attributes["shape"], 0, attributes["dtype"] or builder.float_type)


def _ones(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    return _filled(builder, attributes["shape"], 1, attributes["dtype"] or builder.float_type)


def _full_like(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    type = builder.type_of(operands[0])
    return _filled(builder, type.shape, attributes["value"], attributes["dtype"] or type.dtype)


def _zeros_like(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    return _full_like(builder, operands, {**attributes, "value": 0})


def _ones_like(builder: Builder[Value], operands: tuple[Value, ...], attributes: Attributes) -> Value:
    return _full_like(builder, operands, {**attributes, "value": 1})


REDUCTIONS = ("sum", "mean", "max", "min", "prod", "any", "all")

_X = (Operand("x"),)
_SHAPE = Attribute("shape", Form.DIMS)
_DTYPE = Attribute("dtype", Form.DTYPE, None)
_PATTERN = Attribute("pattern", Form.STRING)
_MATRIX = "[[1.0, 2.0], [3.0, 4.0]]"

SUGARS: tuple[Sugar, ...] = (
    Sugar(
        "flatten",
        "shape",
        "Axes `start` to `end`, both included, made one.",
        _X,
        (Attribute("start", Form.AXIS, 1), Attribute("end", Form.AXIS, -1)),
        _flatten,
        (
            Example("flatten([[[1.0, 2.0], [3.0, 4.0]]])", [[1.0, 2.0, 3.0, 4.0]]),
            Example(f"flatten({_MATRIX}, start=0)", [1.0, 2.0, 3.0, 4.0]),
        ),
        notes="Keeps the batch axis by default, as torch.nn.Flatten; torch.flatten starts at 0.",
    ),
    Sugar(
        "transpose",
        "shape",
        "x with axes a and b swapped; `x.T` swaps the last two.",
        _X,
        (Attribute("a", Form.AXIS), Attribute("b", Form.AXIS)),
        _transpose,
        (
            Example(f"transpose({_MATRIX}, 0, 1)", [[1.0, 3.0], [2.0, 4.0]]),
            Example("transpose([[[1.0, 2.0]]], 0, -1)", [[[1.0]], [[2.0]]]),
        ),
        notes="As torch.transpose; numpy.transpose is `permute`.",
    ),
    Sugar(
        "matrix_transpose",
        "shape",
        "x with its last two axes swapped, also written `x.T`.",
        _X,
        (),
        _matrix_transpose,
        (
            Example(f"matrix_transpose({_MATRIX})", [[1.0, 3.0], [2.0, 4.0]]),
            Example("matrix_transpose([[[1.0, 2.0]]])", [[[1.0], [2.0]]]),
        ),
        notes="As numpy.matrix_transpose and torch's `.mT`; numpy's `.T` reverses all axes.",
    ),
    Sugar(
        "squeeze",
        "shape",
        "x without the given axes, which must have size 1.",
        _X,
        (Attribute("over", Form.AXES),),
        _squeeze,
        (Example("squeeze([[1.0], [2.0]], 1)", [1.0, 2.0]), Example("squeeze([[[1.0, 2.0]]], [0, 1])", [1.0, 2.0])),
        notes="Another size is an error, as in numpy.squeeze; torch.squeeze leaves it.",
    ),
    Sugar(
        "unsqueeze",
        "shape",
        "x with axes of size 1 added; `over` are their places in the result.",
        _X,
        (Attribute("over", Form.INTS),),
        _unsqueeze,
        (Example("unsqueeze([1.0, 2.0], -1)", [[1.0], [2.0]]), Example("unsqueeze([1.0, 2.0], [0, 2])", [[[1.0], [2.0]]])),
        notes="As torch.unsqueeze and numpy.expand_dims.",
    ),
    Sugar(
        "rearrange",
        "shape",
        "x reshaped and transposed by an einops pattern.",
        _X,
        (_PATTERN,),
        _rearrange,
        (
            Example(f'rearrange({_MATRIX}, "a b -> (b a)")', [1.0, 3.0, 2.0, 4.0]),
            Example('rearrange([1.0, 2.0, 3.0, 4.0], "(a b) -> b a", a=2)', [[1.0, 3.0], [2.0, 4.0]]),
        ),
        notes="As einops.rearrange: parentheses group axes, `1` is an axis of size 1, `...` any axes.",
        extra_sizes=True,
    ),
    Sugar(
        "reduce",
        "reduce",
        "x with the axes that the right of an einops pattern lacks reduced.",
        _X,
        (_PATTERN, Attribute("reduction", Form.STRING, choices=REDUCTIONS)),
        _reduce,
        (
            Example(f'reduce({_MATRIX}, "a b -> a", "sum")', [3.0, 7.0]),
            Example('reduce([1.0, 3.0, 5.0, 7.0], "(a b) -> a", "mean", b=2)', [2.0, 6.0]),
        ),
        notes='As einops.reduce: `reduce(x, "b c (h 2) (w 2) -> b c h w", "max")` is max pooling.',
        extra_sizes=True,
    ),
    Sugar(
        "repeat",
        "shape",
        "x repeated along the axes that only the right of an einops pattern has.",
        _X,
        (_PATTERN,),
        _repeat,
        (
            Example('repeat([1.0, 2.0], "a -> a b", b=2)', [[1.0, 1.0], [2.0, 2.0]]),
            Example('repeat([1.0, 2.0], "a -> (2 a)")', [1.0, 2.0, 1.0, 2.0]),
        ),
        notes="As einops.repeat.",
        extra_sizes=True,
    ),
    Sugar(
        "zeros",
        "create",
        "A tensor of zeros, in the model's floating type unless `dtype` is given.",
        (),
        (_SHAPE, _DTYPE),
        _zeros,
        (Example("zeros(2)", [0.0, 0.0]), Example("zeros([1, 2], dtype=i64)", [[0, 0]])),
    ),
    Sugar(
        "ones",
        "create",
        "A tensor of ones, in the model's floating type unless `dtype` is given.",
        (),
        (_SHAPE, _DTYPE),
        _ones,
        (Example("ones(2)", [1.0, 1.0]), Example("ones([1, 2], dtype=bool)", [[True, True]])),
    ),
    Sugar(
        "zeros_like",
        "create",
        "Zeros in the shape and element type of x.",
        _X,
        (_DTYPE,),
        _zeros_like,
        (Example("zeros_like([1.0, 2.0])", [0.0, 0.0]), Example("zeros_like([1.0, 2.0], dtype=i64)", [0, 0])),
    ),
    Sugar(
        "ones_like",
        "create",
        "Ones in the shape and element type of x.",
        _X,
        (_DTYPE,),
        _ones_like,
        (Example("ones_like([[1.0, 2.0]])", [[1.0, 1.0]]), Example("ones_like([5, 6])", [1, 1])),
    ),
    Sugar(
        "full_like",
        "create",
        "One value in the shape and element type of x.",
        _X,
        (Attribute("value", Form.ANY), _DTYPE),
        _full_like,
        (Example("full_like([1.0, 2.0], 0.5)", [0.5, 0.5]), Example("full_like([1, 2], 7)", [7, 7])),
    ),
)
