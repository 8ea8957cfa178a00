"""Initial values that are written out: a list of numbers in the shape of the parameter, or one number for each of several equal parts."""

from __future__ import annotations

import math

from dsl.elaborate.context import error
from dsl.ir import Initializer
from dsl.source import Span
from dsl.types import TensorType

MOST_NUMBERS = 65536
"""How many numbers an initial value may have: they stand in generated code."""


def flat_numbers(value: object) -> tuple[tuple[float, ...], tuple[int, ...]] | None:
    """The numbers of a list in row-major order, and its shape; None where it is no list of numbers with equal lengths."""
    if isinstance(value, int | float):
        return (float(value),), ()
    if not isinstance(value, tuple) or not value:
        return None
    found = [flat_numbers(item) for item in value]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found) or any(shape != parts[0][1] for _, shape in parts):
        return None
    return tuple(n for numbers, _ in parts for n in numbers), (len(parts), *parts[0][1])


def written_out(value: tuple[object, ...], type_: TensorType, span: Span) -> Initializer:
    """The initial value that a list of numbers is, of exactly the shape of the parameter."""
    found = flat_numbers(value)
    if found is None:
        raise error("DL0421", "an initial value that is a list has numbers in it, in lists of equal lengths", span)
    numbers, shape = found
    if shape != type_.shape:
        shown = ", ".join(map(str, shape))
        raise error("DL0421", f"this list is [{shown}], and the parameter is {type_}", span, help="`constant(c)` fills any shape")
    if len(numbers) > MOST_NUMBERS:
        raise error("DL0421", f"a list of {len(numbers):,} initial values is too long: {MOST_NUMBERS:,} at most", span)
    return Initializer("values", values=numbers)


def check_parts(initial: Initializer, type_: TensorType, span: Span) -> None:
    """Raise where the parts of `blocks` do not divide the first axis."""
    count, rows = len(initial.values), type_.shape[0] if type_.shape else 1
    if initial.kind == "values" and count != math.prod(type_.shape) and (not isinstance(rows, int) or rows % count):
        raise error("DL0421", f"{count} equal parts do not fill the first axis of {type_}", span)
