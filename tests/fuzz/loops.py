"""Statements with bodies: `scan`, `while`, `for`, `repeat`, `if training`. A body is grown as a spec is, and the whole is asked about."""

from __future__ import annotations

from collections.abc import Callable

from dsl.types import DType
from tests.fuzz.layers import layer_for
from tests.fuzz.scope import Expression, Kind, Scope, Tensor, indented, small

DEEPEST = 2

Grow = Callable[[Scope, int], None]
"""What adds so many statements to a body."""


def inside(scope: Scope, more: list[Tensor]) -> Scope:
    """A body that sees what is around it."""
    inner = Scope(scope.random, scope.program, scope.symbols, scope.facts, owns=scope.owns, depth=DEEPEST, hyper=scope.hyper)
    inner.tensors, inner.layers, inner.shared = [*scope.tensors[-4:], *more], [*scope.layers], [*scope.shared]
    return inner


def block(head: str, lines: list[str]) -> str:
    return "\n".join([head, *indented(lines), "}"])


def repeated(scope: Scope, grow: Grow) -> None:
    """A chain of copies, mostly of one shape: a loop in the graph."""
    layer, x = layer_for(scope)
    width = x.kind.shape[-1]
    back = scope.one_of(
        f" -> Linear({width})", f" -> tanh -> Linear({width})", "", " -> tanh", f" -> repeat(2) {{ Linear({width}) }}"
    )
    count = scope.number(0 if scope.chance(5) else 1, 3)
    label = scope.one_of("", f"{scope.program.name('r')}: ")
    scope.add(Expression(f"{small(x)} -> {label}repeat({count}) {{ {layer}{back} }}", 30.0))


def scanned(scope: Scope, grow: Grow) -> None:
    """A loop over an axis of a tensor or two, or over numbers, with a state or two and an emitted sequence."""
    x = scope.some(lambda k: k.dtype is DType.F32, rank=(1, 3))
    axis = scope.number(0, x.kind.rank - 1)
    rest = Kind(x.kind.dtype, (*x.kind.shape[:axis], *x.kind.shape[axis + 1 :]))
    start = scope.add(
        Expression(scope.one_of(f"mean({small(x)}, over={axis})", f"zeros_like(sum({small(x)}, over={axis}))"), 4.0)
    )
    if not start or start[0].kind != rest:
        return
    step, carried = scope.program.name("s"), scope.program.name("c")
    steps = [Tensor(step, rest)]
    over = small(x)
    others = [t for t in scope.tensors if t.kind == x.kind and t.scale <= 4]
    if others and scope.chance(3):
        steps.append(Tensor(scope.program.name("s"), rest))
        over += f", {others[scope.number(0, len(others) - 1)].name}"
    carries, updates = [f"{carried} = {start[0].name}"], []
    inner = inside(scope, [*steps, Tensor(carried, rest, 1.0)])
    bound = {carried: 1.0}
    options = _options(scope, x, axis)
    if "length" not in options and scope.chance(3):
        second = scope.program.name("c")
        first, kind, update = _second_state(scope, second, step, start[0])
        carries.append(f"{second} = {first}")
        updates.append(f"{second} = {update}")
        bound[second] = 10.0
        inner.tensors.insert(0, Tensor(second, kind, 10.0))
    grow(inner, scope.number(0, 2))
    update = _new_state(inner, rest, [carried, *(t.name for t in steps)], carried, step)
    emitted = inner.tensors[-1]
    head = f"scan {', '.join(t.name for t in steps)} in {over} over {axis}{options}"
    lines = inner.lines
    if len(steps) == 1 and not options and scope.chance(4):
        head = f"scan {step} in range({x.kind.shape[axis]})"
        lines = [f"{step} = {start[0].name} * 0.1 * cast({step}, float)", *lines]
    lines = [*lines, f"{carried} = {update}", *updates]
    if not scope.chance(8):
        result = scope.program.name("v")
        lines.append(f"emit {result} = {emitted.name}")
        bound[result] = emitted.scale
    scope.add_block([block(f"{head} carry {', '.join(carries)} {{", lines)], bound)


