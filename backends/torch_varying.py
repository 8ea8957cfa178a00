"""What a class takes as arguments: the numbers that differ between the units that share it, and good names for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.python_sizes import FloatPlaceholder, IntPlaceholder
from backends.torch_names import MODULE_ATTRIBUTES
from backends.torch_units import Number, Unit, plan_of
from backends.writer import identifier, snake_case

Vector = tuple[tuple[type, float], ...]
"""A number in each of the units, with its type: the integer 3 is not the 3.0 of an initial value."""

_DIMENSIONS = {"C": "in_channels", "D": "dim", "T": "length", "H": "height", "W": "width", "E": "embedding", "L": "length"}


@dataclass(frozen=True, slots=True)
class Varying:
    """For each number of a plan the argument that stands for it, or None where it is the same in all units."""

    names: tuple[str | None, ...]
    values: dict[str, tuple[float, ...]]

    def placed(self, position: int) -> Number:
        """The numbers of the unit at `position`, those that vary as placeholders."""
        remaining = iter(self.names)

        def number(value: float, name: str) -> float:
            argument = next(remaining)
            if argument is None:
                return value
            found = self.values[argument][position]
            return IntPlaceholder(found, argument) if isinstance(found, int) else FloatPlaceholder(found, argument)

        return number


def numbers_of(unit: Unit) -> list[tuple[float, str]]:
    """Every number in the plan of `unit` with what it is called there."""
    found: list[tuple[float, str]] = []

    def record(value: float, name: str) -> float:
        found.append((value, name))
        return value

    plan_of(unit, record)
    return found


def varying(units: Sequence[Unit]) -> Varying:
    """Names for the numbers that differ between units of one structure."""
    columns = [numbers_of(unit) for unit in units]
    known = _candidates(units)
    taken: dict[str, tuple[float, ...]] = {}
    names: list[str | None] = []
    for row in zip(*columns, strict=True):
        vector = tuple(value for value, _ in row)
        if all(v == vector[0] and type(v) is type(vector[0]) for v in vector):
            names.append(None)
            continue
        name = known.get(_typed(vector))
        if name is None:
            name = _fresh(row[0][1], taken, known, units)
            known[_typed(vector)] = name
        taken[name] = vector
        names.append(name)
    order = {name: i for i, name in enumerate(known.values())}
    return Varying(tuple(names), dict(sorted(taken.items(), key=lambda item: order[item[0]])))


def _typed(vector: Sequence[float]) -> Vector:
    return tuple((type(value), value) for value in vector)


def _candidates(units: Sequence[Unit]) -> dict[Vector, str]:
    """The dimensions and hyper-parameters, by the values they have in the units."""
    found: dict[Vector, str] = {}
    first = units[0].graph
    reserved = {*first.parameters, *first.children, *first.inputs, *MODULE_ATTRIBUTES}
    for name, hyper in first.hyper.items():
        if isinstance(hyper, bool) or not isinstance(hyper, int | float):
            continue
        vector = _typed([v for u in units if isinstance(v := u.graph.hyper.get(name), int | float)])
        if len(vector) == len(units):
            found.setdefault(vector, _apart(identifier(name), reserved))
    dims: dict[Vector, str] = {}
    for name, size in first.dim_names.items():
        vector = _typed([v for u in units if isinstance(v := u.graph.dim_names.get(name), int)])
        if isinstance(size, int) and len(vector) == len(units) and vector not in found and vector not in dims:
            wanted = _apart(
                _DIMENSIONS.get(name, identifier(snake_case(name))), reserved | set(found.values()) | set(dims.values())
            )
            dims[vector] = wanted
    return dims | found


def _apart(name: str, reserved: set[str]) -> str:
    while name in reserved:
        name += "_"
    return name


def _fresh(wanted: str, taken: dict[str, tuple[float, ...]], known: dict[Vector, str], units: Sequence[Unit]) -> str:
    used = {
        *taken,
        *known.values(),
        *units[0].graph.parameters,
        *units[0].graph.children,
        *units[0].graph.inputs,
        *MODULE_ATTRIBUTES,
    }
    choices = [identifier(choice) for choice in wanted.split(" ")]
    name = next((choice for choice in choices if choice not in used), choices[-1])
    count = 1
    while name in used:
        name = f"{choices[-1]}_{count}"
        count += 1
    return name
