"""Matching the types of arguments with the types that a definition declares, and giving the definition dimensions of its own.

Inside a definition a symbolic size is one name, whatever expression it is in the caller: so a `Block` is elaborated once for every length,
and `Call.bindings` says what its names are outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import lcm

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.dims import (
    Dim,
    Expr,
    as_symbol,
    dim_lower,
    dims_differ,
    dims_equal,
    format_dim,
    multiple_of,
    substitute,
    symbol,
    symbols_of,
)
from dsl.elaborate.context import Context, error
from dsl.elaborate.frame import Frame
from dsl.elaborate.values import describe
from dsl.source import Span
from dsl.types import TensorType


@dataclass(slots=True)
class LocalDims:
    """The caller's sizes and the names that a definition has for them. `results` are the types of the results in the caller's sizes, once a
    call has asked."""

    multiples: dict[str, int] = field(default_factory=dict)
    local: dict[Dim, Dim] = field(default_factory=dict)
    plain: dict[str, Expr] = field(default_factory=dict)
    bindings: dict[str, Dim] = field(default_factory=dict)
    results: tuple[TensorType, ...] | None = None

    def name(self, size: Dim, wanted: str) -> Dim:
        """The definition's own size for the caller's `size`: itself when it is a number."""
        if isinstance(size, int):
            return size
        if size in self.local:
            return self.local[size]
        name = wanted
        number = 1
        while name in self.bindings:
            name = f"{wanted}{number}"
            number += 1
        lower = dim_lower(size)
        low = max(lower, 0) if lower is not None else 0
        known = max(multiple_of(size), 1)
        own = symbol(name, lcm(known, self.multiples.get(name, 1)), low)
        self.plain[name] = symbol(name, known, low)
        self.local[size] = own
        self.bindings[name] = size
        return own

    def express(self, size: Dim, wanted: str) -> None:
        """Keep the caller's `size` as an expression of sizes that have names already; name it where it is none."""
        own = self.translate(size)
        if own is None:
            self.name(size, wanted)
        else:
            self.local[size] = own

    def translate(self, size: Dim) -> Dim | None:
        """A size of the caller in the definition's names, or None when no input binds it."""
        if isinstance(size, int):
            return size
        if size in self.local:
            return self.local[size]
        known = {s.name: own for outer, own in self.local.items() if (s := as_symbol(outer)) is not None}
        if all(name in known for name in symbols_of(size)):
            return substitute(size, known)
        return None

    def translate_static(self, value: object) -> object:
        """A static value in the definition's names; KeyError where a size has none."""
        if isinstance(value, tuple):
            return tuple(self.translate_static(v) for v in value)
        if isinstance(value, Expr):
            own = self.translate(value)
            if own is None:
                raise KeyError(format_dim(value))
            return own
        return value


@dataclass(frozen=True, slots=True)
class Formal:
    """A declared tensor input and the type of what was given for it."""

    name: str
    pattern: syntax.TypeExpr | None
    type: TensorType
    span: Span


def required_multiples(body: tuple[syntax.Statement, ...], hyper: Mapping[str, object]) -> dict[str, int]:
    """What `require H % 32 == 0` in a body says about its dimensions; the divisor is a number or a hyper-parameter."""
    found: dict[str, int] = {}
    for statement in body:
        if isinstance(statement, syntax.Require):
            for part in _conjuncts(statement.condition):
                match part:
                    case syntax.Comparison(
                        (syntax.Binary("%", syntax.Name(name), syntax.Literal() | syntax.Name() as by), syntax.Literal(0)),
                        ("==",),
                    ):
                        divisor = by.value if isinstance(by, syntax.Literal) else hyper.get(by.id)
                        if isinstance(divisor, int) and divisor > 0:
                            found[name] = lcm(found.get(name, 1), divisor)
    return found


def _conjuncts(condition: syntax.Expr) -> list[syntax.Expr]:
    if isinstance(condition, syntax.Binary) and condition.operator == "and":
        return [*_conjuncts(condition.left), *_conjuncts(condition.right)]
    return [condition]