def _options(scope: Scope, x: Tensor, axis: int) -> str:
    if axis and scope.chance(3):
        length = scope.fresh(DType.I64, x.kind.shape[:1]).name
        return f" length={length}{scope.one_of('', ' reverse=true')}"
    return scope.one_of("", " reverse=true")


def _second_state(scope: Scope, name: str, step: str, start: Tensor) -> tuple[str, Kind, str]:
    """How it begins, its type, and what it is after a step."""
    match scope.number(0, 3):
        case 0:
            return "0", Kind(DType.I64, ()), f"{name} + 1"
        case 1:
            return "0.0", Kind(DType.F32, ()), f"0.5 * {name} + mean(tanh({step}))"
        case 2:
            return f"{start.name} > 0.3", Kind(DType.BOOL, start.kind.shape), f"not {name}"
        case _:
            return f"tanh({start.name})", start.kind, f"maximum({name}, tanh({step}) * 0.9)"


def _new_state(inner: Scope, kind: Kind, own: list[str], carried: str, step: str) -> str:
    found = [t.name for t in inner.tensors if t.kind == kind and t.name not in own]
    return f"tanh(0.5 * {carried} + {found[-1] if found else step})"


def looped(scope: Scope, grow: Grow) -> None:
    """A loop as long as a condition holds: a number of rounds, or until the data says so."""
    x = scope.some(lambda k: k.dtype is DType.F32, rank=(0, 3))
    carried, count = scope.program.name("c"), scope.program.name("n")
    condition = scope.one_of(f"{count} < {scope.number(0, 3)}", f"max(abs({carried})) < 7.77")
    inner = inside(scope, [Tensor(carried, x.kind, 4.0)])
    grow(inner, scope.number(0, 1))
    found = [t for t in inner.tensors if t.kind == x.kind and t.name != carried]
    update = f"{carried} * 1.3 + tanh({found[-1].name if found else carried})"
    head = f"while {condition} carry {count} = 0, {carried} = {small(x)} * 1.0 limit {scope.number(1, 4)} {{"
    lines = [*inner.lines, f"{carried} = {update}", f"{count} = {count} + 1"]
    scope.add_block([block(head, lines)], {carried: 20.0, count: 4.0})


def unrolled(scope: Scope, grow: Grow) -> None:
    """A `for` over a list of widths, or over numbers with their places."""
    layer, x = layer_for(scope)
    name = scope.program.name("h")
    widths = [scope.number(1, 4) for _ in range(scope.number(0, 3))]
    body = scope.one_of(
        f"for w in {widths} {{ {name} = {name} -> Linear(w) -> tanh }}",
        f"for i, w in enumerate({widths}) {{ {name} = {name} -> p{name}: Linear(w + i) -> tanh }}",
        f"for w in reversed({widths}) {{ if w > 2 {{ {name} = {name} -> Linear(w) }} else {{ {name} = tanh({name}) * w }} }}",
    )
    scope.add_block([f"{name} = {small(x)} -> {layer}", body], {name: 16.0})


def in_training(scope: Scope, grow: Grow) -> None:
    """Statements that are others in training."""
    x = scope.some(lambda k: k.dtype.is_float)
    name = scope.program.name("g")
    other = scope.one_of(f"{x.name} * 2", f"{x.name} -> dropout(0.5)", f"-{x.name}", f"tanh({x.name})")
    inner = inside(scope, [])
    grow(inner, scope.number(0, 1))
    found = [t.name for t in inner.tensors if t.kind == x.kind]
    lines = [*inner.lines, f"{name} = {found[-1] if found and inner.lines else other}"]
    scope.add_block([block("if training {", lines) + f" else {{ {name} = {x.name} * 1.0 }}"], {name: 2 * max(x.scale, 6.0)})
