"""What a function of a JAX program reads and calls: parameters and state by their place in the trees, keys, other functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from backends.jax_arrays import constant
from backends.jax_facts import Facts
from backends.jax_init import LONGEST_LOOP, is_convolution, is_stacked, runs_of
from backends.jax_library import FUNCTIONS, LAYERS
from backends.jax_rows import ROWS
from backends.python import Body, Rows
from backends.schedule import schedule
from backends.writer import Expression, Namespace, call, quoted
from dsl.ir import Call, Graph, Node
from dsl.ops.registry import CARDS
from dsl.types import DType


class File(Protocol):
    """What functions of one file share."""

    names: Namespace
    facts: dict[int, Facts]
    mixed: bool
    """Whether products are in bf16 and the rest is not, so that a value may leave a step of a loop in another type than it came."""

    def function(self, graph: Graph, wanted: str) -> tuple[str, tuple[str, ...]]: ...
    def copied(self, function: str) -> str: ...
    def dtype(self, dtype: DType) -> str: ...
    def table(self, value: np.ndarray, dtype: DType, name: str, taken: Namespace) -> str: ...


@dataclass(frozen=True, slots=True)
class Inside:
    """How a block sees the function around it: the graph whose layers it applies, the variables of the key and the keys it draws by."""

    owner: Graph
    key: str
    keys: str


class Calls:
    """Parameters, state, keys and calls in one function. That of a block is `inside` another, and changes no state."""

    name = "jax"
    rows: Rows = ROWS
    repeats: frozenset[str] = frozenset()

    def __init__(self, file: File, graph: Graph, inside: Inside | None = None) -> None:
        self.file = file
        self.graph = graph
        self.within = inside or Inside(graph, "key", "keys")
        self.changes_state = inside is None
        self.own = file.facts[id(graph)]
        modes = schedule(graph).modes
        drawing = [n.id for n in graph if modes.get(n.id) and self._draws(n)]
        self._keys = {node_id: i for i, node_id in enumerate(drawing)}
        self._split: dict[int, str] = {}
        self.replaced: dict[int, str] = {}

    @property
    def draws(self) -> int:
        """How many keys the function needs."""
        return len(self._keys)

    def facts(self, graph: Graph) -> Facts:
        return self.file.facts[id(graph)]

    def _draws(self, node: Node) -> bool:
        if node.target is not None:
            return self.facts(node.target.graph).key
        return node.op in CARDS and CARDS[node.op].random

    # --- what rows ask for ---

    def training(self, body: Body) -> Expression:
        return Expression("training")

    def key(self, node: Node) -> Expression:
        return Expression(self.within.key if len(self._keys) == 1 else f"{self.within.keys}[{self._keys[node.id]}]")

    def dtype(self, dtype: DType) -> str:
        return self.file.dtype(dtype)

    def copied(self, function: str) -> str:
        return self.file.copied(function)

    def table(self, body: Body, value: np.ndarray, dtype: DType, name: str) -> Expression:
        return Expression(self.file.table(value, dtype, name, body.names))

    def owned(self, body: Body, node: Node) -> Expression:
        return place_of(self.within.owner, "params" if node.op == "param" else "state", str(node.attributes["path"]))

    def kept(self, buffer: Expression) -> Expression:
        return buffer

    def constant(self, body: Body, node: Node) -> Expression:
        return constant(body, node, [])

    # --- calls ---

    def call(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        target = node.target
        assert target is not None
        callee = target.graph
        if target.child is None and callee.library and callee.definition in FUNCTIONS:
            spelled = FUNCTIONS[callee.definition](body, callee, operands)
            if spelled is not None:
                return spelled
        place = f"[{quoted(target.child)}]" if target.child is not None else ""
        operands = operands[: len(callee.inputs)]
        return self._applied(body, node, operands, place, self.key(node).text if self._draws(node) else None)

    def _applied(self, body: Body, node: Node, operands: list[Expression], place: str, key: str | None) -> Expression:
        """The call of the function of a graph, on what it owns at `place` in the trees."""
        assert node.target is not None
        callee = node.target.graph
        facts = self.facts(callee)
        owned = [self.replaced.get(node.id, f"params{place}")] if facts.params else []
        owned += [f"state{place}"] if facts.state else []
        return self._named(body, callee, owned, operands, key, node.target.child)

    def _named(
        self, body: Body, callee: Graph, owned: list[str], operands: list[Expression], key: str | None, child: str | None
    ) -> Expression:
        facts = self.facts(callee)
        if callee.kind == "module" and callee.library and callee.definition in LAYERS:
            given = [Expression(text) for text in owned]
            return LAYERS[callee.definition](body, callee, given if facts.params else [Expression("{}"), *given], operands)
        name, keywords = self.file.function(callee, _wanted(callee, child))
        return call(name, *owned, *operands, *(["training"] if facts.training else []), *([key] if key else []), *keywords)

    def define_callees(self, graph: Graph) -> None:
        """Have the functions written that the graph calls: no variable of its own function then hides one of them."""
        modes = schedule(graph).modes
        for node in graph.calls():
            if node.target is None or not modes.get(node.id):
                continue
            callee = node.target.graph
            if callee.kind == "block":
                self.define_callees(callee)
            elif not callee.library or callee.definition not in (FUNCTIONS if node.target.child is None else LAYERS):
                self.file.function(callee, _wanted(callee, node.target.child))

    def state_of(self, node: Node) -> str:
        """Where the new state of a layer goes."""
        assert node.target is not None
        if not self.changes_state:
            return "_"
        return f"state[{quoted(str(node.target.child))}]" if node.target.child is not None else "state"

    # --- buffers ---

    def update(self, body: Body, path: str, value: Expression) -> None:
        *parents, name = path.split(".")
        place = "state"
        for parent in parents:
            place += f"[{quoted(parent)}]"
            body.statement(f"{place} = dict({place})")
        body.statement(f"{place}[{quoted(name)}] = ", call("lax.stop_gradient", value))


def _wanted(callee: Graph, child: str | None) -> str:
    """What the function of a graph would like to be called."""
    return child if callee.kind == "body" and child is not None else callee.definition


def place_of(owner: Graph, tree: str, path: str) -> Expression:
    """The tensor at a path below `owner`, in the spec's layout, from the tree of that name."""
    parts, name = path.split("."), path.rsplit(".", 1)[-1]
    graphs, place, copies = [owner], tree, []
    for i, part in enumerate(parts[:-1]):
        if part.isdigit():
            place, copy = _copy(place, int(part), sorted({run for g in graphs for run in runs_of(g, parts[i - 1])}))
            copies += copy
            targets = [t for g in graphs for t in targets_of(g, parts[i - 1]) if t.count and 0 <= int(part) - t.start < t.count]
            graphs = [t.graph for t in targets]
            continue
        place += f"[{quoted(part)}]"
        if not parts[i + 1].isdigit():
            graphs = [t.graph for g in graphs for t in targets_of(g, part)]
    kernel = len(parts) > 1 and name == "weight" and any(g.library and is_convolution(g.definition) for g in graphs)
    place += f"[{quoted(name + '.hwio' if kernel else name)}]"
    place += f"[{', '.join(copies)}]" if copies else ""
    return replace(call("jnp.moveaxis", place, "(-1, -2)", "(0, 1)"), size=1) if kernel else Expression(place)


def _copy(place: str, number: int, runs: list[tuple[int, int]]) -> tuple[str, list[str]]:
    """The place of one copy of a `repeat`, and its index among those that are stacked."""
    start, count = next((start, count) for start, count in runs if start <= number < start + count)
    if not is_stacked(runs):
        return f"{place}[{number}]", []
    if count > LONGEST_LOOP:
        return f'{place}["{start}:{start + count}"]', [str(number - start)]
    return f'{place}["{number}"]', []


def targets_of(graph: Graph, child: str) -> list[Call]:
    """How the graph applies its layer of that name."""
    return [n.target for n in graph.layers() if n.target is not None and n.target.child == child]
