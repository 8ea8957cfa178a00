"""Instantiation: a module or function on given hyper-parameters and input types becomes one graph, shared by all its calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.dims import Dim, Expr, Symbol, as_symbol, format_dim, substitute
from dsl.elaborate.agreement import check_applications
from dsl.elaborate.arguments import check_static, module_signature
from dsl.elaborate.binding import Given, given_twice
from dsl.elaborate.context import Context, error
from dsl.elaborate.execute import static_frame
from dsl.elaborate.familiar import ARGUMENTS, suggested
from dsl.elaborate.frame import Frame, only_in_training, require, tensor
from dsl.elaborate.operators import compare_sizes
from dsl.elaborate.outputs import named_outputs
from dsl.elaborate.signature import Formal, LocalDims, match, required_multiples
from dsl.elaborate.suspects import warn_crossed_arguments
from dsl.elaborate.values import (
    Condition,
    Function,
    InitializerFunction,
    Instance,
    Layer,
    LayerType,
    ParameterSet,
    RepeatLayer,
    Results,
    Tensor,
    describe,
    freeze,
    is_static,
)
from dsl.ir import Call, Constraint, Graph, Initializer, StaticValue, Value, owned
from dsl.limits import limits, raising
from dsl.loader import Unit
from dsl.ops.card import Attributes, Card
from dsl.ops.sugar import Sugar
from dsl.source import Span
from dsl.types import TensorType

IN_THE_TABLE = re.compile(r"\s*\bSystems?:\s[a-z0-9,\s-]+\.")
"""What a comment of the library says of rows of docs/systems.tsv, which is not for those who read generated code."""


def documentation(definition: syntax.Module | syntax.Function) -> str:
    """The comment block right above a definition. The head of a file, which a blank line follows, documents only a model."""
    blocks: list[list[str]] = [[]]
    for line in definition.comments.leading:
        if line == syntax.BLANK_LINE:
            blocks.append([])
        else:
            blocks[-1].append(line)
    is_model = isinstance(definition, syntax.Module) and definition.kind == "model"
    found = next((b for b in reversed(blocks) if b), []) if is_model else blocks[-1]
    return "\n".join(found)


@dataclass(frozen=True, slots=True)
class Callee:
    """A definition with its arguments sorted: what `graph` needs. `lists` names the tensors of inputs that are lists; `functions` are as
    in Frame."""

    definition: syntax.Module | syntax.Function
    entry: syntax.Entry | None
    hyper: Mapping[str, object]
    tensors: dict[str, Tensor]
    spans: dict[str, Span]
    mode: str | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    functions: Mapping[object, object] = field(default_factory=dict)

    @property
    def variant(self) -> tuple[object, ...]:
        """What tells its graph from others of the same definition and arguments: the mode, and functions in the place of others."""
        return self.mode, tuple((name, freeze(f)) for name, f in self.functions.items())


class Instantiator:
    def __init__(self, context: Context) -> None:
        self.context = context

    # --- hyper-parameters ---

    def hyper(self, frame: Frame, layer: LayerType, given: Sequence[Given], span: Span) -> Mapping[str, object]:
        """The hyper-parameters of a module from written arguments and defaults, checked against their declared types."""
        key = (id(layer.definition), tuple([(g.name, freeze(g.value)) for g in given]), self.context.initializing > 0)
        found = frame.hyper.get(key)
        if found is None:
            found = frame.hyper[key] = self._hyper(layer, given, span)
            if not frame.unit.library:
                names = self._argument_names(layer.definition, given, span)
                warn_crossed_arguments(self.context, layer.definition.name, dict(zip(names, given, strict=True)))
        return found

    def _hyper(self, layer: LayerType, given: Sequence[Given], span: Span) -> dict[str, object]:
        definition = layer.definition
        values: dict[str, object] = {}
        parameters = definition.parameters
        for g, name in zip(given, self._argument_names(definition, given, span), strict=True):
            parameter = next(p for p in parameters if p.name == name)
            values[name] = check_static(parameter, g.value, g.span, definition.name)
            if not is_static(g.value):
                what = "a list with a tensor in it" if isinstance(g.value, tuple) else describe(g.value)
                message = f"`{name}` of `{definition.name}` is known when the graph is made, not {what}"
                raise error("DL0401", message, g.span, help="tensors go in a second bracket, as inputs")
        scope = static_frame(layer.unit, self.context)
        ordered: dict[str, object] = {}
        for parameter in parameters:
            if parameter.name not in values:
                if parameter.default is None:
                    raise error(
                        "DL0203",
                        f"`{definition.name}` needs `{parameter.name}`",
                        span,
                        help=f"it is `{module_signature(definition)}`",
                    )
                default = self.context.evaluator.single(scope, parameter.default)
                values[parameter.name] = check_static(parameter, default, parameter.default.span, definition.name)
            ordered[parameter.name] = values[parameter.name]
            scope.bind(parameter.name, values[parameter.name], parameter.span)
        return ordered

    def _argument_names(self, definition: syntax.Module, given: Sequence[Given], span: Span) -> list[str]:
        known = [p.name for p in definition.parameters]
        names: list[str] = []
        for i, g in enumerate(given):
            if g.name is None and i >= len(known):
                tensors = " (tensors go in a second bracket)" if isinstance(g.value, Tensor) else ""
                raise error(
                    "DL0203",
                    f"`{definition.name}` takes {len(known)} hyper-parameters{tensors}",
                    g.span,
                    help=f"it is `{module_signature(definition)}`",
                )
            name = g.name if g.name is not None else known[i]
            if name not in known:
                near = suggested(name, known, ARGUMENTS)
                raise error(
                    "DL0203",
                    f"`{definition.name}` has no argument `{name}`",
                    g.place,
                    help=f"did you mean `{near}`?" if near else f"it is `{module_signature(definition)}`",
                )
            if name in names:
                raise given_twice(name, definition.name, given[names.index(name)].place, g.place)
            names.append(name)
        return names

    # --- applying layers ---

    def apply(self, frame: Frame, instance: Instance, entry: str, given: Sequence[Given], span: Span) -> Results:
        """Apply an owned layer; its graphs must agree on the parameters that they share."""
        if frame.owner.kind == "fn":
            raise error("DL0503", "a function owns nothing: it cannot apply a layer of its own", span, help="make it a `module`")
        layer = instance.layer
        if isinstance(layer, RepeatLayer):
            return self.context.repeats.apply(frame, instance, layer, given, span)
        given, mode = self._mode(frame, layer, entry, given)
        functions = {**frame.functions, **instance.functions}
        if not frame.unit.library:
            inputs = next((e.inputs for e in layer.type.definition.entries if e.name == entry), ())
            named = {
                **dict(zip([i.name for i in inputs], given, strict=False)),
                **{g.name: g for g in given if g.name is not None},
            }
            warn_crossed_arguments(self.context, layer.type.definition.name, named)
        callee = replace(self.callee(frame, layer, entry, given, span), mode=mode, functions=functions)
        graph, dims = self.graph_for(frame, layer.type.unit, callee, span)
        return self.call_node(frame, graph, dims, list(callee.tensors.values()), instance, span)

    def _mode(self, frame: Frame, layer: Layer, entry: str, given: Sequence[Given]) -> tuple[Sequence[Given], str | None]:
        """The arguments without `training=`, and the mode that it asks for; that of the frame where it asks for none."""
        asked = next((g for g in given if g.name == "training"), None)
        entries = layer.type.definition.entries
        if asked is None or any(i.name == "training" for e in entries if e.name == entry for i in e.inputs):
            return given, frame.fixed
        if not isinstance(asked.value, bool):
            raise error("DL0401", f"`training` is true or false, not {describe(asked.value)}", asked.span)
        return [g for g in given if g is not asked], "training" if asked.value else "inference"

    def callee(self, frame: Frame, layer: Layer, entry: str, given: Sequence[Given], span: Span) -> Callee:
        definition = layer.type.definition
        found = next((e for e in definition.entries if e.name == entry), None)
        if found is None:
            raise error(
                "DL0207",
                f"`{definition.name}` has no entry point `{entry}`",
                span,
                help=f"it has {', '.join(e.name for e in definition.entries)}",
            )
        tensors: dict[str, Tensor] = {}
        spans: dict[str, Span] = {}
        lists: dict[str, tuple[str, ...]] = {}
        hyper = dict(layer.hyper)
        named = {g.name: g for g in given if g.name is not None}
        positional = [g for g in given if g.name is None]
        for g in [*positional[len(found.inputs) :], *(g for n, g in named.items() if n not in {i.name for i in found.inputs})]:
            raise error(
                "DL0203",
                f"`{definition.name}` takes {len(found.inputs)} tensors at most: {', '.join(i.name for i in found.inputs)}",
                g.span,
            )
        for i, declared in enumerate(found.inputs):
            argument = named.get(declared.name) or (positional[i] if i < len(positional) else None)
            if argument is None and declared.default is None:
                raise error("DL0203", f"`{definition.name}` needs the tensor `{declared.name}`", span)
            if argument is None or argument.value is None:
                hyper[declared.name] = None
                continue
            values = {declared.name: argument.value}
            if declared.type is not None and declared.type.is_list:
                values = _listed(declared.name, argument, self.context)
                lists[declared.name] = tuple(values)
            for name, value in values.items():
                tensors[name] = self.context.tensors.as_tensor(frame, value, argument.span)
                spans[name] = argument.span
        return Callee(definition, found, hyper, tensors, spans, lists=lists)

    def graph_for(self, frame: Frame, unit: Unit, callee: Callee, span: Span) -> tuple[Graph, LocalDims]:
        """The graph for these arguments, made now or before: in this frame (nothing to check again), or in another."""
        names = tuple(callee.hyper), tuple(callee.tensors)
        types = tuple([frame.type(t) for t in callee.tensors.values()])
        key = (id(callee.definition), callee.entry and callee.entry.name, freeze(tuple(callee.hyper.values())), names, types,
               callee.variant, self.context.initializing > 0)  # fmt: skip
        found = frame.applied.get(key)
        if found is None:
            found = self._instantiated(frame, unit, replace(callee, mode=None, functions={}), span)
            mode = callee.mode if _has_modes(found[0]) else None
            functions = {old: new for old, new in callee.functions.items() if may_use(found[0], old)}
            if mode is not None or functions:
                found = self._instantiated(frame, unit, replace(callee, mode=mode, functions=functions), span)
            frame.applied[key] = found
        return found

    def _instantiated(self, frame: Frame, unit: Unit, callee: Callee, span: Span) -> tuple[Graph, LocalDims]:
        definition, entry = callee.definition, callee.entry
        body = entry.body if entry is not None else definition.body
        dims = LocalDims(required_multiples(body, callee.hyper))
        static = static_frame(unit, self.context)
        for name, value in callee.hyper.items():
            static.bind(name, value)
        declared = entry.inputs if entry is not None else definition.parameters
        formals = [
            Formal(name, p.type if p.name not in callee.lists else None, frame.type(callee.tensors[name]), callee.spans[name])
            for p in declared
            for name in callee.lists.get(p.name, (p.name,))
            if name in callee.tensors
        ]
        with_place = self.placed(definition, span)
        try:
            bound = match(self.context, static, formals, dims)
            hyper = {name: dims.translate_static(value) for name, value in callee.hyper.items()}
        except KeyError as missing:
            raise error(
                "DL0505",
                f"`{definition.name}` depends on the size {missing.args[0]}, which none of its inputs has",
                span,
                help="pass a tensor that has this size as an axis",
            ) from None
        except SpecError as problem:
            raise with_place(problem) from None
        types = tuple(f.type.with_shape(tuple(dims.name(d, "d") for d in f.type.shape)) for f in formals)
        facts = tuple((s.name, s.multiple, s.low) for s in _symbols(types))
        key = (id(definition), entry.name if entry is not None else "", freeze(tuple(hyper.values())), tuple(hyper), types, facts,
               tuple(f.name for f in formals), callee.variant, self.context.initializing > 0)  # fmt: skip
        graph = self.context.graphs.get(key)
        if graph is None:
            self.check_recursion(key, definition, span)
            self.context.open.append((key, definition.name, span))
            try:
                graph = self._elaborate(frame, unit, callee, hyper, formals, types, bound, dims)
            except SpecError as problem:
                raise with_place(problem) from None
            finally:
                self.context.open.pop()
            self.context.graphs[key] = graph
        return graph, dims

    def placed(self, definition: syntax.Module | syntax.Function, span: Span) -> Callable[[SpecError], SpecError]:
        """A function that tells errors inside `definition` where it was applied: in library code, the application is to blame."""
        in_library = definition.span.source.name.startswith("dsl/lib/")

        def placed(problem: SpecError) -> SpecError:
            moved = []
            for d in problem.diagnostics:
                inside = d.span.source is definition.span.source and d.code != "DL0513"
                if in_library and inside and not span.source.name.startswith("dsl/lib/"):
                    labels = (Label(d.span, d.text or "here in the library"), *d.labels[:1])
                    moved.append(replace(d, span=span, text=f"in this `{definition.name}`", labels=labels))
                elif in_library and inside:
                    moved.append(replace(d, span=span, labels=(Label(d.span, d.text), *d.labels[:1])))
                elif (
                    inside
                    and span.source.name
                    and len(d.labels) < 3
                    and d.span.source is definition.span.source
                    and span != d.span
                ):
                    moved.append(replace(d, labels=(*d.labels, Label(span, f"in this `{definition.name}`"))))
                else:
                    moved.append(d)
            return SpecError(moved, problem.exit_code)

        return placed

    def check_recursion(self, key: object, definition: syntax.Module | syntax.Function, span: Span) -> None:
        names = [name for _, name, _ in self.context.open]
        repeated = any(k == key for k, _, _ in self.context.open)
        if repeated or len(self.context.open) >= limits().modules:
            if definition.name in names:
                chain = " -> ".join([*names[names.index(definition.name) :][:6], definition.name])
                places = {s: n for _, n, s in self.context.open[1:] if s != span}
                labels = tuple(Label(s, f"`{n}` applied here") for s, n in list(places.items())[-3:])
                raise SpecError(Diagnostic("DL0513", f"`{definition.name}` contains itself: {chain}", span, labels=labels))
            deep = f"modules are inside one another more than {limits().modules} deep"
            raise error("DL0604", deep, span, help=raising("modules"))

    def _elaborate(
        self,
        outer: Frame,
        unit: Unit,
        callee: Callee,
        hyper: dict[str, object],
        formals: list[Formal],
        types: tuple[TensorType, ...],
        bound: dict[str, Dim],
        dims: LocalDims,
    ) -> Graph:
        definition, entry = callee.definition, callee.entry
        frame = self.new_frame(definition, entry, unit, outer.depth + 1)
        if callee.mode is not None:
            frame.mode = frame.fixed = callee.mode
            frame.graph.library = False  # a target's own word for a layer has its own idea of the mode
        if callee.functions:
            frame.functions = callee.functions
            frame.graph.library = False  # and of its functions
        for name, value in hyper.items():
            frame.bind(name, value)
        for formal, type_ in zip(formals, types, strict=True):
            names = axis_names(formal.pattern, type_.rank)
            node = frame.graph.add("input", (), {"name": formal.name}, (type_,), spans=(formal.span,))
            frame.graph.inputs[formal.name] = Value(node.id)
            frame.bind(
                formal.name, tensor(Value(node.id), type_.rank, names), formal.pattern.span if formal.pattern else formal.span
            )
        for name, parts in callee.lists.items():
            frame.bind(name, tuple(frame.names.pop(part).value for part in parts), definition.name_span)
        for name, size in bound.items():
            frame.bind_dim(name, dims.name(size, name))
            own = dims.name(size, name)
            if isinstance(own, Expr) and str(own) in dims.plain:
                frame.plain[name] = dims.plain[str(own)]
        frame.graph.dim_names = dict(frame.dims)
        frame.graph.hyper = {k: plain_static(v) for k, v in hyper.items()}
        self.run(frame, definition, entry)
        if isinstance(definition, syntax.Function) and definition.backward is not None:
            frame.graph.backward = self._backward(frame, definition, definition.backward, unit)
        return frame.graph

    def _backward(self, forward: Frame, definition: syntax.Function, written: syntax.Backward, unit: Unit) -> Graph:
        """The gradient that a function gives itself: from those of its results and its inputs, to those of its floating inputs."""
        frame = self.new_frame(definition, None, unit, forward.depth)
        frame.graph.definition, frame.graph.library = f"{definition.name}_backward", False
        outputs = list(forward.graph.outputs.values())
        if len(written.names) != len(outputs):
            message = f"`backward` takes the gradient of each result: {len(outputs)}, not {len(written.names)}"
            raise error("DL0537", message, written.span)
        own = {n: (forward.graph.type(v), forward.graph.axis_names.get(n, ())) for n, v in forward.graph.inputs.items()}
        given: list[tuple[str, TensorType, tuple[str | None, ...]]] = []
        for name, output in zip(written.names, outputs, strict=True):
            given.append((name, forward.graph.type(output), (None,) * forward.graph.type(output).rank))
        given += [(name, type_, names or (None,) * type_.rank) for name, (type_, names) in own.items()]
        frame.names = {n: b for n, b in forward.names.items() if n not in own and is_static(b.value)}
        frame.dims = dict(forward.dims)
        for name, type_, names in given:
            if name in frame.graph.inputs:
                raise error("DL0206", f"`{name}` is a gradient and a parameter of `{definition.name}`", written.span)
            node = frame.graph.add("input", (), {"name": name}, (type_,), spans=(written.span,))
            frame.graph.inputs[name] = Value(node.id)
            frame.bind(name, tensor(Value(node.id), type_.rank, names), written.span)
        self.context.execute(frame, written.body)
        wanted = [(n, t) for n, (t, _) in own.items() if t.dtype.is_float]
        returned = frame.returned or []
        if len(returned) != len(wanted):
            names_wanted = ", ".join(f"`{n}`" for n, _ in wanted)
            raise error("DL0537", f"`backward` returns a gradient for each of {names_wanted}, not {len(returned)}", written.span)
        for (name, type_), (_, value, span) in zip(wanted, returned, strict=True):
            result = self.context.tensors.as_tensor(frame, value, span, type_)
            if frame.type(result) != type_:
                raise error("DL0537", f"the gradient of `{name}` is {type_}, and this is {frame.type(result)}", span)
            frame.graph.outputs[f"d_{name}"] = result.value
        return frame.graph

    def new_frame(self, definition: syntax.Module | syntax.Function, entry: syntax.Entry | None, unit: Unit, depth: int) -> Frame:
        kind = definition.kind if isinstance(definition, syntax.Module) else "fn"
        graph = Graph(definition.name, entry.name if entry is not None else "forward", kind, definition.name_span)
        graph.library = unit.library
        text = documentation(definition)
        graph.doc = IN_THE_TABLE.sub("", text) if unit.library else text
        graph.entry_doc = entry.comments.documentation if entry is not None else ""
        return Frame(graph, Builder(graph, self.context.float_type), unit, depth=depth)

    def run(self, frame: Frame, definition: syntax.Module | syntax.Function, entry: syntax.Entry | None) -> None:
        if entry is not None:
            self.context.execute(frame, definition.body)
            self.context.execute(frame, entry.body)
        else:
            self.context.execute(frame, definition.body)
        if frame.returned is None:
            raise error("DL0514", f"`{definition.name}` returns nothing", definition.name_span, help="end it with `return y`")
        declared = entry.outputs if entry is not None else ()
        if isinstance(definition, syntax.Module) or all(isinstance(v, Tensor) for _, v, _ in frame.returned):
            named_outputs(self.context, frame, declared)
        several = isinstance(definition, syntax.Module) and len(definition.entries) > 1
        self.warn_unused(frame, entry.inputs if entry is not None else (), several=several)

    def warn_unused(self, frame: Frame, inputs: Sequence[syntax.Parameter], *, several: bool = False) -> None:
        """Warn of what nothing uses; a layer of `several` entry points may be for another one."""
        if frame.unit.library:
            return
        for name, binding in frame.names.items():
            if isinstance(binding.value, Instance):
                if binding.value.used or binding.read or several:
                    continue
                self.context.warn("DL1003", f"the layer `{name}` is never applied", binding.span)
            elif binding.watched and not binding.read and not name.startswith("_"):
                self.context.warn("DL1001", f"`{name}` is never used", binding.span, help=f"call it `_{name}` if that is meant")
        for declared in inputs:
            bound, given = frame.names.get(declared.name), frame.graph.inputs.get(declared.name)
            if bound is not None and not bound.read and isinstance(bound.value, Tensor) and bound.value.value == given:
                self.context.warn("DL1004", f"the input `{declared.name}` is never used", declared.span)

    def call_node(
        self, frame: Frame, graph: Graph, dims: LocalDims, tensors: list[Tensor], instance: Instance | None, span: Span
    ) -> Results:
        """A `call` node, its results with the caller's sizes, and the callee's requirements as the caller's."""
        if instance is not None:
            if graph not in instance.graphs:
                check_applications(instance, graph, span)
                instance.graphs.append(graph)
            frame.owner.children.setdefault(instance.name, instance.span)
        if dims.results is None:
            for c in graph.constraints:
                self.lift(frame, c, dims.bindings, span)
            dims.results = tuple(outer_type(graph.type(v), dims.bindings) for v in graph.outputs.values())
        if frame.holder is not None and frame.mode != "inference" and any(g.updates for g in graph.callees()):
            name = instance.name if instance is not None else graph.definition
            raise error("DL0511", f"`{name}` updates a buffer, which nothing inside a loop does", span)
        types = dims.results
        call = Call(graph, instance.name if instance is not None else None, dims.bindings)
        operands = tuple(t.value for t in tensors)
        attributes: Attributes = {}
        if instance is not None and instance.given is not None:
            names_given, values = applied_with(call, instance.given)
            attributes, operands = {"given": names_given}, (*operands, *values)
        node = frame.graph.add("call", operands, attributes, types, spans=(span,), target=call)
        names = self._outer_names(graph, tensors)
        inner = graph_axis_names(graph)
        results: dict[str, Tensor] = {}
        for i, (name, type_) in enumerate(zip(graph.outputs, types, strict=True)):
            axes = tuple(names.get(n) if n is not None else None for n in inner[name])
            results[name] = tensor(Value(node.id, i), type_.rank, axes)
        return Results(results, graph.lists)

    def _outer_names(self, graph: Graph, tensors: list[Tensor]) -> dict[str, str | None]:
        names: dict[str, str | None] = {}
        for own, outer in zip(graph.inputs, tensors, strict=True):
            for inside, outside in zip(graph.axis_names.get(own, ()), outer.names, strict=False):
                if inside is not None:
                    names.setdefault(inside, outside)
        return names

    def lift(self, frame: Frame, constraint: Constraint, bindings: Mapping[str, Dim], span: Span) -> None:
        left = substitute(constraint.left, bindings)
        right = substitute(constraint.right, bindings)
        decided = compare_sizes(constraint.relation, left, right, span)
        training = constraint.training or only_in_training(frame)
        if constraint.training and frame.mode == "inference":
            return
        if decided is False and training and frame.training is None:
            require(frame, replace(constraint, left=left, right=right, training=True))
        elif decided is False:
            raise SpecError(
                Diagnostic(
                    "DL0310",
                    f"a requirement is not met: {constraint.message}",
                    span,
                    labels=(Label(constraint.span, "required here"),),
                    notes=(f"{format_dim(left)} {constraint.relation} {format_dim(right)} is false",),
                )
            )
        if isinstance(decided, Condition):
            require(frame, replace(constraint, left=left, right=right, training=training))


