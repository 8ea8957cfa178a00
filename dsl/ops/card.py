"""A card: all there is to know of one primitive, apart from how a target spells it.

The builder, the checker, the hints of error messages, `dslc ops`, `docs/ops.md` and the tests are read off the cards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import numpy as np

from dsl.dims import Dim
from dsl.types import DType, TensorType

AttributeValue: TypeAlias = "None | bool | int | float | str | Dim | DType | np.ndarray | tuple[AttributeValue, ...]"
Attributes: TypeAlias = Mapping[str, AttributeValue]


class Accepts(Enum):
    """Element types that an operand may have."""

    ANY = "any"
    NUMBER = "integer or floating"
    FLOAT = "floating"
    INT = "integer"
    BOOL = "bool"

    def admits(self, dtype: DType) -> bool:
        match self:
            case Accepts.ANY:
                return True
            case Accepts.NUMBER:
                return dtype is not DType.BOOL
            case Accepts.FLOAT:
                return dtype.is_float
            case Accepts.INT:
                return dtype.is_int
            case Accepts.BOOL:
                return dtype is DType.BOOL


class Form(Enum):
    """What an attribute may be in a spec. AXIS and AXES arrive at `infer` as non-negative integers; DIM and DIMS may be symbolic."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STRING = "str"
    DIM = "size"
    DIMS = "list of sizes"
    INTS = "int or list of ints"
    AXIS = "axis"
    AXES = "axis or list of axes"
    DTYPE = "dtype"
    ANY = "any static value"


class Required(Enum):
    REQUIRED = "required"


REQUIRED = Required.REQUIRED


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor argument. `variadic` takes a list of tensors (`concat`), and is then the only operand."""

    name: str
    accepts: Accepts = Accepts.ANY
    variadic: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Attribute:
    """A static argument. `low` and `high` are inclusive bounds of an INT or FLOAT (of each element of an INTS); `choices` of a STRING."""

    name: str
    form: Form
    default: AttributeValue | Required = REQUIRED
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """An expression in `.dl` and what it is, for the docs and the tests: `Example("relu([-1.0, 2.0])", [0.0, 2.0])`."""

    expression: str
    result: object


class OpError(Exception):
    """An application of a primitive that has no meaning. `argument` names the operand or attribute to blame, `help` what to do."""

    def __init__(self, message: str, argument: str | None = None, help: str | None = None, code: str = "DL0301") -> None:
        super().__init__(message)
        self.argument = argument
        self.help = help
        self.code = code


Normalize = Callable[[tuple[TensorType, ...], dict[str, AttributeValue]], dict[str, AttributeValue]]
Infer = Callable[[tuple[TensorType, ...], Attributes], "TensorType | tuple[TensorType, ...]"]
Least = Callable[[tuple[TensorType, ...], Attributes], Sequence[tuple[Dim, int]]]
Reference = Callable[..., "np.ndarray | tuple[np.ndarray, ...]"]


@dataclass(frozen=True, slots=True)
class Card:
    """One primitive.

    `normalize` makes attributes canonical (a stride of 2 becomes `(2, 2)`), so that no backend restates a default.
    `infer` gives the result types from operand types and canonical attributes, or raises OpError.
    `reference` computes it in NumPy, on floating operands in float64, with attributes as keyword arguments (dims evaluated);
    a random primitive also gets `rng`, a numpy Generator.
    `least` gives sizes with what each is at least, where `infer` cannot know: a requirement on symbolic ones.
    `commutes` says that the two operands may be swapped; `broadcasts` that operands follow NumPy's broadcasting;
    `differentiable` is False where the derivative is zero or undefined everywhere (`argmax`, `floor`).
    """

    name: str
    family: str
    summary: str
    operands: tuple[Operand, ...]
    attributes: tuple[Attribute, ...]
    infer: Infer
    reference: Reference
    examples: tuple[Example, ...]
    notes: str = ""
    normalize: Normalize | None = None
    least: Least | None = None
    results: tuple[str, ...] = ("y",)
    commutes: bool = False
    broadcasts: bool = False
    differentiable: bool = True
    random: bool = False
    elementwise: bool = False
    _index: dict[str, Operand | Attribute] = field(default_factory=dict, repr=False, compare=False)

    def argument(self, name: str) -> Operand | Attribute | None:
        """The operand or attribute of that name."""
        if not self._index:
            self._index.update({operand.name: operand for operand in self.operands})
            self._index.update({attribute.name: attribute for attribute in self.attributes})
        return self._index.get(name)

    @property
    def signature(self) -> str:
        """How the card is called, for people: `conv(x, weight, stride=1, padding=0, dilation=1, groups=1)`."""
        parts = [f"*{o.name}" if o.variadic else f"{o.name}=none" if o.optional else o.name for o in self.operands]
        parts += [a.name if a.default is REQUIRED else f"{a.name}={shown(a.default)}" for a in self.attributes]
        return f"{self.name}({', '.join(parts)})"


def shown(value: object) -> str:
    """A static value as a spec writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(shown, value))}]"
        case _:
            return str(value)
