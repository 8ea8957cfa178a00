"""Gradients as values: `grad(scalar, wrt)`, the parameters of a layer as a set, and layers on other parameters.

`grad` cuts out of the graph what lies between the scalar and what it is differentiated by, and makes that the block of one node, so that a
target differentiates a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.differentiable import depends, obstacles, reached
from dsl.elaborate.binding import Given
from dsl.elaborate.blocks import block_call
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.evaluate import Overloaded
from dsl.elaborate.frame import Frame
from dsl.elaborate.instantiate import may_use
from dsl.elaborate.values import Function, Instance, Layer, ParameterSet, Tensor, describe, freeze
from dsl.ir import Graph, Node, Value, owned
from dsl.ops.card import AttributeValue, Card
from dsl.ops.registry import CARDS
from dsl.source import Span
from dsl.types import TensorType


class Gradients:
    def __init__(self, context: Context) -> None:
        self.context = context

    # --- sets of parameters ---

    def parameters(self, frame: Frame, instance: Instance, span: Span) -> ParameterSet:
        """The trained parameters of an applied layer, by their names below it."""
        if instance.given is not None:
            return instance.given
        if not isinstance(instance.layer, Layer):
            raise error("DL0528", "a `repeat` has no `params`", span, help="put it in a module, and take the parameters of that")
        if not instance.graphs:
            help = "apply it first"
            raise error("DL0518", f"`{instance.name}` has not been applied yet, so its parameters are not known", span, help=help)
        found: dict[str, Tensor] = {}
        for graph in instance.graphs:
            for name, parameter in owned(graph):
                if parameter.trained and name not in found:
                    node = frame.graph.add("param", (), {"path": f"{instance.name}.{name}"}, (parameter.type,), spans=(span,))
                    found[name] = Tensor(Value(node.id), (None,) * parameter.type.rank)
        if not found:
            raise error("DL0528", f"`{instance.name}` has no trained parameters", span)
        return ParameterSet(found)

    def mapped(self, operands: Sequence[object], span: Span, apply: Callable[[tuple[object, ...]], object]) -> ParameterSet:
        """`apply` on each parameter of the sets among the operands; what is no set is the same for all."""
        sets = [o for o in operands if isinstance(o, ParameterSet)]
        names = list(sets[0].tensors)
        for other in sets[1:]:
            if list(other.tensors) != names:
                odd = sorted(set(names) ^ set(other.tensors))
                raise error("DL0528", f"these sets of parameters differ: {', '.join(odd[:5]) or 'in their order'}", span)
        results: dict[str, Tensor] = {}
        for name in names:
            value = apply(tuple(o.tensors[name] if isinstance(o, ParameterSet) else o for o in operands))
            if not isinstance(value, Tensor):
                raise error("DL0528", f"of a set of parameters, this gives {describe(value)} for each", span)
            results[name] = value
        return ParameterSet(results)

    def total(self, frame: Frame, values: ParameterSet, span: Span) -> Tensor:
        """The sum of all numbers in a set."""
        operators = self.context.operators
        sums = [self.context.applier.primitive(frame, "sum", [t], {}, span)[0] for t in values.tensors.values()]
        result = sums[0]
        for other in sums[1:]:
            result = operators.primitive(frame, "add", [result, other], span)
        return result

    def flattened(self, frame: Frame, values: ParameterSet, span: Span) -> Tensor:
        """All numbers of a set along one axis, in its order."""
        primitive = self.context.applier.primitive
        rows = [primitive(frame, "reshape", [t], {"shape": (_count(frame, t),)}, span)[0] for t in values.tensors.values()]
        return rows[0] if len(rows) == 1 else primitive(frame, "concat", list(rows), {"over": 0}, span)[0]

    def unflattened(self, frame: Frame, given: Sequence[Given], span: Span) -> ParameterSet:
        """`unflatten(v, net.params)`: the numbers along one axis as a set of the form of another."""
        if len(given) != 2 or not isinstance(given[0].value, Tensor) or not isinstance(given[1].value, ParameterSet):
            message = "`unflatten` takes a tensor of one axis, and a set of parameters of which the result has the form"
            raise error("DL0203", message, span, help="`unflatten(v, net.params)`")
        vector, form = given[0].value, given[1].value.tensors
        total = sum(_count(frame, t) for t in form.values())
        if frame.type(vector).shape != (total,):
            message = f"these parameters are {total} numbers, and this is {frame.type(vector)}"
            raise error("DL0528", message, given[0].span)
        primitive = self.context.applier.primitive
        found: dict[str, Tensor] = {}
        start = 0
        for name, t in form.items():
            stop = start + _count(frame, t)
            limits: dict[str, AttributeValue] = {"axes": (0,), "starts": (start,), "stops": (stop,), "steps": (1,)}
            part = primitive(frame, "slice", [vector], limits, span)[0]
            found[name] = primitive(frame, "reshape", [part], {"shape": frame.type(t).shape}, span)[0]
            start = stop
        return ParameterSet(found)

    # --- `layer name = net with ...`, `copy of`, `ema of` ---

    def declare(self, statement: syntax.LayerDecl, frame: Frame) -> None:
        value = statement.value
        if isinstance(value, syntax.CopyOf):
            self._follow(statement, value, frame)
            return
        if isinstance(value, syntax.WithFunction):
            self._with_function(statement, value, frame)
            return
        assert isinstance(value, syntax.With)
        instance = self._instance(frame, value.layer)
        given = not_poison(self.context.evaluate(frame, value.parameters))
        if not isinstance(given, ParameterSet):
            raise error(
                "DL0528", f"`with` takes a set of parameters, not {describe(given)}", value.parameters.span,
                help=f"such as `{instance.name}.params - 0.1 * grad(loss, {instance.name}.params)`",
            )  # fmt: skip
        self._check_fits(frame, instance, given, value.parameters.span)
        for name, tensor in given.tensors.items():
            frame.graph.set_name(tensor.value, f"{statement.name}_{name.replace('.', '_')}")
        other = Instance(instance.name, instance.layer, statement.name_span, instance.graphs, used=True, given=given)
        frame.bind(statement.name, other, statement.name_span)

    def _with_function(self, statement: syntax.LayerDecl, value: syntax.WithFunction, frame: Frame) -> None:
        """Declare a layer that is another one, with a function in the place of one that it uses."""
        instance = self._instance(frame, value.layer)
        old, new = self._function(frame, value.function), self._function(frame, value.replacement)
        if instance.graphs and not any(may_use(graph, freeze(old)) for graph in instance.graphs):
            raise error("DL0528", f"nothing in `{instance.name}` uses {describe(old)}", value.function.span)
        functions = {**instance.functions, freeze(old): new}
        other = Instance(
            instance.name,
            instance.layer,
            statement.name_span,
            instance.graphs,
            used=True,
            given=instance.given,
            functions=functions,
        )
        frame.bind(statement.name, other, statement.name_span)

    def _function(self, frame: Frame, expression: syntax.Expr) -> Card | Function:
        value = not_poison(self.context.evaluate(frame, expression))
        if isinstance(value, Overloaded):
            value = CARDS[value.name]
        if not isinstance(value, Card | Function):
            raise error("DL0528", f"a function stands on both sides of `=`, and this is {describe(value)}", expression.span)
        return value

    def _instance(self, frame: Frame, expression: syntax.Expr) -> Instance:
        value = not_poison(self.context.evaluate(frame, expression))
        if not isinstance(value, Instance):
            help = "declare one with `layer`"
            raise error("DL0507", f"a layer is needed here, and this is {describe(value)}", expression.span, help=help)
        value.used = True
        return value

    def _check_fits(self, frame: Frame, instance: Instance, given: ParameterSet, span: Span) -> None:
        known = {n: p.type for graph in instance.graphs for n, p in owned(graph) if p.trained}
        for name, tensor in given.tensors.items():
            if known and name not in known:
                raise error("DL0528", f"`{instance.name}` has no parameter `{name}`", span)
            if known and frame.type(tensor) != known[name]:
                raise error("DL0528", f"`{name}` of `{instance.name}` is {known[name]}, and {frame.type(tensor)} is given", span)

    def _follow(self, statement: syntax.LayerDecl, value: syntax.CopyOf, frame: Frame) -> None:
        if frame.training is None:
            raise error("DL0529", f"`{value.kind} of` stands in a `train` block", statement.span)
        source = self._instance(frame, value.layer)
        if source.given is not None or "." in source.name:
            raise error("DL0529", "only a layer of this block can be followed", value.layer.span)
        self.context.objectives.follow(frame, value, source.name, statement)
        name = frame.child_name(statement.name, statement.name_span, labelled=True)
        frame.bind(statement.name, Instance(name, source.layer, statement.name_span), statement.name_span)

    # --- grad ---

    def grad(self, frame: Frame, given: Sequence[Given], span: Span) -> object:
        """The gradient of a scalar with respect to a tensor, the parameters of a layer, or a list of these; of the same form."""
        if len(given) != 2 or any(g.name not in (None, "wrt") for g in given):
            raise error("DL0203", "`grad` takes a scalar, and what to differentiate it by", span, help="`grad(loss, net.params)`")
        scalar, wrt = given
        if not isinstance(scalar.value, Tensor):
            raise error("DL0530", f"`grad` differentiates a scalar tensor, not {describe(scalar.value)}", scalar.span)
        type_ = frame.type(scalar.value)
        if type_.rank or not type_.dtype.is_float:
            help = "take its `mean` or its `sum`" if type_.dtype.is_float else None
            raise error("DL0530", f"`grad` differentiates a floating scalar, and this is {type_}", scalar.span, help=help)
        targets = self._targets(frame, wrt.value, wrt.span)
        self._check_targets(frame, targets, wrt.span)
        results = iter(self._node(frame, scalar.value, targets, span))
        return self._shaped(wrt.value, results)

    def _targets(self, frame: Frame, value: object, span: Span) -> list[Tensor]:
        match value:
            case Tensor():
                return [value]
            case ParameterSet():
                return list(value.tensors.values())
            case Instance():
                return list(self.parameters(frame, value, span).tensors.values())
            case tuple() if value:
                return [t for v in value for t in self._targets(frame, v, span)]
            case _:
                raise error(
                    "DL0530",
                    f"`grad` is with respect to a tensor, a layer's `params` or a list of these, not {describe(value)}",
                    span,
                )

    def _check_targets(self, frame: Frame, targets: Sequence[Tensor], span: Span) -> None:
        for target in targets:
            if not frame.type(target).dtype.is_float:
                raise error("DL0530", f"a gradient is with respect to floating numbers, and this is {frame.type(target)}", span)

    def _shaped(self, wrt: object, results: object) -> object:
        """The gradients in the form of what they are with respect to."""
        found = iter(results)  # type: ignore[call-overload]
        match wrt:
            case Tensor():
                return next(found)
            case ParameterSet():
                return ParameterSet({name: next(found) for name in wrt.tensors})
            case tuple():
                return tuple(self._shaped(v, found) for v in wrt)
            case _:
                return ParameterSet({}) if not isinstance(wrt, Instance) else self._set_of(wrt, found)

    def _set_of(self, instance: Instance, found: object) -> ParameterSet:
        names = dict.fromkeys(n for graph in instance.graphs for n, p in owned(graph) if p.trained)
        return ParameterSet({name: next(found) for name in names})  # type: ignore[call-overload]

    def _node(self, frame: Frame, scalar: Tensor, targets: Sequence[Tensor], span: Span) -> list[Tensor]:
        graph = frame.graph
        slice_ = _Slice(graph, scalar.value, [t.value for t in targets], span)
        found = obstacles(graph, scalar.value, slice_.paths, {t.value for t in targets})
        if found:
            raise SpecError([no_gradient(n, Label(span, "asked for here")) for n in found])
        paths, values = reached(graph, scalar.value), depends(graph, scalar.value, {t.value for t in targets})
        by_path = {target: path for path, target in slice_.paths.items()}
        unread = [t for t in targets if by_path.get(t.value) not in paths and t.value not in values]
        if unread:
            node = graph.node(unread[0].value)
            what = str(node.attributes.get("path") or node.attributes.get("name") or node.name or "this")
            raise error("DL0531", f"the scalar does not depend on `{what}`", span, help="its gradient would be zero")
        block, captured = slice_.cut()
        node = graph.add(
            "grad",
            (*(t.value for t in targets), *captured),
            {"wrt": len(targets)},
            tuple(frame.type(t) for t in targets),
            spans=(span,),
            target=block_call(block),
        )
        return [Tensor(Value(node.id, i), t.names) for i, t in enumerate(targets)]


def _count(frame: Frame, parameter: Tensor) -> int:
    """How many numbers a parameter has: its sizes are numbers."""
    return prod(d for d in frame.type(parameter).shape if isinstance(d, int))


def no_gradient(node: Node, asked: Label) -> Diagnostic:
    """Why no gradient passes a node, and who asked for one."""
    if node.op == "while":
        help = "use `scan`, which has one, or `stop_gradient` of its result"
        return Diagnostic("DL0532", "a `while` has no gradient", node.span, labels=(asked,), help=help)
    help = "stop it with `stop_gradient`, use a straight-through estimator, or `score_function(log_prob, reward)`"
    return Diagnostic("DL0532", f"the draw `{node.op}` has no gradient", node.span, labels=(asked,), help=help)


@dataclass(slots=True, eq=False)
class _Slice:
    """What lies between a scalar and what it is differentiated by. `paths` are the parameters among the latter."""

    graph: Graph
    scalar: Value
    targets: list[Value]
    span: Span
    paths: dict[str, Value] = field(default_factory=dict)
    between: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        for target in self.targets:
            node = self.graph.node(target)
            if node.op == "param":
                self.paths[str(node.attributes["path"])] = target
        dependent = {t.node for t in self.targets}
        needed = self.graph.ancestors(self.scalar)
        for node in self.graph:
            if node.id not in needed:
                continue
            operands = [v for v in node.inputs if v.node in dependent]
            read = parameters_read(node, self.paths)
            if not (operands or read) or node.id in dependent:
                continue
            dependent.add(node.id)
            if node.op != "param":
                self.between.append(node)

    def cut(self) -> tuple[Graph, list[Value]]:
        """The function from the targets to the scalar, and the values of the graph that it captures."""
        block = Graph("gradient", kind="block", span=self.span)
        inside: dict[Value, Value] = {}
        by_path: dict[str, Value] = {}
        for i, target in enumerate(self.targets):
            inside[target] = _input(block, self.graph, target, f"x_{i}")
        for path, target in self.paths.items():
            by_path[path] = inside[target]
        captured: list[Value] = []

        def entered(value: Value) -> Value:
            node = self.graph.node(value)
            if node.op == "param" and str(node.attributes["path"]) in by_path:
                return by_path[str(node.attributes["path"])]
            if value not in inside:
                if node.op == "const" or node.op == "size":
                    made = block.add(node.op, (), node.attributes, node.types, name=node.name, spans=node.spans)
                    inside[value] = Value(made.id)
                else:
                    inside[value] = _input(block, self.graph, value, f"outer_{len(captured)}")
                    captured.append(value)
            return inside[value]

        for node in self.between:
            operands = tuple(entered(v) for v in node.inputs)
            made = with_parameters(block, node, operands, by_path, self.span)
            for i in range(len(node.types)):
                inside[Value(node.id, i)] = Value(made.id, i)
        scalar = self.graph.node(self.scalar)
        name = (scalar.names[self.scalar.index] if scalar.names else scalar.name) or "y"
        block.outputs[name if name not in block.inputs else f"{name}_"] = inside[self.scalar]
        return block, captured


def _input(block: Graph, graph: Graph, value: Value, fallback: str) -> Value:
    node = graph.node(value)
    given = node.names[value.index] if node.names else node.name
    path = node.attributes.get("path") or node.attributes.get("name")
    name = given or (str(path).replace(".", "_") if isinstance(path, str) else fallback)
    free, number = name, 1
    while free in block.inputs:
        free = f"{name}_{number}"
        number += 1
    made = block.add("input", (), {"name": free}, (graph.type(value),), spans=node.spans)
    block.inputs[free] = Value(made.id)
    return block.inputs[free]


def parameters_read(node: Node, paths: Mapping[str, Value]) -> list[str]:
    """Which of the parameters at `paths` the node reads itself: as a `param`, or in a layer or a block that it applies."""
    if node.op == "param":
        path = str(node.attributes["path"])
        return [path] if path in paths else []
    target = node.target
    if target is None:
        return []
    if target.child is not None:
        given = node.attributes.get("given", ())
        assert isinstance(given, tuple)
        replaced = {f"{target.child}.{name}" for name in given}
        return [p for p in paths if p.startswith(f"{target.child}.") and p not in replaced]
    if target.graph.kind == "block":
        return list(dict.fromkeys(p for n in target.graph for p in parameters_read(n, paths)))
    return []


def with_parameters(graph: Graph, node: Node, operands: tuple[Value, ...], given: Mapping[str, Value], span: Span) -> Node:
    """A copy of `node` in `graph` that reads the parameters at the paths of `given` from there."""
    read = parameters_read(node, given)
    attributes, target = node.attributes, node.target
    if read and target is not None:
        if target.count is not None:
            raise error(
                "DL0528", f"`{target.child}` is a `repeat`, and is differentiated by its own parameters", span,
                help="put it in a module, and differentiate by the parameters of that",
            )  # fmt: skip
        if target.child is not None:
            before = attributes.get("given", ())
            assert isinstance(before, tuple)
            names = tuple(p.removeprefix(f"{target.child}.") for p in read)
            attributes = {**attributes, "given": (*before, *names)}
        else:
            target = replace(target, graph=_reading(target.graph, read, span))
        operands = (*operands, *(given[p] for p in read))
    made = graph.add(node.op, operands, attributes, node.types, name=node.name, spans=node.spans, target=target)
    if node.names:
        for i, name in enumerate(node.names):
            if name is not None:
                graph.set_name(Value(made.id, i), name)
    return made


def _reading(block: Graph, paths: Sequence[str], span: Span) -> Graph:
    """A block that reads the parameters at `paths` as captured inputs, its last."""
    result = Graph(block.definition, block.entry, block.kind, block.span)
    inside: dict[Value, Value] = {}
    for name, value in block.inputs.items():
        inside[value] = _input(result, block, value, name)
    given: dict[str, Value] = {}
    types = _parameter_types(block, paths)
    for path in paths:
        name = path.replace(".", "_")
        while name in result.inputs:
            name += "_"
        made = result.add("input", (), {"name": name}, (types[path],), spans=(span,))
        given[path] = result.inputs[name] = Value(made.id)
    for node in block:
        if node.op == "input":
            continue
        if node.op == "param" and str(node.attributes["path"]) in given:
            inside[Value(node.id)] = given[str(node.attributes["path"])]
            continue
        copied = with_parameters(result, node, tuple(inside[v] for v in node.inputs), given, span)
        for i in range(len(node.types)):
            inside[Value(node.id, i)] = Value(copied.id, i)
    result.outputs = {name: inside[value] for name, value in block.outputs.items()}
    return result


def _parameter_types(block: Graph, paths: Sequence[str]) -> dict[str, TensorType]:
    """The types of parameters that a block reads, by their paths."""
    found: dict[str, TensorType] = {}
    for node in block:
        if node.op == "param":
            found[str(node.attributes["path"])] = node.type
        elif node.target is not None and node.target.child is not None:
            found |= {f"{node.target.child}.{name}": p.type for name, p in owned(node.target.graph)}
        elif node.target is not None and node.target.graph.kind == "block":
            found |= _parameter_types(node.target.graph, paths)
    return found