def _listed(name: str, argument: Given, context: Context) -> dict[str, object]:
    """The tensors of a list that is given for an input, by the names that they have inside."""
    value = argument.value
    if isinstance(value, Results):
        value = context.evaluator.only(value, argument.span)
    if not isinstance(value, tuple):
        raise error("DL0405", f"`{name}` is a list of tensors, and this is {describe(value)}", argument.span)
    return {f"{name}_{i}": v for i, v in enumerate(value)}


def applied_with(call: Call, given: ParameterSet) -> tuple[tuple[str, ...], tuple[Value, ...]]:
    """The attribute and the operands of a call on other parameters: those that the layer has in this application."""
    known = {name for name, p in owned(call.graph) if p.trained}
    chosen = {name: t.value for name, t in given.tensors.items() if name in known}
    return tuple(chosen), tuple(chosen.values())


def _has_modes(graph: Graph) -> bool:
    """Whether training and inference differ."""
    return any(g.updates or any(n.op in ("if_training", "dropout") for n in g) for g in graph.callees())


def may_use(graph: Graph, function: object) -> bool:
    """Whether a graph or what it applies has the primitive with this frozen value; a `fn` may have left no trace."""
    match function:
        case (kind, str(name)) if kind is Card:
            return any(n.op == name for g in graph.callees() for n in g)
        case _:
            return True


