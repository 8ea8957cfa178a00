"""Operations element by element: a second operand that broadcasts, and values at which they are defined."""

from __future__ import annotations

from collections.abc import Callable

from dsl.ops.card import Accepts
from dsl.ops.registry import CARDS
from dsl.types import DType
from tests.fuzz.scope import Drawer, Expression, Kind, Scope, Size, Tensor, between_integers, positive, small

SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floor_divide": "//", "remainder": "%", "pow": "**", "matmul": "@",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "logical_and": "and", "logical_or": "or",
}  # fmt: skip


def operand(scope: Scope, accepts: Accepts) -> Tensor:
    """A tensor that the operand of a card accepts."""
    dtype = {Accepts.INT: DType.I64, Accepts.BOOL: DType.BOOL}.get(accepts, DType.F32)
    return scope.some(lambda k: accepts.admits(k.dtype), dtype=dtype)


def partner(scope: Scope, of: Tensor) -> Tensor | str:
    """What goes with a tensor by broadcasting: another of its shape or of a part of it, or a number."""
    kind = of.kind
    like = [t for t in scope.tensors if family(t.kind) == family(kind) and broadcasts(t.kind.shape, kind.shape)]
    how = scope.number(0, 5)
    if how == 0 and kind.dtype is not DType.BOOL:
        return scope.one_of("2", "3", "-1") if kind.dtype.is_int else scope.one_of("0.5", "2", "-1.5")
    if how == 1 and kind.rank:
        axis = scope.number(0, kind.rank - 1)
        shape: list[Size] = [1 if i == axis else d for i, d in enumerate(kind.shape)]
        return scope.fresh(kind.dtype, shape if scope.chance(2) else kind.shape[axis:])
    if like and how > 1:
        return like[-1 - scope.number(0, min(len(like), 6) - 1)]
    return scope.fresh(kind.dtype, kind.shape)


def family(kind: Kind) -> str:
    return "float" if kind.dtype.is_float else "int" if kind.dtype.is_int else "bool"


def broadcasts(shape: tuple[Size, ...], to: tuple[Size, ...]) -> bool:
    pairs = list(zip(reversed(shape), reversed(to), strict=False))
    return all(a == b or a == 1 or b == 1 for a, b in pairs)


def binary(name: str) -> Drawer:
    accepts = CARDS[name].operands[0].accepts

    def draw(scope: Scope) -> Expression:
        a = operand(scope, accepts)
        b = partner(scope, a)
        left = small(a, 6)
        right = b if isinstance(b, str) else small(b, 6)
        if name == "pow":
            left, right = _power(scope, a, right)
        if name in ("div", "floor_divide", "remainder"):
            left, right = _division(name, a, b, left, right)
        swapped = scope.chance(4) and name not in ("pow", "div", "floor_divide", "remainder")
        left, right = (right, left) if swapped else (left, right)
        text = f"{left} {SIGNS[name]} {right}" if name in SIGNS and not scope.chance(6) else f"{name}({left}, {right})"
        return Expression(text, 36.0 if name in ("mul", "pow") else 12.0)

    return draw


def _power(scope: Scope, a: Tensor, right: str) -> tuple[str, str]:
    if a.kind.dtype.is_int:
        return small(a, 4), scope.one_of("2", "3", "0", "1")
    if scope.chance(2):
        return small(a, 3), scope.one_of("2", "3", "2.0", "1", "0")
    return positive(a), scope.one_of("0.5", "-1", "-0.5", "1.7", f"tanh({right})" if right[0] in "vxt" else "2.5")


def _division(name: str, a: Tensor, b: Tensor | str, left: str, right: str) -> tuple[str, str]:
    """No division by what may be 0, and no floor of what may be an integer by rounding."""
    if isinstance(b, Tensor):
        right = f"(abs({right}) + {1 if b.kind.dtype.is_int else 0.7})"
    if name != "div" and a.kind.dtype.is_float:
        left = between_integers(a)
    return left, right


UNARY_OPERANDS: dict[str, Callable[[Tensor], str]] = {
    "log": positive, "log1p": positive, "sqrt": positive, "rsqrt": positive, "exp": lambda t: small(t, 3),
    "expm1": lambda t: small(t, 3), "floor": between_integers, "ceil": between_integers, "round": between_integers,
}  # fmt: skip


def unary(name: str) -> Drawer:
    card = CARDS[name]
    prepared = UNARY_OPERANDS.get(name, small)

    def draw(scope: Scope) -> Expression:
        x = operand(scope, card.operands[0].accepts)
        text = prepared(x)
        if name == "neg" and scope.chance(2):
            return Expression(f"-{text}")
        return Expression(
            f"{name}({text})", 21.0 if name.startswith("exp") else 12.0, name in ("exp", "softplus", "sqrt", "rsqrt")
        )

    return draw


def clip(scope: Scope) -> Expression:
    x = operand(scope, Accepts.NUMBER)
    bounds = (
        ("low=-1, high=2", "-1, 1", "high=1", "low=0")
        if x.kind.dtype.is_int
        else ("low=-0.5", "-0.5, 0.7", "high=0.3", "low=-1e30")
    )
    return Expression(f"clip({x.name}, {scope.one_of(*bounds)})", x.scale)


def where(scope: Scope) -> Expression:
    a = scope.some()
    b = partner(scope, a)
    right = b if isinstance(b, str) else b.name
    conditions = [t.name for t in scope.tensors if t.kind.dtype is DType.BOOL and broadcasts(t.kind.shape, a.kind.shape)]
    if conditions and scope.chance(2):
        condition = conditions[-1]
    elif a.kind.dtype is DType.BOOL:
        condition = f"{a.name} == {right}"
    else:
        condition = f"{small(a)} > 0.3" if a.kind.dtype.is_float else f"{a.name} > 1"
    left, right = (a.name, right) if scope.chance(2) else (right, a.name)
    return Expression(f"where({condition}, {left}, {right})", 8.0 if a.scale <= 8 else a.scale)


def cast(scope: Scope) -> Expression:
    x = scope.some()
    dtype = scope.one_of("float", "int", "f16", "bf16", "f64", "i8", "u8", "i32", "bool")
    text = small(x)
    if x.kind.dtype.is_float and dtype in ("int", "i8", "i32"):
        text = between_integers(x)
    elif x.kind.dtype.is_float and dtype == "u8":
        text = f"abs({between_integers(x)})"
    elif x.kind.dtype.is_float and dtype == "bool":
        text = f"relu({text} - 0.4)"
    elif x.kind.dtype.is_int and dtype == "u8":
        text = f"abs({text})"
    return Expression(f"cast({text}, {dtype})", 16.0)
