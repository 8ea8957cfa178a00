"""`update` in a `train` block: state that a step leaves for the next one, and the number of the step.

Updates between two objectives take place together, on what was there before the first of them; so they are one entry point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsl import syntax
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.elaborate.context import Context, error, not_poison
from dsl.elaborate.frame import Frame, tensor
from dsl.elaborate.values import Instance, ParameterSet, Tensor, describe
from dsl.ir import Graph, Initializer, Parameter, Value
from dsl.source import NOWHERE, Span
from dsl.training import Update
from dsl.types import DType, TensorType

STEP = "step"
"""What the number of steps done is called in a `train` block, and the buffer that counts them."""

_COUNT = TensorType(DType.I64, ())

Targets = Mapping[str, tuple[str, TensorType]]
"""Paths and types of what is updated: of one tensor under the empty name, or of a set by their names in it."""


@dataclass(frozen=True, slots=True)
class Updated:
    """A parameter or buffer that an `update` gives a new value, when so many objectives stand before it."""

    path: str
    value: Tensor
    after: int
    span: Span


class Updates:
    def __init__(self, context: Context) -> None:
        self.context = context

    # --- the number of steps ---

    def count_steps(self, frame: Frame) -> None:
        """Bind `step` in a block: the steps done before this one, as a float. Nobody need read it; a definition of the file that is called
        so stays what it is."""
        assert frame.training is not None
        node = frame.graph.add("buffer", (), {"path": STEP}, (_COUNT,), spans=(frame.graph.span,))
        frame.training.counter = Value(node.id)
        attributes = {"dtype": self.context.float_type}
        (steps,) = self.context.applier.primitive(frame, "cast", [tensor(Value(node.id), 0)], attributes, frame.graph.span)
        frame.step = lambda: steps
        if STEP not in frame.unit.names:
            frame.bind(STEP, steps)

    def counted(self, frame: Frame, read: Sequence[Value], after: int) -> list[Updated]:
        """The update of the number of steps, where one of these values depends on it."""
        graph = frame.graph
        assert frame.training is not None and frame.training.counter is not None
        counter = frame.training.counter
        if not any(counter.node in graph.ancestors(value) for value in read):
            return []
        name = STEP
        while name in graph.parameters or name in frame.children:
            name += "s_done" if name == STEP else "_"
        graph.parameters[name] = Parameter(name, _COUNT, Initializer("constant", {"value": 0.0}), False, graph.span)
        node = graph.node(counter)
        graph.replace_node(type(node)(node.id, node.op, (), {"path": name}, node.types, spans=node.spans))
        more = self.context.operators.primitive(frame, "add", [tensor(counter, 0), 1], graph.span)
        return [Updated(name, more, after, NOWHERE)]

    # --- statements ---

    def update(self, statement: syntax.Update, frame: Frame) -> None:
        """Note what a statement of a `train` block changes."""
        parts = frame.training
        assert parts is not None
        targets = self._targets(statement, frame)
        value = not_poison(self.context.evaluate(frame, statement.value))
        after = len(parts.minimized)
        for name, (path, type_) in targets.items():
            given = self._given(frame, statement, name, value, targets)
            found = frame.type(given)
            if found != type_:
                owned = frame.graph.parameters.get(path)
                labels = (Label(owned.span, "declared here"),) if owned is not None else ()
                message = f"`{path}` is {type_}, and its new value is {found}"
                raise SpecError(Diagnostic("DL0311", message, statement.value.span, labels=labels))
            before = next((u for u in parts.updates if u.path == path and u.after == after), None)
            if before is not None:
                labels = (Label(before.span, "first here"),)
                message = f"`{path}` is updated twice"
                help = "updates between two objectives take place together; put both into one"
                raise SpecError(Diagnostic("DL0206", message, statement.name_span, labels=labels, help=help))
            parts.updates.append(Updated(path, given, after, statement.name_span))

    def _targets(self, statement: syntax.Update, frame: Frame) -> Targets:
        """What is updated."""
        first, *members = statement.name.split(".")
        span = statement.name_span
        if not members:
            if first not in frame.graph.parameters:
                value = frame.names[first].value if first in frame.names else None
                what = "a layer" if isinstance(value, Instance) else "not a buffer or a parameter of this block"
                help = f"`update {first}.params = ...` changes its parameters" if isinstance(value, Instance) else None
                raise error("DL0510", f"`update` changes a buffer or a parameter, and `{first}` is {what}", span, help=help)
            return {"": (first, frame.graph.parameters[first].type)}
        expression: syntax.Expr = syntax.Name(first, span)
        for member in members:
            expression = syntax.Member(expression, member, span, span)
        value = not_poison(self.context.evaluate(frame, expression))
        tensors = value.tensors if isinstance(value, ParameterSet) else {"": value} if isinstance(value, Tensor) else {}
        nodes = {name: frame.graph.node(t.value) for name, t in tensors.items()}
        if not nodes or any(node.op not in ("param", "buffer") for node in nodes.values()):
            raise error(
                "DL0510", f"`update` changes buffers and parameters, and `{statement.name}` is {describe(value)}", span,
                help="`update net.params = ...`, `update net.weight = ...`",
            )  # fmt: skip
        assert frame.training is not None
        followed = next((f for f in frame.training.followers if f.layer == first), None)
        if followed is not None:
            raise error("DL0534", f"`{first}` follows `{followed.source}`, and changes with it alone", span)
        return {name: (str(node.attributes["path"]), node.type) for name, node in nodes.items()}

    def _given(self, frame: Frame, statement: syntax.Update, name: str, value: object, targets: Targets) -> Tensor:
        """The new value of one of the targets."""
        span = statement.value.span
        if not name:
            return self.context.tensors.as_tensor(frame, value, span, targets[name][1])
        if not isinstance(value, ParameterSet) or list(value.tensors) != list(targets):
            help = f"such as `clip({statement.name}, low=-0.01, high=0.01)`"
            raise error("DL0528", f"`{statement.name}` becomes a set of parameters, not {describe(value)}", span, help=help)
        return value.tensors[name]


def free_name(wanted: str, taken: Mapping[str, object]) -> str:
    """The name, with a number where it is taken."""
    name, number = wanted, 1
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def turns_of(graph: Graph, updates: Sequence[Updated], names: Mapping[str, object]) -> list[tuple[Update, dict[str, Value]]]:
    """The updates between two objectives together, each with the outputs of its entry point. `names` are those of the objectives and
    metrics, which no entry point or output of these has."""
    found: list[tuple[Update, dict[str, Value]]] = []
    entries = dict(names)
    for after in sorted({u.after for u in updates}):
        outputs: dict[str, Value] = {}
        assigned: dict[str, str] = {}
        group = [u for u in updates if u.after == after]
        for updated in group:
            name = free_name(updated.path.replace(".", "_"), {**names, **outputs})
            outputs[name], assigned[updated.path] = updated.value.value, name
            graph.set_name(updated.value.value, name)
        entry = free_name("update", entries)
        entries[entry] = None
        found.append((Update(entry, assigned, after, group[0].span), outputs))
    return found
