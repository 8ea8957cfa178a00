"""Operators and conditions: on static values they are computed, on tensors they are primitives."""

from __future__ import annotations

from collections.abc import Callable

from dsl import syntax
from dsl.dims import Dim, Expr, dim_le, dims_differ, dims_equal
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame
from dsl.elaborate.statics import StaticError, arithmetic, is_number, is_size
from dsl.elaborate.values import (
    Condition,
    ParameterSet,
    Tensor,
    Training,
    as_dims,
    describe,
)
from dsl.ir import Constraint
from dsl.source import Span

OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_divide", "%": "remainder", "**": "pow", "@": "matmul",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "and": "logical_and", "or": "logical_or",
}  # fmt: skip


class Operators:
    def __init__(self, context: Context) -> None:
        self.context = context

    def unary(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Unary)
        if expression.operator == "not":
            return self._negation(frame, expression)
        value = not_poison(self.context.evaluator.single(frame, expression.operand))
        if isinstance(value, ParameterSet) and expression.operator == "-":
            return self.context.gradients.mapped(
                [value], expression.span, lambda v: self.primitive(frame, "neg", list(v), expression.span)
            )
        if isinstance(value, Tensor):
            return value if expression.operator == "+" else self.primitive(frame, "neg", [value], expression.span)
        if is_number(value) or isinstance(value, Expr):
            return -value if expression.operator == "-" else value  # type: ignore[operator]
        raise error("DL0404", f"`{expression.operator}` does not apply to {describe(value)}", expression.span)

    def _negation(self, frame: Frame, expression: syntax.Unary) -> object:
        value = not_poison(self.context.evaluator.single(frame, expression.operand))
        if isinstance(value, Tensor):
            return self.primitive(frame, "logical_not", [value], expression.span)
        if isinstance(value, bool):
            return not value
        raise error("DL0404", f"`not` takes a truth value, not {describe(value)}", expression.operand.span)

    def binary(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Binary)
        operator = expression.operator
        left = not_poison(self.context.evaluator.single(frame, expression.left))
        if operator in ("and", "or") and not isinstance(left, Tensor):
            return self._logic(frame, expression, left)
        right = not_poison(self.context.evaluator.single(frame, expression.right))
        if isinstance(left, ParameterSet) or isinstance(right, ParameterSet):
            return self.context.gradients.mapped(
                [left, right], expression.span, lambda v: self.primitive(frame, OPERATORS[operator], list(v), expression.span)
            )
        if not isinstance(left, Tensor) and not isinstance(right, Tensor):
            result = self._static_arithmetic(expression, left, right)
            if result is not NotImplemented:
                return result
            if not _mixes_sizes(left, right):
                raise error("DL0404", f"`{operator}` does not apply to {describe(left)} and {describe(right)}", expression.span)
        return self.primitive(
            frame, OPERATORS[operator], [left, right], expression.span, (expression.left.span, expression.right.span)
        )

    def _static_arithmetic(self, expression: syntax.Binary, left: object, right: object) -> object:
        try:
            return arithmetic(expression.operator, left, right)
        except StaticError as problem:
            raise error("DL0411", str(problem), expression.span) from None

    def _logic(self, frame: Frame, expression: syntax.Binary, left: object) -> object:
        if isinstance(left, bool):
            if left is (expression.operator == "or"):
                return left
            return not_poison(self.context.evaluator.single(frame, expression.right))
        right = not_poison(self.context.evaluator.single(frame, expression.right))
        if isinstance(left, Condition) and expression.operator == "and":
            if isinstance(right, bool):
                return left if right else False
            if isinstance(right, Condition):
                return Condition(left.constraints + right.constraints)
        raise error(
            "DL0404", f"`{expression.operator}` does not apply to {describe(left)} and {describe(right)}", expression.span
        )

    def comparison(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Comparison)
        values = [not_poison(self.context.evaluator.single(frame, e)) for e in expression.operands]
        result: object = True
        for i, operator in enumerate(expression.operators):
            spans = (expression.operands[i].span, expression.operands[i + 1].span)
            part = self._compare(frame, operator, values[i], values[i + 1], expression.span, spans)
            if part is False:
                return False
            if result is True:
                result = part
            elif isinstance(result, Condition) and isinstance(part, Condition):
                result = Condition(result.constraints + part.constraints)
            elif part is not True:
                result = self.primitive(frame, "logical_and", [result, part], expression.span)
        return result

    def _compare(self, frame: Frame, operator: str, a: object, b: object, span: Span, spans: tuple[Span, Span]) -> object:
        if operator in ("in", "not in"):
            if not isinstance(b, tuple | str):
                raise error("DL0404", f"`{operator}` looks into a list, not {describe(b)}", span)
            return (a in b) == (operator == "in")
        if (a is None or b is None) and operator in ("==", "!="):
            return (a is b) == (operator == "==")
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            return self.primitive(frame, OPERATORS[operator], [a, b], span, spans)
        if is_size(a) and is_size(b) and (isinstance(a, Expr) or isinstance(b, Expr)):
            return compare_sizes(operator, a, b, span)  # type: ignore[arg-type]
        dims_a, dims_b = as_dims(a), as_dims(b)
        if dims_a is not None and dims_b is not None and operator == "==" and len(dims_a) == len(dims_b):
            parts = [compare_sizes("==", x, y, span) for x, y in zip(dims_a, dims_b, strict=True)]
            undecided = tuple(c for p in parts if isinstance(p, Condition) for c in p.constraints)
            return False if False in parts else Condition(undecided) if undecided else True
        try:
            return _PYTHON[operator](a, b)
        except TypeError:
            raise error("DL0404", f"`{operator}` does not compare {describe(a)} and {describe(b)}", span) from None

    def conditional(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Conditional)
        if isinstance(self._condition_value(frame, expression.condition), Training):
            if frame.mode != "both":
                return self.context.evaluate(frame, expression.then if frame.mode == "training" else expression.otherwise)
            branches = [
                self.context.evaluator.single(frame, expression.then),
                self.context.evaluator.single(frame, expression.otherwise),
            ]
            return self.primitive(frame, "if_training", branches, expression.span)
        chosen = expression.then if self.truth(frame, expression.condition) else expression.otherwise
        return self.context.evaluate(frame, chosen)

    def _condition_value(self, frame: Frame, expression: syntax.Expr) -> object:
        return (
            self.context.evaluate(frame, expression)
            if isinstance(expression, syntax.Name) and expression.id == "training"
            else None
        )

    def truth(self, frame: Frame, expression: syntax.Expr) -> bool:
        """A condition that has to be decided now."""
        value = not_poison(self.context.evaluator.single(frame, expression))
        if isinstance(value, bool):
            return value
        if isinstance(value, Condition):
            raise error(
                "DL0412",
                "this condition depends on a symbolic dimension and cannot be decided when the graph is made",
                expression.span,
                help="give the dimension a number in the input's type, or state the condition with `require`",
            )
        if isinstance(value, Tensor):
            raise error(
                "DL0413",
                "`if` is decided when the graph is made, and this is a tensor",
                expression.span,
                help="use `where(condition, a, b)` to choose with the data",
            )
        raise error("DL0404", f"a condition is true or false, not {describe(value)}", expression.span)

    def primitive(self, frame: Frame, op: str, operands: list[object], span: Span, spans: tuple[Span, ...] = ()) -> Tensor:
        """Apply a primitive with one result to values, turning static ones into tensors."""
        return self.context.applier.primitive(frame, op, operands, {}, span, spans)[0]


