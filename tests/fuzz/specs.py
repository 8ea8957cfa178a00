"""Whole programs: statements of every kind, put together at random.

`specs()` is the Hypothesis strategy; what it draws is the text of a `.dl` file, so that a finding shrinks to few statements of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from dsl.types import DType
from tests.fuzz.expressions import EXPRESSIONS, any_dtype
from tests.fuzz.layers import known_expression, layer_for, with_definitions
from tests.fuzz.scope import Expression, Kind, Program, Scope, Size, Tensor, small

DEEPEST = 2

FACTS = {
    "T": ("require T % 2 == 0, \"an even length\"", "require T >= 3, \"three steps\"", "require T <= 9, \"nine steps\""),
    "B": ("require B >= 2, \"two examples\"",),
    "S": ("require S % 3 == 0, \"thirds\"",),
}  # fmt: skip


# --- statements ---


def primitive(scope: Scope) -> None:
    name = scope.draw(st.sampled_from(sorted(EXPRESSIONS)))
    if scope.owns or name not in ("if_training", "dropout", "randn", "rand", "bernoulli", "categorical"):
        scope.add(EXPRESSIONS[name](scope))


def from_library(scope: Scope) -> None:
    expression = known_expression(scope)
    if expression is not None:
        with_definitions(scope, expression)
        scope.add(expression)


def applied_layer(scope: Scope) -> None:
    layer, x = layer_for(scope)
    if scope.chance(2):
        scope.add(Expression(f"{small(x)} -> {layer}", 8.0))
    else:
        scope.add(Expression(f"{layer}({small(x)})", 8.0))


def shared_layer(scope: Scope) -> None:
    """One layer at several places."""
    layer, x = layer_for(scope)
    name = scope.program.name("l")
    made = scope.add(Expression(f"{name}({small(x)})", 8.0), [f"layer {name} = {layer}"])
    again = [t for t in scope.tensors if t.kind == x.kind]
    if made:
        scope.add(Expression(f"{name}({small(again[scope.number(0, len(again) - 1)])})", 8.0))
        if len(made) == 1 and made[0].kind == x.kind:
            scope.add(Expression(f"{name}({name}({made[0].name})) + {small(x)}", 12.0))


def merge(scope: Scope) -> None:
    """Two branches from one tensor, and what joins them."""
    x = scope.floating(1, 4)
    a = scope.add(Expression(f"tanh({small(x)})", 1.0))
    b = scope.add(Expression(f"{small(x)} * {scope.one_of('2', '0.5', 'sigmoid(' + small(x) + ')')}", 8.0))
    if a and b:
        join = scope.one_of(
            "{a} + {b}", "concat({a}, {b}, over=-1)", "stack({a}, {b}, over=0)", "where({a} > 0.2, {a}, {b})", "maximum({a}, {b})"
        )
        scope.add(Expression(join.format(a=a[0].name, b=b[0].name), 9.0))


def user_module(scope: Scope) -> None:
    """A module of the spec's own, or a function, applied once or twice."""
    if scope.depth >= DEEPEST:
        return
    given = [scope.some(lambda k: k.dtype is DType.F32) for _ in range(scope.number(1, 2))]
    is_module = scope.owns and not scope.chance(3)
    parameters, body = _body_for(scope, given, is_module)
    results = _results(body)
    name = scope.program.name("M" if is_module else "f")
    head = f"module {name}()" if is_module else f"fn {name}"
    text = [*body.lines, f"return {', '.join(t.name for t in results)}"]
    lines = "\n".join(f"  {line}" for block in text for line in block.split("\n"))
    scope.program.definitions.append(f"{head}({', '.join(parameters)}) {{\n{lines}\n}}")
    arguments = ", ".join(small(t) for t in given)
    scale = max(t.scale for t in results)
    if is_module and scope.chance(2):
        layer = scope.program.name("l")
        if scope.add(Expression(f"{layer}({arguments})", scale), [f"layer {layer} = {name}()"]):
            scope.add(Expression(f"{layer}({arguments})", scale))
    else:
        scope.add(Expression(f"{name}()({arguments})" if is_module else f"{name}({arguments})", scale))


