"""What an expression of a spec can be while a graph is made from it.

Static values are Python's own (`int`, `float`, `bool`, `str`, `None`, tuples) and symbolic sizes; the rest is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsl import syntax
from dsl.dims import Dim, Expr
from dsl.ir import Constraint, Graph, Initializer, Value
from dsl.ops.card import Card
from dsl.ops.sugar import Sugar
from dsl.source import Span
from dsl.types import DType

if TYPE_CHECKING:
    from dsl.loader import Unit


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the graph under construction. `names` are the dimension names of its axes, where they are known."""

    value: Value
    names: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """What an entry point returned: tensors by name, in order. `lists` are the results that are lists, with the names of their tensors."""

    tensors: dict[str, Tensor]
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def parts(self) -> dict[str, Tensor | tuple[Tensor, ...]]:
        """The results by name, as the entry point returned them."""
        inside = {name: whole for whole, names in self.lists.items() for name in names}
        found: dict[str, Tensor | tuple[Tensor, ...]] = {}
        for name, t in self.tensors.items():
            whole = inside.get(name)
            if whole is None:
                found[name] = t
            elif whole not in found:
                found[whole] = tuple(self.tensors[n] for n in self.lists[whole])
        return found


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """Tensors by the names that they have below a layer (`linear.weight`): `net.params`, and what is computed from it."""

    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A `fn` of a spec or of the library, with the unit whose names its body sees."""

    definition: syntax.Function
    unit: Unit


@dataclass(frozen=True, slots=True, eq=False)
class InitializerFunction:
    """One of the primitive initialisers, before it has its numbers: `normal`, `uniform`."""

    kind: str
    defaults: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True, eq=False)
class LayerType:
    """A module that has not been given its hyper-parameters: `Linear`."""

    definition: syntax.Module
    unit: Unit


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A module with its hyper-parameters: `Linear(10)`. It has no parameters until it is placed in a graph as an Instance."""

    type: LayerType
    hyper: Mapping[str, object]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class RepeatLayer:
    """`repeat(n) { ... }` with its count evaluated."""

    count: int
    body: tuple[syntax.Stage, ...]
    span: Span


@dataclass(slots=True, eq=False)
class Instance:
    """A layer placed in a graph under a name; applying it twice shares its parameters. `graphs` are its applications so far; `given` are
    the parameters that it uses instead of its own (`net with ...`), `functions` the functions that it uses in the place of others
    (`net with relu = guided_relu`), by the frozen value of these."""

    name: str
    layer: Layer | RepeatLayer
    span: Span
    graphs: list[Graph] = field(default_factory=list)
    used: bool = False
    given: ParameterSet | None = None
    functions: Mapping[object, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """`net.inverse`: an entry point of an instance."""

    instance: Instance | Layer
    entry: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A truth value that hangs on symbolic dimensions: all of `constraints` hold."""

    constraints: tuple[Constraint, ...]


class Gradient:
    """The value of the name `grad`."""


class Unflatten:
    """The value of the name `unflatten`."""


class Poison:
    """The value of a name whose definition was wrong: reading it adds no further message."""


class Training:
    """The value of the name `training`: known only when the model runs."""


POISON = Poison()
TRAINING = Training()
GRADIENT = Gradient()
UNFLATTEN = Unflatten()


def is_static(value: object) -> bool:
    """Whether the value is known when the graph is made, without a tensor in it."""
    if isinstance(value, tuple):
        return all(is_static(v) for v in value)
    return not isinstance(value, Tensor | Results | ParameterSet)


def freeze(value: object) -> object:
    """A hashable key that tells static values apart (1 from 1.0 and from true, too)."""
    match value:
        case tuple():
            return tuple(freeze(v) for v in value)
        case Initializer():
            return (value.kind, tuple(value.arguments.items()), value.values)
        case Layer():
            return (id(value.type.definition), tuple((k, freeze(v)) for k, v in value.hyper.items()))
        case LayerType() | Function():
            return id(value.definition)
        case InitializerFunction():
            return value.kind
        case Card() | Sugar():
            return (type(value), value.name)
        case _:
            return (type(value), value)


def describe(value: object) -> str:
    """The value in words, for messages."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return f'the string "{value if len(value) <= 40 else value[:40] + "..."}"'
        case int():
            return f"the integer {value}" if abs(value) < 10**20 else "a huge integer"
        case float():
            return f"the number {value:g}"
        case Expr():
            return f"the symbolic size {value}"
        case tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case DType():
            return f"the dtype {value}"
        case Tensor():
            return "a tensor"
        case ParameterSet():
            return f"a set of {len(value.tensors)} parameters"
        case Gradient() | Unflatten():
            return f"the function `{'grad' if isinstance(value, Gradient) else 'unflatten'}`"
        case Results():
            parts = value.parts()
            return describe(next(iter(parts.values()))) if len(parts) == 1 else f"{len(parts)} results"
        case Function() | LayerType():
            return f"the {'function' if isinstance(value, Function) else 'layer'} `{value.definition.name}`"
        case Layer():
            return f"a `{value.type.definition.name}` layer"
        case RepeatLayer():
            return "a `repeat`"
        case Instance():
            return f"the layer `{value.name}`"
        case Card() | Sugar():
            return f"the function `{value.name}`"
        case Initializer() | InitializerFunction():
            return f"the initialiser `{value.kind}`"
        case Condition():
            return "a condition on symbolic dimensions"
        case Training():
            return "`training`, which is known only when the model runs"
        case _:
            return "a function"


def as_dims(value: object) -> tuple[Dim, ...] | None:
    """A list of sizes, or None when it is not one."""
    if isinstance(value, tuple) and all(isinstance(v, int | Expr) and not isinstance(v, bool) for v in value):
        return value
    return None
