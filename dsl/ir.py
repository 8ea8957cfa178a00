"""The graph: what a spec means, with every type known.

A `Graph` is one entry point of one definition, elaborated for given hyper-parameters and input types. Its nodes apply primitives, read
parameters and buffers, or call other graphs (`call`, `repeat`), so the module tree of the spec is still there. Symbolic dimensions of a
graph are its own: a call says in `bindings` what they are in the caller.

The data flow is a networkx graph, made when a pass first asks who reads what (`check` never does, and does without importing networkx).
Operand order is the tuple in the node, never the order of edges.

A *block* (`kind` "block") is the body of a `scan` or `while`, or the function that a `grad` differentiates. It is a graph whose inputs and
outputs are all that goes in and out, but it is part of the graph around it: what it reads and applies by path is owned by that graph, and
its symbolic dimensions are those of that graph. The nodes that have one (`Call.graph`, `child` None):

* `scan`: runs the block `count` times. Attributes: `carries`, how many values go from step to step; `axes`, the axis of each tensor
  that is read slice by slice; `emit_axes`, the axis along which each emitted value is stacked; `count`, a dim; `reverse`, whether the last
  slice comes first (slices are emitted at the place they were read from); `counter`, whether the block is told the number of the step.
  Operands: initial carries, scanned tensors, captured values. Inputs of the block: the counter (an i64 scalar: with `reverse`, it
  counts down), carries, slices, captured values. Outputs of the block: the carries, the emitted values. Results: the last
  carries, the stacks.
* `while`: runs the block as long as the condition holds, `limit` times at most. Attributes: `carries`, `limit` (a dim). Operands: the
  condition on the initial carries (a bool scalar), the initial carries, captured values. Inputs of the block: carries, captured values.
  Outputs: the condition on the new carries, the new carries. Results: the last carries. It has no gradient.
* `grad`: the gradient of the block's one output, a scalar, with respect to the first `wrt` inputs. Operands: those, then captured values.
  Results: one for each, of its type. The value may be differentiated again.

A `call` with the attribute `given`, a tuple of full names below the layer (`linear.weight`), applies the layer with other values in
place of these parameters: they are its last operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from dsl.diagnostics import InternalError
from dsl.dims import Dim
from dsl.ops.card import Attributes
from dsl.source import NOWHERE, Span
from dsl.types import TensorType

if TYPE_CHECKING:
    import networkx as nx


class Value(NamedTuple):
    """Result `index` of the node with the id `node`."""

    node: int
    index: int = 0  # type: ignore[assignment]  # a result's index, not tuple.index


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation. `name` is the name that the spec gives its result, if any; `scope` the label of the pipeline stage."""

    id: int
    op: str
    inputs: tuple[Value, ...]
    attributes: Attributes
    types: tuple[TensorType, ...]
    name: str | None = None
    spans: tuple[Span, ...] = ()
    target: Call | None = None
    names: tuple[str | None, ...] = ()
    """The names that the spec gives to the results, where there are several."""

    @property
    def type(self) -> TensorType:
        return self.types[0]

    @property
    def span(self) -> Span:
        return self.spans[0] if self.spans else NOWHERE


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What a `call` or `repeat` node applies.

    `child` names the owned layer in the calling graph (`conv1`, `blocks`), or is None for a function, which owns nothing.
    `count` is None for a `call`; for a `repeat` the graph is applied `count` times to its own first result, with fresh parameters each
    time, named `child.0` ... `child.{count-1}` (from `start` on); further operands are the same for every copy.
    `bindings` gives the callee's symbolic dimensions in terms of the caller's.
    """

    graph: Graph
    child: str | None
    bindings: Mapping[str, Dim]
    count: int | None = None
    start: int = 0


StaticValue: TypeAlias = "None | bool | int | float | str | Dim | tuple[StaticValue, ...]"


@dataclass(frozen=True, slots=True)
class Initializer:
    """How a parameter begins: one of weights.py's kinds (`constant`, `normal`, `truncated_normal`, `uniform`, `orthogonal`, `identity`)
    and its numbers; or the numbers themselves (`values`), of which each fills an equal share in row-major order."""

    kind: str
    arguments: Mapping[str, float] = field(default_factory=dict)
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor that a graph owns: trained (`param`) or not (`buffer`, `trained` false). Its type has no symbolic dimensions."""

    name: str
    type: TensorType
    initial: Initializer
    trained: bool
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A `require` that hangs on symbolic dimensions: `left relation right`, with relation one of `== != < <= > >=`. One that stands in
    an `if training` is for `training` only."""

    left: Dim
    relation: str
    right: Dim
    message: str
    span: Span = field(default=NOWHERE, compare=False)
    training: bool = False


class Graph:
    """Nodes in a stable order (the order of their making), inputs, outputs and what is owned.

    `definition` is the name of the module or function in the spec, `entry` the entry point, `hyper` its hyper-parameters as given or
    defaulted (functions and layers by name), `kind` one of "model", "module", "fn", "train", "body" (the anonymous body of a `repeat`),
    "block" (see above). `lists` are the results that are lists of tensors, each with the names of the outputs that it is made of.
    `backward` is the gradient that the spec itself gives for a `fn`: a graph from the gradients of its outputs, followed by its inputs, to
    the gradients of its floating inputs, in order. What is at the paths `kept` is owned even if nothing reads it.
    """

    def __init__(self, definition: str, entry: str = "forward", kind: str = "module", span: Span = NOWHERE) -> None:
        self.definition = definition
        self.entry = entry
        self.kind = kind
        self.span = span
        self.doc = ""
        self.entry_doc = ""
        self.library = False
        self.hyper: dict[str, StaticValue] = {}
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self.updates: dict[str, Value] = {}
        self.parameters: dict[str, Parameter] = {}
        self.kept: frozenset[str] = frozenset()
        self.children: dict[str, Span | None] = {}  # where each was made; None in what a pass has made
        self.constraints: list[Constraint] = []
        self.dim_names: dict[str, Dim] = {}
        self.axis_names: dict[str, tuple[str | None, ...]] = {}
        self.lists: dict[str, tuple[str, ...]] = {}
        self.backward: Graph | None = None
        self._flow: nx.DiGraph[int] | None = None
        self._nodes: dict[int, Node] = {}
        self._next = 0

    # --- reading ---

    def __iter__(self) -> Iterator[Node]:
        """Nodes in a topological order that is the order of making wherever possible."""
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def node(self, value: Value | int) -> Node:
        return self._nodes[value.node if isinstance(value, Value) else value]

    def type(self, value: Value) -> TensorType:
        return self._nodes[value.node].types[value.index]

    def users(self, node: Node) -> list[Node]:
        """The nodes that read a result of `node`, in order."""
        return [self._nodes[i] for i in sorted(self.networkx.successors(node.id))]

    def calls(self) -> Iterator[Node]:
        """The nodes that have a graph: `call`, `repeat`, and those with a block."""
        return (n for n in self if n.target is not None)

    def layers(self) -> Iterator[Node]:
        """The nodes that apply a layer which this graph owns, those in its blocks included, in order."""
        for node in self.calls():
            assert node.target is not None
            if node.target.child is not None:
                yield node
            elif node.target.graph.kind == "block":
                yield from node.target.graph.layers()

    @property
    def networkx(self) -> nx.DiGraph[int]:
        """The data flow as a networkx graph: node ids, with the Node as attribute `node`. Treat it as read-only."""
        if self._flow is None:
            import networkx as nx

            self._flow = nx.DiGraph()
            self._flow.add_nodes_from((node.id, {"node": node}) for node in self)
            self._flow.add_edges_from((value.node, node.id) for node in self for value in node.inputs)
        return self._flow

    def returned(self) -> set[Value]:
        """Values that leave the graph: outputs and updates."""
        return {*self.outputs.values(), *self.updates.values()}

    def ancestors(self, value: Value) -> set[int]:
        """The node of a value and all that it is computed from, by id."""
        found: set[int] = set()
        open_ids = [value.node]
        while open_ids:
            node = self.node(open_ids.pop())
            if node.id not in found:
                found.add(node.id)
                open_ids.extend(v.node for v in node.inputs)
        return found

    def with_owners(self, needed: set[int]) -> set[int]:
        """`needed`, and for each layer that these nodes read by path and do not apply, the first node that applies it, with all that this
        is computed from: a layer is part of a graph by being applied."""
        found = set(needed)
        while True:
            nodes = [n for n in self if n.id in found]
            applied = {layer for n in nodes for layer in _applied(n)}
            paths = (*self.kept, *(path for n in nodes for path in _read(n)))
            missing = {path.split(".")[0] for path in paths if "." in path} - applied
            owner = next((n for n in self if missing.intersection(_applied(n))), None)
            if owner is None:
                return found
            found |= self.ancestors(Value(owner.id))

    def callees(self) -> list[Graph]:
        """This graph and all that it calls (its `backward` too), each once, callees before callers."""
        order: dict[int, Graph] = {}
        stack: list[tuple[Graph, Iterator[Graph]]] = [(self, self._below())]
        open_ids = {id(self)}
        while stack:
            graph, below = stack[-1]
            for callee in below:
                if id(callee) not in order and id(callee) not in open_ids:
                    open_ids.add(id(callee))
                    stack.append((callee, callee._below()))
                    break
            else:
                stack.pop()
                order[id(graph)] = graph
        return list(order.values())

    def _below(self) -> Iterator[Graph]:
        yield from (node.target.graph for node in self.calls() if node.target is not None)
        if self.backward is not None:
            yield self.backward

    # --- making ---

    def add(
        self,
        op: str,
        inputs: tuple[Value, ...],
        attributes: Attributes,
        types: tuple[TensorType, ...],
        *,
        name: str | None = None,
        spans: tuple[Span, ...] = (),
        target: Call | None = None,
    ) -> Node:
        """Append a node. Types come from the shape rule of the op (see build.py); this method only links."""
        node = Node(self._next, op, inputs, attributes, types, name, spans, target)
        self._next += 1
        self._nodes[node.id] = node
        if self._flow is not None:
            self._flow.add_node(node.id, node=node)
            self._flow.add_edges_from((value.node, node.id) for value in inputs)
        return node

    def set_name(self, value: Value, name: str) -> None:
        """Give the node of `value` the name that the spec binds it to, unless it has one."""
        node = self._nodes[value.node]
        if len(node.types) > 1:
            names = list(node.names or (None,) * len(node.types))
            names[value.index] = names[value.index] or name
            self._put(replace(node, names=tuple(names)))
        elif node.name is None and node.op not in ("input", "param", "buffer"):
            named = Node(node.id, node.op, node.inputs, node.attributes, node.types, name, node.spans, node.target, node.names)
            self._put(named)  # a `replace` takes three times as long, and nearly every node gets a name

    def _put(self, node: Node) -> None:
        self._nodes[node.id] = node
        if self._flow is not None:
            self._flow.nodes[node.id]["node"] = node

    # --- rewriting (see passes/) ---

    def copy(self) -> Graph:
        """A graph that shares the nodes (they are immutable) and may be rewritten on its own."""
        other = Graph(self.definition, self.entry, self.kind, self.span)
        other.doc, other.entry_doc, other.library = self.doc, self.entry_doc, self.library
        other.hyper, other.inputs, other.outputs = dict(self.hyper), dict(self.inputs), dict(self.outputs)
        other.updates, other.parameters, other.children = dict(self.updates), dict(self.parameters), dict(self.children)
        other.constraints, other.dim_names, other.axis_names = list(self.constraints), dict(self.dim_names), dict(self.axis_names)
        other.lists, other.backward, other.kept = dict(self.lists), self.backward, self.kept
        other._nodes, other._next = dict(self._nodes), self._next
        return other

    def replace_node(self, node: Node) -> None:
        """Put `node` in place of the one with its id; its operands may differ."""
        self._put(node)
        if self._flow is not None:
            self._flow.remove_edges_from(list(self._flow.in_edges(node.id)))
            self._flow.add_edges_from((value.node, node.id) for value in node.inputs)

    def redirect(self, old: Value, new: Value) -> None:
        """Make every reader of `old` read `new`."""
        for user in self.users(self._nodes[old.node]):
            self.replace_node(replace(user, inputs=tuple(new if v == old else v for v in user.inputs)))
        self.outputs = {k: new if v == old else v for k, v in self.outputs.items()}
        self.updates = {k: new if v == old else v for k, v in self.updates.items()}

    def remove(self, nodes: Iterable[Node]) -> None:
        """Drop nodes that nothing reads any more."""
        for node in nodes:
            del self._nodes[node.id]
            if self._flow is not None:
                self._flow.remove_node(node.id)

    def reorder(self) -> None:
        """Restore a topological order after rewriting, staying as near to the present order as possible."""
        from networkx import lexicographical_topological_sort

        order = lexicographical_topological_sort(self.networkx)
        self._nodes = {i: self._nodes[i] for i in order}

    def verify(self) -> None:
        """Raise InternalError unless operands exist, come first and the networkx edges agree with them."""
        seen: set[int] = set()
        for node in self:
            for value in node.inputs:
                if value.node not in seen or value.index >= len(self._nodes[value.node].types):
                    raise InternalError(f"{self.definition}: node {node.id} ({node.op}) reads {value} before it exists")
            if self._flow is not None and set(self._flow.predecessors(node.id)) != {v.node for v in node.inputs}:
                raise InternalError(f"{self.definition}: the edges of node {node.id} ({node.op}) disagree with its operands")
            seen.add(node.id)
        for value in (*self.inputs.values(), *self.returned()):
            if value.node not in seen:
                raise InternalError(f"{self.definition}: {value} leaves the graph but is not in it")


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled model: its entry points, each a graph over the same parameters."""

    name: str
    entries: Mapping[str, Graph]

    @property
    def main(self) -> Graph:
        return next(iter(self.entries.values()))

    def parameters(self) -> dict[str, Parameter]:
        """Every parameter and buffer by its full name, in the order of the spec."""
        found: dict[str, Parameter] = {}
        for graph in self.entries.values():
            for path, parameter in owned(graph):
                found.setdefault(path, parameter)
        return found