def match(context: Context, static: Frame, formals: list[Formal], dims: LocalDims) -> dict[str, Dim]:
    """Check given types against declared ones. Binds the dimension names of the declarations in `dims`, and returns for each name the
    caller's size. `static` is a frame with the hyper-parameters, in the caller's sizes."""
    bound: dict[str, Dim] = {}
    places: dict[str, Span] = {}
    expressions: list[tuple[Formal, syntax.Expr, Dim, int]] = []
    for formal in formals:
        _check_dtype(context, formal)
        for axis, (pattern, size) in enumerate(_pairs(formal)):
            if pattern is None:
                own = as_symbol(size)
                dims.name(size, own.name if own is not None else f"d{axis}")
            elif isinstance(pattern, syntax.Name) and not static.has_value(pattern.id):
                if pattern.id in bound:
                    _check_equal(pattern, bound[pattern.id], size, formal, axis, places[pattern.id])
                else:
                    bound[pattern.id] = size
                    places[pattern.id] = formal.span
                    dims.name(size, pattern.id)
            else:
                expressions.append((formal, pattern, size, axis))
    for name, outer in bound.items():
        static.bind_dim(name, outer)
    for formal, pattern, size, axis in expressions:
        wanted = context.evaluate(static, pattern)
        if not isinstance(wanted, int | Expr) or isinstance(wanted, bool):
            raise error("DL0417", f"a size in a type is an integer, not {describe(wanted)}", pattern.span)
        dims.express(size, f"d{axis}")
        _check_equal(pattern, wanted, size, formal, axis, pattern.span)
    return bound


def _check_dtype(context: Context, formal: Formal) -> None:
    if formal.pattern is None:
        return
    wanted = formal.pattern.name
    found = formal.type.dtype
    fits = found.is_float if wanted == "float" else found.is_int if wanted == "int" else str(found) == wanted
    if not fits:
        raise SpecError(
            Diagnostic(
                "DL0403",
                f"`{formal.name}` is {wanted}, and {found} is given",
                formal.span,
                labels=(Label(formal.pattern.span, "declared here"),),
                help=f"cast it: `cast(x, {wanted})`",
            )
        )


def _pairs(formal: Formal) -> list[tuple[syntax.Expr | None, Dim]]:
    """Each axis of the given type with what the declaration says of it (None: under `...`)."""
    shape = formal.type.shape
    if formal.pattern is None or formal.pattern.dims is None:
        return [(None, size) for size in shape]
    declared = formal.pattern.dims
    dots = [i for i, d in enumerate(declared) if isinstance(d, syntax.Ellipsis)]
    fixed = len(declared) - len(dots)
    if len(shape) < fixed or (not dots and len(shape) != fixed):
        raise SpecError(
            Diagnostic(
                "DL0302",
                f"`{formal.name}` has {fixed}{' or more' if dots else ''} axes, and {len(shape)} are given",
                formal.span,
                text=f"this is {formal.type}",
                labels=(Label(formal.pattern.span, "declared here"),),
            )
        )
    if not dots:
        return list(zip(declared, shape, strict=True))  # type: ignore[arg-type]
    before = dots[0]
    after = len(declared) - before - 1
    middle = len(shape) - fixed
    pairs: list[tuple[syntax.Expr | None, Dim]] = list(zip(declared[:before], shape[:before], strict=True))  # type: ignore[arg-type]
    pairs += [(None, size) for size in shape[before : before + middle]]
    pairs += list(zip(declared[before + 1 :], shape[len(shape) - after :], strict=True))  # type: ignore[arg-type]
    return pairs


def _check_equal(pattern: syntax.Expr, wanted: Dim, found: Dim, formal: Formal, axis: int, place: Span) -> None:
    if dims_equal(wanted, found):
        return
    shown = pattern.span.text if pattern.span.text else format_dim(wanted)
    known = f"{shown} is {format_dim(wanted)}" if shown != format_dim(wanted) else shown
    declared = formal.pattern.span if formal.pattern is not None else place
    labels = [Label(declared, f"declared here: {known}")]
    if place is not formal.span and place.source is formal.span.source and place is not pattern.span:
        labels.append(Label(place, f"{shown} is {format_dim(wanted)} here"))
    sure = dims_differ(wanted, found)
    raise SpecError(
        Diagnostic(
            "DL0301" if sure else "DL0303",
            f"shapes do not match in `{formal.name}`" if sure else f"shapes are not proved to match in `{formal.name}`",
            formal.span,
            text=f"{format_dim(found)} against {format_dim(wanted)} in axis {axis} ({shown})",
            labels=tuple(labels),
            notes=(f"`{formal.name}` is given {formal.type}",),
        )
    )
