"""A unit as text: a subclass of nn.Module, or a function."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backends.python import Body
from backends.python_sizes import Placeholder
from backends.torch_dialect import TorchBody, TorchDialect, table_lines
from backends.torch_functions import Written, autograd_function, finish, function, returned, signature
from backends.torch_init import InitCall
from backends.torch_layers import REQUIRED, Setting
from backends.torch_names import child_text, is_plain, method_name, owned_text
from backends.torch_recurrent import write_fused
from backends.torch_tensors import DTYPES
from backends.torch_units import Construction, Definition, Owned, Plan, Unit, plan_of
from backends.torch_varying import Varying, varying
from backends.writer import (
    Expression,
    Line,
    Namespace,
    Precedence,
    binary,
    call,
    camel_case,
    docstring,
    fits,
    identifier,
    number_text,
    quoted,
    sequence,
    snake_case,
)
from dsl.dims import Dim
from dsl.ir import Constraint, Graph, StaticValue
from dsl.types import DType


def define(units: Sequence[Unit], names: Namespace, root: Unit) -> list[tuple[Definition, tuple[Line, ...]]]:
    """Classes or functions for units of one structure: one, where the text comes out the same."""
    numbers = varying(units)
    written = [write(plan_of(unit, numbers.placed(i)), numbers, names, root) for i, unit in enumerate(units)]
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, one in enumerate(written):
        groups.setdefault(one.text(), []).append(i)
    if len(groups) > 1:
        return [d for members in groups.values() for d in define([units[i] for i in members], names, root)]
    first = written[0]
    definition = Definition(_name(units[0], names), first.methods, first.parameters, first.needs_training)
    for i, unit in enumerate(units):
        unit.definition = definition
        unit.arguments = {name: numbers.values[name][i] for name in first.parameters}
    return [(definition, _assembled(units[0], definition, _merged(written), numbers))]


def _merged(written: Sequence[Written]) -> tuple[Line, ...]:
    """The lines, with the comments on which all agree."""
    columns = zip(*(w.lines for w in written), strict=True)
    return tuple(lines[0] if len({line.comment for line in lines}) == 1 else replace(lines[0], comment="") for lines in columns)


def _name(unit: Unit, names: Namespace) -> str:
    graph = unit.graph
    plain = unit.is_function and graph.backward is None
    base = snake_case(graph.definition) if plain else camel_case(graph.definition)
    base = name = identifier(base or "Body")
    count = 2
    while name in names:
        name = f"{base}{count}" if not base[-1].isdigit() else f"{base}_{count}"
        count += 1
    return names.new(name)


def _assembled(unit: Unit, definition: Definition, lines: tuple[Line, ...], numbers: Varying) -> tuple[Line, ...]:
    if not unit.is_function:
        return (Line(0, f"class {definition.name}(nn.Module):"), *lines)
    if unit.graph.backward is not None:
        return (Line(0, f"class {definition.name}(torch.autograd.Function):"), *lines)
    kinds = {name: type(values[0]).__name__ for name, values in numbers.values.items()}
    variables = [line.prefix for line in lines[: len(unit.graph.inputs)]]
    given = [f"{v}: Tensor" for v in variables] + [f"{p}: {kinds[p]}" for p in definition.parameters]
    given += ["training: bool"] if definition.needs_training else []
    given += ["generator: torch.Generator | None"] if unit.draws(unit.graph) else []
    return (*signature(0, definition.name, given, returned(unit.graph)), *lines[len(unit.graph.inputs) :])


def write(plan: Plan, numbers: Varying, names: Namespace, root: Unit) -> Written:
    """The text of one unit."""
    if plan.unit.graph.backward is not None:
        return autograd_function(plan.unit, names)
    return function(plan, numbers, names) if plan.unit.is_function else _ClassWriter(plan, numbers, names, root).write()


# --- classes --------------------------------------------------------------------------------------------------------------------


class _ClassWriter:
    def __init__(self, plan: Plan, numbers: Varying, names: Namespace, root: Unit) -> None:
        self.plan = plan
        self.unit = plan.unit
        self.numbers = numbers
        self.names = names
        self.root = root
        self.dialect = TorchDialect(plan.unit, "self.training")
        self.given: dict[str, None] = {}
        self.kept: dict[str, None] = {}

    def write(self) -> Written:
        methods: list[str] = []
        texts: dict[str, list[Line]] = {}
        for own, graph in zip(self.plan.graphs, self.plan.written(), strict=True):
            lines = self._method(graph, self.unit.draws(own))
            same = next((name for name, known in texts.items() if _alike(name, known, graph, lines)), None)
            name = same or self._free_method(graph, texts)
            texts.setdefault(name, lines)
            methods.append(name)
        constructor = self._constructor()
        lines = [*docstring(self.unit.graph.doc, 1)]
        lines += [Line(0, "")] if lines else []
        lines += constructor
        for name, body in texts.items():
            lines += [] if not lines or lines[-1] == Line(0, "") else [Line(0, "")]
            lines += [Line(1, "@torch.compiler.disable")] if self.unit.fused else []  # it would unroll the operation
            lines += _named(body, name)
        used = tuple(name for name in self.numbers.values if name in self.given or name in self.kept)
        return Written(tuple(lines), used, tuple(methods), False)

    def _free_method(self, graph: Graph, texts: dict[str, list[Line]]) -> str:
        base = name = method_name(graph.entry)
        count = 1
        while name in texts:
            name = f"{base}_{count}"
            count += 1
        return name

    def _method(self, graph: Graph, draws: bool) -> list[Line]:
        scope = Namespace(("self", "training", *(["generator"] if draws else [])), self.names)
        arguments = {name: scope.new(name) for name in graph.inputs}
        body = TorchBody(graph, self.dialect, scope, arguments, indent=2, placeholder="self.{}".format)
        if self.unit is self.root:
            body.preamble += _checks(body, graph.constraints)
        if self.unit.fused:
            write_fused(body)
        else:
            body.write(finish)
        self.kept |= body.placeholders
        given = ["self", *(f"{v}: Tensor" for v in arguments.values())]
        given += ["generator: torch.Generator | None = None"] if draws else []
        lines = signature(1, method_name(graph.entry), given, returned(graph))
        return [*lines, *docstring(graph.entry_doc, 2), *body.lines]

    # --- the constructor ---

    def _constructor(self) -> list[Line]:
        made = [line for name, parts in self.plan.children.items() for line in self._child(name, parts)]
        own = [line for owned in self.plan.owned.values() for line in self._owned(owned)]
        starts = [line for owned in self.plan.owned.values() for line in self._start_owned(owned)]
        starts += self._start_children()
        tables = [line for name, (value, dtype) in self.dialect.tables.items() for line in self._table(name, value, dtype)]
        kept = [Line(2, f"self.{name} = {name}") for name in self.numbers.values if name in self.kept]
        body = [Line(2, "super().__init__()"), *kept, *own, *made, *tables]
        used = [name for name in self.numbers.values if name in self.given or name in self.kept]
        kinds = {name: type(values[0]).__name__ for name, values in self.numbers.values.items()}
        if not (own or made or tables or kept):
            return []
        lines = signature(1, "__init__", ["self", *(f"{name}: {kinds[name]}" for name in used)], "None")
        lines += body
        if starts:
            lines += [Line(2, "self.reset_parameters()"), Line(0, "")]
            lines += [Line(1, "def reset_parameters(self) -> None:"), *starts]
        return lines

    def _table(self, name: str, value: np.ndarray, dtype: DType) -> list[Line]:
        lines = table_lines(name, value, dtype, 2)
        if len(lines) == 1 and lines[0].expression is not None:
            direct = call("self.register_buffer", quoted(name), lines[0].expression, persistent="False")
            if fits(Line(2, "", replace(direct, arguments=()))):
                return [Line(2, "", direct)]
        return [*lines, Line(2, "", call("self.register_buffer", quoted(name), name, persistent="False"))]

    def _number(self, value: StaticValue, *, later: bool = False) -> Expression:
        """A number as the constructor has it, or `later`, outside of it, what it kept."""
        if isinstance(value, Placeholder):
            if later:
                self.kept[value.name] = None
                return Expression(f"self.{value.name}")
            self.given[value.name] = None
            return Expression(value.name)
        if isinstance(value, tuple):
            return sequence(self._number(v, later=later) for v in value)
        assert isinstance(value, int | float)
        return Expression(number_text(value))

    def _constructed(self, made: Construction) -> Expression:
        if made.native is not None:
            positional = [self._number(s.value) for s in made.native.settings if s.default is REQUIRED]
            named = {s.name: self._setting(s) for s in made.native.settings if s.default is not REQUIRED}
            return call(made.native.name, *positional, **named)
        assert made.unit.definition is not None
        items = list(made.arguments.items())
        positional = [self._number(v) for _, v in items[:2]]
        return call(made.unit.definition.name, *positional, **{k: self._number(v) for k, v in items[2:]})

    def _setting(self, setting: Setting) -> Expression | None:
        value = setting.value
        if setting.verbatim:
            return Expression(str(value))
        if value == setting.default and not isinstance(value, Placeholder):
            return None
        return Expression("None") if value is None else self._number(value)

    def _child(self, name: str, parts: list[Construction]) -> list[Line]:
        if parts[0].count is None:
            return [self._member(name, self._constructed(parts[0]))]
        if len(parts) == 1:
            count = self._number(parts[0].count)
            copies = f"[{self._constructed(parts[0])} for _ in range({count})]"
        else:
            copies = f"[{', '.join(self._copies(part) for part in parts)}]"
        return [self._member(name, call("nn.ModuleList", copies))]

    def _copies(self, part: Construction) -> str:
        made = self._constructed(part).text
        return made if part.count == 1 else f"*({made} for _ in range({self._number(part.count)}))"

    def _member(self, name: str, made: Expression) -> Line:
        return Line(2, f"{child_text(name)} = ", made)

    def _owned(self, owned: Owned) -> list[Line]:
        sizes = [self._number(_constant(d)) for d in owned.type.shape]
        dtype = None if owned.type.dtype is DType.F32 else DTYPES[owned.type.dtype]
        filled = {"zeros_": "torch.zeros", "ones_": "torch.ones"}.get(owned.start.function, "torch.empty")
        shape = sizes if len(sizes) > 0 else [Expression("()")]
        made = call(filled, *shape, dtype=dtype)
        if owned.start.function == "constant_":
            made = call("torch.full", sequence(sizes), self._number(_plain(owned.start)), dtype=dtype)
        if owned.start.function == "values":
            made = self._values(owned.start, f".reshape({', '.join(s.text for s in sizes)})")
        if not owned.trained:
            if is_plain(owned.name):
                return [Line(2, "", call("self.register_buffer", quoted(owned.name), made))]
            return [Line(2, f"{owned_text(owned.name, False)} = ", made)]
        return [Line(2, f"{owned_text(owned.name, True)} = ", call("nn.Parameter", made))]

    def _start_owned(self, owned: Owned) -> list[Line]:
        if owned.start.function in ("zeros_", "ones_", "constant_", "values"):
            return []
        return self._start(2, Expression(owned_text(owned.name, owned.trained)), owned.start)

    def _start_children(self) -> list[Line]:
        """What begins otherwise than in torch.nn; layers beside each other that begin alike share a loop."""
        groups: list[tuple[dict[str, InitCall], list[str]]] = []
        lines = []
        for name, parts in self.plan.children.items():
            for part in parts:
                if part.count is not None and part.starts:
                    last = part is parts[-1]
                    rows = "" if len(parts) == 1 else f"[{part.first}:{'' if last else part.first + int(part.count)}]"
                    lines += self._start_each(f"{child_text(name)}{rows}", part.starts)
                elif part.starts and groups and groups[-1][0] == part.starts:
                    groups[-1][1].append(child_text(name))
                elif part.starts:
                    groups.append((part.starts, [child_text(name)]))
        for starts, layers in reversed(groups):
            lines[:0] = (
                self._start_each(f"({', '.join(layers)})", starts) if len(layers) > 1 else self._start_one(2, layers[0], starts)
            )
        return lines

    def _start_one(self, indent: int, layer: str, starts: dict[str, InitCall]) -> list[Line]:
        return [line for own, start in starts.items() for line in self._start(indent, Expression(f"{layer}.{own}"), start)]

    def _start_each(self, layers: str, starts: dict[str, InitCall]) -> list[Line]:
        line = Line(2, f"for layer in {layers}:")
        loop = [line]
        if not fits(line) and layers.startswith("("):
            loop = [Line(2, "for layer in ("), *(Line(3, f"{each},") for each in layers[1:-1].split(", ")), Line(2, "):")]
        return [*loop, *self._start_one(3, "layer", starts)]

    def _start(self, indent: int, target: Expression, start: InitCall) -> list[Line]:
        if start.function == "identity":
            scaled = call(f"{target}.data.mul_", self._number(_plain(start), later=True))
            return [Line(indent, "", call("nn.init.eye_", target)), Line(indent, "", scaled)]
        if start.function == "values":
            return [Line(indent, "", call(f"{target}.data.copy_", self._values(start, f".view_as({target})", later=True)))]
        positional = [self._argument(v, later=True) for k, v in start.arguments if not k]
        named = {k: self._argument(v, later=True) for k, v in start.arguments if k}
        return [Line(indent, "", call(f"nn.init.{start.function}", target, *positional, **named))]

    def _values(self, start: InitCall, shaped: str, *, later: bool = False) -> Expression:
        """Numbers that are written out: `torch.tensor((0.0, 1.0)).repeat_interleave(8)`; `shaped` gives more axes than one."""
        named = {k: v for k, v in start.arguments if k}
        numbers = sequence(self._argument(v, later=later) for k, v in start.arguments if not k)
        dtype = named.get("dtype")
        made = call("torch.tensor", numbers, dtype=None if dtype is None else str(dtype))
        repeat, rank = (self._argument(named[k], later=later).text for k in ("repeat", "rank"))
        suffix = "" if repeat == "1" else f".repeat_interleave({repeat})"
        suffix += "" if rank == "1" else shaped
        return Expression(f"{made.text}{suffix}") if suffix else made

    def _argument(self, value: float | str, *, later: bool) -> Expression:
        if isinstance(value, str):
            return Expression(value if "." in value else quoted(value))
        return self._number(value, later=later)


def _plain(start: InitCall) -> float:
    value = start.arguments[0][1]
    assert isinstance(value, int | float)
    return value


def _constant(size: Dim) -> int:
    assert isinstance(size, int)
    return size


def _alike(name: str, known: list[Line], graph: Graph, lines: list[Line]) -> bool:
    """Whether the method `name` does for this graph, too."""

    def text(found: list[Line]) -> list[tuple[object, ...]]:
        return [(line.indent, line.prefix, line.expression and line.expression.text, line.suffix) for line in found]

    return name.startswith(method_name(graph.entry)) and text(known) == text(lines)


def _named(lines: list[Line], name: str) -> list[Line]:
    """The method under its own name."""
    first = lines[0]
    if first.expression is not None:
        head, _, rest = first.expression.text.partition("(")
        return (
            [replace(first, expression=replace(first.expression, text=f"{name}({rest}", head=name)), *lines[1:]]
            if head != name
            else lines
        )
    return lines


_CONTRARY = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def _checks(body: Body, constraints: Sequence[Constraint]) -> list[Line]:
    """`if T > 1024: raise ValueError(...)`; requirements with one message share it."""
    lines = []
    for (message, training), group in itertools.groupby(constraints, key=lambda c: (c.message, c.training)):
        shown = "".join(c if c.isprintable() else " " for c in message)
        raised = Line(body.indent + 1, "raise ", call("ValueError", quoted(shown)))
        outcome = [raised] if fits(raised) else _long_message(body.indent + 1, shown)
        for condition in _together([_contrary(body, c) for c in group], body.indent):
            if training:
                condition = binary(Expression("self.training"), "and", condition)
            lines += [Line(body.indent, "if ", condition, ":"), *outcome]
    return lines


def _contrary(body: Body, constraint: Constraint) -> Expression:
    left, right = body.dim(constraint.left), body.dim(constraint.right)
    return Expression(f"{left} {_CONTRARY[constraint.relation]} {right}", Precedence.COMPARE)


def _together(conditions: list[Expression], indent: int) -> list[Expression]:
    both = conditions[0] if len(conditions) == 1 else Expression(" or ".join(c.text for c in conditions), Precedence.OR)
    return [both] if fits(Line(indent, "if ", both, ":")) else conditions


def _long_message(indent: int, message: str) -> list[Line]:
    pieces = [message[i : i + 60] for i in range(0, len(message), 60)]
    return [
        Line(indent, "raise ValueError("),
        *(Line(indent + 1, quoted(piece)) for piece in pieces),
        Line(indent, ")"),
    ]
