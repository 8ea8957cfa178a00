"""Python's slices on sizes that may be symbolic: canonical starts and stops, and the size of the result.

A canonical start or stop counts from the front and lies inside the axis. With a negative step the stop `None` goes past the
beginning.
"""

from __future__ import annotations

from typing import NamedTuple

from dsl.dims import Dim, Expr, Extremum, ceil_div, dim_le, dim_max, dim_min, dims_equal, format_dim
from dsl.ops.card import OpError
from dsl.ops.sizes import BAD_ATTRIBUTE


class Cut(NamedTuple):
    """`start:stop:step` of one axis in canonical form."""

    start: Dim
    stop: Dim | None
    step: int


def canonical_cut(size: Dim, start: Dim | None, stop: Dim | None, step: int) -> Cut:
    """The cut that Python makes of `start:stop:step` on an axis of that size."""
    if step > 0:
        first = 0 if start is None else _clamped(_from_front(size, start, "start"), size)
        return Cut(first, size if stop is None else _clamped(_from_front(size, stop, "stop"), size), step)
    last = size - 1
    first = last if start is None else dim_min(_from_front(size, start, "start"), last)
    end = None if stop is None else dim_min(_from_front(size, stop, "stop"), last)
    if _below_zero(first, "start"):
        return Cut(0, 0, step)
    if end is not None and _below_zero(end, "stop"):
        end = None
    return Cut(first, end, step)


def cut_size(cut: Cut, size: Dim) -> Dim:
    """How many elements the canonical cut takes of an axis of that size."""
    start, stop, step = cut
    if step < 0:
        return start // -step + 1 if stop is None else dim_max(0, ceil_div(start - stop, -step))
    assert stop is not None
    return dim_max(0, ceil_div(_length(start, stop, size), step))


def _length(start: Dim, stop: Dim, size: Dim) -> Dim:
    """`stop - start`, without the clamping of the start where that changes nothing: `T - 2`, not `T - min(2, T)`."""
    clamp = _extremum(start)
    if clamp is None:
        return stop - start
    if clamp.kind == "max":
        return dim_min(*(stop - d for d in clamp.arguments))
    return stop - dim_min(*(d for d in clamp.arguments if not dims_equal(d, size)))


def _extremum(d: Dim) -> Extremum | None:
    """The maximum or minimum that `d` is, if it is one as a whole."""
    if isinstance(d, Expr) and len(d.terms) == 1:
        ((monomial, c),) = d.terms.items()
        if c == 1 and len(monomial) == 1 and monomial[0][1] == 1 and isinstance(monomial[0][0], Extremum):
            return monomial[0][0]
    return None


def _from_front(size: Dim, index: Dim, argument: str) -> Dim:
    """`index` counted from the front: a negative one counts from the end. It may still lie outside of the axis."""
    return index + size if _below_zero(index, argument) else index


def _below_zero(index: Dim, argument: str) -> bool:
    """Whether `index` is negative, or OpError where that hangs on symbolic sizes."""
    if (negative := dim_le(index, -1)) is None:
        raise OpError(
            f"cannot tell whether the {argument} {format_dim(index)} of the slice is negative, which would count from the end",
            f"{argument}s",
            f"state it with `require {format_dim(index)} >= 0`, or write it so that its sign shows",
            BAD_ATTRIBUTE,
        )
    return negative


def _clamped(index: Dim, size: Dim) -> Dim:
    return dim_max(dim_min(index, size), 0)
