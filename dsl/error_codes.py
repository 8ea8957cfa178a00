"""The stable codes of diagnostics, each with its title and the long story that `dslc explain` tells."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    title: str
    story: str


CODES: dict[str, Code] = {
    "DL0301": Code(
        "shapes do not match",
        "An operation was applied to tensors whose sizes cannot be combined. Sizes are compared as algebra: two sizes are equal only when "
        "that is proved for every value of the symbolic dimensions. The message shows both sides; bind the same name to both, reshape one, "
        "or state the relation with `require`.",
    ),
    "DL0304": Code(
        "no such axis",
        "An axis was named that the tensor does not have, or was listed twice, or a list of axes was empty. Axes count from 0, or from -1 "
        "backwards; the name of a dimension may stand for its axis where that is unambiguous.",
    ),
    "DL0402": Code(
        "an argument has a value with no meaning",
        "A static argument is of the right kind and has a value that the operation cannot use: out of its range, not one of the choices, or "
        "at odds with another argument. The message gives the value and what is allowed.",
    ),
    "DL0403": Code(
        "element types do not go together",
        "An operation was applied to a tensor of an element type that it does not take, or to two tensors whose types have no common one. "
        "Types widen by themselves only within a kind (f16 to f32, i32 to i64), and bool becomes any of them; an integer tensor never "
        "becomes a floating one. Write `cast(x, float)` where that is meant.",
    ),
}
