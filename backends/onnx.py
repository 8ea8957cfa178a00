"""The ONNX backend: a ModelProto built from the graph, and a session of onnxruntime.

Modules stay local functions, called with their parameters; `inline` writes everything into the main graph. Parameters are initializers
with the names of the spec, one that only a MatMul reads stored transposed as `name.T`. Symbolic sizes are `dim_param`s with the names and
expressions of the spec. Opsets 17 to 26; 20 unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, helper

from backends.base import Arrays, Artifact, EmitOptions, Session, Unsupported
from backends.onnx_blocks import Loop, scan, value_info, while_
from backends.onnx_builder import Body
from backends.onnx_layers import BODIES, LAYERS, Layer, LayerRow
from backends.onnx_recurrent import RECURRENT, STACKS
from backends.onnx_rows import ROWS
from backends.onnx_session import OnnxSession, opened
from backends.onnx_site import Bindings, Site, bound, bound_dim
from backends.onnx_types import DEFAULT_OPSET, OPSETS, SINGLE_PRECISION, Refused, computed_in, fill
from backends.onnx_values import Tensor, Weight
from dsl.data_files import data_name
from dsl.diagnostics import Diagnostic, InternalError, SpecError
from dsl.dims import format_dim
from dsl.ir import Call, Constraint, Graph, Node, Program, Value, owned
from dsl.ops.registry import CARDS
from dsl.types import DType, TensorType

DOMAIN = "dslc"
EXTERNAL_ABOVE = 1_500_000_000
"""Bytes of weights from which on they stand in a file beside the model: a protobuf message holds at most two gigabytes."""
_ALIGNMENT = 4096

LOOPS: dict[str, Callable[[Loop], tuple[Tensor, ...]]] = {"scan": scan, "while": while_}
OPERATORS = {**LAYERS, **RECURRENT}
FUNCTIONS = {**BODIES, **STACKS}
NO_GRADIENT = "a graph of ONNX computes, it is not differentiated: onnxruntime has no operator that gives a gradient"


@dataclass(slots=True)
class Function:
    """A local function and what a call of it has to pass after the inputs of the module."""

    name: str
    weights: Mapping[Weight, DType]


@dataclass(slots=True)
class Emitter:
    """Walks graphs into bodies. `functions` is keyed by the identity of a Graph: each is written once."""

    opset: int
    inline: bool
    functions: dict[int, Function] = field(default_factory=dict)
    protos: list[FunctionProto] = field(default_factory=list)
    _random: dict[int, bool] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def walk(self, body: Body, graph: Graph, inputs: list[Tensor], prefix: str, bindings: Bindings) -> list[Tensor]:
        """The nodes of `graph` into `body`; the outputs. `prefix` leads to its parameters."""
        found = dict(zip(graph.inputs.values(), inputs, strict=True))
        for node in graph:
            if node.op == "input":
                continue
            body.scope = prefix
            try:
                results = self._node(body, graph, node, [found[v] for v in node.inputs], prefix, bindings)
            except Refused as refused:
                raise cannot(node, str(refused)) from None
            for i, (x, t) in enumerate(zip(results, node.types, strict=False)):
                if x.dtype is not t.dtype:
                    raise InternalError(f"ONNX row of `{node.op}` gives {x.dtype} where the graph has {t}")
                found[Value(node.id, i)] = x
            if node.op not in ("param", "buffer", "const"):
                _name_results(body, node, results, prefix)
        return [found[v] for v in graph.outputs.values()]

    def _node(
        self, body: Body, graph: Graph, node: Node, xs: list[Tensor], prefix: str, bindings: Bindings
    ) -> tuple[Tensor, ...]:
        if node.op in ("param", "buffer"):
            return (body.weight(Weight((prefix + str(node.attributes["path"]),)), node.type.dtype),)
        types = [bound(graph.type(v), bindings) for v in node.inputs]
        if node.op in LOOPS:
            loop = Loop(Site(body, node, xs, types, bindings), lambda b, g, given: self.walk(b, g, given, prefix, bindings))
            return LOOPS[node.op](loop)
        if node.op == "grad":
            raise Refused(NO_GRADIENT)
        if node.target is not None:
            given = cast("tuple[str, ...]", node.attributes.get("given", ()))
            if given:
                return self._given(body, node.target, given, xs, types, prefix, bindings)
            return self._call(body, node.target, xs, types, prefix, bindings)
        row = ROWS.get(node.op)
        if row is None:
            raise Refused("it has no row")
        if isinstance(row, Unsupported):
            raise Refused(row.because)
        made = row(Site(body, node, xs, types, bindings))
        return (made,) if isinstance(made, Tensor) else made

    # --- calls ---

    def _given(
        self,
        body: Body,
        call: Call,
        names: tuple[str, ...],
        xs: list[Tensor],
        types: list[TensorType],
        prefix: str,
        bindings: Bindings,
    ) -> tuple[Tensor, ...]:
        """A call with its last operands in place of the parameters of those names."""
        own = len(xs) - len(names)
        before = body.replaced
        body.replaced = {**before, **{f"{prefix}{call.child}.{name}": x for name, x in zip(names, xs[own:], strict=True)}}
        try:
            return self._call(body, call, xs[:own], types[:own], prefix, bindings)
        finally:
            body.replaced = before

    def _call(
        self, body: Body, call: Call, xs: list[Tensor], types: list[TensorType], prefix: str, bindings: Bindings
    ) -> tuple[Tensor, ...]:
        inner = {name: bound_dim(d, bindings) for name, d in call.bindings.items()}
        if call.count is None:
            owner = prefix if call.child is None else f"{prefix}{call.child}."
            return tuple(self._apply(body, call, xs, types, owner, inner))
        for i in range(call.start, call.start + call.count):
            body.scope = prefix
            results = self._apply(body, call, xs, types, f"{prefix}{call.child}.{i}.", inner)
            if i + 1 < call.start + call.count:
                body.name(results[0], f"{prefix}{call.child}.{i}")
            xs = [results[0], *xs[1:]]
        return (xs[0],)

    def _apply(
        self, body: Body, call: Call, xs: list[Tensor], types: list[TensorType], owner: str, inner: Bindings
    ) -> list[Tensor]:
        """One application of the callee, in the shortest form there is for it."""
        graph = call.graph
        layer = Layer(body, graph, xs, types, inner, owner)
        made = _spelled(OPERATORS, layer)
        if made is not None:
            return made
        if self.inline or call.child is None or self._draws(graph):
            made = _spelled(FUNCTIONS, layer)
            return made if made is not None else self.walk(body, graph, xs, owner, inner)
        function = self._function(graph)
        weights = [body.weight(w.under(owner), dtype) for w, dtype in function.weights.items()]
        return list(body.call(function.name, DOMAIN, [*xs, *weights], [graph.type(v).dtype for v in graph.outputs.values()]))

    def _draws(self, graph: Graph) -> bool:
        """Whether random numbers are drawn in it: as a function, all its calls would draw the same."""
        if id(graph) not in self._random:
            called = any(self._draws(n.target.graph) for n in graph.calls() if n.target is not None)
            self._random[id(graph)] = called or any(n.op in CARDS and CARDS[n.op].random for n in graph)
        return self._random[id(graph)]

    def _function(self, graph: Graph) -> Function:
        if id(graph) not in self.functions:
            body = Body(self.opset, None)
            inputs, outputs = _ends(body, graph)
            made = _spelled(FUNCTIONS, Layer(body, graph, inputs, [graph.type(v) for v in graph.inputs.values()], {}, ""))
            results = made if made is not None else self.walk(body, graph, inputs, "", {})
            nodes = _finished(body, results, outputs)
            name = self._unique(graph.definition if graph.entry == "forward" else f"{graph.definition}_{graph.entry}")
            parameters = [*(x.name for x in inputs), *(w.name for w in body.weights)]
            imports = [helper.make_opsetid("", self.opset), helper.make_opsetid(DOMAIN, 1)]
            self.protos.append(
                helper.make_function(DOMAIN, name, parameters, outputs, nodes, imports, doc_string=graph.doc or None)
            )
            self.functions[id(graph)] = Function(name, dict(body.weights))
        return self.functions[id(graph)]

    def _unique(self, name: str) -> str:
        found, n = name, 1
        while found in self._names:
            n += 1
            found = f"{name}_{n}"
        self._names.add(found)
        return found


def _spelled(rows: Mapping[str, LayerRow], layer: Layer) -> list[Tensor] | None:
    """What the row of a library definition makes of it; None where there is no row or it leaves the body."""
    graph = layer.graph
    row = rows.get(graph.definition) if graph.library else None
    if row is None or graph.entry != "forward":
        return None
    try:
        made = row(layer)
    except Refused:
        return None
    return [made] if isinstance(made, Tensor) else None if made is None else list(made)


def _ends(body: Body, graph: Graph) -> tuple[list[Tensor], list[str]]:
    """Inputs and the names of outputs. Their names are kept free, and those of parameters."""
    for path, _ in owned(graph):
        body.keep_free(path)
    inputs = []
    for name, value in graph.inputs.items():
        t = graph.type(value)
        x = Tensor(body.reserve(name), t.dtype)
        body.bind(x, t.shape)
        inputs.append(x)
    return inputs, [body.reserve(name) for name in graph.outputs]


def _name_results(body: Body, node: Node, results: tuple[Tensor, ...], prefix: str) -> None:
    label = node.name or (node.target.child if node.target is not None else None) or None
    for i, x in enumerate(results):
        own = node.names[i] if node.names else None
        if own is not None or label is not None:
            body.name(x, f"{prefix}{own or label}" if own is not None or len(results) == 1 else f"{prefix}{label}.{i}")


def _finished(body: Body, results: list[Tensor], outputs: list[str]) -> list[NodeProto]:
    """The nodes, with the results under the names of the outputs."""
    final = []
    for x, name in zip(results, outputs, strict=True):
        if not body.force_name(x, name):
            body.scope = ""
            x = body.ops("Identity", (x,), (x.dtype,), {}, unique=True)[0]
            body.force_name(x, name)
        final.append(x.name)
    return body.finish(final)


def cannot(node: Node, reason: str) -> SpecError:
    return SpecError(Diagnostic("DL0705", f"the backend `onnx` cannot express `{node.op}`: {reason}", node.span))


# --- the model --------------------------------------------------------------------------------------------------------------------


def _value(weight: Weight, weights: Arrays) -> np.ndarray:
    """The array that an initializer holds."""
    parts: list[np.ndarray] = []
    for path in weight.paths:
        if path not in weights:
            raise SpecError(
                Diagnostic("DL0711", f"there is no value for the parameter `{path}`", help="an ONNX file carries its weights")
            )
        parts.append(np.asarray(weights[path]))
    if weight.gates is not None:
        return weight.gates.stored(parts)
    if weight.scale != 1.0:
        parts[0] = (parts[0].astype(np.float64) * weight.scale).astype(parts[0].dtype)
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return whole.T if weight.transposed else whole


def _turned(body: Body) -> dict[Weight, NodeProto]:
    """Transpositions of the weights that are read both ways, which are stored once."""
    return {
        weight: helper.make_node("Transpose", [plain.name], [weight.name], name=weight.name, perm=[1, 0])
        for weight in body.weights
        if weight.transposed and (plain := weight._replace(transposed=False)) in body.weights
    }


def _external(tensors: list[TensorProto], output: str) -> tuple[str, bytes]:
    """Move the data of the tensors out of them: the name of the file that they then refer to, and what it holds."""
    data = bytearray()
    for t in tensors:
        data.extend(bytes(-len(data) % _ALIGNMENT))
        entries = {"offset": str(len(data)), "length": str(len(t.raw_data))}
        data.extend(t.raw_data)
        t.ClearField("raw_data")
        t.data_location = TensorProto.EXTERNAL
        t.external_data.extend(StringStringEntryProto(key=k, value=v) for k, v in entries.items())
    file = data_name(output, data)
    for t in tensors:
        t.external_data.add(key="location", value=file)
    return file, bytes(data)


def _told(constraint: Constraint) -> str:
    text = f"{format_dim(constraint.left)} {constraint.relation} {format_dim(constraint.right)}"
    return f"{text} ({constraint.message})" if constraint.message else text


@dataclass
class OnnxBackend:
    name: str = "onnx"
    summary: str = "an ONNX model for inference, with its weights; runs on onnxruntime"
    requires: tuple[str, ...] = ("onnx", "onnxruntime")
    training: bool = False

    def refusal(self, node: Node, options: EmitOptions) -> str | None:
        """Why ONNX cannot express the node at that opset, as far as the node alone says."""
        if node.op == "grad":
            return NO_GRADIENT
        if node.target is not None or node.op in ("input", "param", "buffer"):
            return None
        row = ROWS.get(node.op)
        if row is None:
            return "it has no row"
        if isinstance(row, Unsupported):
            return row.because
        try:
            computed_in(SINGLE_PRECISION.get(node.op, ""), node.type.dtype)
        except Refused as refused:
            return str(refused)
        return None

    def emit(self, program: Program, options: EmitOptions, weights: Arrays | None = None) -> Artifact:
        """The first entry point of the program as a ModelProto, with what it reads of `weights`."""
        if weights is None:
            raise SpecError(Diagnostic("DL0711", "an ONNX file carries its weights, and none are given"), exit_code=2)
        opset = DEFAULT_OPSET if options.opset is None else options.opset
        if opset not in OPSETS:
            known = f"{OPSETS.start} to {OPSETS.stop - 1}"
            raise SpecError(Diagnostic("DL0712", f"opset {opset} is not supported; opsets {known} are"), exit_code=2)
        model = self.model(program, options, opset, weights)
        stored = model.graph.initializer
        if sum(value.nbytes for value in map(np.asarray, weights.values())) <= EXTERNAL_ABOVE:
            return Artifact(".onnx", model.SerializeToString(deterministic=True))
        large = [t for t in stored if len(t.raw_data) >= _ALIGNMENT]
        file, data = _external(large, options.output or f"{program.name}.onnx")
        return Artifact(".onnx", model.SerializeToString(deterministic=True), {file: data})

    def model(self, program: Program, options: EmitOptions, opset: int, weights: Arrays) -> ModelProto:
        graph = program.main
        if graph.updates:
            raise InternalError("buffer updates reached the ONNX backend: the graph was not specialised to inference")
        emitter = Emitter(opset, options.inline)
        body = Body(opset, {}, seed=options.seed)
        inputs, outputs = _ends(body, graph)
        nodes = _finished(body, emitter.walk(body, graph, inputs, "", {}), outputs)
        turned = _turned(body)
        assert body.constants is not None
        made = helper.make_graph(
            [*turned.values(), *nodes],
            program.name,
            [value_info(x.name, graph.type(v)) for x, v in zip(inputs, graph.inputs.values(), strict=True)],
            [value_info(name, graph.type(v)) for name, v in zip(outputs, graph.outputs.values(), strict=True)],
            list(body.constants.values()),
            value_info=[value_info(body.final(n), t) for n, t in body.described.items() if body.final(n) not in outputs],
            doc_string=graph.doc or None,
        )
        imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(DOMAIN, 1)] if emitter.protos else [])]
        model = helper.make_model(
            made, opset_imports=imports, functions=emitter.protos, producer_name="dslc", producer_version=options.version,
            ir_version=max(8, helper.find_min_ir_version_for(imports[:1])),
        )  # fmt: skip
        described = {"model": program.name, "entry": graph.entry, "spec": options.source}
        described["require"] = "; ".join(map(_told, (c for c in graph.constraints if not c.training)))
        for weight, dtype in body.weights.items():
            if weight not in turned:
                fill(model.graph.initializer.add(), weight.name, _value(weight, weights), dtype)
        helper.set_model_props(model, {k: v for k, v in described.items() if v})
        return model

    def load(self, artifact: Artifact, program: Program, weights: Arrays, *, device: str = "cpu") -> Session:
        """A session of onnxruntime. The file carries its weights; those given serve the other entry points, which are emitted when run."""

        def emitted(entry: str) -> Artifact:
            if entry not in program.entries:
                raise SpecError(Diagnostic("DL0707", f"there is no entry point `{entry}` in `{program.name}`"), exit_code=2)
            only = Program(program.name, {entry: program.entries[entry]})
            return self.emit(only, EmitOptions(), weights)

        return OnnxSession(program, {program.main.entry: opened(artifact, program.main, device)}, emitted, device)


BACKEND = OnnxBackend()
