"""Reading sizes, counts and axes out of attributes as specs write them, and products of sizes.

What a spec may write in several ways (`2`, `[2, 2]`, `-1`) is made one canonical form here, with the argument named in the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd

from dsl.dims import Dim, Expr, dim_upper, dims_equal, format_dim
from dsl.ops.card import Attributes, AttributeValue, OpError
from dsl.ops.inference import within
from dsl.types import TensorType

BAD_ATTRIBUTE = "DL0402"
BAD_AXIS = "DL0304"
BAD_DTYPE = "DL0403"


def shown(value: object) -> str:
    """A static value as a spec writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple() | list():
            return f"[{', '.join(map(shown, value))}]"
        case int() | Expr():
            return format_dim(value)
        case _:
            return str(value)


def listed(value: AttributeValue) -> tuple[AttributeValue, ...]:
    """A tuple, of one element where a spec wrote a bare value."""
    return value if isinstance(value, tuple) else (value,)


def integer(value: AttributeValue, argument: str, low: int | None = None) -> int:
    """A constant integer, at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise OpError(f"`{argument}` must be a constant integer, not {shown(value)}", argument, code=BAD_ATTRIBUTE)
    if low is not None and value < low:
        raise OpError(f"`{argument}` must be at least {low}, not {value}", argument, code=BAD_ATTRIBUTE)
    return value


def integers(value: AttributeValue, argument: str, low: int | None = None) -> tuple[int, ...]:
    """A tuple of constant integers; a bare one is a tuple of one."""
    return tuple(integer(v, argument, low) for v in listed(value))


def dim(value: AttributeValue, argument: str) -> Dim:
    """A size, constant or symbolic; it may be negative where the operation gives that a meaning."""
    if isinstance(value, Expr):
        return value
    return integer(value, argument)


def dims(value: AttributeValue, argument: str) -> tuple[Dim, ...]:
    """A tuple of sizes; a bare one is a tuple of one."""
    return tuple(dim(v, argument) for v in listed(value))


def size(value: AttributeValue, argument: str) -> Dim:
    """A size that is not provably below 1."""
    found = dim(value, argument)
    upper = dim_upper(found)
    if upper is not None and upper < 1:
        raise OpError(f"`{argument}` must be at least 1, not {format_dim(found)}", argument, code=BAD_ATTRIBUTE)
    return found


def sizes(value: AttributeValue, argument: str) -> tuple[Dim, ...]:
    """A tuple of sizes, none of them provably below 1."""
    return tuple(size(v, argument) for v in listed(value))


def per_axis(value: AttributeValue, argument: str, count: int, low: int) -> tuple[int, ...]:
    """One integer for each spatial axis; a bare one counts for all."""
    found = integers(value, argument, low)
    if not isinstance(value, tuple):
        return found * count
    if len(found) != count:
        raise OpError(f"`{argument}` has {len(found)} numbers for {count} spatial axes", argument, code=BAD_ATTRIBUTE)
    return found


def distinct_axes(value: AttributeValue, rank: int, argument: str) -> tuple[int, ...]:
    """Axes as non-negative integers in the order given, none twice."""
    found = tuple(within(v, rank, argument) for v in listed(value))
    if len(set(found)) < len(found):
        raise OpError(f"`{argument}` lists an axis twice: {shown(found)}", argument, code=BAD_AXIS)
    return found


def int_tuple(attributes: Attributes, name: str) -> tuple[int, ...]:
    """A canonical attribute that is a tuple of integers."""
    value = attributes[name]
    assert isinstance(value, tuple)
    return tuple(v for v in value if isinstance(v, int))


def dim_tuple(attributes: Attributes, name: str) -> tuple[Dim, ...]:
    """A canonical attribute that is a tuple of sizes."""
    value = attributes[name]
    assert isinstance(value, tuple)
    return tuple(v for v in value if isinstance(v, int | Expr))


def pair_tuple(attributes: Attributes, name: str) -> tuple[tuple[int, int], ...]:
    """A canonical attribute that is a tuple of pairs of integers."""
    value = attributes[name]
    assert isinstance(value, tuple)
    return tuple((p[0], p[1]) for p in value if isinstance(p, tuple) and isinstance(p[0], int) and isinstance(p[1], int))


def require_rank(x: TensorType, ranks: Sequence[int], what: str, argument: str = "x") -> None:
    """OpError unless the tensor has one of the numbers of axes; `what` says which layout is meant."""
    if x.rank not in ranks:
        raise OpError(f"{argument} is {x}, with {x.rank} axes; {what}", argument)


def require_same_dtype(types: Sequence[TensorType], names: Sequence[str], argument: str) -> None:
    """OpError unless all tensors have the element type of the first: no target combines different ones here."""
    for name, found in zip(names, types, strict=True):
        if found.dtype is not types[0].dtype:
            help = f"say which is meant, as in `cast(x, {types[0].dtype})`"
            raise OpError(f"{names[0]} is {types[0]} and {name} is {found}", argument, help, BAD_DTYPE)


def product(factors: Iterable[Dim]) -> Dim:
    result: Dim = 1
    for factor in factors:
        result = result * factor
    return result


def exact_quotient(total: Sequence[Dim], known: Sequence[Dim]) -> Dim | None:
    """The product of `total` over the product of `known`, or None where that is not proved to be a whole number."""
    above, below = _cancelled(list(total), list(known))
    numerator, denominator = product(above), product(below)
    if denominator == 1:
        return numerator
    if denominator == 0:
        return None
    if dims_equal(numerator, denominator):
        return 1
    quotient = numerator // denominator
    return quotient if dims_equal(quotient * denominator, numerator) else None


def _cancelled(above: list[Dim], below: list[Dim]) -> tuple[list[Dim], list[Dim]]:
    """Both lists without equal factors and without common divisors of constants."""
    kept: list[Dim] = []
    for factor in below:
        match = next((i for i, a in enumerate(above) if dims_equal(a, factor)), None)
        if match is not None and factor != 0:
            del above[match]
        else:
            kept.append(factor)
    for j, factor in enumerate(kept):
        for i, a in enumerate(above):
            if isinstance(a, int) and isinstance(factor, int) and (common := gcd(a, factor)) > 1:
                above[i] = a = a // common
                kept[j] = factor = factor // common
    return above, kept


def written_product(factors: Sequence[Dim]) -> str:
    """The product for people: `2 * T * 64`, and its value where it is a constant with several factors."""
    if not factors:
        return "1"
    text = " * ".join(_factor(f) if len(factors) > 1 else format_dim(f) for f in factors)
    value = product(factors)
    return f"{text} = {value}" if len(factors) > 1 and isinstance(value, int) else text


def _factor(d: Dim) -> str:
    text = format_dim(d)
    return f"({text})" if isinstance(d, Expr) and " " in text else text
