"""Reductions, and what else goes along an axis."""

from __future__ import annotations

from dsl.ops.registry import CARDS
from dsl.types import DType
from tests.fuzz.elementwise import operand
from tests.fuzz.scope import Drawer, Expression, Scope, Tensor, positive, small, words


def over(scope: Scope, x: Tensor) -> str:
    """The argument of a reduction: all axes, one or several of them, an axis by its name."""
    rank = x.kind.rank
    how = scope.number(0, 4) if rank else 0
    keep = ", keepdims=true" if scope.chance(3) else ""
    if how == 0:
        return keep
    symbols = [word for d in x.kind.shape for word in words(str(d))]  # an axis of (B + 1) // 2 may be called B as well
    named = [d for d in x.kind.shape if isinstance(d, str) and d.isidentifier() and symbols.count(d) == 1]
    if how == 1 and named:
        return f", over={named[0]}{keep}"
    if how == 2 and rank > 1:
        first = scope.number(0, rank - 2)
        return f", over=[{first}, {scope.number(first + 1, rank - 1) - (rank if scope.chance(2) else 0)}]{keep}"
    return f", over={scope.axis(x)}{keep}"


def reduction(name: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        x = operand(scope, CARDS[name].operands[0].accepts)
        more = {"var": ", correction=1", "norm": scope.one_of(", p=1", ", p=3", ", p=2.0")}.get(name, "")
        text = f"(1 + 0.05 * tanh({x.name}))" if name == "prod" and x.kind.dtype.is_float else small(x, 8)  # or it underflows
        if name == "prod" and x.kind.dtype.is_int:
            text = f"(2 * ({x.name} % 2) - 1)" if x.kind.dtype is DType.I64 else f"({x.name} % 2)"  # or it overflows
        if name == "norm":
            text = positive(x)
        return Expression(
            f"{name}({text}{over(scope, x)}{more if scope.chance(3) else ''})", 60.0 if name in ("sum", "norm") else 12.0
        )

    return draw


def along(name: str, *attributes: str) -> Drawer:
    """Primitives over one axis of any tensor of numbers."""

    def draw(scope: Scope) -> Expression:
        x = scope.some(lambda k: CARDS[name].operands[0].accepts.admits(k.dtype), rank=(1, 5))
        more = "".join(f", {a}" for a in attributes if scope.chance(2))
        return Expression(f"{name}({small(x, 8)}, over={scope.axis(x)}{more})", 30.0)

    return draw


def topk(scope: Scope) -> Expression:
    x = scope.some(lambda k: k.dtype is not DType.BOOL, rank=(1, 4))
    axis = scope.axis(x)
    size = x.kind.shape[axis]
    k = scope.number(1, size) if isinstance(size, int) and size > 0 else scope.one_of("1", f"{size}")
    return Expression(f"topk({x.name}, {k}, over={axis}{scope.one_of('', ', largest=false')})")
