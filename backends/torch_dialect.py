"""How the graphs of one class or function reach what is around them: members, other layers, functions, tables, buffers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backends.python import Body, Rows, scalar
from backends.schedule import buffers_read
from backends.torch_blocks import gradient, scan_loop, while_loop
from backends.torch_layers import native_function
from backends.torch_names import MODULE_ATTRIBUTES, child_text, is_plain, owned_text
from backends.torch_rows import REPEATS, ROWS
from backends.torch_tensors import DTYPES, placed, tensor
from backends.torch_units import Segment, Unit
from backends.writer import (
    Expression,
    Line,
    Namespace,
    call,
    fits,
    method,
    number_text,
    quoted,
    sequence,
    singular,
)
from dsl.diagnostics import InternalError
from dsl.ir import Graph, Node, Value
from dsl.types import DType


class TorchBody(Body):
    """A body whose updates of buffers record no gradient."""

    guard = "with torch.no_grad():"

    def _visit(self, node: Node) -> None:
        if "given" not in node.attributes:
            super()._visit(node)
            return
        expression = self.dialect.call(self, node, [self.expressions[v] for v in node.inputs])
        reads = tuple(read for v in node.inputs for read in self.expressions[v].reads)
        self._bind([Value(node.id, i) for i in range(len(node.types))], replace(expression, reads=reads))


class TorchDialect:
    """Spells the graphs of one unit. `training` is the text of the mode; tables that the graphs need are collected."""

    name = "torch"
    rows: Rows = ROWS
    repeats = REPEATS

    def __init__(self, unit: Unit, training: str) -> None:
        self.unit = unit
        self.mode = training
        self.mode_used = False
        self.tables: dict[str, tuple[np.ndarray, DType]] = {}

    def training(self, body: Body) -> Expression:
        self.mode_used = True
        return Expression(self.mode)

    def owned(self, body: Body, node: Node) -> Expression:
        """`self.weight`, `self.wte.weight`, `self.blocks[0].weight`."""
        *path, name = str(node.attributes["path"]).split(".")
        text = "self"
        for i, part in enumerate(path):
            if part.isdigit():
                text += f"[{part}]"
            else:
                text = child_text(part) if i == 0 else f"{text}.{part}"
        if path:
            found = f'{text}.get_{"parameter" if node.op == "param" else "buffer"}("{name}")'
            return Expression(f"{text}.{name}" if is_plain(name) else found)
        return Expression(owned_text(name, node.op == "param"))

    def kept(self, buffer: Expression) -> Expression:
        return call(f"{buffer}.clone")

    def constant(self, body: Body, node: Node) -> Expression:
        """A table: a buffer that is not saved, or in a function a tensor made on the spot."""
        value = node.attributes["value"]
        assert isinstance(value, np.ndarray)
        if self.unit.is_function:
            name = body.let_name(body.hint(Value(node.id)))
            body.lines += table_lines(name, value, node.type.dtype, body.indent, placed(body))
            return Expression(name)
        for name, (known, dtype) in self.tables.items():
            if (
                dtype is node.type.dtype
                and known.dtype == value.dtype
                and known.tobytes() == value.tobytes()
                and known.shape == value.shape
            ):
                return Expression(f"self.{name}")
        name = self._table_name(body.hint(Value(node.id)))
        self.tables[name] = (value, node.type.dtype)
        return Expression(f"self.{name}")

    def _table_name(self, hint: str) -> str:
        taken = {*self.tables, *MODULE_ATTRIBUTES}
        for graph in self.unit.graphs:
            taken |= {*graph.parameters, *graph.children, *graph.hyper}
        return Namespace(taken).new(hint)

    def call(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        target = node.target
        assert target is not None
        if target.child is None:
            return self._function(body, node, target.graph, operands)
        child = self.unit.children[target.child]
        if isinstance(child, list):
            raise InternalError(f"{target.child} is repeated and applied at once")
        operands = self._tensors(body, node, operands)
        stream = self._generator(target.graph)
        given = node.attributes.get("given")
        if isinstance(given, tuple):
            return self._with_given(body, node, child, operands, [str(name) for name in given])
        operands = _as_taken(child, operands)
        return call(_applied(child_text(target.child), child, target.graph), *operands, generator=stream)

    def _with_given(self, body: Body, node: Node, child: Unit, operands: list[Expression], given: list[str]) -> Expression:
        """`torch.func.functional_call(self.net, {"linear.weight": weight}, (x,))`."""
        target = node.target
        assert target is not None and target.child is not None
        layer = child_text(target.child)
        _, _, method_called = _applied("", child, target.graph).rpartition(".")
        if method_called:
            layer, given = f"Entry({layer}, {quoted(method_called)})", [f"layer.{name}" for name in given]
        count = len(operands) - len(given)
        inputs = sequence(_as_taken(child, [x if x.simple else body.named(node, i) for i, x in enumerate(operands[:count])]))
        pairs = [f"{quoted(name)}: {value}" for name, value in zip(given, operands[count:], strict=True)]
        stream = self._generator(target.graph)
        streams = [f'{{"generator": {stream}}}'] if stream else []
        made = call("torch.func.functional_call", layer, f"{{{', '.join(pairs)}}}", inputs, *streams)
        if fits(Line(body.indent, " " * (len(body.hint(Value(node.id))) + 3), Expression(made.text))):
            return made
        for i, pair in enumerate(pairs):
            if not fits(Line(body.indent + 1, f"{pair},")):
                pairs[i] = f"{quoted(given[i])}: {body.named(node, count + i)}"
        name = body.let_name("parameters")
        body.lines += [Line(body.indent, f"{name} = {{"), *(Line(body.indent + 1, f"{pair},") for pair in pairs)]
        body.lines.append(Line(body.indent, "}"))
        return call("torch.func.functional_call", layer, name, inputs, *streams)

    def _tensors(self, body: Body, node: Node, operands: list[Expression]) -> list[Expression]:
        return [tensor(body, x, body.graph.type(v)) for x, v in zip(operands, node.inputs, strict=True)]

    def _function(self, body: Body, node: Node, callee: Graph, operands: list[Expression]) -> Expression:
        operands = self._tensors(body, node, operands)
        unit = self.unit.functions.get(id(callee))
        if unit is None:
            spelled = native_function(callee)
            assert spelled is not None
            return spelled(body, operands)
        definition = unit.definition
        assert definition is not None
        if callee.backward is not None:  # an autograd.Function takes no keywords
            rest = [self.training(body)] if definition.needs_training else []
            return call(f"{definition.name}.apply", *operands, *rest, *filter(None, [self._generator(callee)]))
        given = {p: body.static(node.attributes[f"argument {p}"]) for p in definition.parameters}
        mode = {"training": self.training(body)} if definition.needs_training else {}
        return call(definition.name, *operands, **given, **mode, generator=self._generator(callee))

    def _generator(self, callee: Graph) -> str | None:
        """The argument for the stream of random numbers, where what is called draws any."""
        return "generator" if self.unit.draws(callee) else None

    def repeat(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        """A loop over the copies."""
        target = node.target
        assert target is not None and target.child is not None
        segments = self.unit.children[target.child]
        assert isinstance(segments, list)
        operands = self._tensors(body, node, operands)
        rest = [x if x.simple else body.assign(v, x) for v, x in zip(node.inputs[1:], operands[1:], strict=True)]
        variable = self._start(body, node, operands[0])
        segment = next(s for s in segments if s.start == target.start and s.count == target.count)
        item = body.loop_name(singular(target.child))
        body.statement(f"for {item} in {_part(child_text(target.child), segments, segment)}:")
        layer = _applied(item, segment.unit, target.graph)
        with body.block():
            body.statement(f"{variable} = ", call(layer, variable, *rest, generator=self._generator(target.graph)), read=False)
        for x in rest:
            body.consume(x)
        return Expression(variable)

    def scan(self, body: Body, node: Node, operands: list[Expression]) -> None:
        scan_loop(body, node, operands)

    def while_loop(self, body: Body, node: Node, operands: list[Expression]) -> None:
        while_loop(body, node, operands)

    def gradient(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        return gradient(body, node, operands)

    def _start(self, body: Body, node: Node, first: Expression) -> str:
        """The variable that the loop works on: that of its operand, if nothing else needs it."""
        own = first.simple and body.dies_in(first) and node.name is None
        body.consume(first)
        variable = body.variable(Value(node.id), first.text if own else None)
        if variable != first.text:
            body.statement(f"{variable} = ", first, read=False)
        return variable

    def update(self, body: Body, path: str, value: Expression) -> None:
        """In place where no gradient and no output can see it, else as a new tensor."""
        target, source = owned_text(path, trained=False), body.graph.updates[path]
        value = tensor(body, value, body.graph.type(source))
        if path in _updated_in_place(body.graph):
            body.statement("", replace(call(f"{target}.copy_", value), reads=value.reads))
        else:
            if not body.is_fresh(source):
                value = replace(method(method(value, "detach"), "clone"), reads=value.reads)
            body.statement(f"{target} = ", value)


def _as_taken(unit: Unit, operands: list[Expression]) -> list[Expression]:
    """The arguments of a layer: an nn.LSTMCell takes its two states together."""
    if unit.native is None or unit.native.name != "nn.LSTMCell":
        return operands
    return [operands[0], sequence(operands[1:])]


def _updated_in_place(graph: Graph) -> frozenset[str]:
    """Buffers whose old values no output depends on in training: nothing keeps them for the backward pass."""
    read = buffers_read(graph)
    visible = {path for value in graph.outputs.values() for path in read[value.node]}
    return frozenset(graph.updates.keys() - visible)


def _applied(layer: str, unit: Unit, graph: Graph) -> str:
    """`self.conv1`, or `self.coupling.inverse` for another entry point or variant."""
    if unit.native is not None:
        return layer
    assert unit.definition is not None
    name = unit.definition.methods[unit.graphs.index(graph)]
    return layer if name == "forward" else f"{layer}.{name}"


def _part(text: str, segments: list[Segment], wanted: Segment) -> str:
    """The copies of one segment of a ModuleList."""
    last = wanted is max(segments, key=lambda s: s.start)
    begin, end = str(wanted.start or ""), "" if last else str(wanted.start + wanted.count)
    return text if not begin and not end else f"{text}[{begin}:{end}]"


# --- constants of more than one element ---------------------------------------------------------------------------------------


def table_lines(name: str, value: np.ndarray, dtype: DType, indent: int, device: str | None = None) -> list[Line]:
    """`name = torch.tensor([...])`; a long one from its bytes, in hexadecimal."""
    short = call("torch.tensor", literal(value), dtype=DTYPES[dtype], device=device)
    if value.size <= 64:
        line = Line(indent, f"{name} = ", replace(short, head="", arguments=()))
        if fits(line):
            return [line]
    digits = np.ascontiguousarray(value).tobytes().hex()
    chunks = [digits[i : i + 64] for i in range(0, len(digits), 64)]
    if fits(Line(indent + 1, quoted(digits))):  # the formatter puts together what fits
        chunks = [digits]
    made = call("torch.frombuffer", f"bytearray.fromhex({name})", dtype=STORED[value.dtype.name])
    shaped = method(Expression(name), "reshape", *map(str, value.shape))
    moved = shaped if device is None else method(shaped, "to", device)
    if STORED[value.dtype.name] != DTYPES[dtype]:
        moved = method(moved, "to", DTYPES[dtype])
    text = [Line(indent, f"{name} = ("), *(Line(indent + 1, f'"{chunk}"') for chunk in chunks), Line(indent, ")")]
    return [
        *([alone] if fits(alone := Line(indent, f'{name} = "{digits}"')) else text),
        Line(indent, f"{name} = ", made),
        Line(indent, f"{name} = ", moved),
    ]


STORED = {
    "float16": "torch.float16", "float32": "torch.float32", "float64": "torch.float64", "bool": "torch.bool", "int8": "torch.int8",
    "uint8": "torch.uint8", "int32": "torch.int32", "int64": "torch.int64",
}  # fmt: skip


def literal(value: np.ndarray) -> str:
    """Nested lists of numbers."""
    if value.ndim == 0:
        return number_text(scalar(value))
    return f"[{', '.join(literal(np.asarray(item)) for item in value)}]"
