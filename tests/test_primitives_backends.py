"""What the language says with primitives means the same on every backend: symbolic sizes, negative steps and axes, all attributes.

tests/op_cases.py compares each primitive on constant shapes; here the shapes are known only when the model runs.
"""

from __future__ import annotations

import pytest

from backends.base import EmitOptions
from dsl.ops.registry import CARDS
from dsl.types import DType
from tests.test_library_backends import Group, disagreements

GROUPS: dict[str, Group] = {
    "arithmetic of floats": ("x: float[B, T], y: float[T], s: float[]", [
        "x + y", "x - s", "2 - x", "x * y * 3", "x / (abs(y) + 1)", "1 / (abs(x) + 1)", "x // 0.7", "x % 0.7", "x % -0.7",
        "x // (abs(y) + 0.1)",
        "7 // (abs(x) + 1)", "5.5 % (abs(x) + 1)", "x ** 2", "x ** 3", "abs(x) ** 0.5", "abs(x) ** y", "2 ** x",
        "(abs(x) + 1) ** -1",
        "abs(x) ** -0.5 * 0 + x", "maximum(x, y)", "minimum(x, 0)", "-x", "abs(x)", "sign(x)", "exp(x)", "log(abs(x) + 0.1)",
        "log1p(abs(x))",
        "expm1(0.001 * x)", "sqrt(abs(x))", "rsqrt(abs(x) + 0.1)", "sin(x)", "cos(x)", "tanh(x)", "sigmoid(50 * x)", "erf(x)",
        "relu(x)",
        "softplus(x)", "softplus(100 * x)", "floor(3 * x)", "ceil(3 * x)", "round(3 * x)", "isnan(log(x))", "clip(x, low=-0.5)",
        "clip(x, high=0.5)", "clip(x, -0.5, 0.5)", "where(x > y, x, y)", "where(x > 0, 1.0, x)", "where(x > 0, 1, 2)",
        "where(y > 0, x, s)",
        "stop_gradient(x)", "s * s + 1", "(x > 0) * x",
    ]),
    "arithmetic of integers": ("i: int[B, T], j: int[T]", [
        "i - 3", "-i", "i * j - 5", "(i - 3) // 2", "(i - 3) % 2", "(2 * i - 5) // j", "(2 * i - 5) % j", "(2 * i - 5) // -j",
        "(2 * i - 5) % -3",
        "7 // -i", "7 % -i", "-7 // i", "-7 % i", "i / j", "(i - 3) / 2", "1 / i", "i ** 2", "2 ** i", "(i - 3) ** 3",
        "abs(i - 3)", "sign(i - 2)",
        "relu(i - 2)", "maximum(i, j)", "minimum(i - 2, 0)", "clip(i, 2, 3)", "clip(i - 3, low=-1)", "where(i > 2, i, -j)",
        "sum(i, over=0)",
        "prod(i, over=1)", "max(i - 4, over=1)", "min(i)", "cumsum(i, over=1)", "mean(i, over=0)", "i @ transpose(i, 0, 1)",
        "cast(i, float)",
        "cast(i, i32) * 3", "cast(i - 2, bool)", "cast(i, u8) - 250", "sum(cast(i, i32))", "i == j", "i != 2", "i < j",
        "i <= j",
        "i > 1", "i >= j", "cast(2.7 * cast(i - 2, float), int)", "cast(-1.5 * cast(i, float), i8)", "sort(i - 3, over=0)",
        "argsort(j * 0, over=0)", "i + T", "j * (B - 1) // 2", "cast(i, float) * 0.5", "(i > 2) + i",
    ]),
    "logic": ("x: float[B, T, 3], y: float[T, 1], b: bool[B, 1, 3]", [
        "x == x", "x != y", "x < y", "x <= y", "x > y", "x >= 0", "logical_and(x > 0, b)", "logical_or(x > 0, b)",
        "logical_xor(x > y, b)",
        "logical_not(b)", "not b", "b and x > 0", "b or y > 0", "any(x > 0, over=1)", "all(x > -1, over=[0, 2])", "any(x > 5)",
        "all(b, over=-1, keepdims=true)", "any(b, over=1)", "b == (x > 0)", "b != (x > 0)", "cast(b, float)",
        "cast(b, int) - 1", "sum(b, over=2)",
        "mean(b)", "where(b, x, -x)", "where(b, 0.0, y)", "max(cast(b, int), over=0)", "where(logical_and(b, x > 0), x, y)",
        "flip(b, over=2)",
        "concat(b, b, over=1)", "b[:, 0, 1:]", "reshape(b, [-1, 3])",
    ]),
    "reductions": ("x: float[B, T, 3, 4]", [
        *(f"{op}(x{how})" for op in ("sum", "mean", "max", "min", "logsumexp", "norm", "var", "prod")
          for how in ("", ", over=T", ", over=-1, keepdims=true", ", over=[0, 2]", ", over=[-1, 1], keepdims=true")),
        "var(x, over=[1, 2], correction=1)", "var(x, correction=1)", "var(x, over=0, correction=0, keepdims=true)",
        "norm(x, p=1, over=1)",
        "norm(x, p=3, over=-1, keepdims=true)", "norm(x, p=1)",
        "norm(x, p=2.0, over=0)",
        "argmax(x, over=1)", "argmin(x, over=-1)", "argmax(x, over=0, keepdims=true)", "argmin(x, over=T, keepdims=true)",
        "cumsum(x, over=1)", "cumsum(x, over=-1)", "cumsum(flip(x, over=0), over=0)", "logsumexp(100 * x, over=[0, 1])",
        'reduce(x, "b t h w -> b h", "mean")', 'reduce(x, "b t (h k) w -> b t h w", "max", k=3)', 
        "mean(x) + max(x)",
    ]),
    "slices": ("x: float[B, T, 6]", [
        "x[:, 1:]", "x[:, :-1]", "x[:, -1]", "x[:, -1:]", "x[..., 0]", "x[..., -2]", "x[0]", "x[:, :, 1:5:2]", "x[:, :, ::2]",
        "x[:, ::-1]",
        "x[:, :, ::-2]", "x[:, :, 4:0:-1]", "x[:, :, -2::-3]", "x[:, ::2]", "x[:, ::-1, -1]", "x[:, 0:1]", "x[:, :T - 1]",
        "x[:, T // 2:]",
        "x[..., 2:100]", "x[:, :, -100:3]", "x[:, 1::2, 0]", "x[:, none]", "x[..., none, 1:2]", "x[::-1, ::-1, ::-1]",
        "flip(x, over=1)",
        "flip(x, over=[0, -1])", "roll(x, 1, over=1)", "roll(x, -2, over=-1)", "roll(x, [1, -1], over=[0, 1])",
        "roll(x, 7, over=2)",
        "split(x, 3, over=-1)[1]", "split(x, [1, 2, 3], over=2)[1]", "split(x, [1, T - 1], over=1)[1]",
        "split(x, 2, over=2)[-1]",
        "tril(x)", "triu(x)", "tril(x, -1)", "tril(x, diagonal=2)", "triu(x, -2)", "triu(x, diagonal=1)", "triu(x[0], 3)",
    ]),
    "shapes": ("x: float[B, T, 6], v: float[T], c: float[B, 1, 6]", [
        "reshape(x, [B, -1])", "reshape(x, [-1, 6])", "reshape(x, [B, T, 2, 3])", "reshape(x, [T, B * 6])",
        "reshape(x, [B * T * 6])",
        "reshape(x, [3, 2 * T, B])", "flatten(x)", "flatten(x, start=0)", "permute(x, [2, 0, 1])", "permute(x, [-1, 1, 0])",
        "transpose(x, 0, -1)",
        "x[0].T", "squeeze(c, 1)", "unsqueeze(v, 0)", "unsqueeze(v, -1)", "expand(c, [B, T, 6])",
        "expand(v, [B, 4, T])", "expand(c, [2, B, T, 6])",
        "concat(x, c, over=1)", "concat(x, x, x, over=-1)", "stack(x, 2 * x, over=0)",
        "stack(x, x, over=-1)",
        "stack(x, x, over=1)", "tile(x, [1, 2, 1])", "tile(v, [3])", "concat(c, x, c, over=1)", 
        'rearrange(x, "b t (h d) -> b h t d", h=2)',
        'rearrange(x, "b t c -> (t b) c")', 'repeat(v, "t -> b t k", b=B, k=2)', 'rearrange(x, "b t c -> b (c t)")',
        "pad(x, [[0, 0], [1, 2], [0, 0]])",
        "pad(x, [[0, 1], [0, 0], [2, 3]], value=1.5)", 'pad(x, [[0, 0], [1, 1], [2, 3]], mode="reflect")',
        'pad(v, [[1, 0]], mode="reflect")',
        'pad(x, [[0, 0], [0, 0], [5, 5]], mode="reflect")', 'pad(x, [[2, 3], [0, 1], [7, 0]], mode="edge")', "x + c",
        "v * unsqueeze(v, 1)",
    ]),
    "indices": ("x: float[B, T, 5], i: int[B, T], j: int[N], k: int[B, T, 2], t: float[7, 3], u: float[B, T, 2]", [
        "gather(x, i, over=2)", "gather(x, i, over=-1)", "gather(x, k, over=2)", "gather(permute(x, [2, 0, 1]), i, over=0)",
        "take(t, j, over=0)",
        "take(x, j, over=2)", "take(x, i[0], over=-1)", "t[j]", "t[i]", "x[:, :, j]",
        "scatter_add(x, k, u, over=2)",
        "scatter_add(zeros(B, T, 5), k * 0, u, over=-1)", "one_hot(i, 5)", "one_hot(j, 6, dtype=int)",
        "one_hot(i, 5, dtype=bool)",
        "topk(x, 2, over=-1)[0]", "topk(x, 2, over=-1)[1]", "topk(x, 3, over=2, largest=false)[0]",
        "topk(x, 3, over=2, largest=false)[1]",
        "topk(transpose(x, 0, 2), 2, over=0)[0]", "topk(transpose(x, 0, 2), 2, over=0)[1]",
        "topk(transpose(x, 1, 2), 1, over=1, largest=false)[1]",
        "sort(x, over=1)", "sort(x, over=0, descending=true)", "sort(x, over=-1, descending=true)", "argsort(x, over=1)",
        "argsort(x, over=-1, descending=true)",
        "gather(x, argsort(x, over=1), over=1)", "take(x, arange(T), over=1)", "take(x, T - 1 - arange(T), over=1)",
        "t[arange(3)]",
        "gather(x, unsqueeze(argmax(x, over=-1), -1), over=-1)", "one_hot(argmax(x, over=-1), 5)",
    ]),
    "products": ("a: float[B, T, 4], b: float[B, 4, S], w: float[4, 3], v: float[4], u: float[B, T], h: float[B, 2, T, 4]", [
        "a @ b", "a @ w", "a @ v", "v @ w", "v @ v", "w.T @ v", "v @ b", "h @ unsqueeze(b, 1)", "h @ w",
        "b.T @ u if false else a @ w",
        "transpose(b, 1, 2) @ transpose(a, 1, 2)", 'einsum(a, w, pattern="b t c, c d -> b t d")',
        'einsum(a, b, pattern="btc,bcs->bts")',
        'einsum(a, a, pattern="b t c, b s c -> t s")', 'einsum(v, v, pattern="i, j -> i j")',
        'einsum(a, pattern="b t c -> c b")',
        'einsum(a, pattern="btc->")', 'einsum(h, w, pattern="... c, c d -> ... d")', 'einsum(h, pattern="b h t c -> b h")',
        'einsum(a, u, v, pattern="b t c, b t, c -> b c")', 'einsum(w @ w.T, pattern="i i -> i")',
        'einsum(w @ w.T, pattern="ii->")',
        'einsum(h, h, pattern="b h t c, b h s c -> b t s h")', 'einsum(a, w, pattern="x y c, c z -> z y x")',
    ]),
    "matrices and signals": ("a: float[B, T, T], b: float[B, T, S], w: float[3, 3], v: float[B, N, 2]", [
        *(f"triangular_solve(a + 4 * eye(T), b{how})"
          for how in ("", ", lower=false", ", transposed=true", ", lower=false, transposed=true")),
        "triangular_solve(w + 2 * eye(3), w)", "triangular_solve(a + 4 * eye(T), ones(T, T))", "triangular_solve(eye(T), b)",
        "slogdet(a + 4 * eye(T))[1]", "slogdet(w)[0]", "slogdet(w)[1]",
        "rfft(a)[0]", "rfft(concat(b, 2 * b, over=1), over=1)[1]", "rfft(w[0])[0]", "rfft(v, over=1)[0]", "rfft(v, over=0)[0]",
        "irfft(2 * rfft(b, over=1)[0], rfft(b, over=1)[1] - 1, T, over=1)", "irfft(w[0], w[1], 4)", "irfft(w[0], w[1], n=5)",
        "irfft(rfft(v, over=1)[0], rfft(v, over=1)[1], N, over=1)",
    ]),
    "sizes": ("x: float[B, T, 4]", [
        "arange(T)", "arange(1, T + 1)", "arange(T, 0, -1)", "arange(0, 2 * T, 2)", "cast(arange(T), float) / T", "x * T",
        "x / (T + B)", "x + B * T",
        "linspace(0, 1, 5)", "linspace(-1.0, 1.0, T)", "linspace(2, -3, T + 1)", "eye(T)", "eye(T, B)", "eye(3, T, dtype=int)",
        "full([T, B], 2.5)",
        "zeros(B, T + 1)", "ones(T, dtype=int)", "full([2, T], 3, dtype=int)", "full([B], true, dtype=bool)", "zeros_like(x)",
        "ones_like(x[:, 0])",
        "size(T) * 2", "x * (T // 2)", "x * (T % 3)", "arange((T + 1) // 2)",
        "zeros(max(T, 4), 2)", "zeros(min(T, 3))",
        "unsqueeze(arange(T), 1) >= arange(T)", "x[:, :min(T, 2)]", "full([2], 1e30)", "full([2], -1e-30)", "linspace(0, 1, 1)",
    ]),
    "maps": (
        "x: float[B, 3, H, W], a: float[B, 2, L], v: float[B, 1, D, H, W], n: float[2, 3, 7, 5], "
        "w: float[4, 3, 2, 3], k: float[3, 2, 3, 2]", [
        "conv(x, w)", "conv(x, w, padding=1)", "conv(x, w, stride=[2, 1], padding=[[1, 0], [2, 1]])",
        'conv(x, w, padding="same")',
        'conv(n, w, padding="same", stride=2)', "conv(n, w, dilation=[2, 1])", "conv_transpose(x, k)",
        "conv_transpose(x, k, stride=[3, 2], padding=[[1, 0], [0, 1]], output_padding=[2, 1])",
        "conv_transpose(x, k, dilation=2, output_padding=1)",
        "max_pool(x, kernel=2)", "max_pool(x, kernel=2, stride=1, padding=[[1, 0], [0, 1]])",
        "avg_pool(x, kernel=2, padding=[[1, 0], [0, 1]])",
        "avg_pool(x, kernel=2, stride=1, padding=[[0, 1], [0, 1]], count_include_pad=false)",
        "avg_pool(n, kernel=3, stride=2, padding=[[1, 0], [0, 1]], ceil_mode=true)",
        "max_pool(n, kernel=3, stride=2, padding=[[0, 1], [1, 0]], ceil_mode=true)",
        "adaptive_avg_pool(x, size=[2, 3])", "adaptive_avg_pool(n, size=[3, 4])", "adaptive_avg_pool(x, size=[L, H])",
        "adaptive_avg_pool(a, size=4)",
        "interpolate(x, size=[5, 7])", "interpolate(n, size=[H, W])", "interpolate(x, scale=2)",
        "interpolate(x, scale=[2, 3])", "interpolate(n, scale=0.5)",
        "interpolate(n, scale=1.7)", "interpolate(a, scale=3)", 'interpolate(x, size=[5, 7], mode="bilinear")',
        'interpolate(x, scale=2, mode="bilinear")',
        'interpolate(n, size=[4, 9], mode="bilinear", align_corners=true)', 'interpolate(n, scale=1.7, mode="bilinear")',
        'interpolate(x, scale=2, mode="bilinear", align_corners=true)',
        'interpolate(n, size=[1, 1], mode="bilinear", align_corners=true)',
        'interpolate(n, size=[3, 2], mode="bilinear")', "interpolate(v, scale=2)", "interpolate(n, size=[3, 2])",
        "interpolate(x, size=[2 * H, 3 * W])",
        'interpolate(n, size=[H + 1, 2 * W], mode="bilinear")', 'interpolate(x, size=[H, W], mode="bilinear")',
    ]),
}  # fmt: skip

