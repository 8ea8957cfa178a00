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
}
