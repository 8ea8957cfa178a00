"""A graph in `.dl`, for people who want to see what a pass did (`--print-after`).

One statement a node, one module a graph. It reads as the language does; what only the compiler makes (`if_training(a, b)`, a module that
was specialised, `with_parameters(layer, names, inputs, values)`) is written as it would be if the language had it. What a `grad`
differentiates stands before it, in place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dsl.dims import format_dim, is_dim
from dsl.ir import Graph, Initializer, Node, Parameter, Program, Value
from dsl.ops.card import AttributeValue
from dsl.ops.registry import CARDS
from dsl.types import DType

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floor_divide": "//", "remainder": "%", "pow": "**", "matmul": "@",
             "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}  # fmt: skip


def print_program(program: Program) -> str:
    """Every graph of the program, callees first."""
    everything = list({id(g): g for root in program.entries.values() for g in root.callees()}.values())
    gradients = {id(g.backward) for g in everything}
    graphs = [g for g in everything if g.kind != "block" and id(g) not in gradients]
    names = _unique_names(graphs)
    return "\n\n".join(_GraphPrinter(graph, names).text() for graph in graphs) + "\n"


def _unique_names(graphs: Iterable[Graph]) -> dict[int, str]:
    taken: set[str] = set()
    names: dict[int, str] = {}
    for graph in graphs:
        base = graph.definition if graph.entry == "forward" else f"{graph.definition}_{graph.entry}"
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[id(graph)] = name
    return names


class _GraphPrinter:
    def __init__(self, graph: Graph, names: dict[int, str], taken: set[str] | None = None) -> None:
        self.graph = graph
        self.names = names
        self.values: dict[Value, str] = {}
        self.taken = {*graph.parameters, *graph.children} if taken is None else taken

    def text(self) -> str:
        graph = self.graph
        inputs = ", ".join(f"{name}: {graph.type(v)}" for name, v in graph.inputs.items())
        outputs = ", ".join(f"{name}: {graph.type(v)}" for name, v in graph.outputs.items())
        keyword = graph.kind if graph.kind in ("model", "fn") else "module"
        signature = f"({inputs})" if keyword == "fn" else f"()({inputs}) -> ({outputs})"
        lines = [
            f"require {format_dim(c.left)} {c.relation} {format_dim(c.right)}{' in training' if c.training else ''}"
            for c in graph.constraints
        ]
        lines += [_declaration(p) for p in graph.parameters.values()]
        lines += [*self._layers(), *self.statements()]
        lines += [f"update {name} = {self.values[v]}" for name, v in graph.updates.items()]
        lines.append(f"return {', '.join(self.values[v] for v in graph.outputs.values())}")
        return "\n".join([f"{keyword} {self.names[id(graph)]}{signature} {{", *_indented(lines), f"}}{self._backward()}"])

    def statements(self) -> list[str]:
        """The nodes, in order."""
        return [line for node in self.graph for line in self._statement(node)]

    def _backward(self) -> str:
        """The gradient that a function brings along: it reads the inputs of the function by name."""
        graph, back = self.graph, self.graph.backward
        if back is None:
            return ""
        inner = _GraphPrinter(back, self.names, self.taken)
        given = [self._name(name) for name in list(back.inputs)[: len(back.inputs) - len(graph.inputs)]]
        for value, name in zip(back.inputs.values(), [*given, *(self.values[v] for v in graph.inputs.values())], strict=True):
            inner.values[value] = name
        lines = inner.statements()
        lines.append(f"return {', '.join(inner.values[v] for v in back.outputs.values())}")
        return "\n".join([f" backward({', '.join(given)}) {{", *_indented(lines), "}"])

    def _layers(self) -> list[str]:
        layers: dict[str, str] = {}
        for node in self.graph.layers():
            call = node.target
            assert call is not None
            if call.child is not None:
                made = self.names[id(call.graph)]
                layers.setdefault(call.child, made if call.count is None else f"repeat({call.count}) {{ {made} }}")
        return [f"layer {name} = {made if made.startswith('repeat') else made + '()'}" for name, made in layers.items()]

    def _statement(self, node: Node) -> list[str]:
        match node.op:
            case "input":
                if Value(node.id) not in self.values:
                    self.values[Value(node.id)] = self._name(str(node.attributes["name"]))
                return []
            case "param" | "buffer":
                self.values[Value(node.id)] = str(node.attributes["path"])
                return []
            case "scan":
                return self._scan(node)
            case "while":
                return self._while(node)
            case "grad":
                return self._grad(node)
        expression = self._expression(node)
        if node.op == "const" and node.type.rank == 0:
            self.values[Value(node.id)] = expression
            return []
        return [self._assigned(node, expression)]

    def _assigned(self, node: Node, expression: str) -> str:
        names = [self._name(given or node.name or f"v{node.id}") for given in node.names or (None,) * len(node.types)]
        for i, name in enumerate(names):
            self.values[Value(node.id, i)] = name
        shapes = ", ".join(str(t) for t in node.types)
        return f"{', '.join(names)} = {expression}  # {shapes}"

    # --- blocks ---

    def _inside(self, node: Node, inputs: list[str]) -> _GraphPrinter:
        """The printer of a block whose inputs have these names."""
        assert node.target is not None
        inner = _GraphPrinter(node.target.graph, self.names, self.taken)
        inner.values = dict(zip(node.target.graph.inputs.values(), inputs, strict=True))
        return inner

    def _scan(self, node: Node) -> list[str]:
        assert node.target is not None
        block, operands = node.target.graph, [self.values[v] for v in node.inputs]
        carries, axes, count = node.attributes["carries"], node.attributes["axes"], _shown(node.attributes["count"])
        assert isinstance(carries, int) and isinstance(axes, tuple)
        names = list(block.inputs)
        counter = [self._name(names[0])] if node.attributes["counter"] else []
        first = len(counter) + carries
        carried = [self._name(name) for name in names[len(counter) : first]]
        slices = [self._name(name) for name in names[first : first + len(axes)]]
        inner = self._inside(node, [*counter, *carried, *slices, *operands[carries + len(axes) :]])
        lines = inner.statements()
        results = [inner.values[v] for v in block.outputs.values()]
        stacks = [self._name(name) for name in list(block.outputs)[carries:]]
        lines += [f"emit {name} = {value}" for name, value in zip(stacks, results[carries:], strict=True)]
        lines += _rebound(carried, results[:carries])
        sources = [f"range({count})"] * bool(counter or not slices) + operands[carries : carries + len(axes)]
        pattern = [*(counter or ([] if slices else ["_"])), *slices]
        over = f" over {count}" if slices else ""
        reverse = " reverse=true" if node.attributes["reverse"] else ""
        head = f"scan {', '.join(pattern)} in {', '.join(sources)}{over}{reverse}{_carry(carried, operands)} {{"
        for i, name in enumerate([*carried, *stacks]):
            self.values[Value(node.id, i)] = name
        return [f"{head}  # {', '.join(str(t) for t in node.types)}", *_indented(lines), "}"]

    def _while(self, node: Node) -> list[str]:
        """The condition is carried like the rest."""
        assert node.target is not None
        block, operands = node.target.graph, [self.values[v] for v in node.inputs]
        carries = node.attributes["carries"]
        assert isinstance(carries, int)
        going = self._name("going")
        carried = [self._name(name) for name in list(block.inputs)[:carries]]
        inner = self._inside(node, [*carried, *operands[1 + carries :]])
        lines = inner.statements()
        lines += _rebound([going, *carried], [inner.values[v] for v in block.outputs.values()])
        for i, name in enumerate(carried):
            self.values[Value(node.id, i)] = name
        limit = _shown(node.attributes["limit"])
        head = f"while {going}{_carry([going, *carried], operands)} limit {limit} {{"
        return [f"{head}  # {', '.join(str(t) for t in node.types)}", *_indented(lines), "}"]

    def _grad(self, node: Node) -> list[str]:
        assert node.target is not None
        operands = [self.values[v] for v in node.inputs]
        inner = self._inside(node, operands)
        lines = inner.statements()
        (value,) = (inner.values[v] for v in node.target.graph.outputs.values())
        wrt = node.attributes["wrt"]
        assert isinstance(wrt, int)
        by = operands[0] if wrt == 1 else f"[{', '.join(operands[:wrt])}]"
        return [*lines, self._assigned(node, f"grad({value}, {by})")]

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.taken:
            name = f"{wanted}_{number}"
            number += 1
        self.taken.add(name)
        return name

    def _expression(self, node: Node) -> str:
        operands = [self.values[v] for v in node.inputs]
        if node.target is not None:
            callee = node.target.child if node.target.child is not None else self.names[id(node.target.graph)]
            given = node.attributes.get("given")
            if given:
                return f"with_parameters({callee}, {_shown(given)}, {', '.join(operands)})"
            return f"{callee}({', '.join(operands)})"
        if node.op in OPERATORS:
            return f"{operands[0]} {OPERATORS[node.op]} {operands[1]}"
        if node.op == "const":
            return _shown(node.attributes["value"])
        defaults = {a.name: a.default for a in CARDS[node.op].attributes}
        attributes = [f"{k}={_shown(v)}" for k, v in node.attributes.items() if not _same(v, defaults.get(k))]
        return f"{node.op}({', '.join([*operands, *attributes])})"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for text in lines for line in text.split("\n")]


def _carry(names: list[str], values: list[str]) -> str:
    """The clause of what a loop carries; `values` may go on after the initial ones."""
    pairs = ", ".join(f"{name} = {value}" for name, value in zip(names, values, strict=False))
    return f" carry {pairs}" if pairs else ""


def _rebound(names: list[str], values: list[str]) -> list[str]:
    """The statement that binds what is carried to its new values, all at once."""
    changed = [(name, value) for name, value in zip(names, values, strict=True) if name != value]
    return [f"{', '.join(n for n, _ in changed)} = {', '.join(v for _, v in changed)}"] if changed else []


def _declaration(parameter: Parameter) -> str:
    return f"{'param' if parameter.trained else 'buffer'} {parameter.name}: {parameter.type} = {_initializer(parameter.initial)}"


def _initializer(initial: Initializer) -> str:
    if initial.kind == "values":
        return f"[{', '.join(f'{v:g}' for v in initial.values)}]"
    return f"{initial.kind}({', '.join(f'{k}={v:g}' for k, v in initial.arguments.items())})"


def _same(value: object, default: object) -> bool:
    return type(value) is type(default) and not isinstance(value, np.ndarray) and value == default


def _shown(value: AttributeValue) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_shown, value))}]"
        case DType():
            return str(value)
        case np.ndarray():
            return _array(value)
        case float():
            return repr(value)
        case _ if is_dim(value):
            return format_dim(value)
        case _:
            return str(value)


def _array(value: np.ndarray) -> str:
    if value.ndim == 0 and value.dtype.kind == "f":
        return repr(float(str(value[()])))
    if value.size <= 16:
        return str(value.tolist()).replace("True", "true").replace("False", "false")
    return f"constant_of_shape({list(value.shape)})"
