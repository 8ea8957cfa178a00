"""Expressions: each evaluates to a static value, a tensor, or something that can be applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame, no_member, unknown_name
from dsl.elaborate.patterns import matching
from dsl.elaborate.statics import STATIC_FUNCTIONS
from dsl.elaborate.target_rules import TARGET_RULES
from dsl.elaborate.values import (
    GRADIENT,
    TRAINING,
    UNFLATTEN,
    Function,
    InitializerFunction,
    Instance,
    Layer,
    LayerType,
    ParameterSet,
    Poison,
    RepeatLayer,
    Results,
    Tensor,
    describe,
)
from dsl.limits import limits, raising
from dsl.loader import Unit, library_definition, library_index
from dsl.ops.registry import CARDS
from dsl.ops.sugar import SUGARS
from dsl.source import Span
from dsl.types import DType

SUGAR = {s.name: s for s in SUGARS}
INITIALIZERS = {
    "constant": InitializerFunction("constant", (("value", None),)),
    "normal": InitializerFunction("normal", (("mean", 0.0), ("std", 1.0))),
    "truncated_normal": InitializerFunction("truncated_normal", (("mean", 0.0), ("std", 1.0), ("low", -2.0), ("high", 2.0))),
    "uniform": InitializerFunction("uniform", (("low", None), ("high", None))),
    "orthogonal": InitializerFunction("orthogonal", (("gain", 1.0),)),
    "identity": InitializerFunction("identity", (("gain", 1.0),)),
    "blocks": InitializerFunction("blocks", (("values", None),)),
}
DTYPES = {str(d): d for d in DType}


class Overloaded:
    """A name that is a static function on static values and a primitive on tensors: `max`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


