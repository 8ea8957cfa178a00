"""Patterns of `rearrange`, `reduce` and `repeat`: `b (h w) c -> b c h w` read into axes, and matched with a shape.

Syntax and meaning are einops' (https://einops.rocks): names, groups in parentheses, `1` or `()` for an axis of size 1, `...` for
any axes, and numbers for unnamed axes. Nothing here knows of graphs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dsl.dims import Dim, dims_equal, format_dim
from dsl.ops.card import OpError
from dsl.ops.sizes import BAD_ATTRIBUTE, exact_quotient, product, written_product
from dsl.types import TensorType

ELLIPSIS = "..."
GROUPED_ELLIPSIS = "(...)"
Group = tuple[str, ...]

_TOKEN = re.compile(r"\s*(\.\.\.|->|[A-Za-z_]\w*|\d+|[()])")


@dataclass(frozen=True, slots=True)
class Pattern:
    """Both sides, as groups of axis names: `b (h w) 1` is `(("b",), ("h", "w"), ())`. `sizes` are those of unnamed axes."""

    text: str
    left: tuple[Group, ...]
    right: tuple[Group, ...]
    sizes: Mapping[str, int]

    @property
    def left_axes(self) -> tuple[str, ...]:
        return flat(self.left)

    @property
    def right_axes(self) -> tuple[str, ...]:
        return flat(self.right)


def flat(groups: tuple[Group, ...]) -> tuple[str, ...]:
    """The axes of all groups in order."""
    return tuple(axis for group in groups for axis in group)


def refused(text: str, reason: str, help: str | None = None) -> OpError:
    """The error that shows the pattern and says what is wrong with it."""
    return OpError(f'pattern "{text}": {reason}', "pattern", help, BAD_ATTRIBUTE)


def parse_pattern(text: str) -> Pattern:
    """Read `left -> right`; OpError where that is no pattern."""
    tokens = _tokens(text)
    if tokens.count("->") != 1:
        raise refused(text, "it must have one `->`", 'as in "b c h w -> b (h w) c"')
    arrow = tokens.index("->")
    sizes: dict[str, int] = {}
    left, right = _side(text, tokens[:arrow], sizes), _side(text, tokens[arrow + 1 :], sizes)
    if GROUPED_ELLIPSIS in flat(left):
        raise refused(text, "`...` cannot be in parentheses on the left")
    return Pattern(text, left, right, sizes)


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    position = 0
    rest = text.rstrip()
    while position < len(rest):
        match = _TOKEN.match(rest, position)
        if match is None:
            raise refused(text, f"`{rest[position:].strip()[0]}` has no meaning in it")
        found.append(match[1])
        position = match.end()
    return found


def _side(text: str, tokens: list[str], sizes: dict[str, int]) -> tuple[Group, ...]:
    groups: list[Group] = []
    inside: list[str] | None = None
    seen: set[str] = set()
    for token in tokens:
        if token == "(":
            if inside is not None:
                raise refused(text, "parentheses cannot be nested")
            inside = []
        elif token == ")":
            if inside is None:
                raise refused(text, "a `)` without its `(`")
            groups.append(tuple(inside))
            inside = None
        else:
            axes = _axes(text, token, seen, sizes)
            if inside is None:
                groups.append(axes)
            else:
                inside += (GROUPED_ELLIPSIS,) if token == ELLIPSIS else axes
    if inside is not None:
        raise refused(text, "a `(` without its `)`")
    return tuple(groups)


def _axes(text: str, token: str, seen: set[str], sizes: dict[str, int]) -> Group:
    """The axis that a token stands for; none for `1`. An unnamed axis gets a name that no pattern can write."""
    if token.isdigit():
        if token == "1":
            return ()
        if int(token) == 0:
            raise refused(text, "an axis of size 0")
        name = f"{token}#{len(sizes)}"
        sizes[name] = int(token)
        return (name,)
    if token in seen:
        raise refused(text, f"`{token}` is twice on one side")
    seen.add(token)
    return (token,)


def expand_ellipsis(pattern: Pattern, x: TensorType) -> Pattern:
    """The pattern with `...` replaced by as many axes as `x` has there."""
    fixed = sum(group != (ELLIPSIS,) for group in pattern.left)
    has_ellipsis = fixed < len(pattern.left)
    if (x.rank < fixed) if has_ellipsis else (x.rank != fixed):
        least = "at least " if has_ellipsis else ""
        raise refused(pattern.text, f"it takes {least}{fixed} axes, and x, which is {x}, has {x.rank}")
    if not has_ellipsis and {ELLIPSIS, GROUPED_ELLIPSIS} & set(pattern.right_axes):
        raise refused(pattern.text, "`...` is only on the right")
    names = tuple(f"...{i}" for i in range(x.rank - fixed))
    left, right = _expanded(pattern.left, names), _expanded(pattern.right, names)
    return Pattern(pattern.text, left, right, pattern.sizes)


def _expanded(groups: tuple[Group, ...], names: tuple[str, ...]) -> tuple[Group, ...]:
    found: list[Group] = []
    for group in groups:
        if group == (ELLIPSIS,):
            found += [(name,) for name in names]
        else:
            found.append(tuple(n for axis in group for n in (names if axis == GROUPED_ELLIPSIS else (axis,))))
    return tuple(found)


def axis_sizes(pattern: Pattern, x: TensorType, given: Mapping[str, Dim]) -> dict[str, Dim]:
    """The size of every axis on the left of a pattern without `...`, and of those given."""
    found: dict[str, Dim] = {**pattern.sizes, **given}
    for axis in given:
        if axis not in pattern.left_axes and axis not in pattern.right_axes:
            raise OpError(f'pattern "{pattern.text}" has no axis `{axis}`', axis, code=BAD_ATTRIBUTE)
    for group, size in zip(pattern.left, x.shape, strict=True):
        _solve(pattern, group, size, found)
    return found


def _solve(pattern: Pattern, group: Group, size: Dim, found: dict[str, Dim]) -> None:
    """The sizes in one group, of which one at most is unknown."""
    known = [found[axis] for axis in group if axis in found]
    unknown = [axis for axis in group if axis not in found]
    whole = written(group)
    if len(unknown) > 1:
        names = " and ".join(f"`{n}`" for n in unknown)
        raise refused(
            pattern.text, f"`{whole}` is {format_dim(size)}, which does not say {names}", f"give one, as in `{unknown[0]}=2`"
        )
    if not unknown:
        if not dims_equal(product(known), size):
            raise refused(
                pattern.text, f"axis `{whole}` is {format_dim(size)}, and should be {written_product(known) if known else 1}"
            )
        return
    quotient = exact_quotient((size,), known)
    if quotient is None:
        raise refused(pattern.text, f"axis `{whole}` = {format_dim(size)} is not divisible by {written_product(known)}")
    found[unknown[0]] = quotient


def written(group: Group) -> str:
    """A group as a pattern writes it."""
    names = " ".join(axis.split("#")[0] for axis in group)
    return names if len(group) == 1 else f"({names})" if group else "1"
