"""Statements: they bind names, declare what is owned, and add nodes to the graph of the frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import Diagnostic, Label, SpecError, printable
from dsl.dims import Expr
from dsl.elaborate.context import MOST_ERRORS, Context, error
from dsl.elaborate.frame import Binding, Frame, only_in_training, poison, require, tensor
from dsl.elaborate.initial import check_parts, written_out
from dsl.elaborate.order import bound_names, explained
from dsl.elaborate.suspects import warn_crossed_results
from dsl.elaborate.values import (
    POISON,
    Condition,
    Function,
    InitializerFunction,
    Instance,
    Layer,
    LayerType,
    RepeatLayer,
    Results,
    Tensor,
    Training,
    describe,
    is_static,
)
from dsl.ir import Constraint, Graph, Initializer, Parameter, Value
from dsl.limits import limits, raising
from dsl.loader import Unit
from dsl.ops.sugar import Sugar
from dsl.source import Span
from dsl.types import DType, TensorType


class Executor:
    def __init__(self, context: Context) -> None:
        self.context = context
        self._constants: dict[int, object] = {}
        self._computing: set[int] = set()
        self._handlers: dict[type, Callable[[syntax.Statement, Frame], None]] = {
            syntax.Assign: self._assign,
            syntax.LayerDecl: self._layer_decl,
            syntax.TensorDecl: self._tensor_decl,
            syntax.Update: self._update,
            syntax.If: self._if,
            syntax.For: self._for,
            syntax.Return: self._return,
            syntax.Require: self._require,
            syntax.Scan: lambda statement, frame: context.loops.scan(statement, frame),
            syntax.While: lambda statement, frame: context.loops.repeat_while(statement, frame),
            syntax.Emit: lambda statement, frame: context.loops.emit(statement, frame),
            syntax.Minimize: lambda statement, frame: context.objectives.minimize(statement, frame),
            syntax.Metric: lambda statement, frame: context.objectives.metric(statement, frame),
        }

    def execute(self, frame: Frame, statements: Sequence[syntax.Statement]) -> None:
        """Run statements. A wrong one poisons the names it would bind; all that are wrong are reported together."""
        errors: list[Diagnostic] = []
        failed = False
        for i, statement in enumerate(statements):
            if frame.returned is not None:
                if isinstance(statements[i - 1], syntax.Return):
                    raise error("DL0501", "nothing after `return` is reached", statement.span)
                break
            try:
                self._handlers.get(type(statement), self._misplaced)(statement, frame)
            except SpecError as problem:
                errors.extend(explained(d, statements[i:]) for d in problem.diagnostics)
                failed = True
                if len(errors) >= MOST_ERRORS:
                    break
                if isinstance(statement, syntax.Require):  # what follows relies on it
                    break
                for name in bound_names(statement):
                    poison(frame, name, statement.span)
        if len(frame.graph) > limits().nodes:
            message = f"the graph has more than {limits().nodes:,} nodes"
            raise error("DL0602", message, statements[0].span, help=raising("nodes"))
        if failed:
            raise SpecError(errors)

    def _misplaced(self, statement: syntax.Statement, frame: Frame) -> None:
        raise error("DL0509", "this statement does not belong here", statement.span)

    def _assign(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Assign)
        value = self.context.evaluate(frame, statement.value)
        self.bind_pattern(frame, statement.pattern, value, statement.value.span, watched=True)

    def bind_pattern(self, frame: Frame, pattern: syntax.Pattern, value: object, span: Span, *, watched: bool = False) -> None:
        """Bind a name, or several to the parts of a list or of several results."""
        if isinstance(pattern, syntax.Name):
            self._bind_name(frame, pattern, value, span, watched)
            return
        if isinstance(value, Results):
            if not frame.unit.library:
                warn_crossed_results(self.context, pattern, list(value.parts()))
            parts: tuple[object, ...] = tuple(value.parts().values())
            if len(parts) == 1 and isinstance(parts[0], tuple):
                parts = parts[0]
        elif isinstance(value, tuple):
            parts = value
        else:
            raise error("DL0418", f"{len(pattern.items)} names are bound, and this is {describe(value)}", span)
        if len(parts) != len(pattern.items):
            raise error("DL0418", f"{len(pattern.items)} names are bound, and this gives {len(parts)} values", span)
        for item, part in zip(pattern.items, parts, strict=True):
            self.bind_pattern(frame, item, part, span, watched=watched)

    def _bind_name(self, frame: Frame, pattern: syntax.Name, value: object, span: Span, watched: bool) -> None:
        if isinstance(value, Results):
            value = self.context.evaluator.only(value, span)
        if isinstance(value, Tensor):
            frame.graph.set_name(value.value, pattern.id)
        elif isinstance(value, tuple):
            for i, part in enumerate(value):
                if isinstance(part, Tensor):
                    frame.graph.set_name(part.value, f"{pattern.id}_{i}")
        elif isinstance(value, Layer | RepeatLayer) and watched and not frame.in_test:
            raise error(
                "DL0506",
                f"{describe(value)} is not a tensor",
                span,
                help=f"declare a layer with `layer {pattern.id} = ...`, or apply it: `x -> ...`",
            )
        elif isinstance(value, Training | Sugar | Unit):
            raise error("DL0404", f"{describe(value)} cannot be bound to a name", span)
        known = frame.names.get(pattern.id)
        if known is not None and isinstance(known.value, Instance) and not isinstance(value, Instance):
            raise SpecError(
                Diagnostic(
                    "DL0206", f"`{pattern.id}` is a layer here", pattern.span, labels=(Label(known.span, "declared here"),)
                )
            )
        if frame.in_test or known is None or known.value is not value:
            self._warn_unread(frame, pattern.id, known)
            frame.bind(pattern.id, value, pattern.span, watched=watched)

    def _warn_unread(self, frame: Frame, name: str, known: Binding | None) -> None:
        if (
            known is not None
            and known.watched
            and not known.read
            and not name.startswith("_")
            and not frame.unit.library
            and not frame.loops
            and not frame.branches
        ):
            self.context.warn("DL1001", f"`{name}` is bound again before anything reads it", known.span)

    def _layer_decl(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.LayerDecl)
        if isinstance(statement.value, syntax.With | syntax.WithFunction | syntax.CopyOf):
            self.context.gradients.declare(statement, frame)
            return
        if frame.owner.kind == "fn":
            raise error("DL0503", "a function owns nothing: it cannot declare a layer", statement.span, help="make it a `module`")
        value = self.context.evaluate(frame, statement.value)
        if isinstance(value, LayerType):
            value = Layer(value, self.context.instantiator.hyper(frame, value, (), statement.value.span), statement.value.span)
        if not isinstance(value, Layer | RepeatLayer):
            raise error("DL0507", f"`layer` declares a layer, and this is {describe(value)}", statement.value.span)
        name = frame.child_name(statement.name, statement.name_span, labelled=True)
        frame.bind(statement.name, Instance(name, value, statement.name_span), statement.name_span)

    def _tensor_decl(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.TensorDecl)
        name, span = statement.name, statement.name_span
        if frame.owner.kind == "fn":
            raise error(
                "DL0503",
                f"a function owns nothing: it cannot declare a {statement.kind}",
                statement.span,
                help="make it a `module`",
            )
        owned = frame.owner.parameters
        if name in owned or name in frame.children:
            first = owned[name].span if name in owned else frame.children[name]
            raise SpecError(
                Diagnostic("DL0502", f"`{name}` is declared twice", span, labels=(Label(first, "first declared here"),))
            )
        type_ = self.declared_type(frame, statement.type)
        initial = self._initial(frame, statement, type_)
        owned[name] = Parameter(name, type_, initial, statement.kind == "param", span)
        node = frame.graph.add(statement.kind, (), {"path": name}, (type_,), spans=(span,))
        frame.bind(name, tensor(Value(node.id), type_.rank), span)

    def declared_type(self, frame: Frame, expression: syntax.TypeExpr) -> TensorType:
        """The type of a parameter: all its sizes are numbers."""
        if expression.dims is None:
            raise error(
                "DL0419",
                f"a tensor's type has brackets: `{expression.name}[...]`",
                expression.span,
                help=f"a scalar is `{expression.name}[]`",
            )
        dtype = self.dtype(expression)
        shape: list[int] = []
        for item in expression.dims:
            if isinstance(item, syntax.Ellipsis):
                raise error("DL0504", "a parameter has a fixed number of axes", item.span)
            size = self.context.evaluate(frame, item)
            if isinstance(size, Expr):
                raise error(
                    "DL0504", f"the size of a parameter is a number, and `{size}` is known only when the model runs", item.span,
                    help=_towards_a_number(frame),
                )  # fmt: skip
            if not isinstance(size, int) or isinstance(size, bool):
                raise error("DL0417", f"a size in a type is an integer, not {describe(size)}", item.span)
            if size < 1:
                shown = " ".join(item.span.text.split())
                found = f"not {size}" if shown == str(size) else f"and `{shown}` is {size}"
                raise error("DL0402", f"a size is at least 1, {found}", item.span)
            shape.append(size)
        return TensorType(dtype, tuple(shape))

    def dtype(self, expression: syntax.TypeExpr) -> DType:
        if expression.name == "float":
            return self.context.float_type
        found = next((d for d in DType if str(d) == expression.name), None)
        if found is None and expression.name != "int":
            names = ", ".join(["float", "int", *map(str, DType)])
            raise error(
                "DL0420", f"there is no element type `{expression.name}`", expression.span, help=f"the element types are {names}"
            )
        return found or DType.I64

    def _initial(self, frame: Frame, statement: syntax.TensorDecl, type_: TensorType) -> Initializer:
        if statement.initial is None:
            raise error(
                "DL0508",
                f"`{statement.name}` needs an initial value",
                statement.span,
                help=f"{statement.kind} {statement.name}: ... = zeros",
            )
        self.context.initializing += 1
        try:
            value = self.context.evaluate(frame, statement.initial)
            if isinstance(value, Function | InitializerFunction):
                value = self.context.applier.call(frame, value, (), (), statement.initial.span)
        finally:
            self.context.initializing -= 1
        match value:
            case Initializer():
                check_parts(value, type_, statement.initial.span)
                return value
            case tuple():
                return written_out(value, type_, statement.initial.span)
            case bool():
                return Initializer("constant", {"value": float(value)})
            case int() | float():
                return Initializer("constant", {"value": float(value)})
            case Sugar() if value.name in ("zeros", "ones"):
                return Initializer("constant", {"value": float(value.name == "ones")})
            case _:
                raise error(
                    "DL0421",
                    f"an initial value is an initialiser, a number or a list of numbers, not {describe(value)}",
                    statement.initial.span,
                )

    def _update(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Update)
        if frame.training is not None:
            self.context.updates.update(statement, frame)
            return
        if frame.holder is not None:
            raise error(
                "DL0511", "a buffer is not updated inside a loop", statement.span, help="carry the value, and update after it"
            )
        parameter = frame.graph.parameters.get(statement.name)
        if parameter is None or parameter.trained:
            kind = "a parameter, which the optimiser changes" if parameter is not None else "not a buffer of this module"
            raise error("DL0510", f"`update` changes a buffer, and `{statement.name}` is {kind}", statement.name_span)
        if frame.fixed == "inference":
            return
        if frame.mode == "inference":
            raise error("DL0511", "a buffer changes in training only, and this branch is for inference", statement.span)
        value = self.context.tensors.as_tensor(
            frame, self.context.evaluate(frame, statement.value), statement.value.span, parameter.type
        )
        found = frame.type(value)
        if found != parameter.type:
            raise SpecError(
                Diagnostic(
                    "DL0311", f"`{statement.name}` is {parameter.type}, and its new value is {found}", statement.value.span,
                    labels=(Label(parameter.span, "declared here"),),
                )
            )  # fmt: skip
        frame.graph.updates[statement.name] = value.value

    # --- control ---

    def _if(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.If)
        condition = statement.condition
        if isinstance(condition, syntax.Name) and condition.id == "training" and frame.lookup("training") is None:
            self._if_training(statement, frame)
        else:
            chosen = statement.body if self.context.operators.truth(frame, condition) else statement.orelse
            frame.branches += 1
            try:
                self.execute(frame, chosen)
            finally:
                frame.branches -= 1

    def _if_training(self, statement: syntax.If, frame: Frame) -> None:
        if frame.mode != "both":
            self.execute(frame, statement.body if frame.mode == "training" else statement.orelse)
            return
        before = dict(frame.names)
        frame.mode = "training"
        self.execute(frame, statement.body)
        in_training, frame.names = frame.names, dict(before)
        returned, frame.returned = frame.returned, None
        frame.mode = "inference"
        self.execute(frame, statement.orelse)
        frame.mode = "both"
        in_inference = frame.names
        if returned is not None or frame.returned is not None:
            raise error(
                "DL0512",
                "`return` stands outside `if training`",
                statement.span,
                help="bind a name in both branches and return it after",
            )
        frame.names = self._merged(frame, before, in_training, in_inference, statement.span)

    def _merged(
        self, frame: Frame, before: dict[str, Binding], a: dict[str, Binding], b: dict[str, Binding], span: Span
    ) -> dict[str, Binding]:
        merged = dict(before)
        for name in dict.fromkeys([*a, *b]):
            left, right = a.get(name), b.get(name)
            if left is right and left is not None:
                merged[name] = left
            elif left is None or right is None:
                frame.one_sided[name] = span
            elif isinstance(left.value, Tensor) or isinstance(right.value, Tensor):
                value = self._either(frame, name, left, right, span)
                frame.graph.set_name(value.value, name)
                merged[name] = Binding(value, left.span, watched=True)
            else:
                merged[name] = left if left.value == right.value else Binding(POISON, span, read=True)
        return merged

    def _either(self, frame: Frame, name: str, left: Binding, right: Binding, span: Span) -> Tensor:
        """What a name is after `if training`: the one value in training, the other otherwise."""
        try:
            return self.context.operators.primitive(frame, "if_training", [left.value, right.value], span)
        except SpecError as problem:
            places = (Label(left.span, "in training"), Label(right.span, "otherwise"))
            found = [frame.type(b.value) if isinstance(b.value, Tensor) else describe(b.value) for b in (left, right)]
            message = f"`{name}` is {found[0]} in training and {found[1]} otherwise"
            raise SpecError(
                [
                    replace(d, message=message, text="both branches bind it to one type", labels=places, notes=())
                    for d in problem.diagnostics
                ]
            ) from None

    def _for(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.For)
        frame.loops += 1
        try:
            for item in self.context.evaluator.iterable(frame, statement.iterable):
                self.bind_pattern(frame, statement.pattern, item, statement.iterable.span)
                self.execute(frame, statement.body)
        finally:
            frame.loops -= 1

    def _return(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Return)
        returned: list[tuple[str | None, object, Span]] = []
        for expression in statement.values:
            value = self.context.evaluate(frame, expression)
            name = expression.id if isinstance(expression, syntax.Name) else None
            if isinstance(value, Results):
                parts = value.parts()
                returned.extend((name if len(parts) == 1 else n, part, expression.span) for n, part in parts.items())
            elif (
                isinstance(value, tuple) and len(statement.values) == 1 and _several_results(expression) and not is_static(value)
            ):
                returned.extend((None, v, expression.span) for v in value)
            else:
                returned.append((name, value, expression.span))
        frame.returned = returned

    def _require(self, statement: syntax.Statement, frame: Frame) -> None:
        assert isinstance(statement, syntax.Require)
        saved = {name: frame.names[name] for name in frame.plain if name in frame.names and name in frame.dims}
        for name in saved:
            frame.names[name] = Binding(frame.plain[name], saved[name].span, read=True)
        try:
            value = self.context.evaluator.single(frame, statement.condition)
        finally:
            frame.names.update(saved)
        message = self._message(frame, statement)
        match value:
            case True:
                return
            case False if only_in_training(frame):
                require(frame, Constraint(0, "==", 1, message, statement.span, training=True))
            case False:
                raise SpecError(Diagnostic("DL0310", f"a requirement is not met: {message}", statement.condition.span))
            case Condition():
                for c in value.constraints:
                    require(frame, Constraint(c.left, c.relation, c.right, message, statement.span, only_in_training(frame)))
            case Tensor():
                raise error(
                    "DL0413", "`require` is decided before the model runs, and this is a tensor", statement.condition.span
                )
            case _:
                raise error("DL0404", f"a condition is true or false, not {describe(value)}", statement.condition.span)

    def _message(self, frame: Frame, statement: syntax.Require | syntax.Assert) -> str:
        """What generated programs say, and the metadata of an ONNX file: no control character that a terminal would obey."""
        if statement.message is None:
            return " ".join(statement.condition.span.text.split())
        value = self.context.evaluate(frame, statement.message)
        return printable(" ".join(value.split())) if isinstance(value, str) else describe(value)

    # --- constants of a file ---

    def constant(self, definition: syntax.Const, unit: Unit) -> object:
        """The value of `const name = ...`, computed once."""
        key = id(definition)
        if key not in self._constants:
            if key in self._computing:
                raise error("DL0213", f"the constant `{definition.name}` is defined by itself", definition.name_span)
            self._computing.add(key)
            try:
                value = self.context.evaluate(static_frame(unit, self.context), definition.value)
            finally:
                self._computing.discard(key)
            if not is_static(value):
                raise error("DL0422", "a `const` is known when the graph is made, and this is a tensor", definition.value.span)
            self._constants[key] = value
        return self._constants[key]


def static_frame(unit: Unit, context: Context) -> Frame:
    """A frame for expressions that stand outside any graph: defaults and constants."""
    if context.scratch is None:
        context.scratch = Builder(Graph("<static>"), context.float_type)
    return Frame(context.scratch.graph, context.scratch, unit)


def _several_results(expression: syntax.Expr) -> bool:
    """Whether tensors together are the results of a function, `split(x, 2)`, and no list that the spec has made."""
    return isinstance(expression, syntax.Call | syntax.Pipe)


def _towards_a_number(frame: Frame) -> str:
    """How the size of a parameter becomes a number. A map that a layer for vectors is given has its places still."""
    given = next((frame.graph.type(value) for value in frame.graph.inputs.values()), None)
    if frame.graph.definition == "Linear" and given is not None and given.rank > 3:
        return f"it is given the map {given}: `flatten` it first, or take the `mean` over its places"
    return "give the dimension a number in the input's type, or make it a hyper-parameter"
