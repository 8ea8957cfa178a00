"""Numbers and sizes in generated Python: literals, numbers that are arguments of a class, sizes read off the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

from backends.writer import Expression, Line, Namespace, Precedence, binary, call, number, quoted, sequence
from dsl.diagnostics import InternalError
from dsl.dims import Dim, DimTree, Expr, as_symbol, dim_tree, symbols_of
from dsl.ir import Graph, StaticValue
from dsl.ops.card import AttributeValue


class Placeholder:
    """A number that differs between the uses of a class or function: printed by name, equal to its value here.

    Emitters treat it as the number; what they compute from it is a plain number again, so nothing false is ever printed by name:
    the text then differs between the uses, and they get a class each (see units.py).
    """

    name: str


class IntPlaceholder(int, Placeholder):
    def __new__(cls, value: int, name: str) -> Self:
        self = int.__new__(cls, value)
        self.name = name
        return self


class FloatPlaceholder(float, Placeholder):
    def __new__(cls, value: float, name: str) -> Self:
        self = float.__new__(cls, value)
        self.name = name
        return self


class Sizes:
    """Spells the numbers and sizes of one graph; every symbolic size is a variable, bound where the function begins.

    `arguments` gives the variables of the inputs, `placeholder` spells a Placeholder (`self.heads`). The sizes of a block are those
    of the graph `around` it.
    """

    indent: int

    def __init__(
        self,
        graph: Graph,
        names: Namespace,
        arguments: Mapping[str, str],
        placeholder: Callable[[str], str],
        around: Sizes | None = None,
    ) -> None:
        self.graph = graph
        self.placeholder = placeholder
        self.placeholders: dict[str, None] = around.placeholders if around is not None else {}
        self._around = around
        self._dims: dict[str, tuple[str, int]] = {}
        self._dim_names: dict[str, str] = {}
        self._used_dims: dict[str, None] = {}
        self._ranks: dict[str, int] = {}
        for name, value in graph.inputs.items() if around is None else ():
            self._ranks[arguments[name]] = graph.type(value).rank
            for axis, size in enumerate(graph.type(value).shape):
                symbol = as_symbol(size)
                if symbol is not None and symbol.name not in self._dims:
                    self._dims[symbol.name] = (arguments[name], axis)
        for symbol_name in self._dims:
            self._dim_names[symbol_name] = names.new(symbol_name)

    def size_names(self) -> set[str]:
        """The variables that hold sizes."""
        return self._around.size_names() if self._around is not None else set(self._dim_names.values())

    def number(self, value: float) -> Expression:
        """A literal, or the name of a number that varies."""
        if isinstance(value, Placeholder):
            self.placeholders[value.name] = None
            return Expression(self.placeholder(value.name), scalar=True)
        return number(value)

    def static(self, value: AttributeValue | StaticValue) -> Expression:
        """A static value as a Python literal; tuples become tuples."""
        match value:
            case None:
                return Expression("None")
            case str():
                return Expression(quoted(value))
            case bool() | int() | float():
                return self.number(value)
            case Expr():
                return self.dim(value)
            case tuple():
                return sequence(self.static(v) for v in value)
            case _:
                raise InternalError(f"{self.graph.definition}: no Python literal for {type(value).__name__}")

    def dim(self, size: Dim) -> Expression:
        """A size, in terms of the variables that hold symbolic sizes."""
        if isinstance(size, int):
            return self.number(size)
        if self._around is not None:
            return self._around.dim(size)
        for name in symbols_of(size):
            if name not in self._dims:
                raise InternalError(f"{self.graph.definition}: the size {name} is no axis of an input")
            self._used_dims[name] = None
        return replace(self._tree(dim_tree(size)), scalar=True)

    def _tree(self, tree: DimTree) -> Expression:
        match tree:
            case ("const", int() as value):
                return number(value)
            case ("symbol", str() as name):
                return Expression(self._dim_names[name])
            case ("floordiv", tuple() as a, tuple() as b):
                return binary(self._tree(a), "//", self._tree(b))
            case (("max" | "min") as kind, list() as parts):
                return call(kind, *(self._tree(p) for p in parts))
            case (("add" | "mul") as kind, list() as parts):
                return self._chain(parts, "+" if kind == "add" else "*")
            case _:
                raise InternalError(f"no such size: {tree[0]}")

    def _remainder(self, parts: list[DimTree]) -> Expression | None:
        """`a - b * (a // b)` as `a % b`."""
        for part in parts:
            match part:
                case ("mul", [("const", int() as factor), ("floordiv", tuple() as a, ("const", int() as b))]) if factor == -b:
                    rest = [p for p in parts if p is not part]
                    if (rest[0] if len(rest) == 1 else ("add", rest)) == a:
                        return binary(self._tree(a), "%", number(b))
        return None

    def _chain(self, parts: list[DimTree], operator: str) -> Expression:
        if operator == "+" and (remainder := self._remainder(parts)) is not None:
            return remainder
        if operator == "*" and parts[0] == ("const", -1):
            rest = self._chain(parts[1:], operator) if len(parts) > 2 else self._tree(parts[1])
            return Expression(f"-{rest.within(Precedence.PRODUCT)}", Precedence.UNARY)
        result = self._tree(parts[0])
        for part in parts[1:]:
            term = self._tree(part)
            if operator == "+" and term.text.startswith("-"):
                result = Expression(f"{result.text} - {term.text[1:]}", Precedence.SUM)
            else:
                result = binary(result, operator, term)
        return result

    def _dim_lines(self) -> list[Line]:
        """`B, T = tokens.shape`: the variables of the sizes that were used."""
        by_input: dict[str, dict[int, str]] = {}
        for name in self._used_dims:
            variable, axis = self._dims[name]
            by_input.setdefault(variable, {})[axis] = self._dim_names[name]
        lines = []
        for variable, axes in by_input.items():
            rank = self._ranks[variable]
            found = [axes[a] for a in sorted(axes)]
            if len(axes) == 1:
                ((axis, name),) = axes.items()
                lines.append(Line(self.indent, f"{name} = {variable}.shape[{axis}]"))
            elif sorted(axes) == list(range(rank)):
                lines.append(Line(self.indent, f"{', '.join(found)} = {variable}.shape"))
            elif sorted(axes) == list(range(len(axes))):
                lines.append(Line(self.indent, f"{', '.join(found)} = {variable}.shape[:{len(axes)}]"))
            elif len(axes) <= 3:
                sizes = ", ".join(f"{variable}.shape[{a}]" for a in sorted(axes))
                lines.append(Line(self.indent, f"{', '.join(found)} = {sizes}"))
            else:
                every = ", ".join(axes.get(a, "_") for a in range(rank))
                lines.append(Line(self.indent, f"{every} = {variable}.shape"))
        return lines