DECOMPOSITIONS: Group = ("a: float[B, T, T], b: float[B, 5, 3], w: float[3, 3], v: float[B, 3, T]", [
    "cholesky(a @ transpose(a, 1, 2) + eye(T))", "cholesky(eye(3) * 4 + tril(w))[0]", "inverse(a + 4 * eye(T))", "inverse(w)",
    "eigh(a)[0]", "eigh(a)[1]", "eigh(w @ w.T)[0]", "eigh(w)[1]", "svd(b)[0]", "svd(b)[1]", "svd(b)[2]", "svd(w)[1]", "svd(v)[2]",
    "svd(v)[0]", "svd(v)[1]",
    "qr(b)[0]", "qr(b)[1]", "qr(a)[0]", "qr(w)[1]",
])  # fmt: skip
"""What ONNX has no operators for."""

OPERATORS = {
    "add", "sub", "mul", "div", "pow", "floor_divide", "remainder", "eq", "ne", "lt", "le", "gt", "ge", "neg", "matmul", "slice",
}  # fmt: skip
"""Primitives that the language writes as signs."""


def test_every_primitive_appears() -> None:
    text = " ".join(expression for _, expressions in (*GROUPS.values(), DECOMPOSITIONS) for expression in expressions)
    elsewhere = {"const", "if_training"} | {name for name, card in CARDS.items() if card.random}
    assert not [name for name in CARDS if f"{name}(" not in text and name not in OPERATORS | elsewhere]


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_primitives_are_the_same_on_every_backend(name: str) -> None:
    assert not disagreements(GROUPS[name], None, EmitOptions())


