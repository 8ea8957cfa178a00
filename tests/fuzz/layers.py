"""The library in random specs: layers with attributes drawn for an operand, and every expression that the tests of the library know.

The expressions of tests/test_library_backends.py and tests/test_primitives_backends.py name each definition at least once. Here their
operands are whatever the spec has computed so far, where the types fit.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import dsl
from dsl.parse import parse
from dsl.source import Source
from dsl.syntax import Function, Module
from dsl.types import DType
from tests import test_library_backends, test_primitives_backends
from tests.fuzz.scope import Expression, Scope, Size, Tensor, small, words

KNOWN = {
    **test_library_backends.GROUPS,
    **test_primitives_backends.GROUPS,
    "decompositions": test_primitives_backends.DECOMPOSITIONS,
}

FLOWS: tuple[str, list[str]] = ("x: float[B, 4, 2, 6], z: float[B, 8]", [
    "ActNorm()(x).y", "ActNorm()(x).logdet", "InvertibleConv()(x).y", "InvertibleConv(lu=true)(x).logdet",
    "AffineCoupling(Conv2d(4, 1))(x).y", "AffineCoupling(Conv2d(4, 3, padding=1), swapped=true)(x).logdet",
    "CheckerboardCoupling(Conv2d(8, 1))(x).y", "CheckerboardCoupling(Conv2d(8, 1), swapped=true)(x).logdet",
    "SqueezeBlocks()(x).y", "unsqueeze_blocks(squeeze_blocks(x))", "checkerboard(2, 6) * x", "coupled_halves(x, true)[0]",
    "Flow([ActNorm(), InvertibleConv(), AffineCoupling(Conv2d(4, 1))])(x).y", "0.1 * flow_log_prob([x, x], sum_each(x))",
    "MultiScale([ActNorm(), ActNorm()])(x).logdet", "latents_of(z, [1, 1])[0]", "FirstBatch()(z[0])",
])  # fmt: skip
MORE: tuple[str, list[str]] = (
    "x: float[B, T, 4], m: float[B, 4, 6, 8], n: float[B, 4, 3, 4], o: float[B, 4, 2, 2], b: float[N, 4], c: float[M, 4], k: int[B, 3], "
    "q: float[B, 3, 3, 5], t: int[B, 2], f: float[N, 2]", [
    "box_area(b)", "iou(sigmoid(b) + [0.0, 0.0, 1.5, 1.5], sigmoid(c) + [0.0, 0.0, 1.5, 1.5])", "cell_centers(5)", "cell_centers(3, 8)",
    "boxes_on_map(f, m)", "boxes_on_map(f, m, 4)", "pyramid_anchors([m, n, o])", "default_boxes(m, box_scale(1, 3), 0.5, [1.0, 2.0])",
    "FPN(3)([m, n, o])[0]", "FPN(2)([m, n, o])[4]", "enlarged(n, m)", "gram(m)", "gram(x)", "gram_loss(m, n)",
    "nearest_code(x, c)", "vectors_of(c, k % M)", "channels_last(m)", "VectorQuantiser(5, 4)(m).quantised", "VectorQuantiser(5, 4)(m).loss",
    "VectorQuantiserEMA(3, 4)(n).loss", "VectorQuantiserEMA(5, 4)(n).quantised", "batched_take(x, k * 0)", "log_add_exp(b, 2 * b)",
    "rnnt_loss(q, t, full([B], 3, dtype=int), full([B], 2, dtype=int))",
    'rnnt_loss(q, t % 4 + 1, full([B], 2, dtype=int), full([B], 1, dtype=int), reduction="none")',
    "beam_search(Decoder(3), zeros(2, 4), first=0, last=1, limit=3, width=2)[1]", "raster_sample(Pixels(), zeros(2, 2, 2, dtype=int))[0]",
    "rows_of(x, k * 0)", "deconvolution_relu(x)", "guided_relu(x)", "locked_dropout(x)", "embedding_dropout(b)",
    "WeightDrop(LSTM(2))(x).hs", "Bidirectional(2)(x)", "Stacked(2, 2, cell=GRU)(x)", "rooted(abs(b) + 0.1, 0.1)",
    "step_decay(abs(b) * 7.3, 0.1, 4)", "inverse_time(abs(b), 0.1, 0.5)", "triangular(abs(b) * 7.3, 0.1, 0.5, 4)",
    "slanted_triangular(abs(b), 0.1, 9)", "frozen_until(abs(b) + 0.37, 0.1, 2)", "total_variation(m)", "log_add_exp(m, 0.5 * m)",
])  # fmt: skip


Known = tuple[dict[str, tuple[str, tuple[str, ...]]], str]
"""The types of operands by name, and an expression of them."""


@cache
def known() -> list[Known]:
    """Every known expression with the types of its operands."""
    found = []
    for inputs, expressions in (*KNOWN.values(), FLOWS, MORE):
        types = {
            name: (dtype, tuple(filter(None, shape.split(", "))))
            for name, dtype, shape in re.findall(r"(\w+): (\w+)\[([^\]]*)\]", inputs)
        }
        found += [(types, expression) for expression in expressions]
    return found


@cache
def library() -> frozenset[str]:
    """Every module and function of the library."""
    files = sorted((Path(dsl.__file__).parent / "lib").glob("*.dl"))
    trees = [parse(Source(file.name, file.read_text())) for file in files]
    return frozenset(d.name for tree in trees for d in tree.definitions if isinstance(d, Module | Function))


@cache
def by_definition() -> list[list[Known]]:
    """For each definition of the library the known expressions that name it, and last those that name none."""
    named: dict[str, list[Known]] = {name: [] for name in (*sorted(library()), "")}
    for types, text in known():
        for name in sorted(words(text) & library()) or [""]:
            named[name].append((types, text))
    return [found for found in named.values() if found]


def known_expression(scope: Scope) -> Expression | None:
    """A known expression on tensors of this spec."""
    types, text = scope.random.choice(scope.random.choice(by_definition()))
    used = words(re.sub(r'"[^"]*"', "", text))
    sizes: dict[str, Size] = {}
    if not scope.owns and any(word[0].isupper() and len(word) > 1 for word in used):
        return None
    renamed = _apart({name: _operand(scope, *types[name], sizes, used) for name in types if name in used}, types)
    for symbol in sorted({d for _, shape in types.values() for d in shape if d in used and d not in sizes}):
        sizes[symbol] = _size(scope, symbol)
    return Expression(_replaced(text, {**{s: str(d) for s, d in sizes.items()}, **renamed}), 50.0)


def _apart(operands: dict[str, str], types: dict[str, tuple[str, tuple[str, ...]]]) -> dict[str, str]:
    """No floating tensor twice: the angle of a tensor to itself has a gradient that is rounding and nothing else."""
    apart: dict[str, str] = {}
    for name, text in operands.items():
        apart[name] = f"(0.7 * {text} + 0.2)" if types[name][0] == "float" and text in apart.values() else text
    return apart


def _operand(scope: Scope, dtype: str, shape: tuple[str, ...], sizes: dict[str, Size], used: set[str]) -> str:
    if dtype == "float" and not scope.chance(3):
        for tensor in reversed(scope.tensors[-6:]):
            bound = _unified(tensor, shape, sizes, used)
            if bound is not None:
                sizes.update(bound)
                return small(tensor) if tensor.scale <= 4 else f"(3 * tanh({tensor.name}))"
    for d in shape:
        for symbol in words(d):
            sizes.setdefault(symbol, _size(scope, symbol))
    known_dtype = {"float": DType.F32, "int": DType.I64, "bool": DType.BOOL}[dtype]
    made: list[Size] = [
        int(d) if d.isdigit() else sizes[d] if d in sizes else _replaced(d, {s: str(v) for s, v in sizes.items()}) for d in shape
    ]
    return scope.fresh(known_dtype, made).name


def _unified(tensor: Tensor, shape: tuple[str, ...], sizes: dict[str, Size], used: set[str]) -> dict[str, Size] | None:
    """What the symbols of the shape stand for if the tensor is to have it."""
    if tensor.kind.dtype is not DType.F32 or tensor.kind.rank != len(shape):
        return None
    bound = dict(sizes)
    for pattern, actual in zip(shape, tensor.kind.shape, strict=True):
        if pattern.isdigit():
            if actual != int(pattern):
                return None
        elif bound.setdefault(pattern, actual) != actual or (pattern in used and not str(actual).isidentifier()):
            return None
    return bound


def _size(scope: Scope, symbol: str) -> Size:
    if scope.symbols and scope.chance(2):
        return scope.draw_symbol()
    return scope.number(5, 7) if symbol in "LHWDEF" else scope.number(2, 4)


def _replaced(text: str, names: dict[str, str]) -> str:
    """The text with names replaced, but not in strings, after a dot, or as the name of an argument."""
    pattern = r'("[^"]*")|(?<![.\w])([A-Za-z_]\w*)\b(?!\s*=(?!=))'
    return re.sub(pattern, lambda m: m[1] or names.get(m[2], m[2]), text)


DECODER = (
    "module Decoder(width: int)(state: float[N, S], token: int[N]) -> (logits: float[N, width], next: float[N, S]) {\n"
    "  next = tanh((state -> Linear(S)) + (token -> Embedding(width, S)))\n  return (next -> Linear(width)), next\n}"
)
PIXELS = (
    "module Pixels()(image: int[B, H, W]) -> float[B, 3, H, W] {\n"
    "  return one_hot(image, 3, dtype=float) -> permute([0, 3, 1, 2]) -> Conv2d(3, 1)\n}"
)


def with_layers(scope: Scope, expression: Expression) -> tuple[Expression, list[str]]:
    """The expression with the modules that it applies and the library does not have: their definitions, and a layer of each."""
    layers = []
    text = expression.text
    for applied, definition in (("Decoder(3)", DECODER), ("Pixels()", PIXELS)):
        if applied in text:
            if definition not in scope.program.definitions:
                scope.program.definitions.append(definition)
            name = scope.program.name("net")
            layers.append(f"layer {name} = {applied}")
            text = text.replace(applied, name)
    return replace(expression, text=text), layers


# --- layers with attributes ---


def layer_for(scope: Scope) -> tuple[str, Tensor]:
    """A layer and what to apply it to."""
    found = [t for t in scope.tensors if t.kind.dtype is DType.F32 and t.kind.rank and isinstance(t.kind.shape[-1], int)]
    if found and not scope.chance(4):
        x = found[-1 - scope.number(0, min(3, len(found) - 1))]
    else:
        x = scope.fresh(DType.F32, [scope.size() for _ in range(scope.number(0, 2))] + [scope.number(1, 6)])
    return scope.one_of(*_layers(scope, x)), x


def _layers(scope: Scope, x: Tensor) -> list[str]:
    width, n = int(x.kind.shape[-1]), scope.number(1, 5)
    bias = scope.one_of("", ", bias=false")
    heads = scope.draw_divisor(width)
    act, chosen = scope.one_of("tanh", "gelu", "relu"), scope.one_of("true", "false")
    options = [
        f"Linear({n}{bias})", f"Linear({n}, init=xavier_normal)", f"MLP([{n}, {n + 1}], out={n}{bias}, act={act})",
        f"LayerNorm(eps=0.1{bias})", f"LayerNorm(eps=0.1, affine={chosen})", "RMSNorm(eps=0.1)",
        f"FeedForward({n}, act=silu)", f"Sublayer(Linear({width}), rate=0.3, eps=0.1)",
    ]  # fmt: skip
    if x.kind.rank == 3:
        more = scope.one_of("", ", causal=true", ", bias=false", f", kv_heads={scope.draw_divisor(heads)}")
        options += [
            f"SelfAttention({heads}{more})", f"TransformerEncoderLayer({heads}, {n}, rate=0.0, eps=0.1, norm_first={chosen})",
            f"Bidirectional({n})", f"StackedGRU({n}, {scope.number(1, 2)})", f"RNN({n}, reverse=true)", f"LSTM({n}, biases={n % 3})",
            "LearnedPositions(1030)",
        ]  # fmt: skip
    channels = x.kind.shape[1] if x.kind.rank > 1 else None
    if isinstance(channels, int) and x.kind.rank in (3, 4, 5):
        groups, rank = scope.draw_divisor(channels), x.kind.rank - 2
        shape = f"kernel={scope.number(1, 3)}, stride={scope.number(1, 4)}, padding={scope.number(0, 2)}, groups={groups}{bias}"
        options += [
            f"Conv{rank}d({groups * scope.number(1, 2)}, {shape})", f"BatchNorm{rank}d(eps=0.1)", f"GroupNorm({groups}, eps=0.1)",
            "InstanceNorm(eps=0.5, affine=true)", "PReLU(shared=false)",
            f"ConvTranspose{rank}d({groups}, kernel=2, stride=2, groups={groups})",
        ]  # fmt: skip
        if rank == 2:
            options += [
                f"ResidualBlock({n})",
                f"BottleneckBlock({n}, expansion=2)",
                f"PreActivationBlock({n}, stride=2)",
                "ConvNorm2d(2, 3)",
            ]
    return options