_PYTHON: dict[str, Callable[[object, object], bool]] = {
    "==": lambda a, b: a == b and isinstance(a, bool) == isinstance(b, bool),
    "!=": lambda a, b: a != b,
    "<": lambda a, b: bool(a < b),  # type: ignore[operator]
    "<=": lambda a, b: bool(a <= b),  # type: ignore[operator]
    ">": lambda a, b: bool(a > b),  # type: ignore[operator]
    ">=": lambda a, b: bool(a >= b),  # type: ignore[operator]
}


def _mixes_sizes(a: object, b: object) -> bool:
    """Whether the two are a symbolic size and a number: then the result is a tensor."""
    return (isinstance(a, Expr) or is_number(a)) and (isinstance(b, Expr) or is_number(b))


def compare_sizes(operator: str, a: Dim, b: Dim, span: Span) -> object:
    """True or False where the algebra decides it, else a Condition."""
    equal, differ = dims_equal(a, b), dims_differ(a, b)
    decided: bool | None
    match operator:
        case "==":
            decided = True if equal else False if differ else None
        case "!=":
            decided = False if equal else True if differ else None
        case "<=":
            decided = dim_le(a, b)
        case ">=":
            decided = dim_le(b, a)
        case "<":
            decided = dim_le(a + 1, b)
        case _:
            decided = dim_le(b + 1, a)
    return decided if decided is not None else Condition((Constraint(a, operator, b, "", span),))
