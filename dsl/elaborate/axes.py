"""Which axis a dimension's name means, and which names the axes of a result have."""

from __future__ import annotations

from dsl import syntax
from dsl.diagnostics import Diagnostic, SpecError
from dsl.dims import Expr, dims_equal
from dsl.elaborate.frame import Frame
from dsl.elaborate.values import Tensor
from dsl.ops.card import Attributes


def names_dimension(frame: Frame, expression: syntax.Expr) -> bool:
    """Whether the expression is a dimension's name, or a list with one in it."""
    match expression:
        case syntax.Name():
            frame.lookup(expression.id)
            return expression.id in frame.dims
        case syntax.ListExpr() | syntax.TupleExpr():
            return any(names_dimension(frame, item) for item in expression.items)
        case _:
            return False


def resolve_axis(frame: Frame, tensor: Tensor, name: syntax.Name) -> int:
    """The axis of `tensor` that the dimension is: by the name the axis has, else by a symbolic size that only one axis has."""
    named = [i for i, n in enumerate(tensor.names) if n == name.id]
    if len(named) == 1:
        return named[0]
    size = frame.dims[name.id]
    shape = frame.type(tensor).shape
    equal = [i for i, d in enumerate(shape) if dims_equal(d, size)] if isinstance(size, Expr) and not named else []
    if len(equal) == 1:
        return equal[0]
    found = f"{len(named or equal)} axes" if named or equal else "no axis"
    raise SpecError(
        Diagnostic(
            "DL0305",
            f"`{name.id}` does not name one axis of this tensor",
            name.span,
            text=f"{found} of {frame.type(tensor)} {'are' if len(named or equal) > 1 else 'is'} known as {name.id}",
            help=f"use the index of the axis, from 0 to {len(shape) - 1} or counted from the end with -1",
        )
    )


def result_names(op: str, operands: list[Tensor], rank: int, attributes: Attributes) -> tuple[str | None, ...]:
    """Names for the axes of a result, as far as they follow from the operands'."""
    if not operands:
        return (None,) * rank
    first = operands[0].names if len(operands) == 1 else max(operands, key=lambda t: len(t.names)).names
    if op == "permute":
        return tuple(operands[0].names[int(i)] for i in attributes["order"])  # type: ignore[union-attr, arg-type]
    if op in _FORGETFUL:
        return (None,) * rank
    if op == "matmul":
        return (*first[: rank - 1], None) if len(first) == rank else (None,) * rank
    if len(first) == rank:
        return first
    over = attributes.get("over")
    if isinstance(over, int):
        over = (over,)
    if isinstance(over, tuple) and len(first) - len(over) == rank:
        return tuple(n for i, n in enumerate(first) if i not in over)
    return (None,) * rank


_FORGETFUL = frozenset({"reshape", "einsum", "expand"})