def _within(node: Node) -> Iterator[Node]:
    """A node and the nodes of its block."""
    yield node
    if node.target is not None and node.target.graph.kind == "block":
        for inner in node.target.graph:
            yield from _within(inner)


def _applied(node: Node) -> Iterator[str]:
    """The layers that a node applies, in its block too."""
    return (n.target.child for n in _within(node) if n.target is not None and n.target.child is not None)


def _read(node: Node) -> Iterator[str]:
    """The paths that a node reads, in its block too."""
    return (str(n.attributes["path"]) for n in _within(node) if n.op in ("param", "buffer"))


def owned(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    """Full name and parameter of all that `graph` and the layers in it own, in order; shared layers come once a call."""
    for name, parameter in graph.parameters.items():
        yield prefix + name, parameter
    for node in graph.layers():
        call = node.target
        assert call is not None
        if call.count is None:
            yield from owned(call.graph, f"{prefix}{call.child}.")
        else:
            for i in range(call.start, call.start + call.count):
                yield from owned(call.graph, f"{prefix}{call.child}.{i}.")


def count_parameters(graphs: Iterable[Graph]) -> int:
    """How many trained numbers the graphs own together: a shared tensor counts once, a `repeat` as often as it has copies."""
    return _count(tuple(graphs), lambda p: size_of(p.type) if p.trained else 0, {})


def count_tensors(graphs: Iterable[Graph]) -> int:
    """How many parameters and buffers the graphs own together, without listing them."""
    return _count(tuple(graphs), lambda p: 1, {})


def _count(graphs: tuple[Graph, ...], weigh: Callable[[Parameter], int], known: dict[frozenset[int], int]) -> int:
    """The weights of what one layer owns, whose entry points are `graphs`. Layers that are alike are looked at once."""
    key = frozenset(map(id, graphs))
    if key not in known:
        owned_here = {name: weigh(p) for graph in graphs for name, p in graph.parameters.items()}
        layers: dict[tuple[str, int, int], list[Graph]] = {}
        for node in (node for graph in graphs for node in graph.layers()):
            call = node.target
            if call is not None and call.child is not None:
                copies = (0, 1) if call.count is None else (call.start, call.count)
                layers.setdefault((call.child, *copies), []).append(call.graph)
        inside = sum(count * _count(tuple(found), weigh, known) for (_, _, count), found in layers.items())
        known[key] = sum(owned_here.values()) + inside
    return known[key]


def size_of(type_: TensorType) -> int:
    """The number of elements of a tensor without symbolic dimensions."""
    total = 1
    for size in type_.shape:
        assert isinstance(size, int)
        total *= size
    return total