def _body_for(scope: Scope, given: list[Tensor], owns: bool) -> tuple[list[str], Scope]:
    """The parameters of a definition for these operands, and its body: each symbolic size gets a name of the definition's own."""
    names: dict[Size, str] = {}
    kinds = []
    for t in given:
        for d in t.kind.shape:
            if isinstance(d, str) and d not in names:
                names[d] = d if d.isidentifier() else f"N{len(names)}"
        kinds.append(Kind(t.kind.dtype, tuple(names.get(d, d) if isinstance(d, str) else d for d in t.kind.shape)))
    body = Scope(scope.draw, scope.program, list(names.values()), owns=owns, depth=scope.depth + 1)
    body.tensors = [Tensor(scope.program.name("a"), kind, 4.0) for kind in kinds]
    parameters = [f"{t.name}: {t.kind}" for t in body.tensors]
    grow(body, scope.number(1, 3))
    return parameters, body


def _results(body: Scope) -> list[Tensor]:
    made = body.tensors[-1:]
    if len(body.tensors) > 2 and body.chance(3):
        made = [body.tensors[-2], *made]
    return made


def repeated(scope: Scope) -> None:
    """A chain of copies, mostly of one shape: a loop in the graph."""
    layer, x = layer_for(scope)
    width = x.kind.shape[-1]
    back = scope.one_of(f" -> Linear({width})", f" -> tanh -> Linear({width})", "", " -> tanh")
    count = scope.number(0 if scope.chance(5) else 1, 3)
    scope.add(Expression(f"{small(x)} -> repeat({count}) {{ {layer}{back} }}", 30.0))


def scanned(scope: Scope) -> None:
    """A loop over an axis of a tensor, or over numbers, with a state and an emitted sequence."""
    x = scope.some(lambda k: k.dtype is DType.F32, rank=(1, 3))
    axis = scope.number(0, x.kind.rank - 1)
    rest = Kind(x.kind.dtype, (*x.kind.shape[:axis], *x.kind.shape[axis + 1 :]))
    start = scope.add(
        Expression(scope.one_of(f"mean({small(x)}, over={axis})", f"zeros_like(sum({small(x)}, over={axis}))"), 4.0)
    )
    if not start or start[0].kind != rest:
        return
    step, carried = scope.program.name("s"), scope.program.name("c")
    inner = _inside(scope, [Tensor(step, rest), Tensor(carried, rest, 1.0)])
    grow(inner, scope.number(0, 2))
    update = _new_state(inner, rest, carried, step)
    emitted = inner.tensors[-1]
    result = scope.program.name("v")
    clause = f"over {axis}{scope.one_of('', ' reverse=true')}"
    head = f"scan {step} in {small(x)} {clause} carry {carried} = {start[0].name} {{"
    at = axis  # where the steps are in what is emitted
    if scope.chance(3):
        at = 0
        head = f"scan {step} in range({x.kind.shape[axis]}) carry {carried} = {start[0].name} {{"
        inner.lines.insert(0, f"{step} = {start[0].name} * 0.1 * cast({step}, float)")
    lines = [*inner.lines, f"{carried} = {update}", f"emit {result} = {emitted.name}"]
    scope.lines.append("\n".join([head, *_indented(lines), "}"]))
    scope.tensors.append(Tensor(carried, rest, 1.0))
    if at <= emitted.kind.rank:
        shape = (*emitted.kind.shape[:at], x.kind.shape[axis], *emitted.kind.shape[at:])
        scope.tensors.append(Tensor(result, Kind(emitted.kind.dtype, shape), emitted.scale))


def _inside(scope: Scope, more: list[Tensor]) -> Scope:
    """The body of a loop: it sees what is around it, and its layers are those of one step."""
    inner = Scope(scope.draw, scope.program, scope.symbols, scope.facts, owns=scope.owns, depth=DEEPEST)
    inner.tensors = [*scope.tensors[-4:], *more]
    return inner


def _new_state(inner: Scope, kind: Kind, carried: str, step: str) -> str:
    found = [t.name for t in inner.tensors if t.kind == kind and t.name not in (carried, step)]
    return f"tanh(0.5 * {carried} + {found[-1] if found else step})"


def _indented(lines: list[str]) -> list[str]:
    return [f"  {part}" for line in lines for part in line.split("\n")]


def looped(scope: Scope) -> None:
    """A loop as long as a condition holds: a number of rounds, or until the data says so."""
    x = scope.some(lambda k: k.dtype is DType.F32, rank=(0, 3))
    carried, count = scope.program.name("c"), scope.program.name("n")
    condition = scope.one_of(f"{count} < {scope.number(0, 3)}", f"max(abs({carried})) < 7.77")
    inner = _inside(scope, [Tensor(carried, x.kind, 4.0)])
    grow(inner, scope.number(0, 1))
    found = [t for t in inner.tensors if t.kind == x.kind and t.name != carried]
    update = f"{carried} * 1.3 + tanh({found[-1].name if found else carried})"
    head = f"while {condition} carry {count} = 0, {carried} = {small(x)} * 1.0 limit {scope.number(1, 4)} {{"
    lines = [*inner.lines, f"{carried} = {update}", f"{count} = {count} + 1"]
    scope.lines.append("\n".join([head, *_indented(lines), "}"]))
    scope.tensors += [Tensor(carried, x.kind, 20.0), Tensor(count, Kind(DType.I64, ()), 4.0)]


