"""The parameters of a program as nested trees, and the functions of generated JAX programs that make them.

A tree has a branch for each layer. The copies of a `repeat` are a list of branches; a long `repeat` is one branch whose leaves are stacked,
under a key such as "0:1000" that says which copies it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from backends.jax_merge import Written, groups_of, known_of
from backends.writer import Expression, Line, Namespace, call, number, quoted, rendered, sequence, snake_case
from dsl.ir import Graph, Parameter
from dsl.types import DType

LONGEST_LOOP = 16
"""Copies of a `repeat` beyond this many are stacked and scanned. A loop over few copies is a twelfth faster, as XLA's CPU loops copy each
slice of the stacked weights; a scan takes the same time to compile however many there are."""


@dataclass(slots=True)
class Branch:
    """What a layer owns: tensors, layers and the copies of repeats (by first and count)."""

    definition: str
    library: bool = False
    leaves: dict[str, Parameter] = field(default_factory=dict)
    layers: dict[str, Branch] = field(default_factory=dict)
    copies: dict[str, dict[tuple[int, int], Branch]] = field(default_factory=dict)
    order: dict[str, None] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)

    def holds(self, trained: bool) -> bool:
        """Whether there is a tensor of that kind in it."""
        return any(p.trained is trained for p in self.leaves.values()) or any(b.holds(trained) for b in self.branches())

    def is_hwio(self, name: str) -> bool:
        """Whether the tensor is the weight of a convolution, which XLA wants as [*kernel, in, out] (on a CPU it is twice as fast)."""
        return self.library and is_convolution(self.definition) and name == "weight"

    def branches(self) -> Iterator[Branch]:
        yield from self.layers.values()
        for runs in self.copies.values():
            yield from runs.values()

    def grow(self, graph: Graph) -> None:
        """Add what `graph` owns."""
        for path, parameter in graph.parameters.items():
            *parents, name = path.split(".")
            branch = self
            for parent in parents:
                branch.order.setdefault(parent)
                branch = branch.layers.setdefault(parent, Branch(parent))
            branch.leaves.setdefault(name, parameter)
        for node in graph.layers():
            target = node.target
            assert target is not None and target.child is not None
            made = Branch(target.child if target.graph.kind == "body" else target.graph.definition, target.graph.library)
            made.known = known_of(target.graph)
            self.order.setdefault(target.child)
            if target.count is None:
                self.layers.setdefault(target.child, made).grow(target.graph)
            else:
                runs = self.copies.setdefault(target.child, {})
                runs.setdefault((target.start, target.count), made).grow(target.graph)


def is_convolution(definition: str) -> bool:
    """Whether the library's layer of that name keeps its weight as [*kernel, in, out]."""
    return definition in ("Conv1d", "Conv2d", "Conv3d")


def runs_of(graph: Graph, child: str) -> list[tuple[int, int]]:
    """First and count of each `repeat` with that label."""
    targets = [node.target for node in graph.layers() if node.target is not None and node.target.child == child]
    return sorted({(t.start, t.count) for t in targets if t.count is not None})


def stacked_leaves(graph: Graph, prefixes: tuple[str, ...] = ("",), stacked: bool = False) -> Iterator[frozenset[str]]:
    """The parameters that are one array in JAX, by their names in the spec: those of the copies of a long `repeat`."""
    if stacked:
        for name in graph.parameters:
            yield frozenset(prefix + name for prefix in prefixes)
    for node in graph.layers():
        call = node.target
        assert call is not None
        if call.count is None:
            yield from stacked_leaves(call.graph, tuple(f"{p}{call.child}." for p in prefixes), stacked)
        elif call.count > LONGEST_LOOP:
            copies = range(call.start, call.start + call.count)
            yield from stacked_leaves(call.graph, tuple(f"{p}{call.child}.{i}." for p in prefixes for i in copies), True)
        else:
            for i in range(call.start, call.start + call.count):
                yield from stacked_leaves(call.graph, tuple(f"{p}{call.child}.{i}." for p in prefixes), stacked)


def is_stacked(runs: list[tuple[int, int]]) -> bool:
    """Whether the copies are in a dict, some of them stacked, rather than in a list."""
    return any(count > LONGEST_LOOP for _, count in runs)


