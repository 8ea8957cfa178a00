"""Sorting the arguments of a primitive into operands and attributes, by position and by name."""

from __future__ import annotations

from dataclasses import dataclass

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.elaborate.axes import names_dimension, resolve_axis
from dsl.elaborate.context import Context, error
from dsl.elaborate.familiar import ARGUMENTS, suggested
from dsl.elaborate.frame import Frame
from dsl.elaborate.values import (
    Tensor,
    as_dims,
)
from dsl.ops.card import Card, Form
from dsl.ops.sugar import Sugar
from dsl.source import Span


@dataclass(frozen=True, slots=True)
class Given:
    """One evaluated argument."""

    value: object
    span: Span
    expression: syntax.Expr | None = None
    name: str | None = None
    whole: Span | None = None

    @property
    def place(self) -> Span:
        """Where the argument stands, with its name."""
        return self.whole or self.span


class Binder:
    def __init__(self, context: Context) -> None:
        self.context = context

    def bound(
        self, frame: Frame, card: Card | Sugar, given: tuple[Given, ...], span: Span
    ) -> tuple[list[Given], dict[str, Given]]:
        """Sort arguments into operands and attributes by position and name."""
        if len(given) == len(card.operands) and all(g.name is None for g in given) and not _takes_lists(card):
            return list(given), {}
        signature = f"`{card.signature if isinstance(card, Card) else card.name}`"
        variadic = _takes_lists(card)
        positional = [g for g in given if g.name is None]
        operands: dict[str, Given] = {}
        rest: list[Given] = []
        listed: list[Given] = []
        if variadic:
            listed, rest = self._variadic(positional)
        else:
            names = [o.name for o in card.operands]
            operands = dict(zip(names, positional, strict=False))
            rest = positional[len(names) :]
        attributes = self._positional_attributes(card, rest, signature)
        for g in given:
            if g.name is None:
                continue
            if g.name in attributes or g.name in operands:
                raise given_twice(g.name, card.name, (attributes.get(g.name) or operands[g.name]).place, g.place)
            (operands if any(o.name == g.name for o in card.operands) and not variadic else attributes)[g.name] = g
        self._check_names(card, attributes, signature)
        if not variadic:
            listed = self._in_order(card, operands, span, signature)
        first = next((g.value for g in listed if isinstance(g.value, Tensor)), None)
        return listed, {name: self._axes(frame, card, name, g, first) for name, g in attributes.items()}

    def _variadic(self, positional: list[Given]) -> tuple[list[Given], list[Given]]:
        if positional and isinstance(positional[0].value, tuple) and any(isinstance(v, Tensor) for v in positional[0].value):
            head = positional[0]
            return [Given(v, head.span) for v in head.value], positional[1:]  # type: ignore[attr-defined]
        return [g for g in positional if not isinstance(g.value, str)], [g for g in positional if isinstance(g.value, str)]

    def _positional_attributes(self, card: Card | Sugar, rest: list[Given], signature: str) -> dict[str, Given]:
        attributes: dict[str, Given] = {}
        for i, attribute in enumerate(card.attributes):
            if not rest:
                break
            takes_all = attribute.form is Form.DIMS or (i == 0 and attribute.name in ("order", "repeats"))
            if takes_all and len(rest) > 1 and all(as_dims((g.value,)) is not None for g in rest):
                attributes[attribute.name] = Given(tuple(g.value for g in rest), rest[0].span.to(rest[-1].span))
                rest = []
            elif takes_all and card.name in ("zeros", "ones", "randn", "rand") and as_dims((rest[0].value,)) is not None:
                attributes[attribute.name] = Given((rest[0].value,), rest[0].span)
                rest = rest[1:]
            else:
                attributes[attribute.name] = rest[0]
                rest = rest[1:]
        if rest:
            raise error("DL0203", f"`{card.name}` has too many arguments", rest[0].span, help=f"it is {signature}")
        return attributes

    def _check_names(self, card: Card | Sugar, attributes: dict[str, Given], signature: str) -> None:
        if isinstance(card, Sugar) and card.extra_sizes:
            return
        known = [*(o.name for o in card.operands), *(a.name for a in card.attributes)]
        for name, g in attributes.items():
            if name not in known:
                near = suggested(name, known, ARGUMENTS)
                raise error(
                    "DL0203",
                    f"`{card.name}` has no argument `{name}`",
                    g.place,
                    help=f"did you mean `{near}`?" if near else f"it is {signature}",
                )

    def _in_order(self, card: Card | Sugar, operands: dict[str, Given], span: Span, signature: str) -> list[Given]:
        listed: list[Given] = []
        for operand in card.operands:
            if operand.name in operands:
                listed.append(operands[operand.name])
            elif not operand.optional:
                raise error("DL0203", f"`{card.name}` needs `{operand.name}`", span, help=f"it is {signature}")
        return listed

    def _axes(self, frame: Frame, card: Card | Sugar, name: str, given: Given, first: object) -> Given:
        """Turn the names of dimensions into axes where an attribute is one."""
        attribute = next((a for a in card.attributes if a.name == name), None)
        if attribute is None or attribute.form not in (Form.AXIS, Form.AXES):
            return given
        return self.axis_argument(frame, given, first)

    def axis_argument(self, frame: Frame, given: Given, first: object) -> Given:
        """An argument that means axes, with dimension names resolved against the tensor `first`."""
        expression = given.expression
        if expression is None or not isinstance(first, Tensor) or not names_dimension(frame, expression):
            return given
        if isinstance(expression, syntax.Name):
            return Given(resolve_axis(frame, first, expression), given.span)
        assert isinstance(expression, syntax.ListExpr | syntax.TupleExpr)
        axes = [
            resolve_axis(frame, first, item)
            if isinstance(item, syntax.Name) and item.id in frame.dims
            else self.context.evaluate(frame, item)
            for item in expression.items
        ]
        return Given(tuple(axes), given.span)


def given_twice(name: str, owner: str, first: Span, second: Span) -> SpecError:
    """The error of an argument that is given twice."""
    return SpecError(
        Diagnostic("DL0205", f"`{name}` of `{owner}` is given twice", second, labels=(Label(first, "first given here"),))
    )


def _takes_lists(card: Card | Sugar) -> bool:
    return bool(card.operands) and card.operands[0].variadic
