"""Every definition of the library is the same on PyTorch, JAX and ONNX as on the reference, in both modes.

Each group is one model: its inputs, and expressions that are its outputs. Backends have their own words for much of the library
(`nn.GroupNorm`, `F.cross_entropy`, `LayerNormalization`), so each argument that such a word could drop or read otherwise is given once.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends.base import EmitOptions
from dsl.compiler import compile_graph
from dsl.parse import parse
from dsl.source import Source
from dsl.syntax import Function, Module
from dsl.types import DType
from dsl.verification.compare import verify

LIBRARY = Path(__file__).parent.parent / "dsl" / "lib"
SYSTEMS = Path(__file__).parent / "systems"

Group = tuple[str, list[str]]

ACTIVATIONS: dict[str, Group] = {
    "activations": ("x: float[B, T, 6], v: float[N]", [
        "softmax(x)", "softmax(x, over=0)", "softmax(x, over=T)", "softmax(v)", "softmax(x, over=-2)",
        "masked_softmax(x, x > 0)", "masked_softmax(x, x[0] > 0, over=0)", "masked_softmax(v, v > 100)",
        "log_softmax(x)", "log_softmax(x, over=0)", "log_softmax(x, over=-2)", "log_softmax(v)",
        "log_sigmoid(x)", "gelu(x)", "gelu_tanh(x)", "silu(x)", "swish(3 * x)", "mish(x)", "selu(x)", "softsign(x)",
        "tanh_shrink(x)",
        "leaky_relu(x)", "leaky_relu(x, 0.3)", "elu(x)", "elu(x, 0.5)", "celu(x)", "celu(x, 0.5)",
        "relu6(5 * x)", "hard_tanh(x)", "hard_tanh(x, -0.5, 2.0)", "hard_sigmoid(3 * x)", "hard_swish(3 * x)",
        "hard_shrink(x)", "hard_shrink(x, 0.1)", "soft_shrink(x)", "soft_shrink(x, 0.1)",
        "glu(x)", "glu(x, over=-1)", "swiglu(x)", "swiglu(x, over=2)", "glu(concat(x, x + 1, over=0), over=0)",
        "normalize(x)", "normalize(x, over=0)", "normalize(0.001 * x, over=1, eps=0.5)", "normalize(v, over=0)",
        "silu(cast(x > 0, float) * 2)", "softmax(1000 * x)", "log_sigmoid(200 * x)", "gelu(20 * x)", "log_softmax(100 * x)",
    ]),
    "learned": ("x: float[B, 4, H, W], y: float[B, 4], z: float[B, 4, T]", [
        "PReLU()(x)", "PReLU(shared=false)(x)", "PReLU(shared=false)(y)", "PReLU(slope=0.5)(z)",
        "PReLU(shared=false, slope=-0.5)(z)",
    ]),
}  # fmt: skip

LINEAR: dict[str, Group] = {
    "linear": ("v: float[5], x: float[B, 5], y: float[B, T, 5], z: float[B, T, H, 5], b: float[B, 3]", [
        *(f"Linear(4)({name})" for name in "vxyz"), *(f"Linear(4, bias=false)({name})" for name in "vxyz"), "Linear(1)(x)",
        "Bilinear(4)(x, b)", "Bilinear(2, bias=false)(b, x)",
        "MLP([4, 3])(y)", "MLP([4], out=2, act=tanh)(v)", "MLP([4], out=2, bias=false)(x)", "MLP([], out=2)(z)",
    ]),
    "embedding": ("t: int[B, T], one: int[], deep: int[B, T, 2], x: float[B, T, 6]", [
        "Embedding(7, 3)(t)", "Embedding(7, 3)(one)", "Embedding(7, 3)(deep)", "Embedding(1025, 3)(arange(T))",
        "Embedding(1030, 6)(arange(3, T + 3)) + x", "LearnedPositions(1024)(x)", "sinusoid(T, 6) + x",
        "sinusoid(4, 8, base=100.0)", "batched_take(x, t % T)",
    ]),
}  # fmt: skip

CONV: dict[str, Group] = {
    "conv": ("a: float[B, 4, L], x: float[B, 4, H, W], v: float[B, 2, D, H, W], odd: float[2, 3, 7, 8]", [
        "Conv1d(6, 3)(a)", "Conv1d(6, [3], groups=2, bias=false)(a)", 'Conv1d(6, 4, padding="same")(a)',
        "Conv1d(8, 3, groups=4, padding=2)(a)",
        'Conv1d(3, 2, stride=2, padding="valid", dilation=2)(a)', 'Conv1d(3, 3, stride=2, padding="same")(odd[0])',
        'Conv1d(3, 4, stride=3, padding="same")(odd[:, :, 2])', "Conv1d(3, 3, padding=[[2, 0]])(a)",
        "Conv2d(3, 3)(x)", "Conv2d(4, 3, groups=4, padding=1)(x)", "Conv2d(6, [3, 2], stride=[2, 1], padding=[1, 0])(x)",
        'Conv2d(3, [2, 3], dilation=[1, 2], padding="same", bias=false)(x)',
        "Conv2d(3, 3, padding=[[1, 2], [0, 1]], dilation=2, groups=1)(x)",
        'Conv2d(3, [4, 3], stride=[2, 3], padding="same", bias=false)(odd)', "Conv2d(3, 1)(x)",
        "Conv3d(3, 2)(v)", "Conv3d(4, [1, 2, 3], stride=[1, 2, 1], padding=[0, 1, 1], groups=2)(v)",
        'Conv3d(3, 2, padding="same", bias=false)(v)', "Conv3d(2, 2, padding=[[1, 0], [0, 1], [1, 1]], dilation=[1, 2, 1])(v)",
    ]),
    "conv_transpose": ("a: float[B, 4, L], x: float[B, 4, H, W], v: float[B, 2, D, H, W]", [
        "ConvTranspose1d(3, 3)(a)", "ConvTranspose1d(6, 3, stride=2, padding=1, output_padding=1, groups=2)(a)",
        "ConvTranspose1d(3, 3, dilation=2, output_padding=1, bias=false)(a)",
        "ConvTranspose1d(2, [4], stride=3, padding=[1])(a)",
        "ConvTranspose2d(3, 3)(x)",
        "ConvTranspose2d(6, [3, 2], stride=[2, 3], padding=[1, 0], output_padding=[1, 2], groups=2)(x)",
        "ConvTranspose2d(3, 3, padding=[0, 1], dilation=[2, 1], bias=false)(x)",
        "ConvTranspose2d(4, 4, stride=2, padding=1, groups=4)(x)",
        "ConvTranspose3d(3, 2)(v)",
        "ConvTranspose3d(4, [1, 2, 3], stride=[1, 2, 2], padding=[0, 1, 1], groups=2, bias=false)(v)",
        "ConvTranspose3d(2, 2, stride=2, output_padding=[0, 1, 1], dilation=2)(v)",
    ]),
    "blocks": ("x: float[B, 2, H, W], fixed: float[2, 3, 7, 8]", [
        "unfold(x, 3)", "unfold(x, [3, 2], stride=[2, 1], padding=[1, 0])", "unfold(x, 2, dilation=[2, 1])",
        "unfold(fixed, 3, stride=2)",
        "LocallyConnected2d(2, 3)(fixed)", "LocallyConnected2d(3, [2, 3], stride=[2, 1], padding=[1, 0], bias=false)(fixed)",
        "ConvNorm2d(3, 3, stride=2)(x)", "Shortcut2d(2, 1)(x)", "Shortcut2d(3, 2)(x)", "ResidualBlock(2)(x)",
        "ResidualBlock(3, stride=2)(x)", "BottleneckBlock(2)(x)", "BottleneckBlock(1, stride=2, expansion=2)(x)",
        "PreActivationBlock(2)(x)", "PreActivationBlock(3, stride=2)(x)",
    ]),
}  # fmt: skip

NORM: dict[str, Group] = {
    "batch_norm": ("y: float[B, 4], a: float[B, 4, L], x: float[B, 4, H, W], v: float[B, 2, T, H, W]", [
        "BatchNorm1d()(y)", "BatchNorm1d(momentum=0.3, eps=0.1)(a)", "BatchNorm1d(affine=false)(y)",
        "BatchNorm1d(affine=false, eps=0.1)(a)",
        "BatchNorm2d()(x)", "BatchNorm2d(momentum=0.01, eps=0.1)(x)", "BatchNorm2d(affine=false)(x)",
        "BatchNorm2d(momentum=1.0)(x)",
        "BatchNorm3d()(v)", "BatchNorm3d(momentum=0.3, eps=0.1, affine=false)(v)",
    ]),
    "norm": ("y: float[B, 6], a: float[B, 6, L], x: float[B, 6, H, W], v: float[B, 4, T, H, W]", [
        "LayerNorm()(y)", "LayerNorm(eps=0.1)(transpose(a, 1, 2))", "LayerNorm(bias=false)(y)", "LayerNorm(affine=false)(y)",
        "LayerNorm(affine=false, bias=false, eps=0.1)(permute(x, [0, 2, 3, 1]))", "LayerNorm()(y[0])",
        "LayerNorm(affine=false)(a)",
        "RMSNorm()(y)", "RMSNorm(eps=0.1)(transpose(a, 1, 2))", "RMSNorm(affine=false)(permute(x, [0, 2, 3, 1]))",
        "RMSNorm()(y[0])",
        "RMSNorm(affine=false, eps=0.1)(a)",
        "GroupNorm(3)(y)", "GroupNorm(2)(a)", "GroupNorm(6, eps=0.1)(x)", "GroupNorm(1, affine=false)(x)",
        "GroupNorm(2, affine=false)(v)",
        "InstanceNorm()(a)", "InstanceNorm(affine=true)(x)", "InstanceNorm(eps=0.1)(v)",
        "InstanceNorm(eps=0.1, affine=true)(a)",
        "local_response_norm(x, 5)", "local_response_norm(x, 4, alpha=0.5, beta=0.5, k=2.0)",
        "local_response_norm(x, 1, alpha=1.0)",
        "VirtualBatchNorm()(x, 2 * x + 1).y", "VirtualBatchNorm(affine=false)(y, y ** 2).reference",
        "InputNorm([0.1, 0.2, 0.3], [1, 2, 4])(y[:, :3])", "Whiten([0.5, -0.5], [[1, 0.5], [0.5, 2]])(y[:, :2])",
        "over_channels(y[0], 4) * x", "standardize_channels(x, y[0], y[0] ** 2, 0.1)",
    ]),
}  # fmt: skip

POOL: dict[str, Group] = {
    "pool": ("a: float[B, 2, L], x: float[B, 2, H, W], v: float[B, 1, D, E, F], fixed: float[2, 3, 9, 8], volume: float[1, 2, 3, 5, 4]", [
        "max_pool1d(a, 2)", "max_pool1d(a, 3, stride=2, padding=1, ceil_mode=true)", "max_pool1d(a, 2, stride=1, dilation=2)",
        "max_pool2d(x, 2)", "max_pool2d(x, [3, 2], stride=[2, 1], padding=[1, 0])",
        "max_pool2d(x, 3, padding=1, ceil_mode=true)",
        "max_pool2d(x, 2, dilation=2, padding=1, stride=2, ceil_mode=true)", "max_pool2d(x - 100, 3, stride=1, padding=1)",
        "max_pool3d(v, 2)", "max_pool3d(v, 3, stride=[1, 2, 2], padding=1, ceil_mode=true)",
        "max_pool3d(v, 2, dilation=[1, 2, 1], stride=1)",
        "avg_pool1d(a, 2)", "avg_pool1d(a, 3, stride=2, padding=1, ceil_mode=true)",
        "avg_pool1d(a, 3, padding=1, count_include_pad=false)",
        "avg_pool2d(x, 2)", "avg_pool2d(x, [3, 2], stride=[2, 1], padding=[1, 0])",
        "avg_pool2d(x, 3, padding=1, ceil_mode=true)",
        "avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=true, count_include_pad=false)",
        "avg_pool2d(x, 3, stride=2, ceil_mode=true)",
        "avg_pool3d(v, 2)", "avg_pool3d(volume, 3, stride=2, padding=1, ceil_mode=true, count_include_pad=false)",
        "avg_pool3d(volume, [1, 2, 3], padding=[0, 1, 1])",
        "adaptive_avg_pool1d(a, 1)", "adaptive_avg_pool1d(a, 3)", "adaptive_avg_pool2d(x, 1)", "adaptive_avg_pool2d(x, [3, 2])",
        "adaptive_avg_pool(x, size=[H, 1])", "adaptive_avg_pool(x, size=[L, 2])", "adaptive_avg_pool2d(fixed, [3, 4])",
        "adaptive_avg_pool2d(fixed, [4, 3])", "adaptive_avg_pool(fixed, size=[11, L])", "adaptive_avg_pool3d(v, [2, 1, 3])",
        "adaptive_avg_pool3d(v, 1)",
        "global_avg_pool2d(x)", "global_max_pool2d(x)",
        *(f"{kind}_pool2d(fixed, 3, stride=2, padding=1, ceil_mode={c})" for kind in ("max", "avg") for c in ("true", "false")),
        "avg_pool2d(fixed, 3, stride=3, padding=1, ceil_mode=true, count_include_pad=false)",
        "max_pool2d(fixed, 2, stride=3, ceil_mode=true)",
        "max_pool2d_with_indices(x, 2)[1]", "max_pool2d_with_indices(x, [3, 2], stride=[2, 1], padding=[1, 0])[0]",
        "max_pool2d_with_indices(fixed, 3, stride=2, padding=1)[1]",
        "min_pool2d(x, 2)", "min_pool2d(fixed, 3, stride=2, padding=1)", "lp_pool2d(x, 2, 2)", "lp_pool2d(fixed, 3, [2, 3], stride=1)",
        "weighted_avg_pool2d(x, [[1.0, 2.0], [2.0, 4.0]])", "weighted_avg_pool2d(fixed, [[1.0, 2.0, 1.0]], stride=2, padding=1)",
    ]),
}  # fmt: skip

VISION: dict[str, Group] = {
    "sampling": ("x: float[B, 2, H, W], theta: float[B, 2, 3], fixed: float[2, 1, 5, 6], row: int[B, R, 3]", [
        "affine_grid(theta, 4, W)", "grid_sample(x, affine_grid(theta, 3, 4))", "grid_sample(fixed, rand(2, 3, 2, 2) * 4 - 2)",
        "pixels_at(x, row, 2 * row - 1)", "SpatialTransformer(Conv2d(2, 3, stride=2))(fixed)",
    ]),
}  # fmt: skip


def reductions(*calls: str) -> list[str]:
    """Each loss as it is by default, summed, and element by element."""
    return [f"{c}{r})" for c in calls for r in ("", ', reduction="sum"', ', reduction="none"')]


LOSS: dict[str, Group] = {
    "losses of maps": ("m: float[B, 5, H, W], s: float[N, 5, T]", ["gram(m)", "gram(s)", "gram_loss(m, s[:1])", "gram_loss(s, 2 * s)"]),
    "losses of classes": (
        "x: float[B, 5], t: int[B], m: float[B, 5, H, W], u: int[B, H, W], s: float[B, T, 5], r: int[B, T], w: float[5]", [
        *reductions("cross_entropy(x, t", "cross_entropy(x, t, ignore_index=2", "cross_entropy(x, t, label_smoothing=0.2"),
        *reductions("cross_entropy(x, t, weight=abs(w)", "cross_entropy(m, u, over=1", "cross_entropy(s, r",
        "cross_entropy(s, r, over=2"),
        *reductions("cross_entropy(m, u, over=-3, weight=abs(w), ignore_index=1, label_smoothing=0.1"),
        *reductions("cross_entropy(s, r, ignore_index=0, label_smoothing=0.3", "cross_entropy(m, u, over=1, ignore_index=-100"),
        *reductions("cross_entropy(s, r, weight=abs(w), label_smoothing=0.3",
        "cross_entropy(m, u, over=1, label_smoothing=0.3"),
        *reductions("cross_entropy(s, r, weight=abs(w), ignore_index=3", "nll(log_softmax(x), t", "nll(log_softmax(s), r, ignore_index=1"),
        "cross_entropy(x[0], t[0])", "cross_entropy(transpose(x, 0, 1), t, over=0)", "cross_entropy(x, cast(t, i32))",
        'cross_entropy(permute(m, [0, 2, 1, 3]), u, over=2, reduction="none")',
        "nll(log_softmax(m, over=1), u, over=1, weight=abs(w))",
        *reductions("hinge(x, t", "hinge(s, r, margin=0.3"),
        *reductions("soft_cross_entropy(x, softmax(x ** 2)",
        "soft_cross_entropy(x, 2 * x, temperature=3.0, soften_target=true"),
        "soft_cross_entropy(m, softmax(m ** 2, over=1), over=1)", "soft_cross_entropy(x, softmax(x ** 2), weight=abs(w))",
        "soft_cross_entropy(m, softmax(m ** 2, over=1), over=1, weight=abs(w))",
        "token_cross_entropy(s, r, abs(s[:, :, 0]))", "token_cross_entropy(s, r, abs(s[:, :, 0]), bits=true)",
    ]),
    "losses of numbers": ("a: float[B, 4], b: float[B, 4], c: float[B, 4], d: float[B]", [
        *reductions("mse(a, b", "mae(a, b", "huber(a, b", "huber(a, b, delta=0.3", "smooth_l1(a, b", "smooth_l1(a, b, beta=0.3"),
        *reductions("bce(sigmoid(a), sigmoid(b)", "bce_with_logits(a, sigmoid(b)", "bce_with_logits(50 * a, sigmoid(b), pos_weight=3.0"),
        *reductions("kl_div(log_softmax(a), softmax(b)", "focal_loss(a, sigmoid(b)", "focal_loss(a, sigmoid(b), gamma=1.5, alpha=0.25"),
        *reductions("margin_ranking(a, b, sign(c)", "margin_ranking(a, b, sign(c), margin=0.3"),
        *reductions("cosine_embedding(a, b, sign(d)", "cosine_embedding(a, b, sign(d), margin=0.2"),
        *reductions("triplet(a, b, c", "triplet(a, b, c, margin=0.1, eps=0.01"),
        *reductions("contrastive(a, b, cast(d > 0, float)", "contrastive(a, b, cast(d > 0, float), margin=3.0"),
        'kl_div(log_softmax(a), softmax(b), reduction="batchmean")', "kl_div(a, relu(b))",
        "bce(cast(a > 0, float), cast(b > 0, float))",
        "cosine_similarity(a, b)", "cosine_similarity(a, b, over=0)", "cosine_similarity(a, 0 * b)",
        "cosine_similarity(a, b, eps=50.0)",
        "mse(d, d + 1)", "mse(d[0], 2 * d[0])", 'reduced(a, "none")', 'reduced(a, "sum")', "reduced(a)",
        "bce_with_logits(d, 0 * d + 1)",
    ]),
    "losses of batches": ("a: float[B, 4], b: float[B, 4], d: float[B]", [
        "a if same_shape(a, b) else b", "elbo(d, 2 * d)", "elbo(d, d, beta=4.0)", "mmd(a, 2 * b)", "mmd(a, b[:1], bandwidth=3.0)",
        "rbf(a, b)",
    ]),
}  # fmt: skip

QKV = "q: float[B, 4, T, 6], k: float[B, 4, S, 6], v: float[B, 4, S, 3], m: bool[B, 1, 1, S], f: bool[T, S], w: float[B, T, 4]"
ATTENTION: dict[str, Group] = {
    "attention": (QKV, [
        "attention(q, k, v)", "attention(q, k, v, causal=true)", "attention(q, k, v, mask=m)", "attention(q, k, v, mask=f)",
        "attention(q, k, v, mask=m, causal=true)", "attention(q, k, v, mask=f, causal=true, scale=0.3)",
        "attention(q, q, q, causal=true)",
        "attention(q, k, v, scale=2.0)", "attention(q[0], k[0], v[0], mask=f)", "attention(q[0, 0], k[0, 0], v[0, 0])",
        "attention(q[0, 0], k[0, 0], v[0, 0], causal=true)", "attention(q, k[:, :1], v[:, :1])",
        "attention(q, k, v, mask=m[0, 0, 0])",
        "attention(q, k, v, mask=logical_and(m, not (m == m)))",
        "attention(q, k, v, mask=logical_and(f, arange(S) > 100), causal=true)",
        "split_heads(w, 2)", "share_heads(split_heads(w, 2), 4)", "share_heads(q, 4)", "share_heads(q, 8)",
    ]),
    "multi_head": (
        "x: float[B, T, 8], y: float[B, S, 6], z: float[B, S, 5], m: bool[B, 1, 1, S], p: bool[B, 1, 1, T], f: bool[T, T]", [
        "MultiHeadAttention(2)(x, y, z)", "MultiHeadAttention(2)(x, y, z, m)",
        "MultiHeadAttention(4, kv_heads=2, bias=false)(x, y, z, m)",
        "MultiHeadAttention(4, kv_heads=1, causal=true)(x, y, z)", "MultiHeadAttention(2, causal=true)(x, x, x, mask=p)",
        "SelfAttention(2)(x)", "SelfAttention(1, causal=true)(x)", "SelfAttention(2, causal=true)(x, p)",
        "SelfAttention(2)(x, p)",
        "SelfAttention(2)(x, f)", "SelfAttention(4, kv_heads=2)(x, p)",
        "SelfAttention(4, kv_heads=1, causal=true, bias=false)(x, f)",
        "SelfAttention(4, causal=true, bias=false)(x)", "SelfAttention(2)(x, mask=logical_and(p, arange(T) > 1000))",
        "FeedForward(7)(x)",
        "FeedForward(5, act=gelu)(z)", "SelfAttention(8, bias=false)(x, mask=p)", "SelfAttention(2)(x, p[0, 0, 0])",
    ]),
    "transformer": ("x: float[B, T, 6], y: float[B, S, 4], m: bool[B, 1, 1, S], p: bool[B, 1, 1, T]", [
        "TransformerEncoderLayer(2, 5, rate=0.0, norm_first=true, eps=0.1)(x, p)",
        "TransformerEncoderLayer(3, 5, rate=0.0, act=gelu)(x)",
        "TransformerDecoderLayer(2, 5, rate=0.0)(x, y, m)",
        "TransformerDecoderLayer(2, 5, rate=0.0, norm_first=true, causal=false)(x, y)",
        "TransformerEncoder(2, 2, 5, rate=0.0)(x)", "TransformerEncoder(2, 2, 5, rate=0.0, norm_first=true, eps=0.1)(x, p)",
        "TransformerDecoder(2, 2, 5, rate=0.0)(x, y, m)", "TransformerDecoder(1, 3, 5, rate=0.0, norm_first=true)(x, y)",
    ]),
    "scores": ("x: float[B, T, 4], y: float[B, S, 4], z: float[B, S, 3], m: bool[B, S], i: float[B, 8, H, W]", [
        "AdditiveScore(5)(x, z)", "dot_score(x, y)", "BilinearScore()(x, z)", "content_score(x, y)", "content_score(0 * x, y)",
        "LocationAttention(1024)(x, z).context", "LocationAttention(1024)(x, z, m).weights",
        "HardAttention()(x, z).log_prob", "HardAttention(AdditiveScore(3))(x, y, m).context",
        "NonLocal()(i)", "NonLocal(width=3)(i)", "AttentionMap()(i).pooled", "AttentionMap()(i).map",
        "Sublayer(Linear(4))(x)", "Sublayer(FeedForward(3, act=gelu), rate=0.5, norm_first=true, eps=0.1)(x)",
    ]),
    "dropout": ("x: float[B, T, 4], y: float[B, S, 4], m: bool[B, 1, 1, S], p: bool[B, 1, 1, T]", [
        "TransformerEncoderLayer(2, 5)(x, p)", "TransformerDecoderLayer(2, 5, rate=0.5)(x, y, m)",
        "FeedForward(7, rate=0.5)(x)",
        "SelfAttention(2, rate=0.5)(x)", "SelfAttention(2, rate=0.5, causal=true)(x, p)",
        "MultiHeadAttention(2, rate=0.3)(x, y, y, m)",
        "BatchNorm1d()(flatten(x, start=1)[:, :3])", "dropout(x, 0.5)",
    ]),
}  # fmt: skip

INITIALIZERS: dict[str, Group] = {
    "initializers": ("x: float[B, 4]", [
        f"Linear(3, init={name})(x)"
        for name in (
            "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "kaiming_normal_out", "lecun_uniform",
        "lecun_normal",
            "fan_in_uniform",
        )
    ] + ["Linear(3, bias_init=logit_prior(0.2))(x)", "Linear(8, bias_init=gate_bias)(x)", "Linear(4, bias_init=gate_bias(2.0))(x)"]),
}  # fmt: skip

DISTRIBUTIONS: dict[str, Group] = {
    "distributions": (
        "a: float[B, 4], c: float[B, 4], x: float[B, 4], d: float[B, 4], y: float[B], k: int[B]", [
        "bernoulli_log_prob(cast(x > 0, float), 40 * a)", "bernoulli_entropy(40 * a)", "bernoulli_kl(a, c)",
        "categorical_log_prob(k, a)", "categorical_entropy(a)", "categorical_kl(a, c)", "kl(softmax(a), softmax(c))",
        "kl(softmax(a, over=0), softmax(c, over=0), over=0)",
        "normal_log_prob(x, a, exp(d))", "normal_log_prob(x)", "normal_entropy(exp(d))", "normal_kl(a, exp(d), c, 2.0)",
        "normal_kl(a, exp(d))", "diagonal_normal_log_prob(x, a, exp(d))", "diagonal_normal_log_prob(x)",
        "diagonal_normal_entropy(exp(d))", "diagonal_normal_kl(a, exp(d), c, exp(x))", "diagonal_normal_kl(a, exp(d))",
        "logistic_mixture_log_prob(y, a, c, d)", "discretized_logistic_mixture_log_prob(0.3 * y, a, c, d)",
        "discretized_logistic_mixture_log_prob(y, a, c, d - 2, levels=9)",
    ]),
    "draws": ("a: float[B, 4], c: float[B, 4], d: float[B, 4]", [
        "bernoulli_sample(a)", "categorical_sample(a)", "normal_sample(a, exp(d))", "normal_sample(a, 2.0)",
        "diagonal_normal_sample(a, exp(d))", "logistic_mixture_sample(a, c, d)",
        "discretized_logistic_mixture_sample(a, c, d)", "gumbel_softmax(a)", "gumbel_softmax(a, 0.5, hard=true)",
    ]),
    "gradient": ("a: float[B, 4], c: float[B, 4]", [
        "straight_through(round(a), c)", "gradient_reversal(a)", "gradient_reversal(a, 0.5)", "score_function(a, c)",
        "deconvolution_relu(a)", "guided_relu(a)",
    ]),
}  # fmt: skip

REGULARIZER: dict[str, Group] = {
    "regularizer": ("x: float[B, T, 4], m: float[B, 3, H, W]", [
        "l2(x)", "l1(x)", "elastic(x)", "elastic(x, ratio=0.1)", "total_variation(x)", "total_variation(m)", "dropout2d(m)",
        "dropout2d(x, 0.2)",
    ]),
}  # fmt: skip

LENGTH = "cast(y > 0, int) * 2"
RECURRENT: dict[str, Group] = {
    "recurrent": ("x: float[B, T, 3], s: float[B, 2], r: float[B, 2]", [
        "RNN(2)(x).hs", "RNN(2, act=relu)(x, s).h", "RNN(2, act=sigmoid, biases=1)(x).hs", "RNN(2, reverse=true, biases=0)(x).hs",
        "LSTM(2)(x).hs", "LSTM(2, biases=1)(x, s, r).c", "LSTM(2, biases=0, reverse=true)(x, s, r).h", "LSTM(2, reverse=true)(x).hs",
        "GRU(2)(x).hs", "GRU(2, biases=1)(x, s).h", "GRU(2, biases=0, reverse=true)(x, s).hs",
        "Bidirectional(2)(x)", "Bidirectional(2, cell=GRU)(x)", "Stacked(2, 2)(x)", "Stacked(2, 2, cell=RNN, width=4)(x)",
        "WeightDrop(LSTM(2))(x).hs", "locked_dropout(x, 0.3)", "embedding_dropout(x[0], 0.3)",
    ]),
    "recurrent with lengths": ("x: float[B, T, 3], s: float[B, 2], r: float[B, 2], y: float[B]", [
        f"{layer}, length={LENGTH}).{result}" for layer in ("RNN(2)(x", "LSTM(2)(x", "GRU(2)(x, s", "LSTM(2, reverse=true)(x, s, r",
        "GRU(2, reverse=true)(x", "RNN(2, reverse=true)(x, s") for result in ("hs", "h")
    ]),
    "cells": ("x: float[B, 3], s: float[B, 2], r: float[B, 2]", [
        *(f"RNNCell(2, biases={b})(x, s)" for b in range(3)), *(f"LSTMCell(2, biases={b})(x, s, r).h" for b in range(3)),
        *(f"GRUCell(2, biases={b})(x, s)" for b in range(3)), "LSTMCell(2)(x, s, r).c",
    ]),
    "stacks": ("x: float[B, T, 3]", [
        f"Stacked{kind}(2, 2, bidirectional={both})(x).{result}" for kind in ("RNN", "LSTM", "GRU") for both in ("false", "true")
        for result in ("hs", "h")
    ]),
}  # fmt: skip

RULE = "step * step + 1, abs(lr)"
TRAINING: dict[str, Group] = {
    "rules": ("p: float[N], g: float[N], m: float[N], n: float[N], step: float[], lr: float[]", [
        f"sgd(p, g, m, {RULE})", f"sgd(p, g, m, {RULE}, momentum=0.9, nesterov=true, weight_decay=0.1)",
        f"sgd(p, g, m, {RULE}, momentum=0.9, dampening=0.1)", "sgd(p, g, m, step, 0.1)",
        f"adagrad(p, g, m * m, {RULE}, lr_decay=0.1, weight_decay=0.1, eps=0.01)",
        f"rmsprop(p, g, m * m, n, m, {RULE}, eps=0.01)",
        f"rmsprop(p, g, m * m + n * n, n, m, {RULE}, eps=0.01, centered=true, momentum=0.5)",
        f"adadelta(p, g, m * m, n * n, {RULE}, weight_decay=0.1)",
        f"adam(p, g, m, n * n, {RULE}, eps=0.01)", f"adam(p, g, m, n * n, {RULE}, betas=[0.5, 0.9], weight_decay=0.1)",
        f"adamw(p, g, m, n * n, {RULE}, eps=0.01)", f"nadam(p, g, m, n * n, sigmoid(n), {RULE}, eps=0.01)",
        f"adamax(p, g, m, abs(n) + 0.1, {RULE})", "m * bias_correction(step * step + 1, 0.999)", "rooted(m * m, 0.1)",
        f"lion(p, g, m, {RULE}, weight_decay=0.1)",
    ]),
    "rates": ("x: float[N]", [
        "constant_rate(step, 0.1)", "step_decay(step, 0.1, 4)", "multistep_decay(step, 0.1, [4, 9])",
        "exponential_decay(step, 0.1, 0.9)", "cosine_decay(step, 0.1, 8, end=0.01)", "linear_decay(step, 0.1, 8)",
        "polynomial_decay(step, 0.1, 8, power=2)", "one_cycle(step, 0.1, 12)", "linear_warmup(step, 0.1, 8)",
        "warmup_cosine(step, 0.1, 3, 8)", "warmup_linear(step, 0.1, 3, 8)", "cosine_restarts(step, 0.1, 5)",
        "cosine_restarts(step, 0.1, 3, growth=2)", "inverse_sqrt(step, 0.1, 4)", "inverse_time(step, 0.1, 0.5)",
        "triangular(step, 0.01, 0.1, 6)", "slanted_triangular(step, 0.1, 12, cut=0.3)", "frozen_until(step, 0.1, 4)",
    ]),
}  # fmt: skip
TRAINING["rules"] = (TRAINING["rules"][0], [f"stack({e}, over=0)" for e in TRAINING["rules"][1]])
TRAINING["rates"] = (
    TRAINING["rates"][0],
    [e.replace("(step", "(0.25 + cast(arange(12), float) + 0 * mean(x)") for e in TRAINING["rates"][1]],
)

SIGNAL: dict[str, Group] = {
    "signal": ("x: float[B, 40], y: float[64]", [
        "hann(7)", "hamming(6)", "frames(x, 8, 3)", "frames(y, 64, 1)", "spectrogram(x, 16, 5)",
        "spectrogram(y, 9, 4, window=hamming, eps=0.1)", "stft(x, 10, 10)[0]", "stft(x, 10, 7, window=hamming)[1]",
    ]),
}  # fmt: skip

QUANTISE: dict[str, Group] = {
    "quantise": ("z: float[B, 5, H, W], s: float[B, 5, T], e: float[6, 5], k: int[B, T], j: int[B, H, W]", [
        "channels_last(z)", "channels_last(s)", "nearest_code(channels_last(z), e)", "nearest_code(z[:, :, 0, 0], e)",
        "vectors_of(e, k)", "vectors_of(e, j)", "VectorQuantiser(6, 5)(z).quantised", "VectorQuantiser(6, 5, beta=0.1)(z).loss",
        'VectorQuantiser(6, 5, reduction="sum")(s).loss', "VectorQuantiserEMA(6, 5)(z).code", "VectorQuantiserEMA(6, 5)(s).loss",
    ]),
}  # fmt: skip

FILES: dict[str, dict[str, Group]] = {
    "activation": ACTIVATIONS,
    "attention": ATTENTION,
    "conv": CONV,
    "distribution": {name: DISTRIBUTIONS[name] for name in ("distributions", "draws")},
    "embedding": {"embedding": LINEAR["embedding"]},
    "gradient": {"gradient": DISTRIBUTIONS["gradient"]},
    "initializer": INITIALIZERS,
    "linear": {"linear": LINEAR["linear"]},
    "loss": LOSS,
    "mlp": {"linear": LINEAR["linear"]},
    "norm": NORM,
    "optimizer": {"rules": TRAINING["rules"]},
    "pool": POOL,
    "quantise": QUANTISE,
    "recurrent": RECURRENT,
    "regularizer": REGULARIZER,
    "schedule": {"rates": TRAINING["rates"]},
    "signal": SIGNAL,
    "vision": VISION,
}
WITH_THEIR_SYSTEMS = {
    "box": "test_detection.py",
    "decode": "test_decode.py",
    "detection": "test_detection.py",
    "flow": "test_flow.py",
    "transducer": "test_transducer.py",
}
"""Files that are compared where functions and layers to use them with are: in tests/systems."""

GROUPS = {name: group for groups in FILES.values() for name, group in groups.items()}


DIFFERENTIATED: dict[str, Group] = {
    "distributions": (
        "a: float[B, 4], c: float[B, 4], x: float[B, 4], y: float[B], k: int[B]", [f"grad(sum({e}), a)" for e in (
            "bernoulli_log_prob(sigmoid(x), a)", "bernoulli_entropy(a)", "bernoulli_kl(a, c)", "categorical_log_prob(k, a)",
            "categorical_entropy(a)", "categorical_kl(c, a)", "normal_log_prob(x, a, exp(a))", "normal_kl(a, exp(a), c, exp(x))",
            "diagonal_normal_kl(a, exp(a))", "logistic_mixture_log_prob(y, a, a, a)", "logistic_mixture_sample(c, a, a)",
            "discretized_logistic_mixture_log_prob(0.3 * y, a, a, a)", "normal_sample(a, exp(a))", "gumbel_softmax(a, 0.5) * c",
            "discretized_logistic_mixture_log_prob(y, c, a, a - 2, levels=9)", "gumbel_softmax(a, 0.5, hard=true) * c",
            "straight_through(round(a), a ** 2)", "gradient_reversal(a ** 2)", "score_function(a, exp(a))",
            "deconvolution_relu(a) * c", "guided_relu(a) * c",
        )],
    ),
    "recurrent": (
        "a: float[B, T, 3], s: float[B, 2], y: float[B]", [f"grad(sum({e} ** 2), a)" for e in (
            "RNN(2)(a).hs", "RNN(2, act=relu)(a, s).hs", "LSTM(2)(a).hs", "LSTM(2, biases=1)(a, s, s).c", "GRU(2)(a, s).hs",
            f"LSTM(2, reverse=true)(a, length={LENGTH}).hs", f"GRU(2, reverse=true)(a, length={LENGTH}).h",
            "StackedLSTM(2, 2, bidirectional=true)(a).hs", "LSTMCell(2)(a[:, 0], s, s).h", "GRUCell(2)(a[:, 0], s)",
        )],
    ),
}  # fmt: skip


def model_of(group: Group) -> str:
    """A model with an output for each expression."""
    inputs, expressions = group
    lines = [f"  y{i} = {expression}" for i, expression in enumerate(expressions)]
    return "\n".join([f"model Group()({inputs}) {{", *lines, f"  return {', '.join(f'y{i}' for i in range(len(lines)))}", "}"])


def disagreements(group: Group, backends: list[str] | None, options: EmitOptions, float_type: DType = DType.F32) -> list[str]:
    """The outputs of the group that a backend computes differently."""
    program = compile_graph(Source("group", model_of(group)), float_type=float_type)
    report = verify(program, backends, sizes=1, options=options)
    assert not report.refusals, report.refusals
    assert {row.backend for row in report.rows} >= set(backends or ("torch", "jax", "onnx"))
    assert not [row for row in report.rows if row.note]
    return [f"{expression_of(row.output, group)}: {row}" for row in report.rows if not row.ok]


def expression_of(output: str, group: Group) -> str:
    """The expression behind the name of an output."""
    return group[1][int(output[1:])] if re.fullmatch(r"y\d+", output) else output


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_definition_of_the_library_is_compared(name: str) -> None:
    tree = parse(Source(name, (LIBRARY / f"{name}.dl").read_text()))
    text = " ".join(expression for _, expressions in FILES[name].values() for expression in expressions)
    names = [d.name for d in tree.definitions if isinstance(d, Module | Function)]
    assert len(names) == len(tree.definitions)
    missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
    assert not missing


def test_every_file_of_the_library_is_compared() -> None:
    """Here, or with the systems that it is written for."""
    assert {path.stem for path in LIBRARY.glob("*.dl")} == set(FILES) | set(WITH_THEIR_SYSTEMS)
    assert all("agrees" in (SYSTEMS / file).read_text() for file in WITH_THEIR_SYSTEMS.values())


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_the_library_is_the_same_on_every_backend(name: str) -> None:
    assert not disagreements(GROUPS[name], None, EmitOptions())


@pytest.mark.parametrize("name", sorted(DIFFERENTIATED))
def test_gradients_through_the_library_are_the_same(name: str) -> None:
    assert not disagreements(DIFFERENTIATED[name], ["torch", "jax"], EmitOptions())


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_the_library_is_the_same_in_onnx_without_functions(name: str) -> None:
    assert not disagreements(GROUPS[name], ["onnx"], EmitOptions(inline=True))


@pytest.mark.parametrize(
    "name",
    [
        *("attention", "batch_norm", "linear", "rules"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("distributions", "losses of classes", "recurrent")),
    ],
)
def test_double_precision_is_kept_everywhere(name: str) -> None:
    inputs, expressions = GROUPS[name]
    known = [e for e in expressions if "gelu" not in e]  # onnxruntime has no erf of f64
    assert not disagreements((inputs, known), None, EmitOptions(), DType.F64)


@pytest.mark.parametrize(
    ("name", "backends", "float_type"),
    [("conv", None, DType.BF16), ("losses of numbers", ["onnx"], DType.BF16), ("activations", ["onnx"], DType.F16)],
)
def test_sixteen_bits_are_enough(name: str, backends: list[str] | None, float_type: DType) -> None:
    assert not disagreements(GROUPS[name], backends, EmitOptions(), float_type)
