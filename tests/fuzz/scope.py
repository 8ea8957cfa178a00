"""What a spec under construction has so far: tensors with their types, layers, facts about the dimensions.

A spec grows by statements of text. What a statement gives is not predicted here: the checker is asked, by a small model that returns the
expression (`Scope.types_of`); a statement that it refuses is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.dims import format_dim
from dsl.source import Source
from dsl.types import DType

Size = int | str
"""A dimension as the text of a spec has it."""

LARGEST_INPUTS = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a tensor, its dimensions as text in the names of the spec."""

    dtype: DType
    shape: tuple[Size, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{word(self.dtype)}[{', '.join(map(str, self.shape))}]"


def word(dtype: DType) -> str:
    """An element type as specs write it: f32 is the model's, so that it may be compiled with another."""
    return "float" if dtype is DType.F32 else str(dtype)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A name of the spec. Its elements are about `scale` in magnitude at most; `positive` ones are above 0.1."""

    name: str
    kind: Kind
    scale: float = 4.0
    positive: bool = False


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of one tensor or several, and what is known of its elements."""

    text: str
    scale: float = 4.0
    positive: bool = False


class CheckerFailed(Exception):
    """The checker raised something else than a diagnostic. The argument is the spec."""


@lru_cache(maxsize=20_000)
def result_kinds(spec: str) -> tuple[Kind, ...] | None:
    """The types of the results of a model, or None where the checker refuses it."""
    try:
        graph = compile_graph(Source("probe.dl", spec)).main
    except SpecError:
        return None
    except Exception as problem:
        raise CheckerFailed(spec) from problem
    types = [graph.type(value) for value in graph.outputs.values()]
    return tuple(Kind(t.dtype, tuple(d if isinstance(d, int) else format_dim(d) for d in t.shape)) for t in types)


def words(text: str) -> set[str]:
    """The names in a text."""
    return set(re.findall(r"[A-Za-z_]\w*", text))


def declares(line: str) -> str:
    """What a line `layer NAME = ...`, `param NAME: ...` or `buffer NAME: ...` declares."""
    return line.split()[1].rstrip(":")


def defines(definition: str) -> str:
    """The name of a definition: the second word of its text."""
    return re.split(r"[\s({]+", definition)[1]


def indented(lines: Sequence[str]) -> list[str]:
    return [f"  {part}" for line in lines for part in line.split("\n")]


@dataclass(slots=True)
class Program:
    """What all scopes of a spec share: definitions written so far, and how many names were given."""

    definitions: list[str] = field(default_factory=list)
    names: int = 0

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def reached(self, names: set[str]) -> list[str]:
        """The definitions that these names lead to."""
        known = {defines(d): words(d) for d in self.definitions}
        found: set[str] = set()
        pending = [n for n in names if n in known]
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending += [n for n in known[name] if n in known and n != name]
        return [d for d in self.definitions if defines(d) in found]


@dataclass(slots=True)
class Scope:
    """A body under construction. Only that of the model may have further inputs (`open`)."""

    random: Random
    program: Program
    symbols: list[str]
    facts: list[str] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    open: bool = False
    owns: bool = True
    """Whether layers may be applied: not in a function."""
    depth: int = 0
    hyper: dict[str, str] = field(default_factory=dict)
    """The hyper-parameters by name: a type and the value that they have where the definition is applied, as `int = 3`."""
    shared: list[tuple[str, Kind]] = field(default_factory=list)
    """Declared layers of one input, with the type that they were applied to."""

    # --- asking the checker ---

    def types_of(self, expression: str, layers: Sequence[str] = (), before: Sequence[str] = ()) -> tuple[Kind, ...] | None:
        """The types of what an expression gives after these statements; None where the checker refuses them."""
        used = words("\n".join([expression, *before]))
        for line in reversed((*self.layers, *layers)):
            used |= words(line) if declares(line) in used else set()
        declared = [line for line in (*self.layers, *layers) if declares(line) in used]
        given = [t for t in self.tensors if t.name in used]
        definitions = self.program.reached(used)
        symbols = [f"_sizes: float[{', '.join(self.symbols)}]"] if self.symbols else []
        parameters = ", ".join([*symbols, *(f"{t.name}: {t.kind}" for t in given)])
        hyper = ", ".join(f"{name}: {value}" for name, value in self.hyper.items())
        body = [*self.facts, *declared, *before, f"return {expression}"]
        return result_kinds("\n".join([*definitions, f"model Probe({hyper})({parameters}) {{", *indented(body), "}"]))

    # --- adding to the spec ---

    def add(self, expression: Expression, layers: Sequence[str] = ()) -> list[Tensor]:
        """A statement that binds the results of an expression; nothing where the checker refuses it."""
        kinds = self.types_of(expression.text, layers)
        if kinds is None:
            return []
        self.layers += layers
        self.lines += layers
        text, scale = expression.text, expression.scale
        if len(kinds) == 1 and scale > 40 and kinds[0].dtype is not DType.BOOL:
            text, scale = (f"tanh(0.05 * ({text}))", 1.0) if kinds[0].dtype.is_float else (f"({text}) % 11", 11.0)
            if self.types_of(text) is None:
                return []
        made = [Tensor(self.program.name("v"), kind, scale, expression.positive and text is expression.text) for kind in kinds]
        self.lines.append(f"{', '.join(t.name for t in made)} = {text}")
        self.tensors += made
        return made

    def add_block(self, lines: Sequence[str], bound: Mapping[str, float], layers: Sequence[str] = ()) -> list[Tensor]:
        """Statements that bind names, whose elements are so large at most; nothing where the checker refuses them."""
        kinds = self.types_of(", ".join(bound), layers, lines)
        if kinds is None:
            return []
        self.layers += layers
        self.lines += [*layers, *lines]
        made = [Tensor(name, kind, scale) for (name, scale), kind in zip(bound.items(), kinds, strict=True)]
        self.tensors += made
        return made

    def input(self, dtype: DType, shape: Sequence[Size]) -> Tensor:
        """A new input of the model."""
        made = Tensor(self.program.name("x"), Kind(dtype, tuple(shape)))
        self.inputs.append(made)
        self.tensors.append(made)
        return made

    def fresh(self, dtype: DType, shape: Sequence[Size]) -> Tensor:
        """A tensor of that type: another input, or one made of numbers in order."""
        if self.open and len(self.inputs) < LARGEST_INPUTS:
            return self.input(dtype, shape)
        count = " * ".join(f"({d})" for d in shape) or "1"
        ramp = f"reshape(arange({count}), [{', '.join(map(str, shape))}])"
        if dtype.is_float:
            text = f"cast(sin(cast({ramp}, float) + 0.5), {word(dtype)})"
        elif dtype is DType.BOOL:
            text = f"{ramp} % 3 == 0"
        else:
            text = f"cast({ramp} % 4, {word(dtype)})"
        if any("-" in str(d) for d in shape):  # of which the checker cannot tell that it is not below 0
            text = f"full([{', '.join(map(str, shape))}], {'true' if dtype is DType.BOOL else 1}, dtype={word(dtype)})"
        made = Tensor(self.program.name("v"), Kind(dtype, tuple(shape)))
        self.lines.append(f"{made.name} = {text}")
        self.tensors.append(made)
        return made

    # --- choosing ---

    def one_of(self, *options: str) -> str:
        return self.random.choice(options)

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def chance(self, one_in: int) -> bool:
        return self.random.randint(1, one_in) == one_in

    def permutation(self, n: int) -> list[int]:
        return self.random.sample(range(n), n)

    def draw_divisor(self, n: int) -> int:
        return self.random.choice([d for d in range(1, n + 1) if n % d == 0] or [1])

    def draw_symbol(self) -> str:
        return self.random.choice(self.symbols)

    def size(self) -> Size:
        if self.symbols and self.chance(3):
            return self.random.choice(self.symbols)
        return self.number(1, 6)

    def some(
        self, wanted: Callable[[Kind], bool] = lambda _: True, *, dtype: DType = DType.F32, rank: tuple[int, int] = (0, 5)
    ) -> Tensor:
        """A tensor that will do, the late ones first; a fresh one of `dtype` where there is none."""
        found = [t for t in reversed(self.tensors) if rank[0] <= t.kind.rank <= rank[1] and wanted(t.kind)]
        if found and not self.chance(12):
            return self.random.choice(found[:8])
        count = self.number(rank[0], min(rank[1], max(rank[0], 3)))
        return self.fresh(dtype, [self.size() for _ in range(count)])

    def floating(self, low: int = 0, high: int = 5) -> Tensor:
        return self.some(lambda k: k.dtype.is_float, rank=(low, high))

    def axis(self, tensor: Tensor) -> int:
        """An axis, counted from the front or from the back."""
        return self.number(-tensor.kind.rank, tensor.kind.rank - 1)


def small(tensor: Tensor, limit: float = 4.0) -> str:
    """The tensor, or something like it within the limit. A tanh of large numbers is 1, with a gradient that is all rounding."""
    if tensor.scale <= limit or tensor.kind.dtype is DType.BOOL:
        return tensor.name
    if tensor.kind.dtype.is_int:
        return f"({tensor.name} % {max(2, int(limit))})"
    return f"tanh({tensor.name})" if tensor.scale <= 12 else f"tanh({4 / tensor.scale:.2f} * {tensor.name})"


def positive(tensor: Tensor) -> str:
    """The tensor, or its magnitudes and a half: logarithms and roots need what is above 0, and not by chance only."""
    return tensor.name if tensor.positive and tensor.scale <= 40 else f"(abs({small(tensor, 8)}) + 0.5)"


def between_integers(tensor: Tensor) -> str:
    """Numbers that are no integers: at these a floor jumps, and what is nearly one is rounded either way."""
    return f"({small(tensor)} * 2.7 + 0.37)"


Drawer = Callable[[Scope], Expression]
"""Draws an expression on what a scope has."""