def outer_type(type_: TensorType, bindings: Mapping[str, Dim]) -> TensorType:
    return type_.with_shape(tuple([d if isinstance(d, int) else substitute(d, bindings) for d in type_.shape]))


def axis_names(pattern: syntax.TypeExpr | None, rank: int) -> tuple[str | None, ...]:
    """The dimension names that a declared type gives to the axes of a tensor."""
    if pattern is None or pattern.dims is None:
        return (None,) * rank
    names: list[str | None] = []
    for item in pattern.dims:
        if isinstance(item, syntax.Ellipsis):
            names.extend([None] * (rank - len(pattern.dims) + 1))
        else:
            names.append(item.id if isinstance(item, syntax.Name) else None)
    return tuple(names) if len(names) == rank else (None,) * rank


def graph_axis_names(graph: Graph) -> dict[str, tuple[str | None, ...]]:
    return {name: graph.axis_names.get(name, (None,) * graph.type(value).rank) for name, value in graph.outputs.items()}


def _symbols(types: tuple[TensorType, ...]) -> list[Symbol]:
    found = [as_symbol(d) for t in types for d in t.shape]
    return [s for s in found if s is not None]


def plain_static(value: object) -> StaticValue:
    """A hyper-parameter as backends see it: functions and layers by name."""
    match value:
        case tuple():
            return tuple(plain_static(v) for v in value)
        case Function() | LayerType():
            return value.definition.name
        case Layer():
            return value.type.definition.name
        case Card() | Sugar():
            return value.name
        case InitializerFunction() | Initializer():
            return value.kind
        case None | bool() | int() | float() | str() | Expr():
            return value
        case _:
            return str(value)
