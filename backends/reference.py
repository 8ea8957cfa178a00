"""The reference: a graph computed node by node with NumPy, floating tensors in float64.

It is the definition of what a program means, and the oracle that the other backends are compared with; it is not made to be fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from backends.base import Arrays, Artifact, EmitOptions, Result, Session
from backends.reference_gradient import Watch, named
from backends.reference_reverse import ReverseMode
from dsl.build import numpy_dtype
from dsl.diagnostics import Diagnostic, InternalError, SpecError
from dsl.dims import Dim, Expr, as_symbol, evaluate
from dsl.ir import Call, Constraint, Graph, Node, Program, Value
from dsl.ops.card import AttributeValue, Card
from dsl.ops.registry import CARDS
from dsl.types import DType


class Interpreter(ReverseMode):
    """Runs graphs. `state` holds every parameter and buffer by full name, and changes as buffers are updated.

    `watch` sees every node with its results, those of blocks once a step. `doubt` is how far two estimates of a
    gradient were apart at most.
    """

    def __init__(
        self,
        state: Mapping[str, np.ndarray],
        *,
        training: bool = False,
        seed: int = 0,
        watch: Watch | None = None,
        exact: bool = True,
    ) -> None:
        arrays = {name: widened(value) if exact else np.asarray(value) for name, value in state.items()}
        super().__init__(arrays, np.random.default_rng(seed))
        self.training = training
        self.watch = watch
        self.updated: dict[str, np.ndarray] = {}
        self._live: dict[Graph, set[int]] = {}

    def run(self, graph: Graph, inputs: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
        """The outputs of `graph` by name. `prefix` is the path of the graph's owner, with a final dot."""
        return self.evaluate(graph, inputs, bound_sizes(graph, inputs), prefix)

    def evaluate(
        self, graph: Graph, inputs: Mapping[str, np.ndarray], sizes: Mapping[str, int], prefix: str
    ) -> dict[str, np.ndarray]:
        """The outputs of `graph` where its symbolic dimensions are `sizes`: those of a block are those of the graph around it."""
        values: dict[Value, np.ndarray] = {}
        needed = self._needed(graph)
        for node in graph:
            if node.id not in needed:
                continue
            results = self._node(graph, node, values, sizes, inputs, prefix)
            if self.watch is not None:
                self.watch(graph, node, results)
            for i, result in enumerate(results):
                values[Value(node.id, i)] = result
        if self.training:
            for name, value in graph.updates.items():
                self.state[prefix + name] = self.updated[prefix + name] = self._unseen(values[value])
        return {name: values[value] for name, value in graph.outputs.items()}

    def _unseen(self, value: np.ndarray) -> np.ndarray:
        """What a buffer is given: gradients do not go through buffers."""
        return self._held(lambda: np.array(value))

    def _needed(self, graph: Graph) -> set[int]:
        if graph not in self._live:
            self._live[graph] = live_nodes(graph, training=self.training)
        return self._live[graph]

    def _node(
        self,
        graph: Graph,
        node: Node,
        values: dict[Value, np.ndarray],
        sizes: Mapping[str, int],
        inputs: Mapping[str, np.ndarray],
        prefix: str,
    ) -> tuple[np.ndarray, ...]:
        match node.op:
            case "input":
                return (widened(np.asarray(inputs[str(node.attributes["name"])])),)
            case "param" | "buffer":
                return (self.state[prefix + str(node.attributes["path"])],)
            case "if_training":
                return (values[node.inputs[0 if self.training else 1]],)
        operands = [values[v] for v in node.inputs]
        match node.op:
            case "call" | "repeat":
                return self._call(node, operands, prefix)
            case "scan":
                return self._scan(node, operands, sizes, prefix)
            case "while":
                return self._while(node, operands, sizes, prefix)
            case "grad":
                return self._grad(node, operands, sizes, prefix)
            case "dropout" if not self.training:
                return (operands[0],)
        card = CARDS[node.op]
        attributes = {name: concrete(value, sizes) for name, value in node.attributes.items()} if self.recording else {}
        return self._applied(node, operands, attributes, lambda given: self._primitive(card, node, given, sizes))

    def _primitive(self, card: Card, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int]) -> tuple[np.ndarray, ...]:
        attributes = {name: concrete(value, sizes) for name, value in node.attributes.items()}
        if card.random:
            attributes["rng"] = self.random  # type: ignore[assignment]
        if node.op == "dropout":
            attributes["training"] = True
        with np.errstate(all="ignore"):
            result = card.reference(*operands, **attributes)
        results = result if isinstance(result, tuple) else (result,)
        return tuple(_in_dtype(np.asarray(r), t.dtype) for r, t in zip(results, node.types, strict=True))

    # --- calls and blocks ---

    def _call(self, node: Node, operands: list[np.ndarray], prefix: str) -> tuple[np.ndarray, ...]:
        call = node.target
        assert call is not None
        own = prefix if call.child is None else f"{prefix}{call.child}."
        given = node.attributes.get("given", ())
        assert isinstance(given, tuple)
        if call.count is None:
            if call.graph.backward is not None and self.tapes:
                return self._with_backward(call.graph, operands)
            others = operands[len(operands) - len(given) :]
            with self._replaced({f"{own}{name}": value for name, value in zip(given, others, strict=True)}):
                return tuple(self.run(call.graph, named(call.graph, operands[: len(operands) - len(given)]), own).values())
        for i in range(call.start, call.start + call.count):
            operands[0] = next(iter(self.run(call.graph, named(call.graph, operands), f"{own}{i}.").values()))
        return (operands[0],)

    @contextmanager
    def _replaced(self, values: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Other values in place of parameters, for a while."""
        before = {name: self.state[name] for name in values if name in self.state}
        self.state.update(values)
        yield
        for name in values:
            self.state.pop(name)
        self.state.update(before)

    def _scan(self, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int], prefix: str) -> tuple[np.ndarray, ...]:
        call = _target(node)
        carried, axes, emit_axes = int_of(node, "carries"), ints_of(node, "axes"), ints_of(node, "emit_axes")
        count = concrete(node.attributes["count"], sizes)
        assert isinstance(count, int)
        carries, rest = operands[:carried], operands[carried:]
        slices = [self._unstacked(x, axis) for x, axis in zip(rest, axes, strict=False)]
        captured = rest[len(axes) :]
        stacks: list[list[np.ndarray]] = [[] for _ in emit_axes]
        reverse = bool(node.attributes["reverse"])
        for step in reversed(range(count)) if reverse else range(count):
            counter = [np.asarray(step, np.int64)] if node.attributes["counter"] else []
            results = self._block(call, [*counter, *carries, *(rows[step] for rows in slices), *captured], sizes, prefix)
            carries = results[:carried]
            for stack, emitted in zip(stacks, results[carried:], strict=True):
                stack.append(emitted)
        ordered = [stack[::-1] if reverse else stack for stack in stacks]
        types = node.types[carried:]
        return (
            *carries,
            *(
                self._stacked(stack, axis) if stack else np.zeros(_shape(t.shape, sizes), _in_dtype(np.zeros(()), t.dtype).dtype)
                for stack, axis, t in zip(ordered, emit_axes, types, strict=True)
            ),
        )

    def _while(self, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int], prefix: str) -> tuple[np.ndarray, ...]:
        carried = int_of(node, "carries")
        limit = concrete(node.attributes["limit"], sizes)
        assert isinstance(limit, int)
        going, carries, captured = operands[0], operands[1 : 1 + carried], operands[1 + carried :]
        tapes, self.tapes = self.tapes, []  # nothing is differentiated through a `while`
        with self._unrecorded():
            for _ in range(limit):
                if not going:
                    break
                going, *carries = self._block(_target(node), [*carries, *captured], sizes, prefix)
        self.tapes = tapes
        return tuple(x.view() for x in carries)

    def _block(self, call: Call, operands: list[np.ndarray], sizes: Mapping[str, int], prefix: str) -> list[np.ndarray]:
        return list(self.evaluate(call.graph, named(call.graph, operands), sizes, prefix).values())

    # --- gradients ---

    def _grad(self, node: Node, operands: list[np.ndarray], sizes: Mapping[str, int], prefix: str) -> tuple[np.ndarray, ...]:
        call, wrt = _target(node), int_of(node, "wrt")

        def value(given: list[np.ndarray]) -> np.ndarray:
            return self._block(call, given, sizes, prefix)[0]

        symmetric = all(g.backward is None for g in call.graph.callees())
        updated = dict(self.updated)  # buffers are moved by the application outside alone
        with self._with_state(self.state):
            found = self._gradient(value, operands, wrt, symmetric=symmetric)
        self.updated = updated
        return found


def _target(node: Node) -> Call:
    assert node.target is not None
    return node.target


def int_of(node: Node, name: str) -> int:
    """An attribute that is a number."""
    value = node.attributes[name]
    assert isinstance(value, int)
    return value


def ints_of(node: Node, name: str) -> tuple[int, ...]:
    """An attribute that is a list of numbers."""
    value = node.attributes[name]
    assert isinstance(value, tuple)
    return tuple(v for v in value if isinstance(v, int))


def _shape(shape: tuple[Dim, ...], sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(d, sizes) for d in shape)


def live_nodes(graph: Graph, *, training: bool) -> set[int]:
    """The nodes that the outputs need in this mode (in training, the updates too)."""
    wanted = [v.node for v in graph.outputs.values()]
    if training:
        wanted += [v.node for v in graph.updates.values()]
        wanted += [n.id for n in graph.calls() if n.target is not None and has_updates(n.target.graph)]
    seen: set[int] = set()
    while wanted:
        node = graph.node(wanted.pop())
        if node.id in seen:
            continue
        seen.add(node.id)
        operands = node.inputs
        if node.op == "if_training":
            operands = (node.inputs[0 if training else 1],)
        wanted.extend(v.node for v in operands)
    return seen


def has_updates(graph: Graph) -> bool:
    return any(g.updates for g in graph.callees())


def widened(array: np.ndarray) -> np.ndarray:
    """Floating arrays in float64; others as they are."""
    return array.astype(np.float64) if array.dtype.kind == "f" and array.dtype != np.float64 else array


def _in_dtype(array: np.ndarray, dtype: DType) -> np.ndarray:
    return widened(array) if dtype.is_float else array.astype(numpy_dtype(dtype), copy=False)


def concrete(value: AttributeValue, sizes: Mapping[str, int]) -> AttributeValue:
    """An attribute with its symbolic sizes evaluated."""
    if isinstance(value, Expr):
        return evaluate(value, sizes)
    if isinstance(value, tuple):
        return tuple(concrete(v, sizes) for v in value)
    return value


def bound_sizes(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The symbolic dimensions of a graph from the shapes of its inputs; SpecError where shapes contradict the declared types."""
    sizes: dict[str, int] = {}
    for name, value in graph.inputs.items():
        declared = graph.type(value).shape
        found = np.shape(inputs[name])
        if len(declared) != len(found):
            raise _misfit(name, graph, found)
        for d, size in zip(declared, found, strict=True):
            own = as_symbol(d)
            if own is not None and sizes.setdefault(own.name, size) != size:
                raise _misfit(name, graph, found)
    for name, value in graph.inputs.items():
        for d, size in zip(graph.type(value).shape, np.shape(inputs[name]), strict=True):
            if evaluate(d, sizes) != size:
                raise _misfit(name, graph, np.shape(inputs[name]))
    return sizes


def _misfit(name: str, graph: Graph, found: tuple[int, ...]) -> SpecError:
    declared = graph.type(graph.inputs[name])
    return SpecError(Diagnostic("DL0802", f"the input `{name}` is {declared}, and {list(found)} is given"))


def check_constraints(graph: Graph, sizes: Mapping[str, int], *, training: bool = False) -> None:
    """Raise SpecError for a `require` that these sizes do not meet; one for training only in training."""
    for c in graph.constraints:
        if not holds(c, sizes) and (training or not c.training):
            left, right = evaluate_dim(c.left, sizes), evaluate_dim(c.right, sizes)
            raise SpecError(
                Diagnostic(
                    "DL0310", f"a requirement is not met: {c.message}", c.span, notes=(f"{left} {c.relation} {right} is false",)
                )
            )


def holds(constraint: Constraint, sizes: Mapping[str, int]) -> bool:
    left, right = evaluate_dim(constraint.left, sizes), evaluate_dim(constraint.right, sizes)
    relations = {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }
    return relations[constraint.relation]


def evaluate_dim(d: Dim, sizes: Mapping[str, int]) -> int:
    return evaluate(d, sizes)


@dataclass(frozen=True, slots=True)
class ReferenceSession:
    program: Program
    weights: Arrays

    def run(self, inputs: Arrays, *, training: bool = False, entry: str = "forward") -> Result:
        graph = self.program.entries[entry]
        check_constraints(graph, bound_sizes(graph, inputs), training=training)
        interpreter = Interpreter(self.weights, training=training)
        outputs = interpreter.run(graph, inputs)
        return Result(outputs, interpreter.updated)


@dataclass(frozen=True, slots=True)
class ReferenceBackend:
    """NumPy in float64; `emit` has nothing to write, since the graph itself is what runs."""

    name: str = "reference"
    summary: str = "NumPy in float64: what a program means; the oracle of `dslc verify`"
    requires: tuple[str, ...] = ("numpy",)
    training: bool = True

    def refusal(self, node: Node, options: EmitOptions) -> str | None:
        return None

    def emit(self, program: Program, options: EmitOptions, weights: Arrays | None = None) -> Artifact:
        raise SpecError(
            Diagnostic(
                "DL0702", "the reference computes, and writes no program", help="use `dslc run`, or compile to torch, jax or onnx"
            ),
            exit_code=2,
        )

    def load(self, artifact: Artifact | None, program: Program, weights: Arrays, *, device: str = "cpu") -> Session:
        if device != "cpu":
            raise SpecError(Diagnostic("DL0703", f"the reference runs on the CPU, not on {device}"), exit_code=2)
        missing = [name for name in program.parameters() if name not in weights]
        if missing:
            raise InternalError(f"no value for {missing[0]}")
        return ReferenceSession(program, weights)


BACKEND = ReferenceBackend()
