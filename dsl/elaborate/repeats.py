"""`repeat`: one graph for all copies that have the same types, with fresh parameters each."""

from __future__ import annotations

from collections.abc import Sequence

from dsl import syntax
from dsl.build import Builder
from dsl.elaborate.binding import Given
from dsl.elaborate.context import Context, error
from dsl.elaborate.frame import Frame
from dsl.elaborate.instantiate import outer_type
from dsl.elaborate.signature import LocalDims
from dsl.elaborate.values import (
    Instance,
    Layer,
    LayerType,
    RepeatLayer,
    Results,
    Tensor,
    describe,
)
from dsl.ir import Call, Graph, Value
from dsl.source import Span


class Repeater:
    def __init__(self, context: Context) -> None:
        self.context = context

    def apply(self, frame: Frame, instance: Instance, layer: RepeatLayer, given: Sequence[Given], span: Span) -> Results:
        if not given:
            raise error("DL0203", "`repeat` needs a tensor to start from", span)
        value = self.context.tensors.as_tensor(frame, given[0].value, given[0].span)
        if len(given) > 1:
            raise error("DL0203", "`repeat` takes one tensor", given[1].span)
        frame.owner.children.setdefault(instance.name, instance.span)
        made = 0
        while made < layer.count:
            graph, dims, extra = self._copy(frame, instance, layer, value)
            types = [outer_type(graph.type(v), dims.bindings) for v in graph.outputs.values()]
            if len(types) != 1:
                raise error("DL0405", f"the body of a `repeat` gives one tensor, and this gives {len(types)}", layer.span)
            count = layer.count - made if types[0] == frame.type(value) else 1
            for c in graph.constraints:
                self.context.instantiator.lift(frame, c, dims.bindings, span)
            call = Call(graph, instance.name, dims.bindings, count, made)
            operands = (value.value, *(t.value for t in extra))
            node = frame.graph.add("repeat", operands, {}, tuple(types), spans=(span,), target=call)
            instance.graphs.append(graph)
            names = value.names if types[0].rank == len(value.names) else (None,) * types[0].rank
            value = Tensor(Value(node.id), names)
            made += count
            if made > 10_000 and made < layer.count:
                raise error("DL0602", "the tensor changes its shape in every copy of this `repeat`", layer.span)
        return Results({"y": value})

    def _copy(self, frame: Frame, instance: Instance, layer: RepeatLayer, value: Tensor) -> tuple[Graph, LocalDims, list[Tensor]]:
        """The graph of the next copy on a value of this type, and the outer tensors that it also reads."""
        stage = layer.body[0]
        if len(layer.body) == 1 and not isinstance(stage.target, syntax.Repeat):
            single = self._single(frame, stage)
            if single is not None:
                own, more = single
                callee = self.context.instantiator.callee(frame, own, "forward", (Given(value, stage.span), *more), stage.span)
                graph, dims = self.context.instantiator.graph_for(frame, own.type.unit, callee, stage.span)
                return graph, dims, list(callee.tensors.values())[1:]
        return self._body(frame, instance, layer, value)

    def _single(self, frame: Frame, stage: syntax.Stage) -> tuple[Layer, list[Given]] | None:
        target = stage.target
        applied = target.function if isinstance(target, syntax.Call) else target
        function = self.context.evaluate(frame, applied)
        if isinstance(function, LayerType):
            arguments = target.arguments if isinstance(target, syntax.Call) else ()
            given = self.context.applier.evaluated(frame, arguments)
            return Layer(function, self.context.instantiator.hyper(frame, function, given, target.span), target.span), []
        if isinstance(function, Layer):
            arguments = target.arguments if isinstance(target, syntax.Call) else ()
            return function, list(self.context.applier.evaluated(frame, arguments))
        return None

    def _body(self, frame: Frame, instance: Instance, layer: RepeatLayer, value: Tensor) -> tuple[Graph, LocalDims, list[Tensor]]:
        """The body of a `repeat` that is more than one layer: a graph of its own, which reads outer tensors as inputs."""
        dims = LocalDims()
        captured: dict[Value, tuple[Tensor, Tensor]] = {}
        graph = Graph("".join(p.capitalize() for p in instance.name.split("_")) + "Block", kind="body", span=layer.span)
        inner = Frame(graph, Builder(graph, self.context.float_type), frame.unit, depth=frame.depth + 1, parent=frame)
        inner.functions = frame.functions
        if frame.fixed is not None:
            inner.mode = inner.fixed = frame.fixed

        def enter(name: str, outer: Tensor) -> Tensor:
            type_ = frame.type(outer)
            wanted = [(n or f"d{i}") for i, n in enumerate(outer.names)]
            own = type_.with_shape(tuple(dims.name(d, w) for d, w in zip(type_.shape, wanted, strict=True)))
            node = graph.add("input", (), {"name": name}, (own,), spans=(layer.span,))
            graph.inputs[name] = Value(node.id)
            return Tensor(Value(node.id), outer.names)

        def translate(outer: object) -> object:
            if isinstance(outer, Tensor):
                if outer.value not in captured:
                    name = frame.graph.node(outer.value).name or f"outer_{len(captured)}"
                    free = name if name not in graph.inputs else f"{name}_{len(captured)}"
                    captured[outer.value] = (outer, enter(free, outer))
                return captured[outer.value][1]
            try:
                return dims.translate_static(outer)
            except KeyError as missing:
                raise error(
                    "DL0505",
                    f"the body of this `repeat` depends on the size {missing.args[0]}, which its input does not have",
                    layer.span,
                ) from None

        inner.translate = translate
        result: object = enter("x", value)
        for stage in layer.body:
            result = self.context.applier.stage(inner, result, stage)
        if not isinstance(result, Tensor):
            raise error("DL0405", f"the body of a `repeat` gives one tensor, and this is {describe(result)}", layer.span)
        graph.outputs["y"] = result.value
        return graph, dims, [outer for outer, _ in captured.values()]
