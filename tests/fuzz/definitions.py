"""Definitions of the spec's own: modules and functions with grown bodies, and those that show one thing of the language."""

from __future__ import annotations

from collections.abc import Callable

from dsl.types import DType
from tests.fuzz.layers import layer_for
from tests.fuzz.loops import DEEPEST, Grow
from tests.fuzz.scope import Expression, Kind, Scope, Size, Tensor, indented, small

HYPER: tuple[dict[str, str], ...] = (
    {}, {"width": "int = 3"}, {"act": "fn = gelu"}, {"rate": "float = 0.5"}, {"inner": "layer = Linear(2)"}, {"widths": "list = [3, 2]"},
    {"deep": "bool = true", "width": "int = 2"},
)  # fmt: skip
"""Hyper-parameters, with the values that they are given."""

USES = {
    "width": "({x} -> Linear(width))", "act": "act({x})", "rate": "dropout({x}, rate) * rate", "inner": "({x} -> inner)",
    "widths": "({x} -> MLP(widths, out=2))", "deep": "({x} * 2 if deep else tanh({x}))",
}  # fmt: skip


def user_definition(scope: Scope, grow: Grow) -> None:
    """A module of the spec's own, or a function, applied once or twice."""
    if scope.depth >= DEEPEST:
        return
    given = [scope.some(lambda k: k.dtype is DType.F32) for _ in range(scope.number(1, 2))]
    is_module = scope.owns and not scope.chance(3)
    body = _body_for(scope, given, is_module)
    parameters = [f"{t.name}: {t.kind}" for t in body.tensors]
    if is_module:
        body.hyper = scope.random.choice(HYPER)
    grow(body, scope.number(1, 3))
    _use_hyper(body)
    results = _results(body)
    name = scope.program.name("M" if is_module else "f")
    optional = is_module and len(given) == 2 and not scope.chance(3)
    if optional:
        parameters[1] += " = none"
        body.lines.insert(0, f"if {body.tensors[1].name} == none {{ return {given_back(body, results)} }}")
    hyper = ", ".join(f"{h}: {value}" for h, value in body.hyper.items())
    if scope.chance(2):
        hyper = ", ".join(f"{h}: {value.split(' = ')[0]}" for h, value in body.hyper.items())
    values = ", ".join(f"{h}={value.split(' = ')[1]}" for h, value in body.hyper.items())
    head = f"module {name}({hyper})" if is_module else f"fn {name}"
    text = [*body.lines, f"return {', '.join(t.name for t in results)}"]
    scope.program.definitions.append("\n".join([f"{head}({', '.join(parameters)}) {{", *indented(text), "}"]))
    arguments = ", ".join(small(t) for t in given)
    scale = max(t.scale for t in results)
    if is_module and scope.chance(2):
        layer = scope.program.name("net")
        if scope.add(Expression(f"{layer}({arguments})", scale), [f"layer {layer} = {name}({values})"]):
            scope.add(Expression(f"{layer}({small(given[0]) if optional else arguments})", scale))
    else:
        scope.add(Expression(f"{name}({values})({arguments})" if is_module else f"{name}({arguments})", scale))


def given_back(body: Scope, results: list[Tensor]) -> str:
    """What a module returns early: as many results, of any type."""
    return ", ".join(f"{body.tensors[0].name} * {i + 2}" for i in range(len(results)))


def _use_hyper(body: Scope) -> None:
    for name in body.hyper:
        floats = [t for t in body.tensors if t.kind.dtype is DType.F32]
        if name in USES and floats:
            body.add(Expression(USES[name].format(x=small(floats[-1])), 8.0))


def _body_for(scope: Scope, given: list[Tensor], owns: bool) -> Scope:
    """The body of a definition for these operands: each symbolic size gets a name of the definition's own."""
    names: dict[Size, str] = {}
    kinds = []
    for t in given:
        for d in t.kind.shape:
            if isinstance(d, str) and d not in names:
                names[d] = d if d.isidentifier() else f"N{len(names)}"
        kinds.append(Kind(t.kind.dtype, tuple(names.get(d, d) if isinstance(d, str) else d for d in t.kind.shape)))
    body = Scope(scope.random, scope.program, list(names.values()), owns=owns, depth=scope.depth + 1)
    body.tensors = [Tensor(scope.program.name("a"), kind, 4.0) for kind in kinds]
    return body


