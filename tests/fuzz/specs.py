"""Whole programs: statements of every kind, put together at random.

`random_spec` takes its choices from one `Random`. Hypothesis gives it one whose choices it records, and so can make fewer and smaller.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from dsl.types import DType
from tests.fuzz.definitions import entries, given_function, listed, other_parameters, own_gradient, owned_tensor, user_definition
from tests.fuzz.expressions import EXPRESSIONS, any_dtype
from tests.fuzz.layers import known_expression, layer_for, with_layers
from tests.fuzz.loops import Grow, in_training, looped, repeated, scanned, unrolled
from tests.fuzz.scope import Expression, Program, Scope, Size, declares, indented, result_kinds, small, words

FACTS = {
    "T": (
        'require T % 2 == 0, "even"', 'require T % 2 == 0, "pairs"', 'require T >= 3, "three steps"', 'require T <= 9, "nine steps"',
    ),
    "B": ('require B >= 2, "two examples"', 'require B % 2 == 0 and B <= 8, "pairs, and few"'),
    "S": ('require S % 3 == 0, "thirds"', 'require S <= T, "not longer than the other"', 'require S + T >= 4, "both together"'),
}  # fmt: skip


OFTEN = (
    "slice",
    "slice",
    "slice",
    "floor_divide",
    "prod",
    "conv",
    "conv_transpose",
    "max_pool",
    "avg_pool",
    "pad",
    "sugar",
    "sugar",
)
"""Primitives with more to draw than others."""


# --- statements ---


def primitive(scope: Scope) -> None:
    name = scope.random.choice([*sorted(EXPRESSIONS), *OFTEN])
    if scope.owns or name not in ("if_training", "dropout", "randn", "rand", "bernoulli", "categorical"):
        scope.add(EXPRESSIONS[name](scope))


def from_library(scope: Scope) -> None:
    expression = known_expression(scope)
    if expression is not None:
        scope.add(*with_layers(scope, expression))


def applied_layer(scope: Scope) -> None:
    layer, x = layer_for(scope)
    if scope.chance(2):
        scope.add(Expression(f"{small(x)} -> {layer}", 8.0))
    else:
        scope.add(Expression(f"{layer}({small(x)})", 8.0))


def shared_layer(scope: Scope) -> None:
    """One layer at several places, in a mode of its own at one of them."""
    known = [(name, t) for name, kind in scope.shared for t in scope.tensors if t.kind == kind]
    if known and scope.chance(3):
        name, x = scope.random.choice(known)
        scope.add(Expression(f"{name}({small(x)})", 8.0))
        return
    layer, x = layer_for(scope)
    name = scope.program.name("net")
    made = scope.add(Expression(f"{name}({small(x)})", 8.0), [f"layer {name} = {layer}"])
    again = [t for t in scope.tensors if t.kind == x.kind]
    if made:
        scope.shared.append((name, x.kind))
        mode = scope.one_of("", "", "", ", training=false", ", training=true")
        scope.add(Expression(f"{name}({small(again[scope.number(0, len(again) - 1)])}{mode})", 8.0))
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


Statement = Callable[[Scope], None]
WITH_BODIES: tuple[tuple[int, Callable[[Scope, Grow], None], bool], ...] = (
    (2, user_definition, False), (1, repeated, True), (2, scanned, False), (1, looped, False), (1, unrolled, True), (1, in_training, True),
    (1, owned_tensor, True), (1, own_gradient, False), (1, other_parameters, True), (1, entries, True), (1, listed, True),
    (1, given_function, False),
)  # fmt: skip
"""How often each is drawn, and whether it needs a body that owns something."""
PLAIN: tuple[tuple[int, Statement, bool], ...] = (
    (14, primitive, False), (20, from_library, False), (3, applied_layer, True), (2, shared_layer, True), (1, merge, False),
)  # fmt: skip


def grow(scope: Scope, count: int) -> None:
    """Add up to so many statements."""
    for _ in range(count):
        kind = scope.random.choice(_OF_OWNERS if scope.owns else _OF_FUNCTIONS)
        kind(scope)


def _with_body(kind: Callable[[Scope, Grow], None]) -> Statement:
    return lambda scope: kind(scope, grow)


STATEMENTS: tuple[tuple[int, Statement, bool], ...] = (*PLAIN, *((n, _with_body(kind), owns) for n, kind, owns in WITH_BODIES))
_OF_OWNERS = [kind for n, kind, _ in STATEMENTS for _ in range(n)]
_OF_FUNCTIONS = [kind for n, kind, owns in STATEMENTS for _ in range(n) if not owns]


# --- programs ---


def random_spec(random: Random, most: int = 7) -> str:
    """The text of a well-typed spec of two statements of the model and up to `most`, with the definitions that they apply."""
    scope = Scope(random, Program(), random.choice(([], ["B"], ["B", "T"], ["B", "T"], ["B", "T", "S"])), open=True)
    scope.facts = [random.choice(FACTS[s]) for s in scope.symbols if scope.chance(3)]
    first: list[Size] = [*scope.symbols] or [scope.number(1, 4)]
    scope.input(DType.F32, [*first[:2], scope.number(1, 6)])
    if len(scope.symbols) == 3:
        scope.input(any_dtype(scope), ["S", "B"])
    if scope.chance(2):
        scope.input(any_dtype(scope), _shape(scope))
    grow(scope, scope.number(2, most))
    if re.search(r"BatchNorm|ConvNorm|Block\(", "\n".join(scope.lines + scope.program.definitions)):
        scope.facts += [f'require {symbol} >= 2, "more than one value a channel"' for symbol in scope.symbols]
    entries = [_entry(scope, "forward")]
    kept = [line for line in scope.lines if line.split()[0] in ("layer", "param", "buffer") and " with " not in line]
    if kept and scope.chance(4):
        both = [*entries, _entry(_second(scope, kept), "second")]
        text = _written(scope.program, both, kept)
        if result_kinds(text) is not None:  # of layers without a name in both the names may be the same
            return text
    if scope.chance(12):
        return _written(scope.program, entries, kept)
    return _written(scope.program, entries)


def _written(program: Program, entries: list[tuple[str, list[str]]], kept: list[str] | None = None) -> str:
    """The file: a model with these declarations and entry points, or the short form of one with a single entry point."""
    head, body = f"model Net(){entries[0][0].removeprefix('def forward')}", entries[0][1]
    if kept is not None:
        head, body = "model Net {", list(kept)
        for signature, lines in entries:
            body += [signature, *indented([line for line in lines if line not in kept]), "}"]
    text = "\n".join([head, *indented(body), "}"]) + "\n"
    return "\n".join([*program.reached(words(text)), text])


def _shape(scope: Scope) -> list[Size]:
    shape: list[Size] = [0 if scope.chance(40) else scope.size() for _ in range(scope.number(0, 3))]
    if scope.symbols and scope.chance(3):
        symbol = scope.draw_symbol()
        shape.append(scope.one_of(f"2 * {symbol}", f"{symbol} + 1", f"{symbol} // 2 + 1", symbol))
    return shape


def _second(first: Scope, kept: list[str]) -> Scope:
    """Another entry point, on inputs of its own, that applies layers of the first. It makes none, which would have the names of others."""
    scope = Scope(first.random, first.program, first.symbols, first.facts, open=True, owns=False)
    scope.layers, scope.shared = list(kept), [s for s in first.shared if any(declares(line) == s[0] for line in kept)]
    for t in first.inputs[:2]:
        scope.input(t.kind.dtype, t.kind.shape)
    for name, kind in scope.shared[:2]:
        fits = [t for t in scope.tensors if t.kind == kind]
        x = fits[-1] if fits else scope.fresh(kind.dtype, kind.shape)
        scope.add(Expression(f"{name}({small(x)})", 8.0))
    grow(scope, scope.number(1, 2))
    return scope


def _entry(scope: Scope, name: str) -> tuple[str, list[str]]:
    """The head of an entry point, up to its brace, and its statements."""
    made = [t for t in scope.tensors if t not in scope.inputs] or scope.tensors
    chosen = [made[-1]]
    for _ in range(scope.number(0, 3)):
        other = made[scope.number(0, len(made) - 1)]
        chosen += [other] * (other not in chosen)
    parameters = ", ".join(f"{t.name}: {t.kind}" for t in scope.inputs)
    results = f" -> ({', '.join(f'y{i}: {t.kind}' for i, t in enumerate(chosen))})" if scope.chance(3) else ""
    returned = ", ".join(t.name for t in chosen)
    if len(chosen) > 1 and scope.chance(5):
        returned, results = f"[{returned}], {chosen[0].name}", " -> (several: list, y: " + f"{chosen[0].kind})"
    return f"def {name}({parameters}){results} {{", [*scope.facts, *scope.lines, f"return {returned}"]
