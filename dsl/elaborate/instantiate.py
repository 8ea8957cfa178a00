"""Instantiation: a module or function on given hyper-parameters and input types becomes one graph, shared by all its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dsl import syntax
from dsl.build import Builder
from dsl.diagnostics import Diagnostic, Label, SpecError, did_you_mean
from dsl.dims import Dim, Expr, Symbol, as_symbol, format_dim, substitute, symbol
from dsl.elaborate.apply import Given
from dsl.elaborate.context import DEEPEST, Context, error
from dsl.elaborate.evaluate import compare_sizes
from dsl.elaborate.execute import require, static_frame
from dsl.elaborate.frame import Frame, tensor
from dsl.elaborate.outputs import named_outputs
from dsl.elaborate.signature import Formal, LocalDims, match, required_multiples
from dsl.elaborate.values import (
    Condition,
    Function,
    InitializerFunction,
    Instance,
    Layer,
    LayerType,
    RepeatLayer,
    Results,
    Tensor,
    describe,
    freeze,
    is_static,
)
from dsl.ir import Call, Constraint, Graph, Initializer, StaticValue, Value, count_parameters
from dsl.ops.card import Card
from dsl.ops.sugar import Sugar
from dsl.source import Span
from dsl.types import DType, TensorType


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
    """A definition with its arguments sorted: what `graph` needs."""

    definition: syntax.Module | syntax.Function
    entry: syntax.Entry | None
    hyper: Mapping[str, object]
    tensors: dict[str, Tensor]
    spans: dict[str, Span]


class Instantiator:
    def __init__(self, context: Context) -> None:
        self.context = context

    # --- hyper-parameters ---

    def hyper(self, frame: Frame, layer: LayerType, given: Sequence[Given], span: Span) -> dict[str, object]:
        """The hyper-parameters of a module from written arguments and defaults, checked against their declared types."""
        definition = layer.definition
        values: dict[str, object] = {}
        parameters = definition.parameters
        for g, name in zip(given, self._argument_names(definition, given, span), strict=True):
            parameter = next(p for p in parameters if p.name == name)
            values[name] = check_static(parameter, g.value, g.span, definition.name)
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
                near = did_you_mean(name, known)
                raise error(
                    "DL0203",
                    f"`{definition.name}` has no argument `{name}`",
                    g.span,
                    help=f"did you mean `{near}`?" if near else f"it is `{module_signature(definition)}`",
                )
            if name in names:
                raise error("DL0205", f"`{name}` is given twice", g.span)
            names.append(name)
        return names

    # --- applying layers ---

    def apply(self, frame: Frame, instance: Instance, entry: str, given: Sequence[Given], span: Span) -> Results:
        """Apply an owned layer; its graphs must agree on the parameters that they share."""
        if frame.graph.kind == "fn":
            raise error("DL0503", "a function owns nothing: it cannot apply a layer of its own", span, help="make it a `module`")
        layer = instance.layer
        if isinstance(layer, RepeatLayer):
            return self._apply_repeat(frame, instance, layer, given, span)
        callee = self._callee(frame, layer, entry, given, span)
        graph, dims = self._graph(frame, layer.type.unit, callee, span)
        return self._call_node(frame, graph, dims, list(callee.tensors.values()), instance, span)

    def _callee(self, frame: Frame, layer: Layer, entry: str, given: Sequence[Given], span: Span) -> Callee:
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
            tensors[declared.name] = self.context.evaluator.as_tensor(frame, argument.value, argument.span)
            spans[declared.name] = argument.span
        return Callee(definition, found, hyper, tensors, spans)

    def _graph(self, frame: Frame, unit: object, callee: Callee, span: Span) -> tuple[Graph, LocalDims]:
        """The graph for these arguments, made now or before."""
        definition, entry = callee.definition, callee.entry
        body = entry.body if entry is not None else definition.body
        dims = LocalDims(required_multiples(body))
        static = static_frame(unit, self.context)  # type: ignore[arg-type]
        for name, value in callee.hyper.items():
            static.bind(name, value)
        formals = [
            Formal(p.name, p.type, frame.type(callee.tensors[p.name]), callee.spans[p.name])
            for p in (entry.inputs if entry is not None else definition.parameters)
            if p.name in callee.tensors
        ]
        with_place = self._placed(definition, span)
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
               tuple(f.name for f in formals), self.context.initializing > 0)  # fmt: skip
        graph = self.context.graphs.get(key)
        if graph is None:
            self._check_recursion(key, definition, span)
            self.context.open.append((key, definition.name, span))
            try:
                graph = self._elaborate(frame, unit, callee, hyper, formals, types, bound, dims)
            except SpecError as problem:
                raise with_place(problem) from None
            finally:
                self.context.open.pop()
            self.context.graphs[key] = graph
        return graph, dims

    def _placed(self, definition: syntax.Module | syntax.Function, span: Span):  # type: ignore[no-untyped-def]
        """A function that tells errors inside `definition` where it was applied: in library code, the application is to blame."""
        in_library = definition.span.source.name.startswith("dsl/lib/")

        def placed(problem: SpecError) -> SpecError:
            moved = []
            for d in problem.diagnostics:
                inside = d.span.source is definition.span.source
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

    def _check_recursion(self, key: object, definition: syntax.Module | syntax.Function, span: Span) -> None:
        names = [name for _, name, _ in self.context.open]
        repeated = any(k == key for k, _, _ in self.context.open)
        if repeated or len(self.context.open) >= DEEPEST:
            if definition.name in names:
                chain = " -> ".join([*names[names.index(definition.name) :][:6], definition.name])
                labels = tuple(Label(s, f"`{n}` applied here") for _, n, s in self.context.open[-3:])
                raise SpecError(Diagnostic("DL0513", f"`{definition.name}` contains itself: {chain}", span, labels=labels))
            raise error("DL0604", f"modules are inside one another more than {DEEPEST} deep", span)

    def _elaborate(
        self,
        outer: Frame,
        unit: object,
        callee: Callee,
        hyper: dict[str, object],
        formals: list[Formal],
        types: tuple[TensorType, ...],
        bound: dict[str, Dim],
        dims: LocalDims,
    ) -> Graph:
        definition, entry = callee.definition, callee.entry
        frame = self._frame(definition, entry, unit, outer.depth + 1)
        for name, value in hyper.items():
            frame.bind(name, value)
        for formal, type_ in zip(formals, types, strict=True):
            names = axis_names(formal.pattern, type_.rank)
            node = frame.graph.add("input", (), {"name": formal.name}, (type_,), spans=(formal.span,))
            frame.graph.inputs[formal.name] = Value(node.id)
            frame.bind(
                formal.name, tensor(Value(node.id), type_.rank, names), formal.pattern.span if formal.pattern else formal.span
            )
        for name, size in bound.items():
            frame.bind_dim(name, dims.name(size, name))
            own = dims.name(size, name)
            if isinstance(own, Expr) and str(own) in dims.plain:
                frame.plain[name] = dims.plain[str(own)]
        frame.graph.dim_names = dict(frame.dims)
        frame.graph.hyper = {k: _plain(v) for k, v in hyper.items()}
        self._run(frame, definition, entry)
        return frame.graph

    def _frame(self, definition: syntax.Module | syntax.Function, entry: syntax.Entry | None, unit: object, depth: int) -> Frame:
        kind = definition.kind if isinstance(definition, syntax.Module) else "fn"
        graph = Graph(definition.name, entry.name if entry is not None else "forward", kind, definition.name_span)
        graph.library = bool(unit.library)  # type: ignore[attr-defined]
        graph.doc = documentation(definition)
        return Frame(graph, Builder(graph, self.context.float_type), unit, depth=depth)  # type: ignore[arg-type]

    def _run(self, frame: Frame, definition: syntax.Module | syntax.Function, entry: syntax.Entry | None) -> None:
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
        self._warn_unused(frame, entry, several=isinstance(definition, syntax.Module) and len(definition.entries) > 1)

    def _warn_unused(self, frame: Frame, entry: syntax.Entry | None, *, several: bool) -> None:
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
        for declared in entry.inputs if entry is not None else ():
            read = frame.names.get(declared.name)
            if read is not None and not read.read and declared.name in frame.graph.inputs:
                self.context.warn("DL1004", f"the input `{declared.name}` is never used", declared.span)

    def _call_node(
        self, frame: Frame, graph: Graph, dims: LocalDims, tensors: list[Tensor], instance: Instance | None, span: Span
    ) -> Results:
        """A `call` node, its results with the caller's sizes, and the callee's requirements as the caller's."""
        if instance is not None:
            self._check_agreement(instance, graph, span)
            instance.graphs.append(graph)
            frame.graph.children.setdefault(instance.name, None)
        types = tuple(outer_type(graph.type(v), dims.bindings) for v in graph.outputs.values())
        for c in graph.constraints:
            self._lift(frame, c, dims.bindings, span)
        call = Call(graph, instance.name if instance is not None else None, dims.bindings)
        node = frame.graph.add("call", tuple(t.value for t in tensors), {}, types, spans=(span,), target=call)
        names = self._outer_names(graph, tensors)
        inner = graph_axis_names(graph)
        results: dict[str, Tensor] = {}
        for i, (name, type_) in enumerate(zip(graph.outputs, types, strict=True)):
            axes = tuple(names.get(n) if n is not None else None for n in inner[name])
            results[name] = tensor(Value(node.id, i), type_.rank, axes)
        return Results(results)

    def _outer_names(self, graph: Graph, tensors: list[Tensor]) -> dict[str, str | None]:
        names: dict[str, str | None] = {}
        for own, outer in zip(graph.inputs, tensors, strict=True):
            for inside, outside in zip(graph.axis_names.get(own, ()), outer.names, strict=False):
                if inside is not None:
                    names.setdefault(inside, outside)
        return names

    def _check_agreement(self, instance: Instance, graph: Graph, span: Span) -> None:
        for other in instance.graphs:
            for name, parameter in graph.parameters.items():
                known = other.parameters.get(name)
                if known is not None and known.type != parameter.type:
                    raise SpecError(
                        Diagnostic(
                            "DL0515",
                            f"`{instance.name}` is applied to inputs that need different parameters",
                            span,
                            text=f"here `{name}` would be {parameter.type}, and before it was {known.type}",
                            labels=(Label(instance.span, "one layer has one set of parameters"),),
                        )
                    )

    def _lift(self, frame: Frame, constraint: Constraint, bindings: dict[str, Dim] | object, span: Span) -> None:
        left = substitute(constraint.left, bindings)  # type: ignore[arg-type]
        right = substitute(constraint.right, bindings)  # type: ignore[arg-type]
        decided = compare_sizes(constraint.relation, left, right, span)
        if decided is False:
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
            require(frame, replace(constraint, left=left, right=right))

    # --- repeat ---

    def _apply_repeat(self, frame: Frame, instance: Instance, layer: RepeatLayer, given: Sequence[Given], span: Span) -> Results:
        if not given:
            raise error("DL0203", "`repeat` needs a tensor to start from", span)
        value = self.context.evaluator.as_tensor(frame, given[0].value, given[0].span)
        if len(given) > 1:
            raise error("DL0203", "`repeat` takes one tensor", given[1].span)
        frame.graph.children.setdefault(instance.name, None)
        made = 0
        while made < layer.count:
            graph, dims, extra = self._copy(frame, instance, layer, value)
            types = [outer_type(graph.type(v), dims.bindings) for v in graph.outputs.values()]
            if len(types) != 1:
                raise error("DL0405", f"the body of a `repeat` gives one tensor, and this gives {len(types)}", layer.span)
            count = layer.count - made if types[0] == frame.type(value) else 1
            for c in graph.constraints:
                self._lift(frame, c, dims.bindings, span)
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
                callee = self._callee(frame, own, "forward", (Given(value, stage.span), *more), stage.span)
                graph, dims = self._graph(frame, own.type.unit, callee, stage.span)
                return graph, dims, list(callee.tensors.values())[1:]
        return self._body(frame, instance, layer, value)

    def _single(self, frame: Frame, stage: syntax.Stage) -> tuple[Layer, list[Given]] | None:
        target = stage.target
        applied = target.function if isinstance(target, syntax.Call) else target
        function = self.context.evaluate(frame, applied)
        if isinstance(function, LayerType):
            arguments = target.arguments if isinstance(target, syntax.Call) else ()
            given = self.context.applier.evaluated(frame, arguments)
            return Layer(function, self.hyper(frame, function, given, target.span), target.span), []
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

    # --- functions ---

    def call_function(self, frame: Frame, function: Function, given: Sequence[Given], span: Span) -> object:
        """Apply a `fn`: a graph of its own when it takes and returns tensors, else in place."""
        definition = function.definition
        statics, tensors = self._function_arguments(frame, function, given, span)
        if len(self.context.open) >= DEEPEST:
            self._check_recursion(None, definition, span)
        if tensors and not any(isinstance(v, tuple) and not is_static(v) for v in statics.values()):
            callee = Callee(
                definition, None, statics, {n: t for n, (t, _) in tensors.items()}, {n: s for n, (_, s) in tensors.items()}
            )
            made = self._function_graph(frame, function, callee, span)
            if made is not None:
                results = self._call_node(frame, *made, list(callee.tensors.values()), None, span)
                values = tuple(results.tensors.values())
                return values[0] if len(values) == 1 else values
        return self._in_place(frame, function, statics, tensors, span)

    def _function_graph(self, frame: Frame, function: Function, callee: Callee, span: Span) -> tuple[Graph, LocalDims] | None:
        """The graph of a function call, or None when the call is better done in place: a body of one node, results that are not
        tensors, or sizes that no input binds."""
        try:
            graph, dims = self._graph(frame, function.unit, callee, span)
        except SpecError as problem:
            if [d.code for d in problem.diagnostics] == ["DL0505"]:
                return None
            raise
        if not graph.outputs or sum(n.op not in ("input", "const") for n in graph) <= 1:
            return None
        return graph, dims

    def _in_place(
        self, frame: Frame, function: Function, statics: dict[str, object], tensors: dict[str, tuple[Tensor, Span]], span: Span
    ) -> object:
        definition = function.definition
        inner = Frame(frame.graph, frame.builder, function.unit, depth=frame.depth + 1, children=frame.children)
        inner.mode = frame.mode
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
            raise self._placed(definition, span)(problem) from None
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
                near = did_you_mean(name, known)
                help = f"did you mean `{near}`?" if near else f"it is `{function_signature(definition)}`"
                raise error("DL0203", f"`{definition.name}` has no argument `{name}`", g.span, help=help)
            if name in by_name:
                raise error("DL0205", f"`{name}` of `{definition.name}` is given twice", g.span)
            by_name[name] = self.context.applier.axis_argument(frame, g, first) if name == "over" else g
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
            return self.context.evaluator.single(scope, parameter.default)
        if wants_tensor and given.value is not None:
            return self.context.evaluator.as_tensor(frame, given.value, given.span)
        if parameter.type is not None and parameter.type.dims is None and not isinstance(given.value, Tensor):
            return check_static(parameter, given.value, given.span, definition.name)
        if isinstance(given.value, Results):
            return self.context.evaluator.only(given.value, given.span)
        return given.value

    # --- whole models, members, examples ---

    def root(self, layer: Layer, entry: str) -> Graph:
        """The graph of a model on its declared inputs, whose dimension names become the symbols of the program."""
        definition = layer.type.definition
        found = next((e for e in definition.entries if e.name == entry), None)
        if found is None:
            names = ", ".join(e.name for e in definition.entries)
            raise error(
                "DL0207", f"`{definition.name}` has no entry point `{entry}`", definition.name_span, help=f"it has {names}"
            )
        frame = self._frame(definition, found, layer.type.unit, 0)
        for name, value in layer.hyper.items():
            frame.bind(name, value)
        multiples = required_multiples(found.body)
        declared = [p for p in found.inputs if p.default is None]
        for parameter in found.inputs:
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
        frame.graph.hyper = {k: _plain(v) for k, v in layer.hyper.items()}
        self.context.open.append((id(definition), definition.name, definition.name_span))
        try:
            self._run(frame, definition, found)
        finally:
            self.context.open.pop()
        return frame.graph

    def _bind_symbols(self, frame: Frame, parameter: syntax.Parameter, multiples: dict[str, int]) -> None:
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
            if isinstance(item, syntax.Name) and item.id not in frame.names:
                frame.bind_dim(item.id, symbol(item.id, multiples.get(item.id, 1)), item.span)
                frame.plain[item.id] = symbol(item.id)
            elif isinstance(item, syntax.Name) and item.id not in frame.dims:
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
            if isinstance(item, syntax.Name) and item.id not in frame.names:
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
            inner = [c.target.graph for c in graph.calls() if c.target is not None and c.target.child == name]
            if inner:
                return Instance(f"{instance.name}.{name}", instance.layer, instance.span, inner, used=True)
        known = [n for g in instance.graphs for n in (*g.parameters, *g.children)]
        near = did_you_mean(name, known)
        raise error(
            "DL0207",
            f"`{instance.name}` has no parameter `{name}`",
            expression.name_span,
            help=f"did you mean `{near}`?" if near else f"it has {', '.join(dict.fromkeys(known)) or 'none'}",
        )