def _results(body: Scope) -> list[Tensor]:
    made = body.tensors[-1:]
    if len(body.tensors) > 2 and body.chance(3):
        made = [body.tensors[-2], *made]
    return made


# --- parameters and buffers ---


def owned_tensor(scope: Scope, grow: Grow) -> None:
    """A parameter or a buffer beside an operand, and for a buffer how training changes it."""
    x = scope.some(lambda k: k.dtype is DType.F32 and isinstance(k.shape[-1], int) and k.shape[-1] > 0, rank=(1, 4))
    width = x.kind.shape[-1]
    name = scope.program.name("w")
    if scope.chance(2):
        kind, start, use = scope.random.choice((
            (f"float[{width}]", "normal(std=0.5)", "*"), (f"float[{width}, 3]", "orthogonal(0.7)", "@"), ("float[]", "0.5", "*"),
        ))  # fmt: skip
        scope.add(Expression(f"{small(x)} {use} {name}", 12.0), [f"param {name}: {kind} = {start}"])
        return
    result, axes = scope.program.name("v"), list(range(x.kind.rank - 1))
    moved = f"update {name} = 0.9 * {name} + 0.1 * {f'mean({small(x)}, over={axes})' if axes else small(x)}"
    lines = [scope.one_of(moved, f"if training {{ {moved} }}"), f"{result} = {small(x)} - {name}"]
    if scope.chance(2):
        lines.reverse()
    scope.add_block(lines, {result: 8.0}, [f"buffer {name}: float[{width}] = {scope.one_of('zeros', 'ones', 'constant(0.5)')}"])


# --- gradients of a function's own ---

BACKWARD = (
    ("(x) = sin(x)\n  backward(g) = g * cos(x)", "{f}({x})"),
    ("(x, scale: float = 0.5) = tanh(x) * scale\n  backward(g) = g * scale * (1 - tanh(x) ** 2)", "{f}({x}, scale=1.5)"),
    ("(x, y) = x * tanh(y)\n  backward(g) = g * tanh(y), g * x * (1 - tanh(y) ** 2)", "{f}({x}, {x} * 0.5)"),
    ("(x) {\n  return sin(x), cos(x)\n}\n  backward(g, h) = g * cos(x) - h * sin(x)", "{f}({x})"),
    ("(x) = where(x > 0.3, x, 0.0)\n  backward(g) {\n  kept = cast(x > 0.3, x.dtype)\n  return g * kept\n}", "{f}({x})"),
    ("(x, rate = 1.0) = x\n  backward(g) = -rate * g", "{f}({x} ** 2, 0.1)"),
    ("(x) = floor(2.7 * x + 0.37)\n  backward(g) = clip(g, low=-1, high=1)", "{f}({x})"),
)  # fmt: skip


def own_gradient(scope: Scope, grow: Grow) -> None:
    """A function that says what its gradient is: the true one, or another."""
    text, use = scope.random.choice(BACKWARD)
    name = scope.program.name("f")
    scope.program.definitions.append(f"fn {name}{text}")
    x = small(scope.some(lambda k: k.dtype is DType.F32))
    made = scope.add(Expression(use.format(f=name, x=x), 8.0))
    if made and scope.chance(3) and len(made) == 1:
        scope.add(
            Expression(f"grad(sum({use.format(f=name, x=x)} * 0.5), {x})" if x.isidentifier() else f"2 * {made[0].name}", 12.0)
        )


# --- other layers on the same parameters ---


def other_parameters(scope: Scope, grow: Grow) -> None:
    """A layer on parameters that are computed from its own, or with another function in the place of one."""
    layer, x = layer_for(scope)
    one, other = scope.program.name("net"), scope.program.name("net")
    v, w = scope.program.name("v"), scope.program.name("v")
    sets = [
        f"0.5 * {one}.params", f"{one}.params + 0.1", f"{one}.params - 0.1 * grad(mean({v} ** 2), {one}.params)",
        f"unflatten(0.9 * flatten({one}.params), {one}.params)", f'{one}.params."**weight" * 0.5', "tanh = sigmoid", "relu = tanh",
    ]  # fmt: skip
    declared = f"layer {one} = {layer}"
    lines = [f"{v} = {one}({small(x)})", f"layer {other} = {one} with {scope.random.choice(sets)}", f"{w} = {other}({small(x)})"]
    if scope.chance(4):
        lines = [lines[0], f"{w} = {scope.one_of(f'sum({one}.params ** 2)', f'flatten({one}.params) * 2')}"]
    scope.add_block(lines, {v: 8.0, w: 8.0}, [declared])


