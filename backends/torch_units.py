"""The classes and functions of a generated file: which layers share one, and what they take as arguments.

A `Unit` is a layer (all graphs that are applied to one instance of it) or a function. Units of one structure, apart from numbers,
become one class; the numbers that vary are its arguments, named by the hyper-parameter or dimension that has the same values in all
of them. Where the text still differs (a stride of 1 lets an emitter leave it out) they get a class each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from backends.python import scalar
from backends.torch_init import InitCall, begins_by_itself, init_call, scheme_of
from backends.torch_layers import Native, native_function, native_layer
from backends.torch_recurrent import is_fused
from backends.writer import identifier
from dsl.diagnostics import InternalError
from dsl.dims import Dim, Expr, substitute, symbol, symbols_of
from dsl.ir import Graph, Node, StaticValue
from dsl.ops.card import Attributes, AttributeValue
from dsl.types import TensorType

STRUCTURAL = frozenset({"order", "over", "axes", "keepdims", "p", "correction", "carries", "emit_axes", "wrt"})
"""Attributes whose numbers are part of what a node does, never an argument of a class."""

Number = Callable[[float, str], float]
"""Takes a number and what it is called where it stands; gives what to put in its place."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Copies `start` ... `start + count - 1` of a repeated layer."""

    start: int
    count: int
    unit: Unit


@dataclass(slots=True, eq=False)
class Unit:
    """A layer or function. `native` is the layer of torch.nn that it is, `fused` says that PyTorch has what it computes as one
    operation; `arguments` are filled once its class is known."""

    graphs: tuple[Graph, ...]
    children: dict[str, Unit | list[Segment]] = field(default_factory=dict)
    functions: dict[int, Unit] = field(default_factory=dict)
    native: Native | None = None
    fused: bool = False
    drawing: Set[int] = frozenset()
    height: int = 0
    definition: Definition | None = None
    arguments: dict[str, float] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.graphs[0]

    @property
    def is_function(self) -> bool:
        return self.graph.kind == "fn"

    def draws(self, graph: Graph) -> bool:
        """Whether a graph of this unit, or one that it calls, takes a generator."""
        return id(graph) in self.drawing

    def child_units(self) -> Iterator[Unit]:
        for child in self.children.values():
            yield from (child,) if isinstance(child, Unit) else (s.unit for s in child)


@dataclass(slots=True, eq=False)
class Definition:
    """A class or function of the file. `methods` are the names of the methods by the position of the graph in the unit."""

    name: str
    methods: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    needs_training: bool = False


# --- the tree -------------------------------------------------------------------------------------------------------------------


ONCE = frozenset({"attention", "hard_sigmoid", "RNN", "LSTM", "GRU"})
"""What PyTorch has in a form that cannot be differentiated twice (on every device): spelled out under a `grad`."""


class Tree:
    """All units of a program, each once."""

    def __init__(self, roots: Sequence[Graph]) -> None:
        self._known: dict[tuple[int, ...], Unit] = {}
        callees = {id(graph): graph for root in roots for graph in root.callees()}.values()
        blocks = [n.target.graph for graph in callees for n in graph.calls() if n.op == "grad" and n.target is not None]
        self._drawing = _drawing(callees)
        self._under_grad = {id(graph) for block in blocks for graph in block.callees()}
        self.root = self.unit(tuple(dict.fromkeys(roots)))

    def unit(self, graphs: tuple[Graph, ...]) -> Unit:
        """The unit to which these graphs are applied."""
        key = tuple(map(id, graphs))
        if key not in self._known:
            once = any(map(self._spelled_out, graphs))
            native = None if once else _common_native(graphs)
            unit = Unit(graphs, native=native, fused=not once and all(map(is_fused, graphs)), drawing=self._drawing)
            self._known[key] = unit
            if unit.native is None:
                self._explore(unit)
        return self._known[key]

    def _spelled_out(self, graph: Graph) -> bool:
        return id(graph) in self._under_grad and graph.definition in ONCE

    def _explore(self, unit: Unit) -> None:
        single: dict[str, dict[Graph, None]] = {}
        repeated: dict[str, dict[tuple[int, int], dict[Graph, None]]] = {}
        for graph in (*unit.graphs, *(g.backward for g in unit.graphs if g.backward is not None)):
            for node in every_node(graph):
                call = node.target
                if call is None or call.graph.kind == "block":
                    continue
                if call.child is None:
                    if self._spelled_out(call.graph) or native_function(call.graph) is None:
                        unit.functions[id(call.graph)] = self.unit((call.graph,))
                elif call.count is None:
                    single.setdefault(call.child, {})[call.graph] = None
                else:
                    repeated.setdefault(call.child, {}).setdefault((call.start, call.count), {})[call.graph] = None
        for graph in unit.graphs:
            for name in dict.fromkeys((*graph.children, *single, *repeated)):
                if name in single:
                    unit.children[name] = self.unit(tuple(single[name]))
                elif name in repeated:
                    parts = sorted(repeated[name].items(), key=lambda item: item[0])
                    unit.children[name] = [Segment(start, count, self.unit(tuple(gs))) for (start, count), gs in parts]
        below = [*unit.child_units(), *unit.functions.values()]
        unit.height = 1 + max((u.height for u in below), default=0)

    def by_height(self) -> list[list[Unit]]:
        """The units without a native layer, those that only use others' after them."""
        found = [u for u in self._known.values() if u.native is None]
        return [[u for u in found if u.height == h] for h in sorted({u.height for u in found})]


