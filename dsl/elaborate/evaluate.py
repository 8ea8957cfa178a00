"""Expressions: each evaluates to a static value, a tensor, or something that can be applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dsl import syntax
from dsl.build import describe_static, numpy_dtype
from dsl.diagnostics import SpecError
from dsl.dims import Dim, Expr, dim_le, dims_differ, dims_equal
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame, tensor, unknown_name
from dsl.elaborate.statics import STATIC_FUNCTIONS, StaticError, arithmetic, is_number, is_size
from dsl.elaborate.values import (
    TRAINING,
    Condition,
    Function,
    InitializerFunction,
    Instance,
    Layer,
    LayerType,
    Poison,
    RepeatLayer,
    Results,
    Tensor,
    Training,
    as_dims,
    describe,
)
from dsl.ir import Constraint, Value
from dsl.loader import Unit, library_definition, library_index
from dsl.ops.registry import CARDS
from dsl.ops.sugar import SUGARS
from dsl.source import Span
from dsl.types import DType, TensorType

SUGAR = {s.name: s for s in SUGARS}
INITIALIZERS = {
    "constant": InitializerFunction("constant", (("value", None),)),
    "normal": InitializerFunction("normal", (("mean", 0.0), ("std", 1.0))),
    "truncated_normal": InitializerFunction("truncated_normal", (("mean", 0.0), ("std", 1.0), ("low", -2.0), ("high", 2.0))),
    "uniform": InitializerFunction("uniform", (("low", None), ("high", None))),
    "orthogonal": InitializerFunction("orthogonal", (("gain", 1.0),)),
    "identity": InitializerFunction("identity", (("gain", 1.0),)),
}
DTYPES = {str(d): d for d in DType}
OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_divide", "%": "remainder", "**": "pow", "@": "matmul",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "and": "logical_and", "or": "logical_or",
}  # fmt: skip


class Overloaded:
    """A name that is a static function on static values and a primitive on tensors: `max`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Evaluator:
    def __init__(self, context: Context) -> None:
        self.context = context
        self._handlers: dict[type, Callable[[Frame, syntax.Expr], object]] = {
            syntax.Name: self._name,
            syntax.Literal: lambda frame, e: e.value,  # type: ignore[union-attr]
            syntax.ListExpr: self._items,
            syntax.TupleExpr: self._items,
            syntax.Comprehension: self._comprehension,
            syntax.Call: self._call,
            syntax.Member: self._member,
            syntax.Index: self._index,
            syntax.Unary: self._unary,
            syntax.Binary: self._binary,
            syntax.Comparison: self._comparison,
            syntax.Conditional: self._conditional,
            syntax.Pipe: self._pipe,
            syntax.Repeat: self._repeat,
            syntax.TypeExpr: self._type,
        }

    def evaluate(self, frame: Frame, expression: syntax.Expr) -> object:
        """The value of an expression; SpecError, empty where the cause has been reported already."""
        return self._handlers[type(expression)](frame, expression)

    # --- names and literals ---

    def _name(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Name)
        binding = frame.lookup(expression.id)
        if binding is not None:
            if isinstance(binding.value, Poison):
                raise SpecError(())
            return binding.value
        found = self.global_name(frame.unit, expression.id)
        if found is None:
            raise self._unknown(frame, expression.id, expression.span)
        return found

    def global_name(self, unit: Unit, name: str) -> object | None:
        """What a name means outside any definition: the unit's own, the library's, or built in."""
        if name in unit.modules:
            return unit.modules[name]
        found = unit.names.get(name) or library_definition(name)
        if found is not None:
            return self.defined(*found)
        if name == "training":
            return TRAINING
        if name in CARDS:
            return Overloaded(name) if name in STATIC_FUNCTIONS else CARDS[name]
        if name in SUGAR:
            return SUGAR[name]
        if name == "float":
            return self.context.float_type
        if name in STATIC_FUNCTIONS:
            return DType.I64 if name == "int" else STATIC_FUNCTIONS[name]
        return INITIALIZERS.get(name) or DTYPES.get(name)

    def defined(self, definition: syntax.Definition, unit: Unit) -> object:
        match definition:
            case syntax.Module():
                return LayerType(definition, unit)
            case syntax.Function():
                return Function(definition, unit)
            case syntax.Const():
                return self.context.executor.constant(definition, unit)
            case _:
                return None

    def _unknown(self, frame: Frame, name: str, span: Span) -> SpecError:
        functions = [*CARDS, *SUGAR, *STATIC_FUNCTIONS, *INITIALIZERS, *DTYPES, *library_index()]
        if name[:1].isupper():
            lowered = name.lower()
            same = next((f for f in functions if f.replace("_", "") == lowered), None)
            if same is not None:
                return error("DL0202", f"unknown layer `{name}`", span, help=f"did you mean the function `{same}`?")
        else:
            same = next(
                (f for f in [*frame.unit.names, *library_index()] if f[:1].isupper() and f.lower() == name.replace("_", "")), None
            )
            if same is not None:
                return error("DL0202", f"unknown function `{name}`", span, help=f"did you mean the layer `{same}`?")
        return unknown_name(name, span, [*frame.visible(), *functions])

    def _items(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.ListExpr | syntax.TupleExpr)
        return tuple([self.single(frame, item) for item in expression.items])

    def single(self, frame: Frame, expression: syntax.Expr) -> object:
        """A value where one is meant: the results of a layer with one output are that output."""
        value = self.evaluate(frame, expression)
        if isinstance(value, Results):
            return self.only(value, expression.span)
        return value

    def only(self, results: Results, span: Span) -> Tensor:
        if len(results.tensors) != 1:
            names = ", ".join(results.tensors)
            raise error("DL0405", f"one tensor is needed here, and this gives {len(results.tensors)}: {names}", span)
        return next(iter(results.tensors.values()))

    def _comprehension(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Comprehension)
        saved = dict(frame.names)
        items: list[object] = []
        for item in self.iterable(frame, expression.iterable):
            self.context.executor.bind_pattern(frame, expression.pattern, item, expression.span)
            if expression.condition is None or self.truth(frame, expression.condition):
                items.append(self.single(frame, expression.element))
        frame.names = saved
        return tuple(items)

    def iterable(self, frame: Frame, expression: syntax.Expr) -> Iterator[object]:
        value = self.evaluate(frame, expression)
        if not isinstance(value, tuple):
            raise error(
                "DL0406",
                f"`for` goes over lists and ranges that are known when the graph is made, not {describe(value)}",
                expression.span,
                help="use a tensor operation over the axis" if isinstance(value, Tensor | Results) else None,
            )
        return iter(value)

    # --- application ---

    def _call(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Call)
        function = not_poison(self.evaluate(frame, expression.function))
        return self.context.applier.call(frame, function, expression.arguments, (), expression.span)

    def _pipe(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Pipe)
        value = self.evaluate(frame, expression.source)
        if isinstance(value, Results) and len(value.tensors) == 1:
            value = self.only(value, expression.source.span)
        for stage in expression.stages:
            value = self.context.applier.stage(frame, value, stage)
        return value

    def _repeat(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Repeat)
        count = self.evaluate(frame, expression.count)
        if not isinstance(count, int) or isinstance(count, bool):
            raise error(
                "DL0407",
                f"`repeat` takes an integer that is known when the graph is made, not {describe(count)}",
                expression.count.span,
            )
        if not 0 <= count <= 1_000_000:
            raise error("DL0603", f"`repeat` makes 0 to 1000000 copies, not {count}", expression.count.span)
        return RepeatLayer(count, expression.body, expression.span)

    def _type(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.TypeExpr)
        if not frame.in_test or expression.dims is None:
            raise error(
                "DL0408",
                f"the type `{expression.name}[...]` stands for an example input, which only a `test` has",
                expression.span,
            )
        return self.context.roots.example(frame, expression)

    # --- members and indices ---

    def _member(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Member)
        value = not_poison(self.evaluate(frame, expression.object))
        name = expression.name
        match value:
            case Unit():
                found = value.names.get(name)
                if found is None:
                    raise unknown_name(name, expression.name_span, list(value.names))
                return self.defined(*found)
            case Instance():
                return self.context.applier.instance_member(frame, value, name, expression)
            case Layer():
                return self.context.applier.layer_member(value, name, expression)
            case Results() if name in value.tensors:
                return value.tensors[name]
            case Results() if len(value.tensors) > 1:
                raise unknown_name(name, expression.name_span, list(value.tensors))
            case Results():
                return self._tensor_member(frame, self.only(value, expression.span), expression)
            case Tensor():
                return self._tensor_member(frame, value, expression)
            case _:
                raise error("DL0207", f"{describe(value)} has no member `{name}`", expression.name_span)

    def _tensor_member(self, frame: Frame, value: Tensor, expression: syntax.Member) -> object:
        match expression.name:
            case "T":
                return self.context.applier.sugar(frame, SUGAR["matrix_transpose"], [value], {}, expression.span)
            case "shape":
                return frame.type(value).shape
            case "rank":
                return frame.type(value).rank
            case "dtype":
                return frame.type(value).dtype
            case name:
                raise unknown_name(name, expression.name_span, ["T", "shape", "rank", "dtype"])

    def _index(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Index)
        value = not_poison(self.single(frame, expression.object))
        if isinstance(value, Tensor):
            return self.context.applier.index(frame, value, expression)
        if isinstance(value, tuple | str) and len(expression.items) == 1:
            return self._list_item(frame, value, expression.items[0], expression)
        raise error("DL0409", f"{describe(value)} has no items", expression.span)

    def _list_item(self, frame: Frame, value: tuple[object, ...] | str, item: object, expression: syntax.Index) -> object:
        if isinstance(item, syntax.Slice):
            bounds = [self._bound(frame, b) for b in (item.start, item.stop, item.step)]
            if bounds[2] == 0:
                raise error("DL0402", "the step of a slice is not zero", item.span)
            return value[slice(*bounds)]
        assert not isinstance(item, syntax.Ellipsis)
        index = self._bound(frame, item)  # type: ignore[arg-type]
        if index is None or not -len(value) <= index < len(value):
            raise error("DL0410", f"there is no item {index} in a list of {len(value)}", expression.span)
        return value[index]

    def _bound(self, frame: Frame, expression: syntax.Expr | None) -> int | None:
        if expression is None:
            return None
        value = self.evaluate(frame, expression)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise error("DL0401", f"an index of a list is an integer, not {describe(value)}", expression.span)
        return value

    # --- operators ---

    def _unary(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Unary)
        if expression.operator == "not":
            return self._negation(frame, expression)
        value = not_poison(self.single(frame, expression.operand))
        if isinstance(value, Tensor):
            return value if expression.operator == "+" else self.primitive(frame, "neg", [value], expression.span)
        if is_number(value) or isinstance(value, Expr):
            return -value if expression.operator == "-" else value  # type: ignore[operator]
        raise error("DL0404", f"`{expression.operator}` does not apply to {describe(value)}", expression.span)

    def _negation(self, frame: Frame, expression: syntax.Unary) -> object:
        value = not_poison(self.single(frame, expression.operand))
        if isinstance(value, Tensor):
            return self.primitive(frame, "logical_not", [value], expression.span)
        if isinstance(value, bool):
            return not value
        raise error("DL0404", f"`not` takes a truth value, not {describe(value)}", expression.operand.span)

    def _binary(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Binary)
        operator = expression.operator
        left = not_poison(self.single(frame, expression.left))
        if operator in ("and", "or") and not isinstance(left, Tensor):
            return self._logic(frame, expression, left)
        right = not_poison(self.single(frame, expression.right))
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
            return not_poison(self.single(frame, expression.right))
        right = not_poison(self.single(frame, expression.right))
        if isinstance(left, Condition) and expression.operator == "and":
            if isinstance(right, bool):
                return left if right else False
            if isinstance(right, Condition):
                return Condition(left.constraints + right.constraints)
        raise error(
            "DL0404", f"`{expression.operator}` does not apply to {describe(left)} and {describe(right)}", expression.span
        )

    def _comparison(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Comparison)
        values = [not_poison(self.single(frame, e)) for e in expression.operands]
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

    def _conditional(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Conditional)
        if isinstance(self._condition_value(frame, expression.condition), Training):
            branches = [self.single(frame, expression.then), self.single(frame, expression.otherwise)]
            return self.primitive(frame, "if_training", branches, expression.span)
        chosen = expression.then if self.truth(frame, expression.condition) else expression.otherwise
        return self.evaluate(frame, chosen)

    def _condition_value(self, frame: Frame, expression: syntax.Expr) -> object:
        return self.evaluate(frame, expression) if isinstance(expression, syntax.Name) and expression.id == "training" else None

    def truth(self, frame: Frame, expression: syntax.Expr) -> bool:
        """A condition that has to be decided now."""
        value = not_poison(self.single(frame, expression))
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

    # --- tensors out of static values ---

    def primitive(self, frame: Frame, op: str, operands: list[object], span: Span, spans: tuple[Span, ...] = ()) -> Tensor:
        """Apply a primitive with one result to values, turning static ones into tensors."""
        return self.context.applier.primitive(frame, op, operands, {}, span, spans)[0]

    def as_tensor(self, frame: Frame, value: object, span: Span, like: TensorType | None = None) -> Tensor:
        """A tensor of a static value: a number takes the element type of `like`, a list that of its items."""
        match value:
            case Tensor():
                return value
            case Results():
                return self.only(value, span)
            case bool():
                return tensor(frame.builder.scalar(value, DType.BOOL), 0)
            case int() | float():
                return tensor(self._scalar(frame, value, span, like), 0)
            case Expr():
                dtype = like.dtype if like is not None and like.dtype is not DType.BOOL else DType.I64
                return tensor(frame.builder.size(value, dtype), 0)
            case tuple():
                return self._list_tensor(frame, value, span, like)
            case Condition():
                raise error("DL0412", "a condition on symbolic dimensions is not a tensor", span)
            case _:
                raise error("DL0404", f"a tensor is needed here, not {describe(value)}", span)

    def _scalar(self, frame: Frame, value: float, span: Span, like: TensorType | None) -> Value:
        if like is None or like.dtype is DType.BOOL:
            dtype = DType.I64 if isinstance(value, int) else frame.builder.float_type
        else:
            dtype = like.dtype
        if dtype.is_int:
            if isinstance(value, float):
                raise error(
                    "DL0414",
                    f"the number {value:g} does not go with an integer tensor ({dtype})",
                    span,
                    help="cast the tensor: `cast(x, float)`",
                )
            info = np.iinfo(numpy_dtype(dtype))
            if not info.min <= value <= info.max:
                raise error("DL0415", f"{describe_static(value)} does not fit into {dtype}", span)
        elif abs(value) > _LARGEST[dtype] and abs(value) != float("inf"):
            raise error("DL0415", f"{describe_static(value)} does not fit into {dtype}", span)
        return frame.builder.scalar(value, dtype)

    def _list_tensor(self, frame: Frame, value: tuple[object, ...], span: Span, like: TensorType | None) -> Tensor:
        flat = list(_leaves(value))
        if any(not (is_number(v) or isinstance(v, bool)) for v in flat):
            raise error("DL0404", "a list that stands for a tensor holds numbers only", span, help="use `stack` to join tensors")
        if all(isinstance(v, bool) for v in flat) and flat:
            dtype = DType.BOOL
        elif all(isinstance(v, int) for v in flat) and flat:
            dtype = like.dtype if like is not None and like.dtype is not DType.BOOL else DType.I64
        else:
            dtype = like.dtype if like is not None and like.dtype.is_float else frame.builder.float_type
        try:
            array = np.array(value, dtype=numpy_dtype(dtype))
        except (ValueError, OverflowError):
            raise error("DL0416", "the rows of a list that stands for a tensor have one length", span) from None
        return tensor(frame.builder.constant(array), array.ndim)


_PYTHON: dict[str, Callable[[object, object], bool]] = {
    "==": lambda a, b: a == b and isinstance(a, bool) == isinstance(b, bool),
    "!=": lambda a, b: a != b,
    "<": lambda a, b: bool(a < b),  # type: ignore[operator]
    "<=": lambda a, b: bool(a <= b),  # type: ignore[operator]
    ">": lambda a, b: bool(a > b),  # type: ignore[operator]
    ">=": lambda a, b: bool(a >= b),  # type: ignore[operator]
}
_LARGEST = {DType.F16: 65504.0, DType.BF16: 3.38e38, DType.F32: 3.4028234663852886e38, DType.F64: float("inf")}


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


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
