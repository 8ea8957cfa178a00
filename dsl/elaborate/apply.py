"""Applications: what happens when something is called, or stands as a stage of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dsl import syntax
from dsl.build import checked_attributes
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.dims import dim_le, format_dim
from dsl.elaborate.axes import result_names
from dsl.elaborate.binding import Given
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.evaluate import Overloaded
from dsl.elaborate.familiar import reconciliation, suggested
from dsl.elaborate.frame import Frame, only_in_training, require, snake_case, tensor
from dsl.elaborate.index import index_tensor
from dsl.elaborate.initial import flat_numbers
from dsl.elaborate.statics import STATIC_FUNCTIONS, StaticError, StaticFunction
from dsl.elaborate.target_rules import TargetRule
from dsl.elaborate.values import (
    Function,
    Gradient,
    InitializerFunction,
    Instance,
    Layer,
    LayerType,
    Method,
    ParameterSet,
    RepeatLayer,
    Results,
    Tensor,
    Unflatten,
    describe,
    freeze,
    is_static,
)
from dsl.ir import Constraint, Initializer, Node, Value
from dsl.loader import library_definition
from dsl.ops.card import AttributeValue, Card, OpError
from dsl.ops.registry import CARDS
from dsl.ops.sugar import Sugar
from dsl.source import Span
from dsl.types import DType, TensorType, TypeMismatch


class Applier:
    def __init__(self, context: Context) -> None:
        self.context = context

    # --- dispatch ---

    def call(
        self, frame: Frame, function: object, arguments: Sequence[syntax.Argument], before: tuple[Given, ...], span: Span
    ) -> object:
        """Apply `function`. `before` are values that a pipeline puts in front of the written arguments."""
        given = self.evaluated(frame, arguments, before)
        if isinstance(function, Gradient):
            return self.context.gradients.grad(frame, given, span)
        if isinstance(function, Unflatten):
            return self.context.gradients.unflattened(frame, given, span)
        if any(isinstance(g.value, ParameterSet) for g in given):
            return self._on_sets(frame, function, given, span)
        return self._called(frame, function, given, before, span)

    def _on_sets(self, frame: Frame, function: object, given: tuple[Given, ...], span: Span) -> object:
        """A function of sets of parameters: of each, except `sum` and `flatten`, which are of all numbers together."""
        gradients = self.context.gradients
        if isinstance(function, Sugar) and function.name == "flatten" and len(given) == 1:
            assert isinstance(given[0].value, ParameterSet)
            return gradients.flattened(frame, given[0].value, span)
        if isinstance(function, Overloaded) and function.name == "sum" and len(given) == 1:
            assert isinstance(given[0].value, ParameterSet)
            return gradients.total(frame, given[0].value, span)
        if not isinstance(function, Card | Overloaded | Function | Sugar):
            raise error("DL0528", f"{describe(function)} does not apply to a set of parameters", span)

        def apply(values: tuple[object, ...]) -> object:
            single = tuple(replace(g, value=v) for g, v in zip(given, values, strict=True))
            return self._called(frame, function, single, (), span)

        return gradients.mapped([g.value for g in given], span, apply)

    def _called(self, frame: Frame, function: object, given: tuple[Given, ...], before: tuple[Given, ...], span: Span) -> object:
        if frame.functions:
            replaced = CARDS[function.name] if isinstance(function, Overloaded) else function
            if freeze(replaced) in frame.functions and not all(is_static(g.value) for g in given):
                return self._replaced(frame, replaced, given, before, span)
        match function:
            case Overloaded() if self._is_static_call(function, given):
                return self._static(STATIC_FUNCTIONS[function.name], given, span)
            case Overloaded():
                return self._card(frame, CARDS[function.name], given, span)
            case Card():
                return self._card(frame, function, given, span)
            case Sugar() if self.context.initializing and function.name in ("zeros", "ones"):
                return Initializer("constant", {"value": float(function.name == "ones")})
            case Sugar():
                return self._sugar(frame, function, given, span)
            case StaticFunction():
                return self._static(function, given, span)
            case Function():
                return self.context.functions.call(frame, function, given, span)
            case InitializerFunction():
                return self.initializer(function, given, span)
            case Initializer():
                return function
            case LayerType() if before:
                raise error("DL0208", f"`{function.definition.name}` needs its hyper-parameters first", span)
            case LayerType():
                return Layer(function, self.context.instantiator.hyper(frame, function, given, span), span)
            case Layer():
                return self.apply(frame, self.place(frame, function, None, span), "forward", given, span)
            case Instance():
                return self.apply(frame, function, "forward", given, span)
            case Method():
                owner = function.instance
                instance = owner if isinstance(owner, Instance) else self.place(frame, owner, None, span)
                return self.apply(frame, instance, function.entry, given, span)
            case DType() if len(given) == 1:
                return self._cast(frame, function, given[0], span)
            case RepeatLayer():
                return self.apply(frame, self.place(frame, function, None, span), "forward", given, span)
            case TargetRule():
                raise error("DL0209", f"the optimiser `{function.name}` stands after `using` in a `minimize`", span)
            case _:
                raise error("DL0209", f"{describe(function)} cannot be applied", span, help=hidden_function(frame, function))

    def _replaced(
        self, frame: Frame, function: object, given: tuple[Given, ...], before: tuple[Given, ...], span: Span
    ) -> object:
        """What an application put in the place of `function` (`net with relu = guided_relu`), in whose body names mean what they say."""
        functions = frame.functions
        frame.functions = {}
        try:
            return self._called(frame, functions[freeze(function)], given, before, span)
        finally:
            frame.functions = functions

    def _is_static_call(self, function: Overloaded, given: tuple[Given, ...]) -> bool:
        """`max(a, b)` of numbers is a number; `exp([0.0, 1.0])`, and anything with a tensor or a named argument, is the primitive."""
        listed = CARDS[function.name].elementwise and any(isinstance(g.value, tuple) for g in given)
        return not listed and all(is_static(g.value) and g.name is None for g in given)

    def stage(self, frame: Frame, value: object, stage: syntax.Stage) -> object:
        """One step of a pipeline: place the layer if it is one, and apply it to `value`."""
        target = stage.target
        before = (Given(not_poison(value), stage.span),)
        if isinstance(target, syntax.Call):
            function = not_poison(self.context.evaluate(frame, target.function))
            if isinstance(function, LayerType):
                given = self.evaluated(frame, target.arguments, ())
                layer = Layer(function, self.context.instantiator.hyper(frame, function, given, target.span), target.span)
                return self._apply_placed(frame, layer, stage, before)
            if isinstance(function, Layer):
                return self._apply_placed(frame, function, stage, (*before, *self.evaluated(frame, target.arguments, ())))
            result = self.call(frame, function, target.arguments, before, target.span)
        else:
            function = not_poison(self.context.evaluate(frame, target))
            if isinstance(function, LayerType):
                function = Layer(function, self.context.instantiator.hyper(frame, function, (), target.span), target.span)
            if isinstance(function, Layer | RepeatLayer):
                return self._apply_placed(frame, function, stage, before)
            result = self.call(frame, function, (), before, target.span)
        if stage.label is not None and isinstance(result, Tensor):
            frame.graph.set_name(result.value, stage.label)
        return result

    def _apply_placed(self, frame: Frame, layer: Layer | RepeatLayer, stage: syntax.Stage, given: tuple[Given, ...]) -> object:
        instance = self.place(frame, layer, stage.label, stage.span)
        results = self.apply(frame, instance, "forward", given, stage.target.span)
        return next(iter(results.tensors.values())) if len(results.tensors) == 1 and not results.lists else results

    def place(self, frame: Frame, layer: Layer | RepeatLayer, label: str | None, span: Span) -> Instance:
        """Make `layer` an owned layer of the graph, under its label or the name of its type."""
        wanted = label or (snake_case(layer.type.definition.name) if isinstance(layer, Layer) else "repeat")
        return Instance(frame.child_name(wanted, span, labelled=label is not None), layer, span)

    def apply(self, frame: Frame, instance: Instance, entry: str, given: Sequence[Given], span: Span) -> Results:
        """Apply an owned layer to tensors; its parameters are those of its earlier applications."""
        instance.used = True
        return self.context.instantiator.apply(frame, instance, entry, given, span)

    def evaluated(self, frame: Frame, arguments: Sequence[syntax.Argument], before: tuple[Given, ...] = ()) -> tuple[Given, ...]:
        """Written arguments, evaluated, after those that a pipeline puts in front."""
        given = list(before)
        named = False
        seen: dict[str, Span] = {}
        for argument in arguments:
            if argument.name is None and named:
                raise error("DL0204", "a positional argument stands after a named one", argument.span)
            if argument.name is not None:
                named = True
                if argument.name in seen:
                    first = Label(seen[argument.name], "first given here")
                    raise SpecError(Diagnostic("DL0205", f"`{argument.name}` is given twice", argument.span, labels=(first,)))
                seen[argument.name] = argument.span
            value = not_poison(self.context.evaluator.single(frame, argument.value))
            given.append(Given(value, argument.value.span, argument.value, argument.name, argument.span))
        return tuple(given)

    # --- static functions and initialisers ---

    def _static(self, function: StaticFunction, given: tuple[Given, ...], span: Span) -> object:
        named = next((g for g in given if g.name is not None), None)
        if named is not None:
            raise error("DL0203", f"`{function.name}` takes no argument `{named.name}`", named.place)
        if not all(is_static(g.value) or (function.moves and isinstance(g.value, tuple)) for g in given):
            raise error("DL0404", f"`{function.name}` takes values that are known when the graph is made", span)
        try:
            return function.call(*(g.value for g in given))
        except StaticError as problem:
            raise error("DL0411", str(problem), span) from None
        except (TypeError, ValueError, OverflowError, ArithmeticError):
            shown = ", ".join(describe(g.value) for g in given) or "nothing"
            raise error("DL0411", f"`{function.name}` does not apply to {shown}", span) from None

    def initializer(self, function: InitializerFunction, given: Sequence[Given], span: Span) -> Initializer:
        """An initialiser with its numbers. Fans are for initialisers that depend on them: this one does not."""
        if function.kind == "blocks":
            return self._blocks(given, span)
        values: dict[str, float | None] = dict(function.defaults)
        order = [n for n, _ in function.defaults]
        for i, argument in enumerate(given):
            name = argument.name if argument.name is not None else order[i] if i < len(order) else None
            if name in ("fan_in", "fan_out"):
                continue
            if name not in values:
                near = suggested(name or "", order, {})
                help = f"did you mean `{near}`?" if near else f"it takes {' and '.join(f'`{n}`' for n in order)}"
                what = f"no argument `{name}`" if name is not None else f"{len(order)} arguments"
                raise error("DL0203", f"`{function.kind}` has {what}", argument.place, help=help)
            if not isinstance(argument.value, int | float) or isinstance(argument.value, bool):
                raise error("DL0401", f"`{name}` of `{function.kind}` is a number, not {describe(argument.value)}", argument.span)
            values[name] = float(argument.value)
        missing = [n for n, v in values.items() if v is None]
        if missing:
            raise error("DL0203", f"`{function.kind}` needs `{missing[0]}`", span)
        if values.get("std", 1.0) is not None and float(values.get("std") or 0.0) < 0:
            raise error("DL0402", f"`std` of `{function.kind}` is at least 0", span)
        return Initializer(function.kind, {n: float(v) for n, v in values.items() if v is not None})

    def _blocks(self, given: Sequence[Given], span: Span) -> Initializer:
        """A number for each of several equal parts along the first axis: `blocks([0, 1, 0, 0])` for four gates."""
        own = [g for g in given if g.name not in ("fan_in", "fan_out")]
        numbers = flat_numbers(own[0].value) if len(own) == 1 and own[0].name in (None, "values") else None
        if numbers is None or len(numbers[1]) != 1:
            raise error("DL0401", "`blocks` takes a list of numbers, one for each part", own[0].span if own else span)
        return Initializer("values", values=numbers[0])

    def _cast(self, frame: Frame, dtype: DType, given: Given, span: Span) -> object:
        if isinstance(given.value, Tensor):
            return self.primitive(frame, "cast", [given.value], {"dtype": dtype}, span)[0]
        return self._static(STATIC_FUNCTIONS["int"], (given,), span) if dtype.is_int else float(given.value)  # type: ignore[arg-type]

    # --- primitives ---

    def _card(self, frame: Frame, card: Card, given: tuple[Given, ...], span: Span) -> object:
        if card.name == "dropout":
            mode = frame.fixed
            asked = next((g for g in given if g.name == "training"), None)
            if asked is not None:
                if not isinstance(asked.value, bool):
                    raise error("DL0401", f"`training` is true or false, not {describe(asked.value)}", asked.span)
                given, mode = tuple(g for g in given if g is not asked), "training" if asked.value else "inference"
            if mode is not None:
                return self._dropout_in(frame, card, given, mode, span)
        operands, attributes = self.context.binder.bound(frame, card, given, span)
        spans = tuple(g.span for g in operands)
        blame = {name: g.span for name, g in attributes.items()}
        values: dict[str, AttributeValue] = {name: g.value for name, g in attributes.items()}  # type: ignore[misc]
        results = self.primitive(frame, card.name, [g.value for g in operands], values, span, spans, blame)
        return results[0] if len(results) == 1 and card.name != "split" else tuple(results)

    def _dropout_in(self, frame: Frame, card: Card, given: tuple[Given, ...], mode: str, span: Span) -> Tensor:
        """Dropout whose mode is settled: none, or a draw in every mode."""
        operands, attributes = self.context.binder.bound(frame, card, given, span)
        x = self.context.tensors.as_tensor(frame, operands[0].value, operands[0].span)
        values: dict[str, AttributeValue] = {name: g.value for name, g in attributes.items()}  # type: ignore[misc]
        checked = self.primitive(frame, "dropout", [x], values, span)[0]
        node = frame.graph.node(checked.value)
        frame.graph.remove([node])
        kept = 1.0 - float(node.attributes["rate"])  # type: ignore[arg-type]
        if mode == "inference":
            return x
        type_ = frame.type(x)
        chance = self.primitive(frame, "full", [], {"shape": type_.shape, "value": kept, "dtype": type_.dtype}, span)[0]
        mask = self.primitive(frame, "bernoulli", [chance], {}, span)[0]
        scaled = self.primitive(frame, "mul", [x, mask], {}, span)[0]
        return replace(self.primitive(frame, "div", [scaled, kept], {}, span)[0], names=x.names)

    def primitive(
        self,
        frame: Frame,
        op: str,
        operands: Sequence[object],
        attributes: Mapping[str, AttributeValue],
        span: Span,
        spans: tuple[Span, ...] = (),
        blame: dict[str, Span] | None = None,
    ) -> list[Tensor]:
        """Apply a primitive to values; static ones become tensors, numbers with the element type of the others."""
        card = CARDS[op]
        tensors = self._tensors(frame, card, operands, span, spans)
        frame.builder.spans = (span,)
        try:
            values = frame.builder.build_all(op, tuple([t.value for t in tensors]), attributes)
        except OpError as problem:
            raise self._explained(frame, card, problem, tensors, span, spans, blame or {}) from None
        self._require(frame, card, tensors, frame.graph.node(values[0]), span)
        return self._named(frame, op, tensors, values)

    def _require(self, frame: Frame, card: Card, tensors: list[Tensor], node: Node, span: Span) -> None:
        """What the primitive needs of symbolic sizes, as if the spec said so."""
        if card.least is None:
            return
        for size, least in card.least(tuple(frame.graph.type(t.value) for t in tensors), node.attributes):
            if dim_le(least, size) is None:
                elements = "an element" if least == 1 else f"{least} elements"
                message = f"`{card.name}` needs at least {elements} along the axis of size {format_dim(size)}"
                require(frame, Constraint(size, ">=", least, message, span, only_in_training(frame)))

    def _named(self, frame: Frame, op: str, tensors: list[Tensor], values: list[Value]) -> list[Tensor]:
        node = frame.graph.node(values[0])
        results = []
        for value, type_ in zip(values, node.types, strict=True):
            results.append(Tensor(value, result_names(op, tensors, type_.rank, node.attributes)))
        return results

    def _tensors(self, frame: Frame, card: Card, operands: Sequence[object], span: Span, spans: tuple[Span, ...]) -> list[Tensor]:
        like: TensorType | None = None
        for v in operands:
            if isinstance(v, Tensor):
                type_ = frame.graph.type(v.value)
                if like is None or like.dtype is DType.BOOL:
                    like = type_
        if like is None and any(isinstance(v, float) for v in operands):
            like = TensorType(frame.builder.float_type, ())
        if not card.broadcasts and card.operands and not card.operands[0].variadic:
            like = None
        tensors = self.context.tensors
        return [
            v if isinstance(v, Tensor) else tensors.as_tensor(frame, v, spans[i] if i < len(spans) else span, like)
            for i, v in enumerate(operands)
        ]

    def _explained(
        self,
        frame: Frame,
        card: Card,
        problem: OpError,
        tensors: list[Tensor],
        span: Span,
        spans: tuple[Span, ...],
        blame: dict[str, Span],
    ) -> SpecError:
        """The error of a shape rule, at the argument to blame, with the types of the operands."""
        names = [o.name for o in card.operands]
        place = blame.get(problem.argument or "")
        if place is None and problem.argument in names and names.index(problem.argument) < len(spans):
            place = spans[names.index(problem.argument)]
        labels: list[Label] = []
        notes: list[str] = []
        for t, where in zip(tensors, spans, strict=False):
            shown = where.text
            binding = frame.names.get(shown)
            if binding is not None and binding.span.source is where.source and binding.span.source.name:
                labels.append(Label(binding.span, f"{shown} is {frame.type(t)}"))
            elif frame.graph.node(t.value).op == "const":
                continue
            elif where.start <= span.start and span.end <= where.end:  # what a pipeline passes on
                notes.append(f"the tensor is {frame.type(t)}")
            else:
                notes.append(f"`{_short(shown)}` is {frame.type(t)}")
        title, text, help = str(problem), "", problem.help
        if isinstance(problem.__cause__, TypeMismatch):  # of the operands together: show the whole expression
            what = "shapes do not match" if problem.code == "DL0301" else "element types do not go together"
            title, text, place = f"{what} in `{_short(span.text)}`", str(problem.__cause__), span
            if problem.code == "DL0301" and len(tensors) == 2:
                way = reconciliation(frame.type(tensors[0]), frame.type(tensors[1]))
                title = title if way is None else f"shapes are not proved to match in `{_short(span.text)}`"
                help = way or help
            if problem.code == "DL0403" and len(spans) == 2:
                help = _cast_help([frame.type(t).dtype for t in tensors], [_short(where.text) for where in spans])
        unique = tuple({(x.span, x.text): x for x in labels if x.span != span}.values())
        return SpecError(
            Diagnostic(problem.code, title, place or span, text=text, labels=unique, notes=tuple(dict.fromkeys(notes)), help=help)
        )

    # --- sugar and indexing ---

    def _sugar(self, frame: Frame, sugar: Sugar, given: tuple[Given, ...], span: Span) -> object:
        operands, attributes = self.context.binder.bound(frame, sugar, given, span)
        values = {name: g.value for name, g in attributes.items()}
        blame = {name: g.span for name, g in attributes.items()}
        return self.sugar(frame, sugar, [g.value for g in operands], values, span, blame)

    def sugar(
        self,
        frame: Frame,
        sugar: Sugar,
        operands: Sequence[object],
        attributes: dict[str, object],
        span: Span,
        blame: dict[str, Span] | None = None,
    ) -> Tensor:
        """Lower one of the functions that are written in terms of primitives."""
        tensors = [self.context.tensors.as_tensor(frame, v, span) for v in operands]
        frame.builder.spans = (span,)
        try:
            types = tuple(frame.type(t) for t in tensors)
            canonical = checked_attributes(sugar, types, attributes)  # type: ignore[arg-type]
            value = sugar.lower(frame.builder, tuple(t.value for t in tensors), canonical)
        except OpError as problem:
            notes = tuple(f"the tensor is {frame.type(t)}" for t in tensors)
            place = (blame or {}).get(problem.argument or "", span)
            raise SpecError(Diagnostic(problem.code, str(problem), place, notes=notes, help=problem.help)) from None
        return tensor(value, frame.graph.type(value).rank, self._sugar_names(sugar.name, tensors, attributes))

    def _sugar_names(self, name: str, tensors: list[Tensor], attributes: dict[str, object]) -> tuple[str | None, ...] | None:
        if not tensors:
            return None
        names = list(tensors[0].names)
        if name == "matrix_transpose":
            names[-2:] = reversed(names[-2:])
        elif name == "transpose":
            a, b = (attributes.get(k) for k in ("a", "b"))
            if not (isinstance(a, int) and isinstance(b, int)):
                return None
            names[a], names[b] = names[b], names[a]
        elif name not in ("zeros_like", "ones_like", "full_like"):
            return None
        return tuple(names)

    def index(self, frame: Frame, value: Tensor, expression: syntax.Index) -> Tensor:
        return index_tensor(self.context, frame, value, expression)

    # --- members of layers ---

    def instance_member(self, frame: Frame, instance: Instance, name: str, expression: syntax.Member) -> object:
        """A parameter of an owned layer, one of its layers, or one of its entry points."""
        layer = instance.layer
        if isinstance(layer, Layer) and any(e.name == name for e in layer.type.definition.entries):
            return Method(instance, name)
        if name == "parameter_count":
            return self.context.roots.parameter_count(instance.layer, expression.span)
        return self.context.roots.member(frame, instance, name, expression)

    def layer_member(self, layer: Layer, name: str, expression: syntax.Member) -> object:
        if any(e.name == name for e in layer.type.definition.entries):
            return Method(layer, name)
        if name == "parameter_count":
            return self.context.roots.parameter_count(layer, expression.span)
        raise error(
            "DL0207",
            f"a `{layer.type.definition.name}` has no parameters until it is placed",
            expression.name_span,
            help=f"declare it: `layer {snake_case(layer.type.definition.name)} = ...`",
        )


def hidden_function(frame: Frame, value: object) -> str | None:
    """A hint for a value that cannot be applied and has the name of a function."""
    name = next((n for n, b in frame.names.items() if b.value is value), None)
    hides = name is not None and (name in CARDS or name in STATIC_FUNCTIONS or library_definition(name) is not None)
    return f"`{name}` was bound to it above and hides the function `{name}`; give it another name" if hides else None


def _cast_help(dtypes: list[DType], shown: list[str]) -> str:
    """Which of two operands to cast: the integers, where only one side is."""
    into = 1 if dtypes[0].is_float or not dtypes[1].is_float else 0
    return f"say which is meant, as in `cast({shown[into]}, {dtypes[1 - into]})`"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."