# --- small parts --------------------------------------------------------------------------------------------------------------------


def outer_type(type_: TensorType, bindings: dict[str, Dim] | object) -> TensorType:
    return type_.with_shape(tuple([d if isinstance(d, int) else substitute(d, bindings) for d in type_.shape]))  # type: ignore[arg-type]


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


def _plain(value: object) -> StaticValue:
    """A hyper-parameter as backends see it: functions and layers by name."""
    match value:
        case tuple():
            return tuple(_plain(v) for v in value)
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


def check_static(parameter: syntax.Parameter, value: object, span: Span, owner: str) -> object:
    """A static argument checked against the declared type of the parameter."""
    declared = parameter.type.name if parameter.type is not None else None
    if value is None and isinstance(parameter.default, syntax.Literal) and parameter.default.value is None:
        return None
    fits = True
    match declared:
        case "int":
            fits = (isinstance(value, int) and not isinstance(value, bool)) or isinstance(value, Expr)
        case "float":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            value = float(value) if fits else value  # type: ignore[arg-type]
        case "bool":
            fits = isinstance(value, bool)
        case "str":
            fits = isinstance(value, str)
        case "list":
            fits = isinstance(value, tuple)
        case "ints":
            fits = all(isinstance(v, int) and not isinstance(v, bool) for v in (value if isinstance(value, tuple) else (value,)))
        case "fn":
            fits = not isinstance(value, LayerType | Layer | tuple | str | int | float | None)
        case "layer":
            fits = isinstance(value, LayerType | Layer)
        case "dtype":
            fits = isinstance(value, DType)
        case None:
            fits = True
    if not fits:
        raise SpecError(
            Diagnostic(
                "DL0401",
                f"`{parameter.name}` of `{owner}` is {_kind(declared)}, not {describe(value)}",
                span,
                labels=(Label(parameter.span, "declared here"),),
            )
        )
    return value


def _kind(declared: str | None) -> str:
    words = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a string", "list": "a list", "fn": "a function",
             "ints": "an integer or a list of integers", "layer": "a layer", "dtype": "a dtype"}  # fmt: skip
    return words.get(declared or "", f"a {declared}")


def module_signature(definition: syntax.Module) -> str:
    return f"{definition.name}({', '.join(_parameter(p) for p in definition.parameters)})"


def function_signature(definition: syntax.Function) -> str:
    return f"{definition.name}({', '.join(_parameter(p) for p in definition.parameters)})"


def _parameter(p: syntax.Parameter) -> str:
    shown = p.default.span.text if p.default is not None else ""
    return f"{p.name}={shown}" if p.default is not None else p.name