# --- several entry points, lists ---


def entries(scope: Scope, grow: Grow) -> None:
    """A module of two entry points that share a layer."""
    x = scope.some(lambda k: k.dtype is DType.F32 and isinstance(k.shape[-1], int), rank=(1, 3))
    width = x.kind.shape[-1]
    name, layer = scope.program.name("M"), scope.program.name("net")
    other = scope.one_of("tanh(net(y)) - y", "net(y) @ net.weight.T", "y * scale, net(y)", "net(net(y))")
    body = [
        f"layer net = Linear({width})", f"param scale: float[{width}] = ones",
        f"def forward(x: float[..., {width}]) -> float[..., {width}] {{", "  return tanh(net(x)) * scale", "}",
        f"def other(y: float[..., {width}]) {{", f"  return {other}", "}",
    ]  # fmt: skip
    scope.program.definitions.append("\n".join([f"module {name} {{", *indented(body), "}"]))
    made = scope.add(Expression(f"{layer}({small(x)})", 4.0), [f"layer {layer} = {name}()"])
    if made:
        scope.add(Expression(f"{layer}.other({made[0].name})", 12.0))


def listed(scope: Scope, grow: Grow) -> None:
    """A module that gives a list of tensors, and what is made of the list."""
    x = scope.some(lambda k: k.dtype is DType.F32 and isinstance(k.shape[-1], int), rank=(1, 3))
    name, maps, v = scope.program.name("M"), scope.program.name("m"), scope.program.name("v")
    widths = [scope.number(1, 4) for _ in range(scope.number(2, 3))]
    body = [
        "maps = []", "for w in widths {", "  x = tanh(x -> Linear(w))", "  maps = maps + [x]", "}",
        scope.one_of("return maps", "return reversed(maps)", "return [2 * m for m in maps]"),
    ]  # fmt: skip
    scope.program.definitions.append(
        "\n".join([f"module {name}(widths: list)(x: {_own(x)}) -> (maps: list) {{", *indented(body), "}"])
    )
    use = scope.one_of(
        f"{v} = {maps}[-1]", f"{v} = concat({maps}[0], {maps}[1], over=-1)", f"{v} = {maps}[1:][0] * len({maps})",
        f"{v} = 0.0\nfor m in {maps} {{ {v} = {v} + mean(m) }}", f"{v} = 1.0\nfor i, m in enumerate({maps}) {{ {v} = {v} * i + max(m) }}",
    )  # fmt: skip
    scope.add_block([f"{maps} = {name}({widths})({small(x)})", *use.split("\n")], {v: 12.0})


def _own(x: Tensor) -> str:
    return f"float[..., {x.kind.shape[-1]}]"


# --- functions of functions ---


def given_function(scope: Scope, grow: Grow) -> None:
    """A function or a module that is given a function or a layer."""
    x = scope.some(lambda k: k.dtype is DType.F32 and isinstance(k.shape[-1], int), rank=(1, 3))
    width, name = x.kind.shape[-1], scope.program.name("f")
    if scope.owns and scope.chance(2):
        layer = scope.program.name("net")
        scope.program.definitions.append(f"fn {name}(step: fn, x, times: int = 2) = step(x) if times == 1 else step(step(x))")
        made = f"{name}({layer}, {small(x)}{scope.one_of('', ', times=1')})"
        scope.add(Expression(made, 8.0), [f"layer {layer} = Linear({width})"])
    else:
        scope.program.definitions.append(f"fn {name}(act: fn, x) = act(x) + act(-x) * 0.5")
        scope.add(Expression(f"{name}({scope.one_of('tanh', 'relu', 'gelu', 'sigmoid', 'softplus', 'abs')}, {small(x)})", 8.0))


DEFINITIONS: tuple[Callable[[Scope, Grow], None], ...] = (
    owned_tensor, own_gradient, other_parameters, entries, listed, given_function,
)  # fmt: skip
