"""How to apply each primitive: operands and attributes that are well-typed more often than not, and where its value is defined.

What the card says is taken from it (which element types, whether operands broadcast); the rest stands here, one function for each
primitive or group of like ones, in `EXPRESSIONS`.
"""

from __future__ import annotations

from dsl.ops.card import Operand
from dsl.ops.registry import CARDS
from dsl.types import DType
from tests.fuzz.elementwise import binary, cast, clip, unary, where
from tests.fuzz.products import decomposition, einsum, irfft, matmul, rfft
from tests.fuzz.reductions import along, reduction, topk
from tests.fuzz.scope import Drawer, Expression, Scope, small
from tests.fuzz.shapes import (
    concat,
    expand,
    flip,
    gather,
    one_hot,
    pad,
    permute,
    reshape,
    roll,
    scatter_add,
    slices,
    split,
    stack,
    take,
    tile,
    triangle,
)  # fmt: skip
from tests.fuzz.windows import adaptive_avg_pool, conv, conv_transpose, interpolate, pool

INTS = (DType.I64, DType.I64, DType.I32, DType.I8, DType.U8)


# --- creation, random numbers, control ---


def arange(scope: Scope) -> Expression:
    size = scope.size()
    options = (f"{size}", f"1, {size} + 1", f"{size}, 0, -1", f"0, 2 * {size}, 2", f"{size}, dtype=float", "5, 5", "-1, 4")
    return Expression(f"arange({scope.one_of(*options)})", 8.0)


def creation(*texts: str) -> Drawer:
    def draw(scope: Scope) -> Expression:
        return Expression(scope.one_of(*texts).replace("SIZE", str(scope.size())).replace("TO", str(scope.size())))

    return draw


def like(text: str) -> Drawer:
    """An expression with X for a floating tensor."""

    def draw(scope: Scope) -> Expression:
        return Expression(text.replace("X", small(scope.floating(1, 4))).replace("P", f"{scope.number(1, 9) / 10}"), 8.0)

    return draw


def if_training(scope: Scope) -> Expression:
    x = scope.some()
    fits = [t for t in scope.tensors if t.kind == x.kind]
    other = fits[scope.number(0, len(fits) - 1)]
    return Expression(f"{x.name} if training else {other.name}", max(x.scale, other.scale))


def size(scope: Scope) -> Expression:
    if not scope.symbols:
        return creation("full([], SIZE, dtype=int)")(scope)
    symbol = scope.draw_symbol()
    return Expression(f"size({symbol}) * 2" if scope.chance(2) else f"{symbol} * {small(scope.some())}", 30.0)


def const(scope: Scope) -> Expression:
    x = scope.floating(0, 3)
    return Expression(f"{small(x)} * {scope.one_of('[0.5, -1.0]', '[[1.0], [2.0]]', '[1.5]', '[0.0, 2.0, -1.0]', '3.25')}", 12.0)


# --- what the language makes of them ---


def sugar(scope: Scope) -> Expression:
    x = scope.some(rank=(1, 4))
    rank = x.kind.rank
    names = " ".join("abcde"[:rank])
    options = [
        f"flatten({x.name}, start={scope.number(0, rank - 1)})", f"unsqueeze({x.name}, {scope.number(-rank - 1, rank)})",
        f"transpose({x.name}, {scope.axis(x)}, {scope.axis(x)})", f"zeros_like({x.name})", f"ones_like({x.name})",
        f'rearrange({x.name}, "{names} -> {" ".join(reversed("abcde"[:rank]))}")', f'rearrange({x.name}, "{names} -> ({names})")',
        f'repeat({x.name}, "{names} -> {names} r", r=2)', f'repeat({x.name}, "{names} -> (r a) {" ".join("abcde"[1:rank])}", r=2)',
    ]  # fmt: skip
    options += [f"{x.name}.T"] * (rank > 1) + [f"squeeze({x.name}, {i})" for i, d in enumerate(x.kind.shape) if d == 1]
    if x.kind.dtype.is_float:
        options.append(f'reduce({small(x)}, "{names} -> a", "{scope.one_of("sum", "mean", "max", "min")}")')
    return Expression(scope.one_of(*options), x.scale * 2)


def gradient(scope: Scope) -> Expression:
    x = scope.some(lambda k: k.dtype is DType.F32)
    inner = scope.one_of("sin(X) * X", "exp(0.3 * X)", "X ** 3", "sigmoid(X) * cos(X)", "tanh(X) ** 2").replace("X", x.name)
    return Expression(f"grad(sum({inner}), {x.name})" if x.scale <= 4 else f"tanh({x.name})", 30.0)


def _is_binary(operands: tuple[Operand, ...]) -> bool:
    return [o.name for o in operands] == ["a", "b"]


EXPRESSIONS: dict[str, Drawer] = {
    **{n: binary(n) for n, c in CARDS.items() if c.elementwise and c.broadcasts and _is_binary(c.operands)},
    **{n: unary(n) for n, c in CARDS.items() if c.family == "elementwise" and len(c.operands) == 1 and not c.attributes},
    **{n: reduction(n) for n in ("sum", "mean", "prod", "max", "min", "any", "all", "logsumexp", "var", "norm")},
    **{n: along(n, "keepdims=true") for n in ("argmax", "argmin")},
    **{n: along(n, "descending=true") for n in ("sort", "argsort")},
    **{n: decomposition(n) for n in ("cholesky", "eigh", "triangular_solve", "svd", "qr", "inverse", "slogdet")},
    **{n: pool(n) for n in ("max_pool", "avg_pool")},
    **{n: triangle(n) for n in ("tril", "triu")},
    "cumsum": along("cumsum"), "clip": clip, "where": where, "cast": cast, "topk": topk, "matmul": matmul, "einsum": einsum,
    "rfft": rfft, "irfft": irfft, "conv": conv, "conv_transpose": conv_transpose, "adaptive_avg_pool": adaptive_avg_pool,
    "interpolate": interpolate, "reshape": reshape, "permute": permute, "expand": expand, "pad": pad, "flip": flip, "roll": roll,
    "tile": tile, "concat": concat, "stack": stack, "slice": slices, "split": split, "gather": gather, "take": take,
    "scatter_add": scatter_add, "one_hot": one_hot, "arange": arange, "size": size, "const": const, "sugar": sugar,
    "if_training": if_training, "grad": gradient,
    "linspace": creation("linspace(0, 1, SIZE)", "linspace(2, -3, SIZE)", "linspace(-1.0, 1.0, 5)"),
    "eye": creation("eye(SIZE)", "eye(SIZE, TO)", "eye(SIZE, TO, dtype=int)"),
    "full": creation("full([SIZE, TO], 2.5)", "zeros(SIZE)", "ones(SIZE, TO, dtype=i32)", "full([TO], true, dtype=bool)", "zeros(0, 2)"),
    "randn": creation("randn(SIZE, TO)", "randn(TO)"), "rand": creation("rand(SIZE, TO)", "rand()"),
    "bernoulli": like("bernoulli(sigmoid(X))"), "categorical": like("categorical(X)"), "dropout": like("dropout(X, P)"),
    "stop_gradient": like("stop_gradient(X) * 2.0"),
}  # fmt: skip
"""A drawer for each primitive, and two more: `sugar`, what the language lowers to them, and `grad`."""


def any_dtype(scope: Scope) -> DType:
    """The element type of an input: mostly the model's."""
    how = scope.number(0, 19)
    others = (DType.F64, DType.F16, DType.BF16) if how < 13 else INTS if how < 18 else (DType.BOOL,)
    return DType.F32 if how < 10 else scope.random.choice(others)