class Evaluator:
    def __init__(self, context: Context) -> None:
        self.context = context
        self._globals: dict[tuple[Unit, str], object | None] = {}
        self._handlers: dict[type, Callable[[Frame, syntax.Expr], object]] = {
            syntax.Name: self._name,
            syntax.Literal: lambda frame, e: e.value,  # type: ignore[union-attr]
            syntax.ListExpr: self._items,
            syntax.TupleExpr: self._items,
            syntax.Comprehension: self._comprehension,
            syntax.Call: self._call,
            syntax.Member: self._member,
            syntax.Index: self._index,
            syntax.Unary: context.operators.unary,
            syntax.Binary: context.operators.binary,
            syntax.Comparison: context.operators.comparison,
            syntax.Conditional: context.operators.conditional,
            syntax.Pipe: self._pipe,
            syntax.Repeat: self._repeat,
            syntax.TypeExpr: self._type,
            syntax.NamePattern: self._name_pattern,
            syntax.With: self._out_of_place,
            syntax.WithFunction: self._out_of_place,
            syntax.CopyOf: self._out_of_place,
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
        key = (frame.unit, expression.id)
        found = self._globals[key] if key in self._globals else self._globals.setdefault(key, self.global_name(*key))
        if found is None and expression.id in frame.one_sided:
            raise self._one_sided(frame, expression)
        if found is None and expression.id in frame.inside:
            label = Label(frame.inside[expression.id], "bound in the body of a loop")
            message = f"`{expression.id}` is not defined after the loop"
            raise SpecError(Diagnostic("DL0201", message, expression.span, labels=(label,), help="carry it, or `emit` it"))
        if found is None:
            raise self._unknown(frame, expression.id, expression.span)
        return found

    def _one_sided(self, frame: Frame, expression: syntax.Name) -> SpecError:
        label = Label(frame.one_sided[expression.id], "one branch binds it, the other does not")
        message = f"`{expression.id}` is not defined after this `if training`"
        help = "bind it in both branches, or before"
        return SpecError(Diagnostic("DL0201", message, expression.span, labels=(label,), help=help))

    def global_name(self, unit: Unit, name: str) -> object | None:
        """What a name means outside any definition: the unit's own, the library's, or built in."""
        if name in unit.modules:
            return unit.modules[name]
        found = unit.names.get(name) or library_definition(name)
        if found is not None:
            return self.defined(*found)
        if name == "training":
            return TRAINING
        if name == "grad":
            return GRADIENT
        if name == "unflatten":
            return UNFLATTEN
        if name in CARDS:
            return Overloaded(name) if name in STATIC_FUNCTIONS else CARDS[name]
        if name in SUGAR:
            return SUGAR[name]
        if name == "float":
            return self.context.float_type
        if name in STATIC_FUNCTIONS:
            return DType.I64 if name == "int" else STATIC_FUNCTIONS[name]
        return INITIALIZERS.get(name) or DTYPES.get(name) or TARGET_RULES.get(name)

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
        functions = [*CARDS, *SUGAR, *STATIC_FUNCTIONS, *INITIALIZERS, *DTYPES, *TARGET_RULES, *library_index()]
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

    def only(self, results: Results, span: Span) -> Tensor | tuple[Tensor, ...]:
        """The one result, a tensor or a list."""
        parts = results.parts()
        if len(parts) != 1:
            raise error("DL0405", f"one tensor is needed here, and this gives {len(parts)}: {', '.join(parts)}", span)
        return next(iter(parts.values()))

    def _comprehension(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Comprehension)
        saved = dict(frame.names)
        items: list[object] = []
        for item in self.iterable(frame, expression.iterable):
            self.context.executor.bind_pattern(frame, expression.pattern, item, expression.span)
            if expression.condition is None or self.context.operators.truth(frame, expression.condition):
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
        self.context.rounds += len(value)
        if self.context.rounds > limits().rounds:
            message = f"the `for` loops of this model have more than {limits().rounds:,} rounds together"
            raise error("DL0602", message, expression.span, help=raising("rounds"))
        return iter(value)

    # --- application ---

    def _call(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Call)
        function = not_poison(self.evaluate(frame, expression.function))
        return self.context.applier.call(frame, function, expression.arguments, (), expression.span)

    def _pipe(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Pipe)
        value = self.evaluate(frame, expression.source)
        if isinstance(value, Results) and len(value.parts()) == 1:
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
        if not 0 <= count <= limits().copies:
            help = raising("copies") if count > 0 else None
            raise error("DL0603", f"`repeat` makes 0 to {limits().copies} copies, not {count}", expression.count.span, help=help)
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

    def _name_pattern(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.NamePattern)
        parameters = self.evaluate(frame, expression.object) if expression.object is not None else None
        if not isinstance(parameters, ParameterSet):
            message = "a name pattern stands after `net.params`, or after `over` or `for` in a `minimize`"
            raise error("DL0534", message, expression.span)
        return matching(parameters, expression.pattern, expression.span)

    def _out_of_place(self, frame: Frame, expression: syntax.Expr) -> object:
        raise error("DL0529", "this declares a layer: `layer name = ...`", expression.span)

    # --- members and indices ---

    def _member(self, frame: Frame, expression: syntax.Expr) -> object:
        assert isinstance(expression, syntax.Member)
        value = not_poison(self.evaluate(frame, expression.object))
        name = expression.name
        match value:
            case Unit():
                found = value.names.get(name)
                if found is None:
                    raise no_member(f"`{expression.object.span.text}`", "defines", name, expression.name_span, list(value.names))
                return self.defined(*found)
            case Instance() if name == "params":
                value.used = True
                return self.context.gradients.parameters(frame, value, expression.span)
            case Instance():
                return self.context.applier.instance_member(frame, value, name, expression)
            case Layer():
                return self.context.applier.layer_member(value, name, expression)
            case Results() if name in value.parts():
                return value.parts()[name]
            case Results() if len(value.parts()) > 1 or value.lists:
                raise no_member("this", "gives", name, expression.name_span, list(value.parts()))
            case Results(tensors):
                return self._tensor_member(frame, next(iter(tensors.values())), expression)
            case Tensor():
                return self._tensor_member(frame, value, expression)
            case tuple() if name == "rank" and _depth(value) is not None:
                return _depth(value)
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
                raise no_member("a tensor", "has", name, expression.name_span, ["T", "shape", "rank", "dtype"])

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


def _depth(value: object) -> int | None:
    """The rank of the table that a number or a list of numbers is; none for other lists."""
    if isinstance(value, bool | int | float):
        return 0
    if not isinstance(value, tuple) or not value:
        return None
    below = {_depth(v) for v in value}
    inner = below.pop()
    return inner + 1 if inner is not None and not below else None
