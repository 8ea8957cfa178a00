"""Where graphs begin and what may be asked of them: a model on its declared inputs, example inputs of a `test`, members of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import did_you_mean
from dsl.dims import Dim, Expr, symbol
from dsl.elaborate.context import Context, error
from dsl.elaborate.frame import Frame, no_member, snake_case, tensor
from dsl.elaborate.instantiate import axis_names, plain_static
from dsl.elaborate.objectives import TrainingParts
from dsl.elaborate.signature import required_multiples
from dsl.elaborate.values import (
    Instance,
    Layer,
    RepeatLayer,
    Tensor,
    describe,
)
from dsl.ir import Graph, Value, count_parameters
from dsl.loader import Unit
from dsl.source import Span
from dsl.training import Training
from dsl.types import TensorType


class Roots:
    def __init__(self, context: Context) -> None:
        self.context = context

    def root(self, layer: Layer, entry: str) -> Graph:
        """The graph of a model on its declared inputs, whose dimension names become the symbols of the program."""
        definition = layer.type.definition
        found = next((e for e in definition.entries if e.name == entry), None)
        if found is None:
            names = ", ".join(e.name for e in definition.entries)
            raise error(
                "DL0207", f"`{definition.name}` has no entry point `{entry}`", definition.name_span, help=f"it has {names}"
            )
        frame = self.context.instantiator.new_frame(definition, found, layer.type.unit, 0)
        self._bind_inputs(frame, found.inputs, required_multiples(found.body, layer.hyper), layer.hyper)
        self.context.open.append((id(definition), definition.name, definition.name_span))
        try:
            self.context.instantiator.run(frame, definition, found)
        finally:
            self.context.open.pop()
        return frame.graph

    def training(self, definition: syntax.Train, unit: Unit, hyper: Mapping[str, object]) -> Training:
        """What a `train` block means on its declared inputs."""
        graph = Graph(definition.name, kind="train", span=definition.name_span)
        frame = Frame(graph, Builder(graph, self.context.float_type), unit, training=TrainingParts())
        if not definition.inputs:
            help = "its second bracket says what a batch has: `(x: float[B, 4], label: int[B])`"
            raise error("DL0536", f"`{definition.name}` has no inputs", definition.name_span, help=help)
        self.context.updates.count_steps(frame)
        self._bind_inputs(frame, definition.inputs, required_multiples(definition.body, hyper), hyper)
        self.context.execute(frame, definition.body)
        if frame.returned is not None:
            raise error(
                "DL0529", "a `train` block returns nothing", definition.name_span, help="`metric name = value` reports a value"
            )
        made = self.context.objectives.training(frame, definition)
        self.context.instantiator.warn_unused(frame, definition.inputs)
        return made

    def _bind_inputs(
        self, frame: Frame, inputs: Sequence[syntax.Parameter], multiples: dict[str, int], hyper: Mapping[str, object]
    ) -> None:
        """Bind hyper-parameters, and the declared inputs with the names of their sizes."""
        for name, value in hyper.items():
            frame.bind(name, value)
        declared = [p for p in inputs if p.default is None]
        for parameter in inputs:
            if parameter.default is not None:
                frame.bind(parameter.name, None)
        for parameter in declared:
            self._bind_symbols(frame, parameter, multiples)
        for parameter in declared:
            assert parameter.type is not None
            type_ = self._input_type(frame, parameter)
            node = frame.graph.add("input", (), {"name": parameter.name}, (type_,), spans=(parameter.span,))
            frame.graph.inputs[parameter.name] = Value(node.id)
            frame.bind(parameter.name, tensor(Value(node.id), type_.rank, axis_names(parameter.type, type_.rank)), parameter.span)
        frame.graph.dim_names = dict(frame.dims)
        frame.graph.hyper = {k: plain_static(v) for k, v in hyper.items()}

    def _bind_symbols(self, frame: Frame, parameter: syntax.Parameter, multiples: dict[str, int]) -> None:
        if parameter.type is not None and parameter.type.is_list:
            message = f"`{parameter.name}` is a list, and what is compiled takes tensors"
            raise error("DL0516", message, parameter.span, help="compile a model that applies this module to a list")
        if parameter.type is None or parameter.type.dims is None:
            raise error(
                "DL0516",
                f"the input `{parameter.name}` needs a tensor type",
                parameter.span,
                help=f"{parameter.name}: float[B, D]",
            )
        for item in parameter.type.dims:
            if isinstance(item, syntax.Ellipsis):
                raise error(
                    "DL0517", "the input of a model has a fixed number of axes", item.span, help="write its dimensions out"
                )
            if isinstance(item, syntax.Name) and not frame.has_value(item.id):
                frame.bind_dim(item.id, symbol(item.id, multiples.get(item.id, 1)), item.span)
                frame.plain[item.id] = symbol(item.id)
            elif isinstance(item, syntax.Name) and item.id in frame.names and item.id not in frame.dims:
                frame.dims[item.id] = frame.names[item.id].value  # type: ignore[assignment]

    def _input_type(self, frame: Frame, parameter: syntax.Parameter) -> TensorType:
        assert parameter.type is not None
        executor = self.context.executor
        shape: list[Dim] = []
        for item in parameter.type.dims or ():
            assert not isinstance(item, syntax.Ellipsis)
            size = self.context.evaluate(frame, item)
            if not isinstance(size, int | Expr) or isinstance(size, bool):
                raise error("DL0417", f"a size in a type is an integer, not {describe(size)}", item.span)
            if isinstance(size, int) and size < 0:
                raise error("DL0402", f"a size is at least 0, not {size}", item.span)
            shape.append(size)
        dtype = executor.dtype(parameter.type)
        return TensorType(dtype, tuple(shape))

    def example(self, frame: Frame, expression: syntax.TypeExpr) -> Tensor:
        """An input for a `test`: `int[2, 7]`."""
        number = len(frame.graph.inputs)
        for item in expression.dims or ():
            if isinstance(item, syntax.Name) and not frame.has_value(item.id):
                frame.bind_dim(item.id, symbol(item.id), item.span)
        parameter = syntax.Parameter(f"input_{number}", expression, None, expression.span)
        type_ = self._input_type(frame, parameter)
        node = frame.graph.add("input", (), {"name": parameter.name}, (type_,), spans=(expression.span,))
        frame.graph.inputs[parameter.name] = Value(node.id)
        return tensor(Value(node.id), type_.rank)

    def parameter_count(self, layer: Layer | RepeatLayer, span: Span) -> int:
        """How many trained numbers a model has, on the inputs that it declares."""
        if isinstance(layer, RepeatLayer):
            raise error("DL0207", "a `repeat` has no parameters until it is applied", span)
        graphs = [self.root(layer, e.name) for e in layer.type.definition.entries]
        return count_parameters(graphs)

    def member(self, frame: Frame, instance: Instance, name: str, expression: syntax.Member) -> object:
        """A parameter of an applied layer, or a layer in it."""
        if not instance.graphs and isinstance(instance.layer, Layer):
            declared = list(declared_members(instance.layer.type.definition))
            if name not in declared:
                raise no_member(f"`{instance.name}`", "has", name, expression.name_span, declared)
        if not instance.graphs:
            raise error(
                "DL0518", f"`{instance.name}` has not been applied yet, so the shape of its parameters is not known", expression.span,
                help="apply it first, or declare the tensor with `param`",
            )  # fmt: skip
        for graph in instance.graphs:
            parameter = graph.parameters.get(name)
            if parameter is not None:
                path = f"{instance.name}.{name}"
                op = "param" if parameter.trained else "buffer"
                node = frame.graph.add(op, (), {"path": path}, (parameter.type,), spans=(expression.span,))
                return tensor(Value(node.id), parameter.type.rank)
            inner = [n.target.graph for n in graph.layers() if n.target is not None and n.target.child == name]
            if inner:
                return Instance(f"{instance.name}.{name}", instance.layer, instance.span, inner, used=True)
        known = [n for g in instance.graphs for n in (*g.parameters, *g.children)]
        if isinstance(instance.layer, Layer) and name in declared_members(instance.layer.type.definition):
            message = f"`{name}` of `{instance.name}` is never applied here, so it has no parameters"
            raise error("DL0207", message, expression.name_span, help=f"it has {', '.join(dict.fromkeys(known)) or 'none'}")
        near = did_you_mean(name, known)
        raise error(
            "DL0207",
            f"`{instance.name}` has no parameter `{name}`",
            expression.name_span,
            help=f"did you mean `{near}`?" if near else f"it has {', '.join(dict.fromkeys(known)) or 'none'}",
        )


def declared_members(definition: syntax.Module) -> Iterator[str]:
    """The entry points of a module and what its statements declare: parameters, layers, and labelled stages."""
    yield from (e.name for e in definition.entries)
    todo: list[object] = [definition.body, *(e.body for e in definition.entries)]
    while todo:
        node = todo.pop(0)
        if isinstance(node, tuple):
            todo.extend(node)
        elif is_dataclass(node):
            if isinstance(node, syntax.TensorDecl | syntax.LayerDecl):
                yield node.name
            elif isinstance(node, syntax.Stage) and node.label is not None:
                yield node.label
            elif (
                isinstance(node, syntax.Stage)
                and isinstance(node.target, syntax.Call)
                and isinstance(node.target.function, syntax.Name)
            ):
                yield snake_case(node.target.function.id)
            todo.extend(getattr(node, f.name) for f in fields(node))
