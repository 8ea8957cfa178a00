"""Remove what nothing reads: dead nodes, layers that only they applied, parameters that are never read, and what goes into a block or
comes out of it for nothing.

Before:  unused = x @ w; y = relu(x)      After:  y = relu(x)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dsl.ir import Graph, Node, Value


def prune(graph: Graph) -> tuple[Graph, bool]:
    result, trimmed = _trim_blocks(graph)
    live = result.with_owners(_live(result))
    dead = [n for n in result if n.id not in live]
    read = set(_paths_read(result, live)) | set(result.updates) | result.kept
    unread = [name for name in result.parameters if name not in read]
    if not dead and not unread:
        return result, trimmed
    result = result if trimmed else graph.copy()
    result.remove(dead)
    for name in unread:
        del result.parameters[name]
    applied = {n.target.child for n in result.layers() if n.target is not None}
    result.children = {name: None for name in result.children if name in applied}
    return result, True


def _paths_read(graph: Graph, live: set[int]) -> Iterator[str]:
    """What the live nodes read by path, those of their blocks included."""
    for node in graph:
        if node.id not in live:
            continue
        if node.op in ("param", "buffer"):
            yield str(node.attributes["path"])
        elif node.target is not None and node.target.graph.kind == "block":
            yield from _paths_read(node.target.graph, {n.id for n in node.target.graph})


def _live(graph: Graph) -> set[int]:
    """Nodes that an output or an update needs, inputs, and calls that change buffers."""
    wanted = [v.node for v in graph.returned()]
    wanted += [n.id for n in graph if n.op == "input"]
    wanted += [n.id for n in graph.calls() if n.target is not None and any(g.updates for g in n.target.graph.callees())]
    live: set[int] = set()
    while wanted:
        node = graph.node(wanted.pop())
        if node.id not in live:
            live.add(node.id)
            wanted.extend(v.node for v in node.inputs)
    return live


# --- blocks ---------------------------------------------------------------------------------------------------------------------------


def _trim_blocks(graph: Graph) -> tuple[Graph, bool]:
    result: Graph | None = None
    for listed in list(graph.calls()):
        if listed.target is None or listed.target.graph.kind != "block":
            continue
        result_now = result or graph
        node = result_now.node(listed.id)
        kept = _kept_results(result_now, node)
        trimmed = _trimmed(node, kept)
        if trimmed is None:
            continue
        result = result or graph.copy()
        for new, old in enumerate(kept):
            if new != old:
                result.redirect(Value(node.id, old), Value(node.id, new))
        result.replace_node(trimmed)
    return (graph, False) if result is None else (result, True)


def _kept_results(graph: Graph, node: Node) -> list[int]:
    """The results of a node that stay: of a scan all carries, and the stacks that something reads."""
    if node.op != "scan":
        return list(range(len(node.types)))
    read = {v for user in graph.users(node) for v in user.inputs} | graph.returned()
    return [i for i in range(len(node.types)) if i < _carries(node) or Value(node.id, i) in read]


def _trimmed(node: Node, kept: list[int]) -> Node | None:
    """The node with only the kept results and with the operands that its block reads; None where that is all."""
    assert node.target is not None
    block = node.target.graph.copy()
    attributes = dict(node.attributes)
    if len(kept) < len(node.types):
        names = list(block.outputs)
        block.outputs = {names[i]: block.outputs[names[i]] for i in kept}
        emit_axes = attributes["emit_axes"]
        assert isinstance(emit_axes, tuple)
        attributes["emit_axes"] = tuple(emit_axes[i - _carries(node)] for i in kept if i >= _carries(node))
        live = _live(block)
        block.remove([n for n in block if n.id not in live])
    read = {v for n in block for v in n.inputs} | block.returned()
    inputs = list(block.inputs.items())
    operands, first = list(node.inputs), _first_captured(node)
    unread = [i for i in range(first, len(inputs)) if inputs[i][1] not in read]
    if not unread and len(kept) == len(node.types):
        return None
    offset = len(inputs) - len(operands)
    block.inputs = {name: value for i, (name, value) in enumerate(inputs) if i not in unread}
    block.remove([block.node(inputs[i][1]) for i in unread])
    return replace(
        node,
        inputs=tuple(v for i, v in enumerate(operands) if i + offset not in unread),
        attributes=attributes,
        types=tuple(node.types[i] for i in kept),
        names=tuple(node.names[i] for i in kept) if node.names else (),
        target=replace(node.target, graph=block),
    )


def _carries(node: Node) -> int:
    carries = node.attributes["carries"]
    assert isinstance(carries, int)
    return carries


def _first_captured(node: Node) -> int:
    """The place of the first captured value among the inputs of the block."""
    match node.op:
        case "scan":
            axes = node.attributes["axes"]
            assert isinstance(axes, tuple)
            return bool(node.attributes["counter"]) + _carries(node) + len(axes)
        case "while":
            return _carries(node)
        case _:
            wrt = node.attributes["wrt"]
            assert isinstance(wrt, int)
            return wrt
