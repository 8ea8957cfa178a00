"""A graph as the statements of a Python function, for every target that is written in Python.

What is named in the spec becomes a variable, the rest sub-expressions while they stay short; what only training (or only
inference) needs goes under the `if` of its mode. A `Dialect` says how things are spelled; this file knows no target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, Self, TypeAlias

import numpy as np

from backends.base import Unsupported
from backends.python_sizes import Sizes
from backends.schedule import STATEMENTS, Schedule, buffers_read, operands, schedule
from backends.writer import (
    INDENT,
    WIDTH,
    Expression,
    Line,
    Namespace,
    conditional,
    identifier,
    number,
)
from dsl.diagnostics import Diagnostic, InternalError, SpecError
from dsl.dims import Expr, format_dim
from dsl.ir import Graph, Node, Value
from dsl.ops.registry import CARDS

Emit: TypeAlias = "Callable[[Body, Node, list[Expression]], Expression]"
Rows: TypeAlias = "Mapping[str, Emit | Unsupported]"

LONGEST_INLINE = 8  # operations in one expression


class Dialect(Protocol):
    """How a target in Python spells what is more than a primitive."""

    name: str
    rows: Rows
    repeats: frozenset[str]
    """Primitives whose row writes an operand more than once: those operands get a variable."""

    def training(self, body: Body) -> Expression:
        """The condition that holds in training mode."""

    def owned(self, body: Body, node: Node) -> Expression:
        """A `param` or `buffer` node."""

    def kept(self, buffer: Expression) -> Expression:
        """The value that the buffer has now, for a variable that is read when the buffer has moved on."""

    def constant(self, body: Body, node: Node) -> Expression:
        """A `const` node that is no scalar."""

    def call(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        """A `call` node; a tuple when it has several results."""

    def repeat(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        """A `repeat` node: writes the loop, and gives the variable that holds its result."""

    def scan(self, body: Body, node: Node, operands: list[Expression]) -> None:
        """A `scan` node: writes the loop, and gives every result that is read a variable (`body.variable`)."""

    def while_loop(self, body: Body, node: Node, operands: list[Expression]) -> None:
        """A `while` node, likewise."""

    def gradient(self, body: Body, node: Node, operands: list[Expression]) -> Expression:
        """A `grad` node: writes the function, and gives the gradient; a tuple when there are several."""

    def update(self, body: Body, path: str, value: Expression) -> None:
        """Writes the statement that gives the buffer at `path` its new value."""


class Body(Sizes):
    """Writes one graph as statements.

    `names` is the scope of the function; `arguments` gives the names that the inputs already have in it. `placeholder` spells a
    Placeholder (`self.heads`). After `write`, `lines` holds the statements, `results` the outputs.

    The body of a block has the body `around` it, and reads its variables: `captured` inputs are expressions there, which stay as they
    are while the block runs.
    """

    guard = ""
    """A `with` statement around the updates of buffers."""

    def __init__(
        self,
        graph: Graph,
        dialect: Dialect,
        names: Namespace,
        arguments: Mapping[str, str],
        *,
        indent: int = 1,
        placeholder: Callable[[str], str] = str,
        around: Body | None = None,
        captured: Mapping[str, Expression] | None = None,
    ) -> None:
        super().__init__(graph, names, arguments, placeholder, around)
        self.around = around
        self.rebound: frozenset[str] | None = None
        self.dialect = dialect
        self.names = names
        self.indent = indent
        self.lines: list[Line] = []
        self.preamble: list[Line] = []
        self.results: dict[str, Expression] = {}
        self.expressions: dict[Value, Expression] = {}
        self._plan: Schedule = schedule(graph)
        self._pending = dict(self._plan.reads)
        self._bound: dict[str, Value | None] = {}
        self._variables: dict[Value, str] = {}
        self._arguments = dict(arguments)
        self._loops: dict[str, str] = {}
        self.captured = dict(captured or {})
        for name, found in self.captured.items():
            value = graph.inputs[name]
            self.expressions[value] = replace(found, reads=((value.node, value.index),))
            self._pending[value] = self._pending.get(value, 0) + 1
            if not found.scalar:
                self._arguments[name] = found.text
        for name, variable in self._arguments.items():
            self._bound[variable] = graph.inputs[name]
            if name in arguments:
                self.expressions[graph.inputs[name]] = _variable_of(graph.inputs[name], variable)

    # --- the whole ---

    def write(self, finish: Callable[[Body], None] | None = None) -> Body:
        """Write all statements; `finish` then adds the return, and sees the outputs in `results`."""
        plan = self._plan
        for level in plan.levels:
            if level.joins:
                self._choose(level.training, level.inference, level.joins)
            for node in level.always:
                self._visit(node)
        for name, value in self.graph.outputs.items():
            self.results[name] = self.expressions[value]
        if self.graph.updates or plan.updating:
            self._update(plan.updating)
        if finish is not None:
            finish(self)
        self.lines[:0] = [*self._dim_lines(), *self.preamble]
        return self

    def _update(self, nodes: Sequence[Node]) -> None:
        for name, value in self.graph.outputs.items():
            self.results[name] = self._settled(value)
        self.lines.append(Line(self.indent, "if ", self.dialect.training(self), ":"))
        with self.block():
            if not self.guard:
                self._write_updates(nodes)
                return
            self.lines.append(Line(self.indent, self.guard))
            with self.block():
                self._write_updates(nodes)

    def _write_updates(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self._visit(node)
        read = buffers_read(self.graph)
        settle = any(read[v.node] & self.graph.updates.keys() - {path} for path, v in self.graph.updates.items())
        values = {p: self._settled(v) if settle else self.expressions[v] for p, v in self.graph.updates.items()}
        for path, expression in values.items():
            self.dialect.update(self, path, expression)

    def _settled(self, value: Value) -> Expression:
        """The value as a variable, evaluated here and now."""
        expression = self.expressions[value]
        if not expression.reads and expression.scalar:
            return expression
        if expression.reads == ((value.node, value.index),):
            return expression
        self.expressions[value] = self.assign(value, expression)
        return self.expressions[value]

    @contextmanager
    def block(self) -> Iterator[None]:
        """Statements one level deeper."""
        self.indent += 1
        try:
            yield
        finally:
            self.indent -= 1

    # --- blocks ---

    def loop_variables(self) -> frozenset[str]:
        """What the loops around the present statement bind again at each step (`rebound` of the body of a loop, and its own names)."""
        outer = self.around.loop_variables() if self.around is not None else frozenset()
        return outer if self.rebound is None else outer | self.rebound | self.names.own

    def scope(self) -> Namespace:
        """A scope for a block, inside the present one."""
        return Namespace(outer=self.names)

    def nested(
        self, node: Node, names: Namespace, arguments: Mapping[str, str], captured: Mapping[str, Expression], *, deeper: int = 1
    ) -> Self:
        """The body of a node's block, to be written: `arguments` are variables of its own, which it may bind again."""
        assert node.target is not None
        return type(self)(
            node.target.graph,
            self.dialect,
            names,
            arguments,
            indent=self.indent + deeper,
            placeholder=self.placeholder,
            around=self,
            captured=captured,
        )

    def read_often(self, node: Node, positions: Sequence[int]) -> list[Expression]:
        """Operands of the node, each as a variable, a member or a number: for a block, which may read them at each step."""
        found = [(i, self.expressions[node.inputs[i]], self.graph.node(node.inputs[i]).op) for i in positions]
        return [x if x.scalar or op in ("param", "buffer") else self.named(node, i) for i, x, op in found]

    def _blocks(self, node: Node) -> None:
        """A node with a block, once what it reads is there."""
        values = [Value(node.id, i) for i in range(len(node.types))]
        operands = [self.expressions[v] for v in node.inputs]
        if node.op == "grad":
            self._bind(values, self.dialect.gradient(self, node, operands))
            return
        write = self.dialect.scan if node.op == "scan" else self.dialect.while_loop
        write(self, node, operands)
        for value in values:
            found = self._variables.get(value)
            if found is None and self.is_read(value):
                raise InternalError(f"{self.graph.definition}: `{node.op}` gives {self.hint(value)} no variable")
            if found is not None:
                self.expressions[value] = _variable_of(value, found)

    # --- nodes ---

    def _visit(self, node: Node) -> None:
        """Give every result of the node an expression, with a statement where it wants one."""
        values = [Value(node.id, i) for i in range(len(node.types))]
        if node.op == "input":
            return
        if node.op == "if_training":
            self._alias(node)
            return
        if node.op == "repeat":
            expression = self.dialect.repeat(self, node, [self.expressions[v] for v in node.inputs])
            self.expressions[values[0]] = replace(expression, reads=((values[0].node, 0),))
            return
        if node.op in STATEMENTS:
            self._blocks(node)
            return
        if node.id in self._plan.overtaken:
            self.expressions[values[0]] = self.assign(values[0], self.dialect.kept(self._atomic(node)))
            return
        if len(values) == 1 and self._is_atomic(node):
            self.expressions[values[0]] = self._atomic(node)
            return
        expression = self._composed(node)
        if len(values) > 1:
            self._bind(values, expression)
        elif self._plan.inline(node):
            self.expressions[values[0]] = expression
        elif not self._plan.reads.get(values[0]):  # a layer that is called for what it remembers
            self.statement("", expression)
        else:
            self.expressions[values[0]] = self.assign(values[0], expression)

    def _alias(self, node: Node) -> None:
        """An `if_training` in a place that only one mode reaches: it is its operand."""
        value = Value(node.id)
        (operand,) = operands(node, self._plan.modes[node.id])
        expression = self.expressions[operand]
        more = self._pending.get(value, 0) - 1
        if more > 0 and not expression.simple:
            expression = self.assign(value, expression)
        else:
            for read in expression.reads:
                self._pending[Value(*read)] += more
        self.expressions[value] = expression

    def _is_atomic(self, node: Node) -> bool:
        return node.op in ("param", "buffer", "size", "const")

    def _atomic(self, node: Node) -> Expression:
        if node.op == "size":
            size = node.attributes["dim"]
            assert isinstance(size, int | Expr)
            return self.dim(size)
        if node.op != "const":
            return self.dialect.owned(self, node)
        value = node.attributes["value"]
        if isinstance(value, int | float):
            return self.number(value)
        assert isinstance(value, np.ndarray)
        return number(scalar(value)) if value.ndim == 0 else self.dialect.constant(self, node)

    def _bind(self, values: Sequence[Value], expression: Expression) -> None:
        """Write an assignment to the results of one node."""
        if len(values) == 1:
            self.expressions[values[0]] = self.assign(values[0], expression)
            return
        self._consume(expression)
        found = []
        for value in values:
            if self._pending.get(value, 0) == 0:
                found.append("_")
                continue
            variable = self._variable(self._plan.hint(value), value)
            found.append(variable)
            self.expressions[value] = Expression(variable, reads=((value.node, value.index),))
        head = expression.head or expression.text
        if len(INDENT) * self.indent + sum(len(name) + 2 for name in found) + len(head) + 2 <= WIDTH:
            self.lines.append(Line(self.indent, f"{', '.join(found)} = ", expression))
            return
        self.lines += [Line(self.indent, "("), *(Line(self.indent + 1, f"{name},") for name in found)]
        self.lines.append(Line(self.indent, ") = ", expression))

    def _composed(self, node: Node) -> Expression:
        """The row's expression; operands that would make it too long get a variable first."""
        expression = self._row(node)
        while True:
            operand = self._operand_to_name(node, expression)
            if operand is None:
                return expression
            self.expressions[operand] = self.assign(operand, self.expressions[operand])
            expression = self._row(node)

    def _row(self, node: Node) -> Expression:
        operands = [self.expressions[v] for v in node.inputs]
        if node.target is not None:
            expression = self.dialect.call(self, node, operands)
        else:
            row = self.dialect.rows.get(node.op)
            if row is None or isinstance(row, Unsupported):
                raise refused(self.dialect.name, node, row)
            expression = row(self, node, operands)
        operands = [self.expressions[v] for v in node.inputs]  # the row may have given one a variable
        reads = tuple(read for o in operands for read in o.reads)
        layers = sum(o.layers for o in operands)
        owns = node.target is not None and node.target.child is not None
        size = 1 + sum(o.size for o in operands)
        return replace(expression, reads=reads, size=size, layers=layers + owns)

    def _operand_to_name(self, node: Node, expression: Expression) -> Value | None:
        """The operand that should become a variable before the node is written, if one should."""
        inlined = [v for v in node.inputs if not self.expressions[v].simple and self.expressions[v].reads != (tuple(v),)]
        inlined = [v for v in inlined if self.expressions[v].size > 0]
        if not inlined:
            return None
        longest = max(inlined, key=lambda v: len(self.expressions[v].text))
        if node.op in self.dialect.repeats:
            return longest
        if node.target is not None and node.target.child is not None:
            for v in inlined:
                inner = self.expressions[v]
                if inner.layers > 1 or (inner.layers == 1 and inner.size > 1):
                    return v
        room = WIDTH - len(INDENT) * self.indent - len(self._plan.hint(Value(node.id))) - len(" = ")
        if len(expression.text) > room or expression.size > LONGEST_INLINE:
            return longest
        return None

    # --- variables ---

    def assign(self, value: Value, expression: Expression, hint: str | None = None) -> Expression:
        """Write `variable = expression` and give the variable; its name is the spec's where that is free."""
        self._consume(expression)
        name = self._variable(hint or self._plan.hint(value), value)
        if name == expression.text:
            return Expression(name, reads=((value.node, value.index),))
        line = Line(self.indent, f"{name} = ", expression)
        self.lines.append(replace(line, comment=self._shape_comment(value)))
        return Expression(name, reads=((value.node, value.index),))

    def named(self, node: Node, position: int) -> Expression:
        """An operand of the node as a variable, for a row that writes it more than once."""
        value = node.inputs[position]
        if not self.expressions[value].simple:
            self.expressions[value] = self.assign(value, self.expressions[value])
        return self.expressions[value]

    def let(self, hint: str, expression: Expression) -> Expression:
        """Write an assignment of something that is no value of the graph (a key, a loop variable's start)."""
        name = self.names.new(hint)
        self.lines.append(Line(self.indent, f"{name} = ", expression))
        return Expression(name)

    def loop_name(self, hint: str) -> str:
        """A name for the variable of a loop, which the loops before it may have used as well."""
        if hint not in self._loops:
            self._loops[hint] = self.names.new(hint)
        return self._loops[hint]

    def statement(self, text: str, expression: Expression | None = None, suffix: str = "", *, read: bool = True) -> None:
        """Write a line: `text`, then the expression, whose variables are thereby read (unless the caller sees to that)."""
        if expression is not None and read:
            self._consume(expression)
        self.lines.append(Line(self.indent, text, expression, suffix))

    def variable(self, value: Value, hint: str | None = None) -> str:
        """A variable for `value`, to be assigned by the caller (a loop's result)."""
        return self._variable(hint or self._plan.hint(value), value)

    def let_name(self, hint: str) -> str:
        """A new name in this function."""
        return self.names.new(hint)

    def hint(self, value: Value) -> str:
        """The name that the value would like to have."""
        return self._plan.hint(value)

    def consume(self, expression: Expression) -> None:
        """Note that a statement with this expression has been written: the variables in it are read."""
        self._consume(expression)

    def argument(self, name: str) -> str:
        """The variable of the input called `name`."""
        return self._arguments[name]

    def tensor_inputs(self) -> Iterator[tuple[str, Value]]:
        """The inputs that are tensors, what never changes first; a number that a block is given (the step of a loop) is none."""
        names = sorted(self._arguments, key=lambda name: name not in self.captured)
        return ((name, self.graph.inputs[name]) for name in names)

    def holds_input(self, name: str) -> bool:
        """Whether the variable of an input still holds it."""
        return self._bound.get(self._arguments[name]) == self.graph.inputs[name]

    def pinned(self, name: str) -> Expression:
        """The variable of an input, which it keeps to the end: for expressions that use it without reading the value."""
        self._pending[self.graph.inputs[name]] = self._pending.get(self.graph.inputs[name], 0) + 1
        return Expression(self._arguments[name])

    def in_variable(self, name: str, expression: Expression) -> bool:
        """Whether the expression reads the variable `name`."""
        holder = self._bound.get(name)
        return holder is not None and (holder.node, holder.index) in expression.reads

    def hold(self, value: Value) -> None:
        """Keep the variable of a value until `release`."""
        self._pending[value] = self._pending.get(value, 0) + 1

    def release(self, value: Value) -> None:
        self._pending[value] -= 1

    def is_read(self, value: Value) -> bool:
        """Whether anything uses the value."""
        return self._plan.reads.get(value, 0) > 0

    def is_fresh(self, value: Value) -> bool:
        """Whether the value is made for an update alone, by an operation whose result shares no memory with its operands."""
        node = self.graph.node(value)
        card = CARDS.get(node.op)
        made = card is not None and card.elementwise and node.op not in ("cast", "stop_gradient", "if_training")
        return made and any(n.id == node.id for n in self._plan.updating)

    def dies_in(self, expression: Expression) -> bool:
        """Whether the expression is a variable that nothing reads after the statement being written."""
        return len(expression.reads) == 1 and self._pending.get(Value(*expression.reads[0]), 0) <= 1

    def _consume(self, expression: Expression) -> None:
        for read in expression.reads:
            value = Value(*read)
            self._pending[value] = self._pending.get(value, 0) - 1

    def _variable(self, hint: str, value: Value) -> str:
        """The name `hint`, numbered while the name holds something that is still needed."""
        base = name = identifier(hint)
        count = 1
        while not self._is_free(name):
            name = f"{base}_{count}"
            count += 1
        if name not in self._bound:
            self.names.new(name)
        self._bound[name] = value
        self._variables[value] = name
        return name

    def _is_free(self, name: str) -> bool:
        if name in self._bound:
            holder = self._bound[name]
            return holder is not None and self._pending.get(holder, 0) <= 0
        return name not in self.names

    def _shape_comment(self, value: Value) -> str:
        """`[B, T, D]`, for a name of the spec whose shape is not that of what it was made from."""
        node = self.graph.node(value)
        shape = node.types[value.index].shape
        if node.name is None or not shape or all(isinstance(d, int) for d in shape):
            return ""
        if any(self.graph.type(v).shape == shape for v in node.inputs):
            return ""
        return f"[{', '.join(map(format_dim, shape))}]"

    # --- modes ---

    def _choose(self, training: Sequence[Node], inference: Sequence[Node], joins: Sequence[Node]) -> None:
        """The values that depend on the mode: a conditional expression where that is short, else `if ... else`."""
        outer, self.lines = self.lines, []
        self.indent += 1
        for node in training:
            self._visit(node)
        first, self.lines = self.lines, []
        for node in inference:
            self._visit(node)
        second, self.lines = self.lines, outer
        self.indent -= 1
        if not first and not second and len(joins) == 1:
            a, b = (self.expressions[v] for v in joins[0].inputs)
            chosen = conditional(self.dialect.training(self), a, b)
            if len(chosen.text) < WIDTH - 30:
                self._join(joins[0], replace(chosen, reads=(*a.reads, *b.reads), size=1 + a.size + b.size))
                return
        self._branches(first, second, joins)

    def _join(self, node: Node, chosen: Expression) -> None:
        value = Value(node.id)
        self.expressions[value] = chosen if self._plan.inline(node) else self.assign(value, chosen)

    def _branches(self, first: list[Line], second: list[Line], joins: Sequence[Node]) -> None:
        pairs = [(node, self.expressions[node.inputs[0]], self.expressions[node.inputs[1]]) for node in joins]
        variables: list[str] = []
        for node, _, b in pairs:
            kept = self._kept(node, b, len(pairs)) if not second else None
            variables.append(kept or self._variable(self._plan.hint(Value(node.id)), Value(node.id)))
        self.lines.append(Line(self.indent, "if ", self.dialect.training(self), ":"))
        deeper = self.indent + 1
        self.lines += first
        self.lines += [Line(deeper, f"{v} = ", a) for v, (_, a, _) in zip(variables, pairs, strict=True) if a.text != v]
        otherwise = [Line(deeper, f"{v} = ", b) for v, (_, _, b) in zip(variables, pairs, strict=True) if b.text != v]
        if second or otherwise:
            self.lines.append(Line(self.indent, "else:"))
            self.lines += [*second, *otherwise]
        for variable, (node, a, b) in zip(variables, pairs, strict=True):
            self._consume(a)
            self._consume(b)
            value = Value(node.id)
            self._bound[variable] = value
            self.expressions[value] = Expression(variable, reads=((value.node, value.index),))

    def _kept(self, node: Node, b: Expression, joins: int) -> str | None:
        """The variable of `b`, where the result may simply be that variable, changed in training."""
        if joins != 1 or len(b.reads) != 1 or b.text not in self._bound:
            return None
        a = self.expressions[node.inputs[0]]
        last = self._pending.get(Value(*b.reads[0]), 0) == 1 + a.reads.count(b.reads[0])
        return b.text if last else None


def _variable_of(value: Value, name: str) -> Expression:
    return Expression(name, reads=((value.node, value.index),))


def scalar(value: np.ndarray) -> float | int | bool:
    """The Python number of an array without axes: the shortest that gives the same element."""
    item = value.item()
    if isinstance(item, float) and value.dtype != np.float64 and np.isfinite(item):
        return float(str(value[()]))
    assert isinstance(item, bool | int | float)
    return item


def refused(target: str, node: Node, row: Unsupported | None) -> SpecError:
    """The error for a primitive that the target cannot express."""
    because = row.because if row is not None else "it has no row for it"
    return SpecError(Diagnostic("DL0702", f"`{node.op}` cannot be compiled to {target}: {because}", node.span))
