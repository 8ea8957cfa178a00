"""A graph as a function of a JAX program: `block(params, x, training, key)`.

Parameters and state come in as nested trees (see jax_init.py); a graph with buffers also returns its new state. Random draws take keys
split from the one given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backends.jax_arrays import constant
from backends.jax_init import LONGEST_LOOP, is_convolution, is_stacked, runs_of
from backends.jax_library import FUNCTIONS, LAYERS
from backends.jax_rows import ROWS
from backends.python import Body, Rows
from backends.schedule import INFERENCE, schedule
from backends.writer import Expression, Line, Namespace, call, fits, quoted
from dsl.diagnostics import InternalError
from dsl.ir import Graph, Node, Value
from dsl.ops.registry import CARDS
from dsl.types import DType


@dataclass(frozen=True, slots=True)
class Facts:
    """What a graph reads besides its inputs. `key` says that it draws in training, `always` that it does so in inference as well."""

    params: bool
    state: bool
    training: bool
    key: bool
    always: bool


def facts_of(graph: Graph, known: dict[int, Facts]) -> Facts:
    """The facts of `graph`, with those of the graphs that it calls in `known`."""
    modes = schedule(graph).modes
    params = state = key = always = False
    training = bool(graph.updates)
    for node in graph:
        mode = modes.get(node.id, 0)
        if not mode:
            continue
        params |= node.op == "param"
        state |= node.op == "buffer"
        training |= node.op in ("if_training", "dropout")
        if node.op in CARDS and CARDS[node.op].random:
            key = True
            always |= node.op != "dropout" and bool(mode & INFERENCE)
        if node.target is not None:
            callee = known[id(node.target.graph)]
            params, state = params or callee.params, state or callee.state
            training, key = training or callee.training, key or callee.key
            always |= callee.always and bool(mode & INFERENCE)
    return Facts(params, state or bool(graph.updates), training, key, always)


class File(Protocol):
    """What functions of one file share."""

    names: Namespace
    facts: dict[int, Facts]

    def function(self, graph: Graph, wanted: str) -> tuple[str, tuple[str, ...]]: ...
    def copied(self, function: str) -> str: ...
    def dtype(self, dtype: DType) -> str: ...
    def table(self, value: np.ndarray, dtype: DType, name: str, taken: Namespace) -> str: ...


class ModuleBody(Body):
    """A body whose layers with state give their new state beside their results."""

    dialect: ModuleFunction

    def _visit(self, node: Node) -> None:
        target = node.target
        if target is None or target.count is not None or not self.dialect.facts(target.graph).state:
            super()._visit(node)
            return
        expression = self._composed(node)
        state = self.dialect.state_of(node)
        self._consume(expression)
        found = []
        for i in range(len(node.types)):
            value = Value(node.id, i)
            if self._pending.get(value, 0) == 0:
                found.append("_")
                continue
            found.append(self._variable(self.hint(value), value))
            self.expressions[value] = Expression(found[-1], reads=((value.node, value.index),))
        self.lines.append(Line(self.indent, f"{', '.join([*found, state])} = ", expression))


class ModuleFunction:
    """The dialect of one function."""

    name = "jax"
    rows: Rows = ROWS
    repeats: frozenset[str] = frozenset()

    def __init__(self, file: File, graph: Graph) -> None:
        self.file = file
        self.graph = graph
        self.own = file.facts[id(graph)]
        modes = schedule(graph).modes
        drawing = [n.id for n in graph if modes.get(n.id) and self._draws(n)]
        self._keys = {node_id: i for i, node_id in enumerate(drawing)}
        self._split: dict[int, str] = {}

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
        return Expression("key" if len(self._keys) == 1 else f"keys[{self._keys[node.id]}]")

    def dtype(self, dtype: DType) -> str:
        return self.file.dtype(dtype)

    def copied(self, function: str) -> str:
        return self.file.copied(function)

    def table(self, body: Body, value: np.ndarray, dtype: DType, name: str) -> Expression:
        return Expression(self.file.table(value, dtype, name, body.names))

    def owned(self, body: Body, node: Node) -> Expression:
        *parents, name = str(node.attributes["path"]).split(".")
        place = "".join(["params" if node.op == "param" else "state", *(f"[{quoted(p)}]" for p in parents)])
        if name == "weight" and parents and owner_is_convolution(self.graph, parents):
            return call("jnp.moveaxis", f'{place}["weight.hwio"]', "(-1, -2)", "(0, 1)")
        return Expression(f"{place}[{quoted(name)}]")

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
        return self._applied(body, node, operands, place, self.key(node).text if self._draws(node) else None)

    def _applied(self, body: Body, node: Node, operands: list[Expression], place: str, key: str | None) -> Expression:
        """The call of the function of a graph, on what it owns at `place` in the trees."""
        assert node.target is not None
        callee = node.target.graph
        facts = self.facts(callee)
        owned = [f"params{place}"] if facts.params else []
        owned += [f"state{place}"] if facts.state else []
        return self._named(body, callee, owned, operands, key, node.target.child)

    def _named(
        self, body: Body, callee: Graph, owned: list[str], operands: list[Expression], key: str | None, child: str | None
    ) -> Expression:
        facts = self.facts(callee)
        if callee.kind == "module" and callee.library and callee.definition in LAYERS:
            given = [Expression(text) for text in owned]
            return LAYERS[callee.definition](body, callee, given if facts.params else [Expression("{}"), *given], operands)
        name, keywords = self.file.function(callee, child if callee.kind == "body" and child is not None else callee.definition)
        return call(name, *owned, *operands, *(["training"] if facts.training else []), *([key] if key else []), *keywords)

    def state_of(self, node: Node) -> str:
        """Where the new state of a layer goes."""
        assert node.target is not None
        return f"state[{quoted(str(node.target.child))}]" if node.target.child is not None else "state"

    # --- repeats ---

    def repeat(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        target = node.target
        assert target is not None and target.count is not None and target.child is not None
        first, *rest = [self._variable(body, v, x) for v, x in zip(node.inputs, operands, strict=True)]
        body.consume(first)
        carry = body.variable(Value(node.id))
        if carry != first.text:
            body.statement(f"{carry} = ", Expression(first.text))
        runs = runs_of(self.graph, target.child)
        stacked = is_stacked(runs)
        state = self.facts(target.graph).state
        child = f"[{quoted(target.child)}]"
        if target.count > LONGEST_LOOP:
            self._scan(body, node, carry, rest, child)
        elif stacked or target.count == 1:
            if state:
                body.statement(f"state{child} = {'dict' if stacked else 'list'}(state{child})")
            for i in range(target.count):
                at = target.start + i
                self._one(
                    body, node, carry, rest, f'{child}["{at}"]' if stacked else f"{child}[{at}]", self._copy_key(body, node, i)
                )
        else:
            self._loop(body, node, carry, rest, child, len(runs) == 1)
        for operand in rest:
            body.consume(operand)
        return Expression(carry)

    def _variable(self, body: Body, value: Value, x: Expression) -> Expression:
        """The operand as something that may be repeated."""
        return x if x.simple or not x.size else body.assign(value, x)

    def _copy_key(self, body: Body, node: Node, i: int) -> str | None:
        assert node.target is not None
        if not self._draws(node):
            return None
        if node.target.count == 1:
            return self.key(node).text
        return f"{self._copy_keys(body, node)}[{i}]"

    def _copy_keys(self, body: Body, node: Node) -> str:
        """A variable with a key for each copy."""
        assert node.target is not None
        if node.id not in self._split:
            split = call(self.copied("split_key"), self.key(node), str(node.target.count))
            self._split[node.id] = body.let("copy_keys", split).text
        return self._split[node.id]

    def _one(self, body: Body, node: Node, carry: str, rest: list[Expression], place: str, key: str | None) -> None:
        assert node.target is not None
        applied = self._applied(body, node, [Expression(carry), *rest], place, key)
        state = f", state{place}" if self.facts(node.target.graph).state else ""
        body.statement(f"{carry}{state} = ", applied)

    def _loop(self, body: Body, node: Node, carry: str, rest: list[Expression], child: str, whole: bool) -> None:
        """`for layer in params["blocks"]: h = block(layer, h)`; by index where there is state to be kept."""
        target = node.target
        assert target is not None and target.count is not None
        facts = self.facts(target.graph)
        keys = self._copy_keys(body, node) if facts.key else None
        stop = target.start + target.count
        if facts.state:
            i = body.names.new("i")
            body.statement(f"state{child} = list(state{child})")
            body.statement(f"for {i} in range({f'{target.start}, ' if target.start else ''}{stop}):")
            key = f"{keys}[{i} - {target.start}]" if target.start else f"{keys}[{i}]"
            with body.block():
                self._one(body, node, carry, rest, f"{child}[{i}]", key if keys else None)
            return
        layer = body.names.new("layer") if facts.params else None
        layer_key = body.names.new("layer_key") if keys else None
        layers = f"params{child}" if whole else f"params{child}[{target.start}:{stop}]"
        heads = [text for text in (layer, layer_key) if text]
        over = [text for text, used in ((layers, layer), (keys, layer_key)) if used and text]
        if not heads:
            body.statement(f"for _ in range({target.count}):")
        else:
            body.statement(f"for {', '.join(heads)} in ", call("zip", *over) if len(over) > 1 else Expression(over[0]), ":")
        with body.block():
            owned = [layer] if layer else []
            applied = self._named(body, target.graph, owned, [Expression(carry), *rest], layer_key, target.child)
            body.statement(f"{carry} = ", applied)

    def _scan(self, body: Body, node: Node, carry: str, rest: list[Expression], child: str) -> None:
        """One `lax.scan` over the stacked copies: the time to compile it does not depend on their number."""
        target = node.target
        assert target is not None and target.count is not None
        facts = self.facts(target.graph)
        place = f'{child}["{target.start}:{target.start + target.count}"]'
        xs = [f"params{place}"] if facts.params else []
        xs += [f"state{place}"] if facts.state else []
        if facts.key:
            key = self.key(node).text
            made = f"random.split({key}, {target.count})"
            xs.append(body.let("copy_keys", Expression(made if facts.always else f"None if key is None else {made}")).text)
        copy = body.names.new("copy")
        parts = [copy] if len(xs) == 1 else [f"{copy}[{i}]" for i in range(len(xs))]
        key_part = parts[-1] if facts.key else None
        owned = parts[:-1] if facts.key else parts
        applied = self._named(body, target.graph, owned if xs else [], [Expression(carry), *rest], key_part, target.child)
        step = f"lambda {carry}, {copy}: {applied.text if facts.state else f'({applied.text}, None)'}"
        over = "None" if not xs else xs[0] if len(xs) == 1 else f"({', '.join(xs)})"
        length = None if xs else str(target.count)
        scanned = call("lax.scan", step, carry, over, length=length)
        if facts.state:
            states = body.names.new("copies")
            body.statement(f"{carry}, {states} = ", scanned)
            body.statement(
                f"state{child} = {{**state{child}, ", Expression(f'"{target.start}:{target.start + target.count}": {states}}}')
            )
        else:
            body.statement(f"{carry}, _ = ", scanned)

    # --- buffers ---

    def update(self, body: Body, path: str, value: Expression) -> None:
        *parents, name = path.split(".")
        place = "state"
        for parent in parents:
            place += f"[{quoted(parent)}]"
            body.statement(f"{place} = dict({place})")
        body.statement(f"{place}[{quoted(name)}] = ", value)


def owner_is_convolution(graph: Graph, parents: list[str]) -> bool:
    """Whether the layer at that path keeps its weight as [*kernel, in, out]."""
    found = graph
    for parent in parents:
        callee = next((n.target.graph for n in found.calls() if n.target is not None and n.target.child == parent), None)
        if callee is None:
            return False
        found = callee
    return found.library and is_convolution(found.definition)


# --- whole functions ------------------------------------------------------------------------------------------------------------


def write_function(
    file: File,
    graph: Graph,
    *,
    root: bool = False,
    first: Callable[[Body, ModuleFunction], None] | None = None,
) -> tuple[tuple[str, ...], list[Line], Namespace]:
    """The arguments as they stand in the signature, the statements, and the names in use."""
    function = ModuleFunction(file, graph)
    facts = function.own
    names = Namespace(("params", "state", "training", "key", "keys"), outer=file.names)
    arguments = {name: names.new(name) for name in graph.inputs}
    positional = [name for name, used in (("params", facts.params or root), ("state", facts.state)) if used]
    modes = (
        ["*", "training=False", "key=None"]
        if root
        else [n for n, used in (("training", facts.training), ("key", facts.key)) if used]
    )
    signature = (*positional, *arguments.values(), *modes)
    body = ModuleBody(graph, function, names, arguments)
    if first is not None:
        first(body, function)
    if facts.state:
        body.statement("state = dict(state)")
    if function.draws > 1:
        split = "random.split" if facts.always else function.copied("split_key")
        body.statement("keys = ", call(split, "key", str(function.draws)))
    body.write(lambda b: _finish(b, facts.state, root))
    return signature, body.lines, names


def _finish(body: Body, state: bool, root: bool) -> None:
    results = [body.results[name] for name in body.graph.outputs]
    texts = [r.text for r in results]
    if root and state and len(texts) > 1:
        texts = [f"({', '.join(texts)})"]
    if state:
        texts.append("state")
    expression = results[0] if len(texts) == 1 else Expression(", ".join(texts), arguments=tuple(texts))
    line = Line(body.indent, "return ", expression)
    if not fits(line) and len(results) == 1 and not state:
        ((_, value),) = body.graph.outputs.items()
        expression = body.assign(value, expression)
        line = Line(body.indent, "return ", expression)
    body.lines.append(line)


def facts_of_all(roots: list[Graph]) -> dict[int, Facts]:
    """The facts of the graphs of a program, by identity."""
    known: dict[int, Facts] = {}
    for root in roots:
        for graph in root.callees():
            if id(graph) not in known:
                known[id(graph)] = facts_of(graph, known)
    if any(id(root) not in known for root in roots):
        raise InternalError("a graph is not among its own callees")
    return known
