"""Applying a `fn`: a graph of its own when it takes and returns tensors, so that a target may have its own word for it; else in place."""

from __future__ import annotations

from collections.abc import Sequence

from dsl import syntax
from dsl.diagnostics import SpecError
from dsl.dims import Dim
from dsl.elaborate.arguments import check_static, function_signature
from dsl.elaborate.binding import Given, given_twice
from dsl.elaborate.context import Context, error
from dsl.elaborate.execute import static_frame
from dsl.elaborate.familiar import ARGUMENTS, suggested
from dsl.elaborate.frame import Frame
from dsl.elaborate.instantiate import Callee, axis_names
from dsl.elaborate.signature import Formal, LocalDims, match
from dsl.elaborate.suspects import warn_crossed_arguments
from dsl.elaborate.values import (
    Function,
    Instance,
    Method,
    Results,
    Tensor,
    is_static,
)
from dsl.ir import Graph
from dsl.limits import limits
from dsl.source import Span


class FunctionCaller:
    def __init__(self, context: Context) -> None:
        self.context = context

    def call(self, frame: Frame, function: Function, given: Sequence[Given], span: Span) -> object:
        """Apply a `fn`: a graph of its own when it takes and returns tensors, else in place."""
        definition = function.definition
        scheduled = [p.name for p in definition.parameters[:1]] == ["step"] and not any(g.name == "step" for g in given)
        if frame.step is not None and scheduled:  # in a `train` block a schedule gets the step by itself
            given = (Given(frame.step(), span), *given)
        statics, tensors = self._function_arguments(frame, function, given, span)
        if len(self.context.open) >= limits().modules:
            self.context.instantiator.check_recursion(None, definition, span)
        if tensors and not any(_belongs_to_caller(v) for v in statics.values()):
            callee = Callee(
                definition, None, statics, {n: t for n, (t, _) in tensors.items()}, {n: s for n, (_, s) in tensors.items()},
                functions=frame.functions,
            )  # fmt: skip
            made = self._function_graph(frame, function, callee, span)
            if made is None and definition.backward is not None:
                message = f"`{definition.name}` has a `backward`, and what it computes here is no function of tensors alone"
                raise error("DL0537", message, span)
            if made is not None:
                results = self.context.instantiator.call_node(frame, *made, list(callee.tensors.values()), None, span)
                values = tuple(results.tensors.values())
                return values[0] if len(values) == 1 else values
        return self._in_place(frame, function, statics, tensors, span)

    def _function_graph(self, frame: Frame, function: Function, callee: Callee, span: Span) -> tuple[Graph, LocalDims] | None:
        """The graph of a function call, or None when the call is better done in place: a body of one node, results that are not
        tensors, or sizes that no input binds."""
        try:
            graph, dims = self.context.instantiator.graph_for(frame, function.unit, callee, span)
        except SpecError as problem:
            if [d.code for d in problem.diagnostics] == ["DL0505"]:
                return None
            raise
        if graph.backward is None and (not graph.outputs or sum(n.op not in ("input", "const") for n in graph) <= 1):
            return None
        return graph, dims

    def _in_place(
        self, frame: Frame, function: Function, statics: dict[str, object], tensors: dict[str, tuple[Tensor, Span]], span: Span
    ) -> object:
        definition = function.definition
        inner = Frame(frame.graph, frame.builder, function.unit, depth=frame.depth + 1, children=frame.children)
        inner.mode, inner.holder, inner.step, inner.fixed = frame.mode, frame.holder, frame.step, frame.fixed
        inner.functions = frame.functions
        for name, value in statics.items():
            inner.bind(name, value)
        bound: dict[str, Dim] = {}
        for parameter in definition.parameters:
            if parameter.name in tensors:
                t, where = tensors[parameter.name]
                inner.bind(parameter.name, self._renamed(t, parameter.type), where)
                if parameter.type is not None and parameter.type.dims is not None:
                    scope = static_frame(function.unit, self.context)
                    for name, value in statics.items():
                        scope.bind(name, value)
                    bound |= match(
                        self.context, scope, [Formal(parameter.name, parameter.type, frame.type(t), where)], LocalDims()
                    )
        for name, size in bound.items():
            inner.bind_dim(name, size)
        self.context.open.append((None, definition.name, span))
        try:
            self.context.execute(inner, definition.body)
        except SpecError as problem:
            raise self.context.instantiator.placed(definition, span)(problem) from None
        finally:
            self.context.open.pop()
        if inner.returned is None:
            raise error("DL0514", f"`{definition.name}` returns nothing", definition.name_span)
        values = tuple(value for _, value, _ in inner.returned)
        return values[0] if len(values) == 1 else values

    def _renamed(self, t: Tensor, pattern: syntax.TypeExpr | None) -> Tensor:
        return Tensor(t.value, axis_names(pattern, len(t.names))) if pattern is not None and pattern.dims is not None else t

    def _function_arguments(
        self, frame: Frame, function: Function, given: Sequence[Given], span: Span
    ) -> tuple[dict[str, object], dict[str, tuple[Tensor, Span]]]:
        definition = function.definition
        known = [p.name for p in definition.parameters]
        by_name: dict[str, Given] = {}
        first = next((g.value for g in given if isinstance(g.value, Tensor)), None)
        for i, g in enumerate(given):
            if g.name is None and i >= len(known):
                raise error(
                    "DL0203",
                    f"`{definition.name}` takes {len(known)} arguments",
                    g.span,
                    help=f"it is `{function_signature(definition)}`",
                )
            name = g.name if g.name is not None else known[i]
            if name not in known:
                if self.context.initializing and name in ("fan_in", "fan_out"):
                    continue
                near = suggested(name, known, ARGUMENTS)
                help = f"did you mean `{near}`?" if near else f"it is `{function_signature(definition)}`"
                raise error("DL0203", f"`{definition.name}` has no argument `{name}`", g.place, help=help)
            if name in by_name:
                raise given_twice(name, definition.name, by_name[name].place, g.place)
            by_name[name] = self.context.binder.axis_argument(frame, g, first) if name == "over" else g
        if not frame.unit.library:
            warn_crossed_arguments(self.context, definition.name, by_name)
        statics: dict[str, object] = {}
        tensors: dict[str, tuple[Tensor, Span]] = {}
        scope = static_frame(function.unit, self.context)
        for parameter in definition.parameters:
            argument = by_name.get(parameter.name)
            value = self._argument(frame, definition, parameter, argument, scope, span)
            if isinstance(value, Tensor):
                tensors[parameter.name] = (value, argument.span if argument is not None else span)
            else:
                statics[parameter.name] = value
                scope.bind(parameter.name, value)
        return statics, tensors

    def _argument(
        self,
        frame: Frame,
        definition: syntax.Function,
        parameter: syntax.Parameter,
        given: Given | None,
        scope: Frame,
        span: Span,
    ) -> object:
        wants_tensor = parameter.type is not None and parameter.type.dims is not None
        if given is None:
            if parameter.default is None:
                raise error(
                    "DL0203",
                    f"`{definition.name}` needs `{parameter.name}`",
                    span,
                    help=f"it is `{function_signature(definition)}`",
                )
            default = self.context.evaluator.single(scope, parameter.default)
            if parameter.type is not None and not wants_tensor and is_static(default):
                return check_static(parameter, default, parameter.default.span, definition.name)
            return default
        if wants_tensor and given.value is not None:
            return self.context.tensors.as_tensor(frame, given.value, given.span)
        if parameter.type is not None and parameter.type.dims is None and not isinstance(given.value, Tensor):
            return check_static(parameter, given.value, given.span, definition.name)
        if isinstance(given.value, Results):
            return self.context.evaluator.only(given.value, given.span)
        return given.value


def _belongs_to_caller(value: object) -> bool:
    """Whether an argument has a meaning only where the call stands: tensors in a list, a layer of the caller or an entry point of one."""
    if isinstance(value, Instance | Method):
        return True
    return isinstance(value, tuple) and not is_static(value)
