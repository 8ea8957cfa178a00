"""Which operation has another gradient: each is differentiated by itself, on the operands that it really has.

One graph holds all operations of the flat graph, each with inputs of its own, so that one differentiation gives the gradients of all. The
first that differs between targets, or from central differences, is the one to blame. When there is none, the same is done for the entry
point with its modules, where a call stands for all that a target makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from backends.base import Arrays, Backend, Differentiable, EmitOptions
from backends.reference import Interpreter, bound_sizes, widened
from dsl.diagnostics import SpecError
from dsl.ir import Graph, Node, Program, Value
from dsl.verification.cases import flattened, one_mode, pure_case
from dsl.verification.compare import compile_and_load
from dsl.verification.expectation import EPSILON, FLOOR, TRIES
from dsl.verification.gradient_cases import Point
from dsl.verification.gradient_noise import Tensors, gradients_by_name, input_name, off
from dsl.verification.gradient_report import DIFFERENCES, GradientDivergence, GradientRow

_NOT_ASKED = frozenset({"input", "param", "buffer", "const", "while"})


@dataclass(frozen=True, slots=True)
class Isolated:
    """A graph of operations that have nothing to do with each other. `operands` are the inputs of each node, by its id; `values` what
    they are; `outputs` the floating results of each."""

    graph: Graph
    nodes: tuple[Node, ...]
    operands: dict[int, tuple[str, ...]]
    outputs: dict[int, tuple[str, ...]]
    values: Tensors


def diverge(
    point: Point, row: GradientRow, backends: Sequence[Backend], weights: Arrays, options: EmitOptions, device: str, seed: int
) -> GradientDivergence:
    """The first operation behind a failing row."""
    case = point.case
    involved = [b for b in backends if b.name in (row.backend, row.against.split(" ")[0])]

    def blame(program: Program, inputs: Arrays, stored: Arrays) -> GradientDivergence | None:
        try:
            return _first(program, case.entry, row, inputs, stored, involved, options, device, seed)
        except SpecError:  # a target may not take the operations one by one
            return None

    if case.flat:
        found = blame(case.program, point.inputs, {})
    else:
        flat = flattened(case.graph, training=case.training, gradients=True)
        pure = pure_case(case.original, flat, case.entry, case.mode, training=case.training)
        given = {**point.inputs, **{name: np.asarray(weights[path]) for name, path in pure.parameters.items()}}
        found = blame(pure.program, given, {}) or blame(one_mode(case), point.inputs, weights)
    return found or GradientDivergence(row)


def _first(
    program: Program, entry: str, row: GradientRow, inputs: Arrays, stored: Arrays,
    backends: Sequence[Backend], options: EmitOptions, device: str, seed: int,
) -> GradientDivergence | None:  # fmt: skip
    isolated = isolate(program.entries[entry], inputs, stored)
    rng = np.random.default_rng(seed)
    shapes = _result_shapes(isolated, stored)
    weights = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    alone = Program(program.name, {entry: isolated.graph})
    found: dict[str, Tensors] = {}
    moved: list[Tensors] = []
    for backend in backends:
        session = compile_and_load(backend, alone, stored, options, device)
        assert isinstance(session, Differentiable)
        found[backend.name] = gradients_by_name(session, isolated.values, weights, entry)
        if not moved:
            noise = [{n: off(x, rng) for n, x in isolated.values.items()} for _ in range(TRIES)]
            moved = [gradients_by_name(session, values, weights, entry) for values in noise]
    epsilon = max(EPSILON[t.dtype] for n in isolated.nodes for t in n.types if t.dtype.is_float)
    for node in isolated.nodes:
        blamed = _differs(node, isolated, row, found, moved, epsilon) or _wrong(
            node, isolated, row, found[row.backend], weights, inputs, program.entries[entry], stored, rng
        )
        if blamed is not None:
            return blamed
    return None


def _differs(
    node: Node, isolated: Isolated, row: GradientRow, found: dict[str, Tensors], moved: list[Tensors], epsilon: float
) -> GradientDivergence | None:
    """Whether two targets differ in the gradient of a node."""
    own = found[row.backend]
    for other, gradients in found.items():
        if other == row.backend:
            continue
        for name in map(input_name, isolated.operands[node.id]):
            if name not in own:
                continue
            largest = float(np.max(np.abs(gradients[name]), initial=0.0))
            tolerance = (
                max(float(np.max(np.abs(m[name] - moved[0][name]), initial=0.0)) for m in moved) * 2
                + FLOOR * 8 * epsilon * largest
            )
            error = float(np.max(np.abs(own[name] - gradients[name]), initial=0.0))
            if not error <= tolerance:
                return GradientDivergence(row, node.op, called(node), node.spans, other, error, tolerance)
    return None


def _wrong(
    node: Node, isolated: Isolated, row: GradientRow, own: Tensors, weights: Arrays, inputs: Arrays, graph: Graph, stored: Arrays,
    rng: np.random.Generator,
) -> GradientDivergence | None:  # fmt: skip
    """Whether the gradient of a node differs from central differences."""
    operands = isolated.operands[node.id]
    direction = {n: rng.standard_normal(np.shape(x)) for n in operands if _can_move(x := isolated.values[n])}
    interpreter = Interpreter(stored)
    one = _one(node, operands, isolated)
    sizes = bound_sizes(graph, inputs)

    def value(t: float) -> np.ndarray:
        feed = {n: widened(isolated.values[n]) + t * direction[n] if n in direction else isolated.values[n] for n in operands}
        results = interpreter.evaluate(one, feed, sizes, "")
        return np.asarray(sum(np.sum(weights[name] * results[name]) for name in isolated.outputs[node.id]))

    slope = interpreter.derivative(value)
    parts = [own[input_name(n)] * v for n, v in direction.items() if input_name(n) in own]
    error = abs(float(slope.value) - sum(float(p.sum()) for p in parts))
    spread = float(np.sqrt(sum(float(np.sum(np.square(p))) for p in parts)))
    tolerance = 2 * slope.doubt + (1e-8 if row.dtype == "f64" else 1e-3) * max(spread, abs(float(slope.value)))
    if error <= tolerance + 1e-10 or not np.isfinite(slope.value) or slope.doubt > 1e-3 * max(spread, abs(float(slope.value))):
        return None
    return GradientDivergence(row, node.op, called(node), node.spans, DIFFERENCES, error, tolerance)


def _can_move(x: np.ndarray) -> bool:
    """Whether a floating operand is of a size at which differences of float64 say something (a mask's -1e30 is not)."""
    return x.dtype.kind == "f" and bool(np.all(np.abs(x) < 1e8))


def isolate(graph: Graph, inputs: Arrays, stored: Arrays) -> Isolated:
    """Each operation of the graph that may have a gradient, on its own operands."""
    values: dict[Value, np.ndarray] = {}

    def watch(seen: Graph, node: Node, results: tuple[np.ndarray, ...]) -> None:
        if seen is graph:
            values.update({Value(node.id, i): r for i, r in enumerate(results)})

    Interpreter(stored, watch=watch).run(graph, inputs)
    made = graph.copy()
    made.updates, made.outputs = {}, {}
    fed: Tensors = {name: np.asarray(x) for name, x in inputs.items()}
    operands: dict[int, tuple[str, ...]] = {}
    outputs: dict[int, tuple[str, ...]] = {}
    asked = [n for n in graph if _is_asked(graph, n) and all(v in values for v in n.inputs)]
    for node in asked:
        names = []
        for i, value in enumerate(node.inputs):
            name = f"operand_{node.id}_{i}"
            type_ = graph.type(value)
            made.inputs[name] = Value(made.add("input", (), {"name": name}, (type_,)).id)
            fed[name] = _narrowed(values[value], type_.dtype.value)
            names.append(name)
        made.replace_node(replace(made.node(node.id), inputs=tuple(made.inputs[n] for n in names)))
        operands[node.id] = tuple(names)
        floating = [i for i, t in enumerate(node.types) if t.dtype.is_float]
        made.outputs |= {f"result_{node.id}_{i}": Value(node.id, i) for i in floating}
        outputs[node.id] = tuple(f"result_{node.id}_{i}" for i in floating)
    made.reorder()
    live = {v.node for v in made.outputs.values()} | {v.node for v in made.inputs.values()}
    made.remove([n for n in list(made) if n.id not in live])
    return Isolated(made, tuple(asked), operands, outputs, fed)


def _is_asked(graph: Graph, node: Node) -> bool:
    floating = any(graph.type(v).dtype.is_float for v in node.inputs)
    return node.op not in _NOT_ASKED and floating and any(t.dtype.is_float for t in node.types)


def _narrowed(value: np.ndarray, dtype: str) -> np.ndarray:
    names = {"f32": np.float32, "f16": np.float16, "bf16": np.float32}
    return value.astype(names[dtype]) if dtype in names else value


def _one(node: Node, operands: tuple[str, ...], isolated: Isolated) -> Graph:
    """The graph of one node."""
    one = Graph(isolated.graph.definition, isolated.graph.entry)
    for name, type_ in zip(operands, (isolated.graph.type(isolated.graph.inputs[n]) for n in operands), strict=True):
        one.inputs[name] = Value(one.add("input", (), {"name": name}, (type_,)).id)
    made = one.add(node.op, tuple(one.inputs.values()), node.attributes, node.types, target=node.target)
    places = [i for i, t in enumerate(node.types) if t.dtype.is_float]
    one.outputs = {name: Value(made.id, i) for name, i in zip(isolated.outputs[node.id], places, strict=True)}
    return one


def _result_shapes(isolated: Isolated, stored: Arrays) -> dict[str, tuple[int, ...]]:
    found = Interpreter(stored).run(isolated.graph, isolated.values)
    return {name: np.shape(value) for name, value in found.items()}


def called(node: Node) -> str | None:
    """What the spec calls the result, or what a call applies."""
    call = node.target
    return node.name or (call.graph.definition if call is not None and call.graph.kind != "block" else None)
