"""What static expressions compute: arithmetic on numbers and sizes, and the functions on lists.

Everything here runs when the graph is made. A name such as `max` is one of these when all its arguments are static, and the primitive
when one is a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dsl.dims import Dim, Expr, ceil_div, dim_max, dim_min

LONGEST = 1_000_000
"""How many items a static list may have."""

LARGEST = 10**30
"""How large a static integer may grow."""


class StaticError(Exception):
    """A static computation that has no result; the text says why."""


@dataclass(frozen=True, slots=True)
class StaticFunction:
    name: str
    call: Callable[..., object]

    @property
    def moves(self) -> bool:
        """Whether it only moves or counts what is in a list, so that tensors may be."""
        return self.name in ("len", "enumerate", "zip", "reversed", "list")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_size(value: object) -> bool:
    return isinstance(value, int | Expr) and not isinstance(value, bool)


def arithmetic(operator: str, a: object, b: object) -> object:
    """`a operator b` for numbers, sizes, strings and lists; StaticError where it has no meaning. A symbolic size gives a size or
    nothing: `T / 2` is for the caller to turn into a tensor (NotImplemented)."""
    if isinstance(a, tuple) and isinstance(b, tuple) and operator == "+":
        _refuse_longer(len(a) + len(b), "list", "items")
        return a + b
    if isinstance(a, str) and isinstance(b, str) and operator == "+":
        _refuse_longer(len(a) + len(b), "string", "characters")
        return a + b
    if isinstance(a, tuple) and isinstance(b, int) and operator == "*" and not isinstance(b, bool):
        _refuse_longer(len(a) * b, "list", "items")
        return a * b
    if isinstance(a, Expr) or isinstance(b, Expr):
        return _size_arithmetic(operator, a, b)
    if not (is_number(a) and is_number(b)):
        return NotImplemented
    assert isinstance(a, int | float) and isinstance(b, int | float)
    return _number_arithmetic(operator, a, b)


def _refuse_longer(length: int, kind: str, unit: str) -> None:
    if length > LONGEST:
        raise StaticError(f"a {kind} of {length} {unit} is too long (at most {LONGEST})")


def _size_arithmetic(operator: str, a: object, b: object) -> object:
    if not (is_size(a) and is_size(b)):
        return NotImplemented
    assert isinstance(a, int | Expr) and isinstance(b, int | Expr)
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "//":
            if b == 0:
                raise StaticError("division by zero")
            return a // b
        case "%":
            if b == 0:
                raise StaticError("division by zero")
            return a % b
        case "**" if isinstance(a, Expr) and isinstance(b, int) and 0 <= b <= 16:
            return a**b
        case "/" if isinstance(b, int) and b != 0 and a % b == 0:
            return a // b
        case _:
            return NotImplemented


def _number_arithmetic(operator: str, a: float, b: float) -> object:
    try:
        result = _compute(operator, a, b)
    except ZeroDivisionError:
        raise StaticError("division by zero") from None
    except OverflowError:
        raise StaticError("the number is too large") from None
    if isinstance(result, complex):
        raise StaticError(f"the root of the negative number {a:g} is not real")
    if isinstance(result, int) and abs(result) > LARGEST:
        raise StaticError("the number is too large")
    return result


def _compute(operator: str, a: float, b: float) -> object:
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return a / b
        case "//":
            return a // b
        case "%":
            return a % b
        case "**":
            if isinstance(a, int) and isinstance(b, int) and abs(b) > 200 and abs(a) > 1:
                raise StaticError("the number is too large")
            return a**b
        case _:
            return NotImplemented


def _bounded_range(*bounds: int) -> tuple[int, ...]:
    if not all(isinstance(b, int) and not isinstance(b, bool) for b in bounds):
        raise StaticError("`range` takes integers that are known when the graph is made")
    if len(bounds) == 3 and bounds[2] == 0:
        raise StaticError("the step of `range` is not zero")
    items = range(*bounds)
    if len(items) > LONGEST:
        raise StaticError(f"a range of {len(items)} items is too long (at most {LONGEST})")
    return tuple(items)


def _unrolled(*items: object) -> tuple[object, ...]:
    return items[0] if len(items) == 1 and isinstance(items[0], tuple) else items


def _largest(*items: object) -> object:
    values = _unrolled(*items)
    if any(isinstance(v, Expr) for v in values):
        return dim_max(*_sizes(values))
    return max(values)  # type: ignore[type-var]


def _smallest(*items: object) -> object:
    values = _unrolled(*items)
    if any(isinstance(v, Expr) for v in values):
        return dim_min(*_sizes(values))
    return min(values)  # type: ignore[type-var]


def _sizes(values: tuple[object, ...]) -> list[Dim]:
    sizes = [v for v in values if isinstance(v, int | Expr)]
    if len(sizes) != len(values):
        raise StaticError("sizes and other values do not compare")
    return sizes


def _total(items: tuple[object, ...]) -> object:
    total: object = 0
    for item in items:
        total = arithmetic("+", total, item)
        if total is NotImplemented:
            raise StaticError("`sum` takes a list of numbers")
    return total


def _product(items: tuple[object, ...]) -> object:
    total: object = 1
    for item in items:
        total = arithmetic("*", total, item)
        if total is NotImplemented:
            raise StaticError("`prod` takes a list of numbers")
    return total


def _length(items: object) -> int:
    if not isinstance(items, tuple | str):
        raise StaticError("`len` takes a list")
    return len(items)


def _integer(value: object) -> object:
    if isinstance(value, Expr):
        return value
    if not is_number(value):
        raise StaticError("`int` takes a number")
    return int(value)  # type: ignore[call-overload]


def _zipped(*lists: tuple[object, ...]) -> tuple[object, ...]:
    if len({len(items) for items in lists}) > 1:
        raise StaticError(f"`zip` takes lists of one length, not {' and '.join(str(len(items)) for items in lists)}")
    return tuple(zip(*lists, strict=True))


def _logarithm(x: float) -> float:
    if x <= 0:
        raise StaticError(f"the logarithm of {x:g} is not a number")
    return math.log(x)


def _root(x: float) -> float:
    if x < 0:
        raise StaticError(f"the root of the negative number {x:g} is not real")
    return math.sqrt(x)


STATIC_FUNCTIONS: dict[str, StaticFunction] = {
    name: StaticFunction(name, call)
    for name, call in dict[str, Callable[..., object]](
        {
            "range": _bounded_range,
            "len": _length,
            "enumerate": lambda items: tuple(enumerate(items)),
            "zip": _zipped,
            "reversed": lambda items: tuple(reversed(items)),
            "sorted": lambda items: tuple(sorted(items)),
            "list": lambda items: tuple(items),
            "int": _integer,
            "sum": _total,
            "prod": _product,
            "min": _smallest,
            "max": _largest,
            "abs": abs,
            "round": round,
            "floor": math.floor,
            "ceil": math.ceil,
            "sqrt": _root,
            "exp": math.exp,
            "log": _logarithm,
            "sin": math.sin,
            "cos": math.cos,
            "tanh": math.tanh,
            "ceil_div": ceil_div,
            "is_list": lambda value: isinstance(value, tuple),
            "any": any,
            "all": all,
        }
    ).items()
}
