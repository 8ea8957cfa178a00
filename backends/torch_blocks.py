"""Nodes with a block in PyTorch: loops in place, and functions that `torch.func.grad` differentiates.

The variables of a loop are bound again at each step, so what the block carries is assigned last, together where one new value needs the
old value of another.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from textwrap import dedent

from backends.python import Body
from backends.torch_tensors import DTYPES, like, placed, tensor
from backends.writer import Expression, Line, Namespace, call, fits, identifier, method, rendered, sequence
from dsl.diagnostics import InternalError
from dsl.dims import Dim, dim_lower
from dsl.ir import Graph, Node, Value
from dsl.ops.sizes import dim, int_tuple
from dsl.types import TensorType

Operands = list[Expression]


def block_of(node: Node) -> Graph:
    if node.target is None:
        raise InternalError(f"`{node.op}` has no block")
    return node.target.graph


def scan_loop(body: Body, node: Node, operands: Operands) -> None:
    """`for x_t in x.unbind(1):`, with a list for each value that is emitted."""
    block, carries = block_of(node), int(str(node.attributes["carries"]))
    axes, emit_axes = int_tuple(node.attributes, "axes"), int_tuple(node.attributes, "emit_axes")
    count, reverse = dim(node.attributes["count"], "count"), bool(node.attributes["reverse"])
    counter, *names = ([] if node.attributes["counter"] else [""]) + list(block.inputs)
    scanned = body.read_often(node, range(carries, carries + len(axes)))
    outside = body.read_often(node, range(carries + len(axes), len(node.inputs)))
    variables = _carried(body, node, names[:carries], node.inputs)
    emitted = [i for i in range(len(emit_axes)) if body.is_read(Value(node.id, carries + i))]
    lists = {i: body.variable(Value(node.id, carries + i)) for i in emitted}
    for name in lists.values():
        body.statement(f"{name} = []")
    scope = body.scope()
    slices = [scope.new(name) for name in names[carries : carries + len(axes)]]
    step = scope.new(counter) if counter and block_reads(block, counter) else None
    captured = dict(zip(names[carries + len(axes) :], outside, strict=True))
    if counter:
        captured[counter] = Expression(step or "0", scalar=True)
    sources = [method(x, "unbind", *([] if axis == 0 else [str(axis)])) for x, axis in zip(scanned, axes, strict=True)]
    body.lines.append(_header(body, step, slices, sources, count, reverse))
    arguments = dict(zip(names, (*variables, *slices), strict=False))
    inner = body.nested(node, scope, arguments, captured)
    inner.rebound = frozenset(variables)

    def finish(block_body: Body) -> None:
        ends = list(block.outputs)
        for i, name in lists.items():
            value = _short(block_body, ends[carries + i], f"{name}.append()")
            block_body.statement("", call(f"{name}.append", value), read=False)
        _rebind(block_body, {v: ends[i] for i, v in enumerate(variables)})

    body.lines += inner.write(finish).lines or [Line(inner.indent, "pass")]
    _release(body, node, variables, node.inputs[carries:])
    for i, name in lists.items():
        ordered = Expression(f"{name}[::-1]" if reverse else name)
        body.statement(f"{name} = ", _stacked(body, node.types[carries + i], name, ordered, emit_axes[i], count))


def block_reads(block: Graph, name: str) -> bool:
    value = block.inputs[name]
    return value in block.outputs.values() or any(value in node.inputs for node in block)


def _carried(body: Body, node: Node, names: Sequence[str], starts: Sequence[Value]) -> list[str]:
    """Variables for what a loop carries, with its initial values in them."""
    variables = []
    for i, (name, given) in enumerate(zip(names, starts, strict=False)):
        start = tensor(body, body.expressions[given], body.graph.type(given))
        body.consume(body.expressions[given])
        variable = body.variable(Value(node.id, i), name)
        body.hold(Value(node.id, i))
        if start.text != variable:
            body.statement(f"{variable} = ", start, read=False)
        variables.append(variable)
    return variables


def _release(body: Body, node: Node, variables: Sequence[str], operands: Sequence[Value]) -> None:
    """After the loop: its operands have been read, and its variables are held by what comes after it alone."""
    for value in operands:
        body.consume(body.expressions[value])
    for i in range(len(variables)):
        body.release(Value(node.id, i))


def _header(
    body: Body, step: str | None, slices: Sequence[str], sources: Sequence[Expression], count: Dim, reverse: bool
) -> Line:
    """`for t, x_t in enumerate(x.unbind(1)):`."""
    if step is not None and len(sources) == 1 and not reverse:
        return Line(body.indent, f"for {step}, {slices[0]} in ", call("enumerate", *sources), ":")
    steps = [] if sources and step is None else [call("range", body.dim(count))]
    each = [call("reversed", x) if reverse else x for x in (*steps, *sources)]
    names = [*([step or "_"] if steps else []), *slices]
    over = each[0] if len(each) == 1 else call("zip", *each, strict="True")
    return Line(body.indent, f"for {', '.join(names)} in ", over, ":")


def _stacked(body: Body, type_: TensorType, name: str, slices: Expression, axis: int, count: Dim) -> Expression:
    made = call("torch.stack", slices, dim=None if axis == 0 else str(axis))
    least = dim_lower(count)
    if least is not None and least > 0:
        return made
    shape = sequence(body.dim(d) for d in type_.shape)
    pattern = like(body, type_.dtype)
    if pattern is not None:
        empty = method(pattern, "new_zeros", shape)
    else:
        empty = call("torch.zeros", shape, dtype=DTYPES[type_.dtype], device=placed(body))
    return Expression(f"{made} if {name} else {empty}")


def _tensor(body: Body, output: str) -> Expression:
    """An output of a block as a tensor."""
    found = body.results[output]
    return replace(tensor(body, found, body.graph.type(body.graph.outputs[output])), reads=found.reads)


def _short(body: Body, output: str, around: str) -> Expression:
    """An output of a block: a variable, where it does not fit on a line with what is around it."""
    found = _tensor(body, output)
    if fits(Line(body.indent, around, Expression(found.text))):
        return found
    body.results[output] = body.assign(body.graph.outputs[output], found)
    return body.results[output]


def _rebind(body: Body, wanted: Mapping[str, str]) -> None:
    """Give each variable the value of an output: one after the other where nothing is lost, else in one assignment."""
    left = {v: _tensor(body, output) for v, output in wanted.items()}
    left = {v: found for v, found in left.items() if found.text != v}
    while left:
        free = next((v for v in left if not any(body.in_variable(v, x) for w, x in left.items() if w != v)), None)
        if free is None:
            break
        body.statement(f"{free} = ", left.pop(free), read=False)
    if not left:
        return
    line = Line(body.indent, f"{', '.join(left)} = ", Expression(", ".join(x.text for x in left.values())))
    if not fits(line):
        found = [body.assign(body.graph.outputs[wanted[v]], x) for v, x in left.items()]
        line = Line(body.indent, f"{', '.join(left)} = ", Expression(", ".join(x.text for x in found)))
    body.lines.append(line)


def while_loop(body: Body, node: Node, operands: Operands) -> None:
    """`for _ in range(limit):`, left as soon as the condition does not hold."""
    block, carries = block_of(node), int(str(node.attributes["carries"]))
    names, (condition, *ends) = list(block.inputs), list(block.outputs)
    outside = body.read_often(node, range(1 + carries, len(node.inputs)))
    going = body.let_name(condition)
    body.statement(f"{going} = ", tensor(body, operands[0], body.graph.type(node.inputs[0])))
    variables = _carried(body, node, names[:carries], node.inputs[1:])
    arguments, captured = dict(zip(names, variables, strict=False)), dict(zip(names[carries:], outside, strict=True))
    inner = body.nested(node, body.scope(), arguments, captured)
    inner.rebound = frozenset((going, *variables))
    body.statement(f"for _ in range({body.dim(dim(node.attributes['limit'], 'limit'))}):")
    inner.statement(f"if not {going}:")
    with inner.block():
        inner.statement("break")
    inner.write(lambda found: _rebind(found, {going: condition, **dict(zip(variables, ends, strict=True))}))
    body.lines += inner.lines
    _release(body, node, variables, node.inputs[1 + carries :])


def gradient(body: Body, node: Node, operands: Operands) -> Expression:
    """A function of what is asked for, which reads the rest where it stands, and `torch.func.grad` of it."""
    block, wanted = block_of(node), int(str(node.attributes["wrt"]))
    names, (result,) = list(block.inputs), list(block.outputs)
    found = body.read_often(node, range(len(node.inputs)))
    given = [tensor(body, x, body.graph.type(v)) for x, v in zip(found[:wanted], node.inputs, strict=False)]
    captured = dict(zip(names[wanted:], found[wanted:], strict=True))
    function, scope = body.let_name(f"{result.strip('_')}_of"), body.scope()
    taken = {x.text for x in captured.values()}
    variables = {name: _parameter(scope, name, x, taken) for name, x in zip(names, given, strict=False)}
    moving = any(graph.updates for graph in block.callees())
    inner = body.nested(node, scope, variables, captured, deeper=2 if moving else 1)
    inner.write(lambda end: end.statement("return ", _tensor(end, result)))
    parameters = [*(f"{v}: Tensor" for v in variables.values()), *_bound(body, inner, variables.values())]
    body.lines.append(Line(body.indent, "def ", call(function, *parameters), " -> Tensor:"))
    body.lines += [*([Line(body.indent + 1, "with scratch_buffers(self):")] if moving else []), *inner.lines]
    places = sequence(map(str, range(wanted))) if wanted <= 8 else call("tuple", call("range", str(wanted)))
    which = places if wanted > 1 else None
    of = call("torch.func.grad", function, argnums=which)
    made = call(of.text, *given)
    if not fits(Line(body.indent, ", ".join(body.hint(Value(node.id, i)) for i in range(wanted)), made, " = ")):
        made = call(body.let("gradient", of).text, *given)
    return replace(made, reads=tuple(read for v in node.inputs for read in body.expressions[v].reads))


def _bound(body: Body, inner: Body, own: Collection[str]) -> list[str]:
    """Parameters that bind what loops around a function bind again, as they are now: `x_t: Tensor = x_t`."""
    changing = body.loop_variables() - set(own)
    if not changing:
        return []
    read = {n.id for n in ast.walk(ast.parse(dedent(rendered(inner.lines)))) if isinstance(n, ast.Name)}
    counters = {x.text for around in _bodies(body) for x in around.captured.values() if x.scalar}
    return [f"{name}: {'int' if name in counters else 'Tensor'} = {name}" for name in sorted(changing & read)]


def _bodies(body: Body | None) -> Iterator[Body]:
    """A body and those around it."""
    while body is not None:
        yield body
        body = body.around


def _parameter(scope: Namespace, name: str, given: Expression, captured: Collection[str]) -> str:
    """A name in the function for what it is called on: the same as outside, where the function does not read that, too."""
    same = identifier(name) == given.text and given.text not in captured
    return scope.shadow(given.text) if same else scope.new(name)