class InitWriter:
    """Writes `init` and what it calls. `copied` notes the use of a function of jax_layers.py; `dtype` spells element types."""

    def __init__(
        self, tree: Branch, names: Namespace, copied: Callable[[str], str], dtype: Callable[[DType], str], x64: bool
    ) -> None:
        self.names = names
        self.copied = copied
        self.dtype = dtype
        self.x64 = x64
        self._families: dict[tuple[str, int], list[Branch]] = {}
        self._family: dict[int, tuple[str, int]] = {}
        self._made: dict[tuple[int, bool], tuple[str, bool, tuple[str, ...]]] = {}
        self._texts: dict[str, str] = {}
        self._drawn = 0
        self._total = 0
        self._collect(tree)

    def _collect(self, branch: Branch) -> int:
        """Note the family of a branch: its definition, and its height, since a layer may contain another one of its definition."""
        height = 1 + max((self._collect(below) for below in branch.branches()), default=0)
        family = self._family[id(branch)] = branch.definition, height
        self._families.setdefault(family, []).append(branch)
        return height

    def whole(self, tree: Branch, trained: bool, name: str) -> bool:
        """Write the function `name` for all of the tree; whether it takes a key."""
        lines, draws = self.statements(tree, trained)
        self._texts[name] = f"({'key' if draws else ''}):\n{rendered(lines)}"
        return draws

    def function(self, branch: Branch, trained: bool) -> tuple[str, bool, tuple[str, ...]]:
        """The function that makes the tensors of a branch: its name, whether it takes a key, and keywords for numbers."""
        if (id(branch), trained) not in self._made:
            self._define([b for b in self._families[self._family[id(branch)]] if b.holds(trained)], trained)
        return self._made[id(branch), trained]

    def _define(self, branches: list[Branch], trained: bool) -> None:
        written = []
        for branch in branches:
            lines, draws = self.statements(branch, trained)
            arguments = ("key",) if draws else ()
            written.append(Written(branch.known, arguments, tuple(lines), Namespace(("key", "keys"), outer=self.names)))
        for merged, members in groups_of(written):
            first = branches[members[0]]
            name = self.names.new(f"init_{snake_case(first.definition)}{'' if trained else '_state'}")
            self._texts[name] = f"({', '.join(merged.arguments)}):\n{rendered(merged.lines)}"
            for member, keywords in zip(members, merged.keywords(), strict=True):
                self._made[id(branches[member]), trained] = name, "key" in merged.arguments, keywords

    def statements(self, branch: Branch, trained: bool) -> tuple[list[Line], bool]:
        """What makes and returns the tensors of a branch, and whether that takes a key."""
        outer = self._drawn, self._total
        self._drawn, self._total = 0, 0
        self._entries(branch, trained, 2)
        drawn, self._total, self._drawn = self._drawn, self._drawn, 0
        lines = [Line(1, f"keys = random.split(key, {drawn})")] if drawn > 1 else []
        entries = self._entries(branch, trained, 2)
        lines += [Line(1, "return {"), *entries, Line(1, "}")] if entries else [Line(1, "return {}")]
        self._drawn, self._total = outer
        return lines, drawn > 0

    def texts(self) -> list[str]:
        return [f"def {name}{text}" for name, text in self._texts.items()]

    def _key(self) -> str:
        self._drawn += 1
        return "key" if self._total == 1 else f"keys[{self._drawn - 1}]"

    def _entries(self, branch: Branch, trained: bool, indent: int) -> list[Line]:
        lines = []
        for name, parameter in branch.leaves.items():
            if parameter.trained is trained:
                if branch.is_hwio(name):
                    lines.append(Line(indent, f"{quoted(f'{name}.hwio')}: ", self._kernel(parameter), ","))
                else:
                    lines.append(Line(indent, f"{quoted(name)}: ", self._initial(parameter), ","))
        for name in branch.order:
            if name in branch.copies:
                lines += self._copies(name, branch.copies[name], trained, indent)
            elif branch.layers[name].holds(trained):
                lines += self._layer(name, branch.layers[name], trained, indent)
        return lines

    def _layer(self, name: str, layer: Branch, trained: bool, indent: int) -> list[Line]:
        if layer.library and not layer.order:
            return [Line(indent, f"{quoted(name)}: {{"), *self._entries(layer, trained, indent + 1), Line(indent, "},")]
        return [Line(indent, f"{quoted(name)}: ", self._call(layer, trained), ",")]

    def _call(self, branch: Branch, trained: bool) -> Expression:
        function, draws, keywords = self.function(branch, trained)
        return call(function, *([self._key()] if draws else []), *keywords)

    def _copies(self, name: str, runs: dict[tuple[int, int], Branch], trained: bool, indent: int) -> list[Line]:
        if not any(run.holds(trained) for run in runs.values()):
            return []
        ordered = sorted(runs.items(), key=lambda run: run[0])
        if not is_stacked(list(runs)):
            return self._list(name, [(branch, count) for (_, count), branch in ordered], trained, indent)
        lines = [Line(indent, f"{quoted(name)}: {{")]
        for (start, count), branch in ordered:
            if count > LONGEST_LOOP:
                lines.append(Line(indent + 1, f'"{start}:{start + count}": ', self._stacked(branch, trained, count), ","))
            else:
                lines += [Line(indent + 1, f'"{i}": ', self._call(branch, trained), ",") for i in range(start, start + count)]
        return [*lines, Line(indent, "},")]

    def _list(self, name: str, runs: list[tuple[Branch, int]], trained: bool, indent: int) -> list[Line]:
        """A list of copies, each run of which is made by one function."""
        lines = []
        for branch, count in runs:
            function, draws, keywords = self.function(branch, trained)
            if draws and count > 1:
                several = call(self.copied("copies"), function, self._key(), str(count), *keywords)
                if len(runs) == 1:
                    return [Line(indent, f"{quoted(name)}: ", several, ",")]
                lines.append(Line(indent + 1, "*", several, ","))
            else:
                arguments = [self._key()] if draws else []
                lines += [Line(indent + 1, "", call(function, *arguments, *keywords), ",")] * count
        return [Line(indent, f"{quoted(name)}: ["), *lines, Line(indent, "],")]

    def _stacked(self, branch: Branch, trained: bool, count: int) -> Expression:
        function, draws, keywords = self.function(branch, trained)
        if draws:
            return call(self.copied("stacked_copies"), function, self._key(), str(count), *keywords)
        return call(self.copied("stacked_alike"), call(function, *keywords), str(count))

    def _kernel(self, parameter: Parameter) -> Expression:
        """The weight of a convolution; where each element is drawn alike, only the shape matters."""
        if parameter.initial.kind in ("orthogonal", "identity", "values"):
            return call(self.copied("hwio"), self._initial(parameter))
        outputs, inputs, *kernel = parameter.type.shape
        return self._initial(replace(parameter, type=parameter.type.with_shape((*kernel, inputs, outputs))))

    def _initial(self, parameter: Parameter) -> Expression:
        shape = sequence(map(str, parameter.type.shape))
        given = parameter.initial.arguments
        usual = parameter.type.dtype is DType.F32
        dtype = None if usual else self.dtype(parameter.type.dtype)
        if parameter.initial.kind == "values":
            return self._values(parameter)
        numbers = [number(given[name]) for name in _ARGUMENTS[parameter.initial.kind]]
        match parameter.initial.kind:
            case "constant":
                return self._constant(parameter, shape, given["value"])
            case "identity":
                return call(self.copied("identity"), shape, *numbers, dtype=dtype)
            case kind:
                return call(self.copied(kind), self._key(), shape, *numbers, dtype=dtype)

    def _constant(self, parameter: Parameter, shape: Expression, value: float) -> Expression:
        kind = parameter.type.dtype
        dtype = [] if kind is DType.F32 and not self.x64 else [self.dtype(kind)]
        if value in (0, 1):
            return call("jnp.ones" if value else "jnp.zeros", shape, *dtype)
        return call("jnp.full", shape, number(value if kind.is_float else int(value)), *(dtype or ["jnp.float32"]))

    def _values(self, parameter: Parameter) -> Expression:
        """Numbers that are written out, each of which fills an equal share."""
        kind, shape, values = parameter.type.dtype, parameter.type.shape, parameter.initial.values
        written = sequence((number(v if kind.is_float else int(v)) for v in values), "[]")
        usual = kind is DType.F32 and not self.x64
        made = call("jnp.array", written, *([] if usual else [self.dtype(kind)]))
        repeat = math.prod(int(d) for d in shape if isinstance(d, int)) // len(values)
        made = made if repeat == 1 else call("jnp.repeat", made, str(repeat))
        return made if len(shape) == 1 else call("jnp.reshape", made, sequence(map(str, shape)))


_ARGUMENTS = {
    "constant": (),
    "normal": ("mean", "std"),
    "truncated_normal": ("mean", "std", "low", "high"),
    "uniform": ("low", "high"),
    "orthogonal": ("gain",),
    "identity": ("gain",),
}