@pytest.mark.parametrize("float_type", [DType.F32, DType.F64])
def test_decompositions_are_the_same_where_there_are_any(float_type: DType) -> None:
    assert not disagreements(DECOMPOSITIONS, ["torch", "jax"], EmitOptions(), float_type)


def test_gradients_of_decompositions_are_the_same() -> None:
    square, definite, tall = "(w + eye(3))", "(w @ w.T + eye(3))", "reshape(concat(w, w * w, over=0), [6, 3])"
    values = [
        *(f"{x}[{i}]" for x in (f"eigh({definite})", f"qr({square})", f"qr({tall})") for i in (0, 1)),
        *(f"{x}[{i}]" for x in (f"svd({square})", f"svd({tall})", f"svd({tall}.T)") for i in (0, 1, 2)),
        f"cholesky({definite})", f"inverse({square})", f"slogdet({square})[1]", f"triangular_solve({square}, w)",
        f"triangular_solve({square}, w, lower=false, transposed=true)", "rfft(w)[0]", "rfft(w)[1]", "irfft(w, w * w, 4)",
    ]  # fmt: skip
    group = ("w: float[3, 3]", [f"grad(sum({value} ** 3), w)" for value in values])
    assert not disagreements(group, ["torch", "jax"], EmitOptions(), DType.F64)
