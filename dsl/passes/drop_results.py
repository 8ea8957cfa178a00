"""Leave out the results of a module that none of its applications reads: taps into a network that another spec is for.

Before:  maps_0, maps_1, maps_2 = features(x); y = f(maps_2)      After:  maps_2 = features(x); y = f(maps_2)

A result stays where parameters would go with it: the names of a model's tensors do not depend on who reads what. What the library defines
keeps its results, since targets have words for it; so does a function with a `backward` of its own, whose gradients are counted by them.
"""

from __future__ import annotations

from dataclasses import replace

from dsl.ir import Graph, Node, Program, Value
from dsl.passes.every_graph import with_callees


def drop_results(program: Program) -> tuple[Program, bool]:
    """The program with modules that give only what is read, and whether that differs."""
    kept = _kept(program)
    if not kept:
        return program, False
    done: dict[int, Graph] = {}
    for root in program.entries.values():
        for graph in root.callees():
            if id(graph) not in done:
                done[id(graph)] = _rewritten(graph, kept, done)
    return Program(program.name, {name: done[id(graph)] for name, graph in program.entries.items()}), True


def _kept(program: Program) -> dict[int, list[int]]:
    """The places of the results that stay, by the identity of the graph, where some do not."""
    fixed = {id(graph) for graph in program.entries.values()}
    read: dict[int, set[int]] = {}
    several: dict[int, Graph] = {}
    for graph in {id(g): g for root in program.entries.values() for g in root.callees()}.values():
        used = {v for node in graph for v in node.inputs} | graph.returned()
        for node in graph.calls():
            assert node.target is not None
            callee = node.target.graph
            if node.op != "call" or callee.library or callee.backward is not None or callee.kind == "block":
                fixed.add(id(callee))
            elif len(node.types) > 1:
                several[id(callee)] = callee
                read.setdefault(id(callee), set()).update(v.index for v in used if v.node == node.id)
    stay = {key: _with_parameters(callee, read[key] or {0}) for key, callee in several.items() if key not in fixed}
    return {key: places for key, places in stay.items() if len(places) < len(several[key].outputs)}


def _with_parameters(callee: Graph, read: set[int]) -> list[int]:
    """The places of the results that are read, and of as few others as need what those do not."""
    owned = [{n.id for n in map(callee.node, callee.ancestors(v)) if _owns(n)} for v in callee.outputs.values()]
    stay = set(read)
    reached = set().union(*(owned[i] for i in stay))
    for i in reversed(range(len(owned))):
        if not owned[i] <= reached:
            stay.add(i)
            reached |= owned[i]
    return sorted(stay)


def _owns(node: Node) -> bool:
    """Whether a node reads a parameter or applies a layer, itself or in a block."""
    target = node.target
    return node.op in ("param", "buffer") or (target is not None and (target.child is not None or target.graph.kind == "block"))


def _rewritten(graph: Graph, kept: dict[int, list[int]], done: dict[int, Graph]) -> Graph:
    changed = [n for n in graph.calls() if n.target is not None and id(n.target.graph) in kept]
    result = with_callees(graph, done)
    if id(graph) in kept:
        result = result.copy()
        names = list(result.outputs)
        result.outputs = {names[i]: result.outputs[names[i]] for i in kept[id(graph)]}
        result.lists = {}
    for before in changed:
        assert before.target is not None
        stay = kept[id(before.target.graph)]
        node = result.node(before.id)
        for new, old in enumerate(stay):
            if new != old:
                result.redirect(Value(node.id, old), Value(node.id, new))
        result.replace_node(_with_results(node, stay))
    return result


def _with_results(node: Node, stay: list[int]) -> Node:
    types = tuple(node.types[i] for i in stay)
    names = tuple(node.names[i] for i in stay) if node.names else ()
    if len(stay) == 1 and names:
        return replace(node, types=types, names=(), name=node.name or names[0])
    return replace(node, types=types, names=names)