def _common_native(graphs: tuple[Graph, ...]) -> Native | None:
    """The one layer of torch.nn that all the graphs are."""
    natives = [native_layer(graph) for graph in graphs]
    if natives[0] is None or any(native != natives[0] for native in natives):
        return None
    starts = [[init_call(p, scheme_of(graph)) for p in graph.parameters.values()] for graph in graphs]
    return natives[0] if all(start == starts[0] for start in starts) else None


DRAWS = frozenset({"randn", "rand", "bernoulli", "categorical"})
"""What draws from a generator; dropout has none in PyTorch, and follows `torch.manual_seed`."""


def _drawing(callees: Iterable[Graph]) -> set[int]:
    """The graphs, by identity, that draw or call one that does; callees come before callers."""
    found: set[int] = set()
    for graph in callees:
        below = [node.target.graph for node in graph.calls() if node.target is not None] + [graph.backward or graph]
        if any(node.op in DRAWS for node in graph) or any(id(callee) in found for callee in below):
            found.add(id(graph))
    return found


def every_node(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph, each followed by those of its block."""
    for node in graph:
        yield node
        if node.target is not None and node.target.graph.kind == "block":
            yield from every_node(node.target.graph)


# --- the numbers of a unit ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Construction:
    """How one child is made: the class, the numbers it is given, how its own parameters then begin."""

    unit: Unit
    native: Native | None
    arguments: dict[str, float]
    starts: dict[str, InitCall]
    count: float | None = None
    first: int = 0


@dataclass(frozen=True, slots=True)
class Owned:
    """A parameter or buffer of the unit itself."""

    name: str
    type: TensorType
    start: InitCall
    trained: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A unit, taken apart into what its class is written from; every number in it went through one function."""

    unit: Unit
    graphs: tuple[Graph, ...]
    attributes: tuple[tuple[dict[str, AttributeValue], ...], ...]
    children: dict[str, list[Construction]]
    owned: dict[str, Owned]

    def written(self) -> tuple[Graph, ...]:
        """The graphs with the numbers of the plan."""
        return tuple(_with_attributes(g, iter(a)) for g, a in zip(self.graphs, self.attributes, strict=True))


def plan_of(unit: Unit, number: Number) -> Plan:
    """The plan of `unit` with each number replaced, always in the same order."""
    children = {}
    for name, child in unit.children.items():
        if isinstance(child, Unit):
            children[name] = [_construction(child, name, number)]
        else:
            children[name] = [
                replace(_construction(s.unit, name, number), count=number(s.count, f"{identifier(name)}_count"), first=s.start)
                for s in child
            ]
    owned = {}
    for graph in unit.graphs:
        for p in graph.parameters.values():
            if p.name not in owned:
                shape = tuple(d if isinstance(d, Expr) else _whole(number(d, f"{p.name}_size")) for d in p.type.shape)
                owned[p.name] = Owned(
                    p.name, replace(p.type, shape=shape), _start(init_call(p, scheme_of(graph)), p.name, number), p.trained
                )
    attributes = tuple(tuple(_attributes(node, unit, number) for node in every_node(graph)) for graph in unit.graphs)
    return Plan(unit, unit.graphs, attributes, children, owned)


def _construction(unit: Unit, name: str, number: Number) -> Construction:
    if unit.native is None:
        arguments = {k: number(v, k) for k, v in unit.arguments.items()}
        return Construction(unit, None, arguments, {})
    settings = tuple(
        s if s.verbatim else replace(s, value=_mapped_setting(s.value, _called(s.name, name), number))
        for s in unit.native.settings
    )
    starts = {
        p.name: _start(init_call(p, scheme_of(unit.graph)), f"{identifier(name)}_{p.name}", number)
        for p in unit.graph.parameters.values()
        if not begins_by_itself(unit.graph, p.name)
    }
    return Construction(unit, replace(unit.native, settings=settings), {}, starts)


def _called(setting: str, child: str) -> str:
    """What a number of a layer is called: by the setting, where several have one by the name of the layer as well."""
    return f"{setting} {identifier(child)}_{setting}"


def _start(call: InitCall, name: str, number: Number) -> InitCall:
    return replace(
        call, arguments=tuple((k, v if isinstance(v, str) else number(v, f"{name}_{k or 'value'}")) for k, v in call.arguments)
    )


def _attributes(node: Node, unit: Unit, number: Number) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    if node.op == "const":
        value = node.attributes["value"]
        if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype != np.bool_:
            return {"value": number(scalar(value), "value")}
    for name, value in node.attributes.items():
        found[name] = value if name in STRUCTURAL else _mapped(value, "size" if name == "shape" else name, number)
    if node.target is not None and id(node.target.graph) in unit.functions:
        callee = unit.functions[id(node.target.graph)]
        found |= {f"argument {k}": number(v, k) for k, v in callee.arguments.items()}
    return found


def _whole(value: float) -> int:
    assert isinstance(value, int)
    return value


def _mapped_setting(value: StaticValue, name: str, number: Number) -> StaticValue:
    if isinstance(value, tuple):
        return tuple(_mapped_setting(v, name, number) for v in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, name)
    return value


def _mapped(value: AttributeValue, name: str, number: Number) -> AttributeValue:
    if isinstance(value, tuple):
        return tuple(_mapped(v, name, number) for v in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, name)
    return value


def _with_attributes(graph: Graph, attributes: Iterator[dict[str, AttributeValue]]) -> Graph:
    written = graph.copy()
    for node in graph:
        found = next(attributes)
        target = node.target
        if target is not None and target.graph.kind == "block":
            target = replace(target, graph=_with_attributes(target.graph, attributes))
        if found or target is not node.target:
            written.replace_node(replace(node, attributes=found, target=target))
    return written


# --- which units are alike ------------------------------------------------------------------------------------------------------


def structure(unit: Unit) -> Hashable:
    """What units of one class have in common: all but the numbers. A function with a gradient of its own has them, too."""
    backward = unit.graph.backward
    if backward is not None:
        own = [_shape(g, [n.attributes for n in every_node(g)], unit) for g in (unit.graph, backward)]
        return "autograd", *own
    plan = plan_of(unit, lambda value, name: 0 if isinstance(value, int) else 0.5)
    return (
        tuple(_shape(g, a, unit) for g, a in zip(plan.graphs, plan.attributes, strict=True)),
        tuple((name, tuple(map(_made, made))) for name, made in plan.children.items()),
        tuple((o.name, o.type, o.start, o.trained) for o in plan.owned.values()),
        unit.fused,
    )


def _made(made: Construction) -> Hashable:
    return (
        made.native or _called_in_the_file(made.unit),
        tuple(made.arguments),
        tuple(made.starts.items()),
        made.count is None,
        made.first,
    )


def _called_in_the_file(unit: Unit) -> str | None:
    return unit.definition.name if unit.definition else None


def _shape(graph: Graph, attributes: Sequence[Attributes], unit: Unit) -> Hashable:
    symbols: dict[str, Dim] = {}
    for value in graph.inputs.values():
        for size in graph.type(value).shape:
            for name in symbols_of(size):
                symbols.setdefault(name, symbol(f"${len(symbols)}"))
    nodes = tuple(
        (n.op, n.inputs, _frozen(a, symbols), n.name, n.names, len(n.types), _target(n, unit))
        for n, a in zip(every_node(graph), attributes, strict=True)
    )
    inputs = tuple((name, value, _abstract(graph.type(value), symbols)) for name, value in graph.inputs.items())
    ends = (tuple(graph.outputs.items()), tuple(graph.updates.items()))
    return graph.definition, graph.entry, graph.kind, graph.library, inputs, nodes, ends


def _target(node: Node, unit: Unit) -> Hashable:
    call = node.target
    if call is None:
        return None
    if call.graph.kind == "block":
        return len(call.graph), tuple(call.graph.inputs.items()), tuple(call.graph.outputs.items())
    if call.child is not None:
        return call.child, call.start, _position(unit, call.graph, call.child)
    callee = unit.functions.get(id(call.graph))
    if callee is not None:
        return _called_in_the_file(callee)
    inside = tuple((n.op, _frozen(n.attributes, {})) for n in call.graph) if len(call.graph) <= 4 else ()
    return call.graph.definition, tuple(call.graph.hyper.items()), len(node.inputs), inside


def _position(unit: Unit, graph: Graph, name: str) -> Hashable:
    child = unit.children[name]
    units = [child] if isinstance(child, Unit) else [s.unit for s in child]
    return tuple(u.graphs.index(graph) if graph in u.graphs else -1 for u in units)


def _abstract(type_: TensorType, symbols: Mapping[str, Dim]) -> Hashable:
    return type_.dtype, tuple(substitute(d, symbols) if isinstance(d, Expr) else 0 for d in type_.shape)


def _frozen(attributes: object, symbols: Mapping[str, Dim]) -> Hashable:
    match attributes:
        case Expr():
            return substitute(attributes, symbols)
        case dict() | MappingProxyType():
            return tuple((k, _frozen(v, symbols)) for k, v in attributes.items())
        case tuple() | list():
            return tuple(_frozen(v, symbols) for v in attributes)
        case np.ndarray():
            return attributes.shape, str(attributes.dtype), attributes.tobytes()
        case Hashable():
            return attributes
        case _:
            raise InternalError(f"an attribute of an unknown kind: {type(attributes).__name__}")