def unrolled(scope: Scope) -> None:
    """A `for` over a list of widths."""
    layer, x = layer_for(scope)
    name = scope.program.name("h")
    made = scope.add(Expression(f"{small(x)} -> {layer}", 8.0))
    if len(made) == 1 and isinstance(made[0].kind.shape[-1], int):
        widths = [scope.number(1, 4) for _ in range(scope.number(0, 3))]
        scope.lines += [f"{name} = {made[0].name}", f"for w in {widths} {{ {name} = {name} -> Linear(w) -> tanh }}"]
        shape = (*made[0].kind.shape[:-1], widths[-1] if widths else made[0].kind.shape[-1])
        scope.tensors.append(Tensor(name, Kind(DType.F32, shape), 8.0))


def in_training(scope: Scope) -> None:
    """A statement that is another one in training."""
    x = scope.some(lambda k: k.dtype.is_float)
    name = scope.program.name("g")
    other = scope.one_of(f"{x.name} * 2", f"{x.name} -> dropout(0.5)", f"-{x.name}", f"tanh({x.name})")
    scope.lines.append(f"if training {{ {name} = {other} }} else {{ {name} = {x.name} * 1.0 }}")
    scope.tensors.append(Tensor(name, x.kind, 2 * x.scale))


STATEMENTS: tuple[tuple[int, Callable[[Scope], None]], ...] = (
    (12, primitive), (5, from_library), (3, applied_layer), (1, shared_layer), (1, merge), (2, user_module), (1, repeated), (1, scanned),
    (1, looped), (1, unrolled), (1, in_training),
)  # fmt: skip
_WEIGHTED = [kind for weight, kind in STATEMENTS for _ in range(weight)]
_OWNING = (applied_layer, shared_layer, repeated, unrolled, in_training)


def grow(scope: Scope, count: int) -> None:
    """Add up to so many statements."""
    for _ in range(count):
        kind = scope.draw(st.sampled_from(_WEIGHTED))
        if scope.owns or kind not in _OWNING:
            kind(scope)


# --- programs ---


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec as text."""

    text: str


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """A well-typed spec."""
    symbols = draw(st.sampled_from(([], ["B"], ["B", "T"], ["B", "T"], ["B", "T", "S"])))
    scope = Scope(draw, Program(), symbols, open=True)
    facts = [draw(st.sampled_from(FACTS[s])) for s in symbols if draw(st.integers(0, 4)) == 4]
    first: list[Size] = [*symbols] or [draw(st.integers(1, 4))]
    scope.facts = facts
    scope.input(DType.F32, [*first[:2], draw(st.integers(1, 6))])
    if len(symbols) == 3:
        scope.input(any_dtype(scope), ["S", "B"])
    if scope.chance(2):
        scope.input(any_dtype(scope), _shape(scope))
    grow(scope, draw(st.integers(1, 6)))
    return Spec(_written(scope))


def _shape(scope: Scope) -> list[Size]:
    shape: list[Size] = [scope.size() for _ in range(scope.number(0, 3))]
    if scope.symbols and scope.chance(3):
        symbol = scope.draw_symbol()
        shape.append(scope.one_of(f"2 * {symbol}", f"{symbol} + 1", f"{symbol} // 2 + 1", symbol))
    return shape


def _written(scope: Scope) -> str:
    made = [t for t in scope.tensors if t not in scope.inputs] or scope.tensors
    chosen = [made[-1]]
    for _ in range(scope.number(0, 3)):
        other = made[scope.number(0, len(made) - 1)]
        chosen += [other] * (other not in chosen)
    parameters = ", ".join(f"{t.name}: {t.kind}" for t in scope.inputs)
    results = f" -> ({', '.join(f'y{i}: {t.kind}' for i, t in enumerate(chosen))})" if scope.chance(3) else ""
    body = _indented([*scope.facts, *scope.lines, f"return {', '.join(t.name for t in chosen)}"])
    return "\n".join([*scope.program.definitions, f"model Net()({parameters}){results} {{", *body, "}"]) + "\n"
