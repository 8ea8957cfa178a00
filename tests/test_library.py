"""The library in the language (dsl/lib/*.dl) computes what PyTorch computes: the same names, layouts, defaults and numbers.

Each case is an expression of the language on named tensors, computed by the reference in float64, beside
the PyTorch call it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from backends.reference import Interpreter
from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.source import Source
from dsl.types import DType

Tensors = Mapping[str, torch.Tensor]
RNG = torch.Generator().manual_seed(7)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=RNG, dtype=torch.float64)


def labels(*shape: int, classes: int) -> torch.Tensor:
    return torch.randint(classes, shape, generator=RNG)


def declared(name: str, value: torch.Tensor) -> str:
    """The input of a model that `value` fits: `x: float[2, 3]`."""
    kind = {torch.float64: "float", torch.int64: "int", torch.bool: "bool"}[value.dtype]
    return f"{name}: {kind}[{', '.join(map(str, value.shape))}]"


def computed(expression: str, tensors: Tensors, state: Tensors | None = None, *, training: bool = False) -> np.ndarray:
    """The value of an expression on named tensors."""
    return run(expression, tensors, state, training=training)[0]


def run(
    expression: str, tensors: Tensors, state: Tensors | None = None, *, training: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The value of an expression, and the buffers that it changed."""
    inputs = ", ".join(declared(n, v) for n, v in tensors.items())
    program = compile_graph(Source("case", f"model Case()({inputs}) {{ return {expression} }}"), float_type=DType.F64)
    interpreter = Interpreter({n: v.detach().numpy() for n, v in (state or {}).items()}, training=training)
    outputs = interpreter.run(program.entries["forward"], {n: v.numpy() for n, v in tensors.items()})
    return next(iter(outputs.values())), interpreter.updated


def check(found: np.ndarray, wanted: torch.Tensor) -> None:
    assert found.shape == tuple(wanted.shape)
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-9, atol=1e-11)


# --- activations --------------------------------------------

POINTS = torch.tensor([[-40.0, -4.0, -1.0, -0.3], [0.0, 0.2, 3.5, 40.0]], dtype=torch.float64)
ACTIVATIONS: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
    ("softmax(x)", lambda x: F.softmax(x, -1)),
    ("softmax(1000 + x, over=0)", lambda x: F.softmax(x, 0)),
    ("masked_softmax(x, x > -0.5)", lambda x: F.softmax(x.masked_fill(x <= -0.5, -torch.inf), -1)),
    ("masked_softmax(x, x > 100)", lambda x: torch.full_like(x, 0.25)),
    ("log_softmax(x)", lambda x: F.log_softmax(x, -1)),
    ("log_sigmoid(25 * x)", lambda x: F.logsigmoid(25 * x)),
    ("gelu(x)", F.gelu),
    ("gelu_tanh(x)", lambda x: F.gelu(x, approximate="tanh")),
    ("silu(x)", F.silu),
    ("swish(x)", F.silu),
    ("leaky_relu(x, 0.2)", lambda x: F.leaky_relu(x, 0.2)),
    ("elu(x, 0.7)", lambda x: F.elu(x, 0.7)),
    ("selu(x)", F.selu),
    ("celu(x, 0.7)", lambda x: F.celu(x, 0.7)),
    ("mish(x)", F.mish),
    ("relu6(x)", F.relu6),
    ("hard_tanh(x, low=-0.5)", lambda x: F.hardtanh(x, -0.5)),
    ("hard_sigmoid(x)", F.hardsigmoid),
    ("hard_swish(x)", F.hardswish),
    ("softsign(x)", F.softsign),
    ("tanh_shrink(x)", F.tanhshrink),
    ("hard_shrink(x)", F.hardshrink),
    ("soft_shrink(x)", F.softshrink),
    ("glu(x)", lambda x: F.glu(x, -1)),
    ("glu(x, over=0)", lambda x: F.glu(x, 0)),
    ("swiglu(x)", lambda x: F.silu(x[:, :2]) * x[:, 2:]),
    ("normalize(x)", lambda x: F.normalize(x, dim=-1)),
]


@pytest.mark.parametrize(("expression", "wanted"), ACTIVATIONS, ids=[e for e, _ in ACTIVATIONS])
def test_activation(expression: str, wanted: Callable[[torch.Tensor], torch.Tensor]) -> None:
    check(computed(expression, {"x": POINTS}), wanted(POINTS))


# --- losses --------------------------------------------

LOGITS, CLASSES = draw(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
MAPS, MAP_CLASSES = draw(2, 5, 3, 4), labels(2, 3, 4, classes=5)
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0], dtype=torch.float64)
A, B, C = draw(6, 4), draw(6, 4), draw(6, 4)
BITS = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
SIGNS = 2 * BITS - 1
P, Q = F.softmax(draw(6, 5), -1), F.softmax(draw(6, 5), -1)
LOSSES: list[tuple[str, Tensors, torch.Tensor]] = [
    ("cross_entropy(x, t)", {"x": LOGITS, "t": CLASSES}, F.cross_entropy(LOGITS, CLASSES)),
    (
        'cross_entropy(x, t, reduction="none")',
        {"x": torch.tensor([[3.2, 5.1, -1.7]] * 3, dtype=torch.float64), "t": torch.tensor([0, 1, 2])},
        F.cross_entropy(torch.tensor([[3.2, 5.1, -1.7]] * 3, dtype=torch.float64), torch.tensor([0, 1, 2]), reduction="none"),
    ),
    ("cross_entropy(x, t, over=1)", {"x": MAPS, "t": MAP_CLASSES}, F.cross_entropy(MAPS, MAP_CLASSES)),
    (
        "cross_entropy(x, t, over=1, weight=w, ignore_index=3, label_smoothing=0.1)",
        {"x": MAPS, "t": MAP_CLASSES, "w": WEIGHT},
        F.cross_entropy(MAPS, MAP_CLASSES, weight=WEIGHT, ignore_index=3, label_smoothing=0.1),
    ),
    (
        'cross_entropy(x, t, weight=w, label_smoothing=0.2, reduction="sum")',
        {"x": LOGITS, "t": CLASSES, "w": WEIGHT},
        F.cross_entropy(LOGITS, CLASSES, weight=WEIGHT, label_smoothing=0.2, reduction="sum"),
    ),
    (
        'cross_entropy(x, t, ignore_index=2, reduction="none")',
        {"x": LOGITS, "t": CLASSES},
        F.cross_entropy(LOGITS, CLASSES, ignore_index=2, reduction="none"),
    ),
    ("nll(log_softmax(x), t)", {"x": LOGITS, "t": CLASSES}, F.cross_entropy(LOGITS, CLASSES)),
    ("soft_cross_entropy(x, p)", {"x": LOGITS, "p": P}, F.cross_entropy(LOGITS, P)),
    ("bce(p, b)", {"p": P[:, 0], "b": BITS}, F.binary_cross_entropy(P[:, 0], BITS)),
    ("bce(b, b)", {"b": BITS}, F.binary_cross_entropy(BITS, BITS)),
    (
        'bce_with_logits(400 * x, b, pos_weight=3.0, reduction="none")',
        {"x": A[:, 0], "b": BITS},
        F.binary_cross_entropy_with_logits(400 * A[:, 0], BITS, pos_weight=torch.tensor(3.0), reduction="none"),
    ),
    ("mse(a, b)", {"a": A, "b": B}, F.mse_loss(A, B)),
    ('mae(a, b, reduction="sum")', {"a": A, "b": B}, F.l1_loss(A, B, reduction="sum")),
    ("huber(a, b, delta=0.7)", {"a": A, "b": B}, F.huber_loss(A, B, delta=0.7)),
    ("smooth_l1(a, b, beta=0.7)", {"a": A, "b": B}, F.smooth_l1_loss(A, B, beta=0.7)),
    ("hinge(x, t) / 5", {"x": LOGITS, "t": CLASSES}, F.multi_margin_loss(LOGITS, CLASSES)),
    (
        "margin_ranking(a, b, s, margin=0.3)",
        {"a": A[:, 0], "b": B[:, 0], "s": SIGNS},
        F.margin_ranking_loss(A[:, 0], B[:, 0], SIGNS, margin=0.3),
    ),
    ('kl_div(log(p), q, reduction="batchmean")', {"p": P, "q": Q}, F.kl_div(P.log(), Q, reduction="batchmean")),
    ('kl_div(log(p), b, reduction="sum")', {"p": P[:, 0], "b": BITS}, F.kl_div(P[:, 0].log(), BITS, reduction="sum")),
    ("cosine_similarity(a, b)", {"a": A, "b": B}, F.cosine_similarity(A, B)),
    (
        "cosine_embedding(a, b, s, margin=0.2)",
        {"a": A, "b": B, "s": SIGNS},
        F.cosine_embedding_loss(A, B, SIGNS, margin=0.2),
    ),
    ("triplet(a, b, c)", {"a": A, "b": B, "c": C}, F.triplet_margin_loss(A, B, C)),
]


@pytest.mark.parametrize(("expression", "tensors", "wanted"), LOSSES, ids=[e for e, _, _ in LOSSES])
def test_loss(expression: str, tensors: Tensors, wanted: torch.Tensor) -> None:
    check(computed(expression, tensors), wanted)


def test_focal_loss_weighs_down_what_is_easy() -> None:
    p = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    found = computed('focal_loss(x, ones_like(x), reduction="none")', {"x": torch.logit(p)})
    np.testing.assert_allclose(found, [0.00105361, 0.173287, 1.865094], atol=1e-6)
    balanced = computed('focal_loss(x, ones_like(x), alpha=0.25, reduction="none")', {"x": torch.logit(p)})
    np.testing.assert_allclose(balanced, 0.25 * found)


def test_contrastive_loss_pulls_pairs_and_pushes_others() -> None:
    a, b = torch.zeros(3, 2, dtype=torch.float64), torch.tensor([[0.6, 0.8], [0.3, 0.4], [3.0, 4.0]], dtype=torch.float64)
    bits = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    np.testing.assert_allclose(computed('contrastive(a, b, y, reduction="none")', {"a": a, "b": b, "y": bits}), [1.0, 0.25, 0.0])


# --- pools and norms without parameters --------------------------------------------

SIGNAL, IMAGE, VOLUME = draw(2, 3, 9), draw(2, 6, 9, 8), draw(2, 3, 5, 6, 7)
MAP_FUNCTIONS: list[tuple[str, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]] = [
    ("max_pool1d(x, 3)", SIGNAL, lambda x: F.max_pool1d(x, 3)),
    (
        "max_pool2d(x, 3, stride=2, padding=1, ceil_mode=true)",
        IMAGE,
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    ),
    ("max_pool2d(x, [2, 3], dilation=2, stride=1)", IMAGE, lambda x: F.max_pool2d(x, (2, 3), 1, dilation=2)),
    ("max_pool3d(x, 2)", VOLUME, lambda x: F.max_pool3d(x, 2)),
    ("avg_pool1d(x, 2)", SIGNAL, lambda x: F.avg_pool1d(x, 2)),
    (
        "avg_pool2d(x, 3, padding=1, count_include_pad=false)",
        IMAGE,
        lambda x: F.avg_pool2d(x, 3, padding=1, count_include_pad=False),
    ),
    ("avg_pool3d(x, 2)", VOLUME, lambda x: F.avg_pool3d(x, 2)),
    ("adaptive_avg_pool1d(x, 4)", SIGNAL, lambda x: F.adaptive_avg_pool1d(x, 4)),
    ("adaptive_avg_pool2d(x, [4, 3])", IMAGE, lambda x: F.adaptive_avg_pool2d(x, (4, 3))),
    ("adaptive_avg_pool3d(x, 2)", VOLUME, lambda x: F.adaptive_avg_pool3d(x, 2)),
    ("global_avg_pool2d(x)", IMAGE, lambda x: x.mean((2, 3))),
    ("global_max_pool2d(x)", IMAGE, lambda x: x.amax((2, 3))),
    ("local_response_norm(x, 5, k=2.0)", IMAGE, lambda x: F.local_response_norm(x, 5, k=2.0)),
    ("local_response_norm(x, 4, alpha=0.1)", IMAGE, lambda x: F.local_response_norm(x, 4, alpha=0.1)),
    ("InstanceNorm()(x)", IMAGE, F.instance_norm),
]


@pytest.mark.parametrize(("expression", "x", "wanted"), MAP_FUNCTIONS, ids=[e for e, _, _ in MAP_FUNCTIONS])
def test_function_of_maps(expression: str, x: torch.Tensor, wanted: Callable[[torch.Tensor], torch.Tensor]) -> None:
    check(computed(expression, {"x": x}), wanted(x))


# --- layers: PyTorch's state_dict is the library's weight file --------------------------------------------

TOKENS = labels(3, 4, classes=7)
LAYERS: list[tuple[str, nn.Module, torch.Tensor]] = [
    ("Linear(5)(x)", nn.Linear(4, 5), A),
    ("Linear(5, bias=false)(x)", nn.Linear(8, 5, bias=False), IMAGE),
    ("Embedding(7, 3)(x)", nn.Embedding(7, 3), TOKENS),
    ("PReLU(shared=false)(x)", nn.PReLU(6), IMAGE),
    ("PReLU()(x)", nn.PReLU(), IMAGE),
    ("Conv1d(4, 3, padding=1)(x)", nn.Conv1d(3, 4, 3, padding=1), SIGNAL),
    ("Conv2d(4, 3, stride=2, groups=2)(x)", nn.Conv2d(6, 4, 3, stride=2, groups=2), IMAGE),
    (
        "Conv2d(4, [3, 2], padding=[1, 0], dilation=2, bias=false)(x)",
        nn.Conv2d(6, 4, (3, 2), padding=(1, 0), dilation=2, bias=False),
        IMAGE,
    ),
    ('Conv2d(4, 5, padding="same")(x)', nn.Conv2d(6, 4, 5, padding="same"), IMAGE),
    ("Conv3d(2, 3, stride=[1, 2, 1])(x)", nn.Conv3d(3, 2, 3, stride=(1, 2, 1)), VOLUME),
    ("ConvTranspose1d(4, 3, stride=2)(x)", nn.ConvTranspose1d(3, 4, 3, stride=2), SIGNAL),
    (
        "ConvTranspose2d(4, 3, stride=2, padding=1, output_padding=1, groups=2)(x)",
        nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        IMAGE,
    ),
    ("ConvTranspose3d(2, 2, stride=2)(x)", nn.ConvTranspose3d(3, 2, 2, stride=2), VOLUME),
    ("LayerNorm()(x)", nn.LayerNorm(4), A),
    ("LayerNorm(eps=0.1, bias=false)(x)", nn.LayerNorm(4, eps=0.1, bias=False), A),
    ("RMSNorm(eps=0.1)(x)", nn.RMSNorm(4, eps=0.1), A),
    ("GroupNorm(3)(x)", nn.GroupNorm(3, 6), IMAGE),
    ("InstanceNorm(affine=true)(x)", nn.InstanceNorm2d(6, affine=True), IMAGE),
    ("BatchNorm1d()(x)", nn.BatchNorm1d(4), A),
    ("BatchNorm1d(momentum=0.3)(x)", nn.BatchNorm1d(3, momentum=0.3), SIGNAL),
    ("BatchNorm2d(eps=0.1)(x)", nn.BatchNorm2d(6, eps=0.1), IMAGE),
    ("BatchNorm2d(affine=false)(x)", nn.BatchNorm2d(6, affine=False), IMAGE),
    ("BatchNorm3d()(x)", nn.BatchNorm3d(3), VOLUME),
]


def state_of(layer: nn.Module, owner: str) -> dict[str, torch.Tensor]:
    """Random values for the state of `layer` (positive ones for its variances), under the names that the spec gives them."""
    layer.double()
    with torch.no_grad():
        for name, value in layer.state_dict().items():
            if value.is_floating_point():
                value.copy_(draw(*value.shape).abs() + 0.5 if name.endswith("running_var") else draw(*value.shape))
    return {f"{owner}.{n}": v.clone() for n, v in layer.state_dict().items() if not n.endswith("num_batches_tracked")}


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("expression", "layer", "x"), LAYERS, ids=[e for e, _, _ in LAYERS])
def test_layer(expression: str, layer: nn.Module, x: torch.Tensor, training: bool) -> None:
    labelled = f"x -> it: {expression.removesuffix('(x)')}"
    state = state_of(layer, "it")
    layer.train(training)
    found, updated = run(labelled, {"x": x}, state, training=training)
    check(found, layer(x))
    after = layer.state_dict()
    for name, value in updated.items():
        check(value, after[name.removeprefix("it.")])
    assert set(updated) == ({"it.running_mean", "it.running_var"} if training and "BatchNorm" in expression else set())


def test_bilinear() -> None:
    layer = nn.Bilinear(4, 3, 5)
    state, b = state_of(layer, "bilinear"), draw(6, 3)
    check(computed("Bilinear(5)(a, b)", {"a": A, "b": b}, state), layer(A, b))


# --- attention --------------------------------------------

QUERIES, KEYS, VALUES = draw(2, 3, 4, 8), draw(2, 3, 5, 8), draw(2, 3, 5, 6)
MASK = torch.tensor([[True, True, False, True, False], [True, False, True, True, True]])[:, None, None, :]


def test_attention_is_scaled_dot_product_attention() -> None:
    tensors = {"q": QUERIES, "k": KEYS, "v": VALUES}
    check(computed("attention(q, k, v)", tensors), F.scaled_dot_product_attention(QUERIES, KEYS, VALUES))
    causal = F.scaled_dot_product_attention(QUERIES, KEYS, VALUES, is_causal=True, scale=0.5)
    check(computed("attention(q, k, v, causal=true, scale=0.5)", tensors), causal)
    masked = F.scaled_dot_product_attention(QUERIES, KEYS, VALUES, attn_mask=MASK)
    check(computed("attention(q, k, v, mask=m)", {**tensors, "m": MASK}), masked)


def test_a_query_that_may_attend_to_nothing_gets_zero() -> None:
    tensors = {"q": QUERIES, "k": KEYS, "v": VALUES, "m": torch.zeros(1, 1, 1, 5, dtype=torch.bool)}
    assert not computed("attention(q, k, v, mask=m)", tensors).any()


def attention_state(layer: nn.MultiheadAttention, owner: str) -> dict[str, torch.Tensor]:
    """The packed projections of PyTorch as the library's three."""
    state: dict[str, torch.Tensor] = {}
    for kind, packed in (("weight", layer.in_proj_weight), ("bias", layer.in_proj_bias)):
        for name, part in zip("qkv", packed.chunk(3), strict=True):
            state[f"{owner}.{name}.{kind}"] = part
        state[f"{owner}.out.{kind}"] = getattr(layer.out_proj, kind)
    return state


def test_multi_head_attention_hides_padded_keys() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    state_of(layer, "")
    q, k, v = draw(2, 4, 8), draw(2, 5, 8), draw(2, 5, 8)
    wanted, _ = layer(q, k, v, key_padding_mask=~MASK[:, 0, 0])
    found = computed(
        "MultiHeadAttention(2)(q, k, v, m)", {"q": q, "k": k, "v": v, "m": MASK}, attention_state(layer, "multi_head_attention")
    )
    check(found, wanted)


def test_grouped_heads_share_keys_and_values() -> None:
    state = {
        f"it.{n}.{k}": draw(*s)
        for n, w in (("q", 8), ("k", 4), ("v", 4), ("out", 8))
        for k, s in (("weight", (w, 8)), ("bias", (w,)))
    }
    copied = dict(state)
    for name in ("it.k", "it.v"):
        copied[f"{name}.weight"] = state[f"{name}.weight"].reshape(2, 2, 8).repeat_interleave(2, 0).reshape(8, 8)
        copied[f"{name}.bias"] = state[f"{name}.bias"].reshape(2, 2).repeat_interleave(2, 0).reshape(8)
    x = draw(2, 5, 8)
    grouped = computed("x -> it: SelfAttention(4, kv_heads=2, causal=true)", {"x": x}, state)
    np.testing.assert_allclose(grouped, computed("x -> it: SelfAttention(4, causal=true)", {"x": x}, copied))


def transformer_state(layer: nn.Module, owner: str) -> dict[str, torch.Tensor]:
    """The state of PyTorch's Transformer layers under the library's names."""
    state = {n: v for n, v in state_of(layer, owner).items() if "attn." not in n}
    for name, child in layer.named_modules():
        if isinstance(child, nn.MultiheadAttention):
            state.update(attention_state(child, f"{owner}.{name}"))
    return state


@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
def test_transformer_layers(norm_first: bool) -> None:
    x, memory = draw(2, 4, 8), draw(2, 5, 8)
    encoder = nn.TransformerEncoderLayer(8, 2, 12, 0.0, F.gelu, batch_first=True, norm_first=norm_first)
    options = f"2, 12, rate=0.0, act=gelu, norm_first={str(norm_first).lower()}"
    state = transformer_state(encoder, "it")
    check(computed(f"memory -> it: TransformerEncoderLayer({options})", {"memory": memory}, state), encoder(memory))
    padded = encoder.train()(memory, src_key_padding_mask=~MASK[:, 0, 0])
    tensors = {"memory": memory, "mask": MASK}
    layer = f"TransformerEncoderLayer({options})(memory, mask)"
    renamed = {n.replace("it.", "transformer_encoder_layer.", 1): v for n, v in state.items()}
    check(computed(layer, tensors, renamed), padded)

    decoder = nn.TransformerDecoderLayer(8, 2, 12, 0.0, F.gelu, batch_first=True, norm_first=norm_first)
    state = transformer_state(decoder, "transformer_decoder_layer")
    found = computed(f"TransformerDecoderLayer({options})(x, memory, mask)", {"x": x, "memory": memory, "mask": MASK}, state)
    ahead = torch.ones(4, 4, dtype=torch.bool).triu(1)
    check(found, decoder(x, memory, tgt_mask=ahead, memory_key_padding_mask=~MASK[:, 0, 0]))


def test_sinusoids_begin_with_zeros_and_ones() -> None:
    table = computed("sinusoid(5, 6) + x", {"x": torch.zeros(5, 6, dtype=torch.float64)})
    np.testing.assert_allclose(table[0], [0, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(table[3, 2:4], [np.sin(3 / 10000 ** (2 / 6)), np.cos(3 / 10000 ** (2 / 6))])


# --- initial values --------------------------------------------

INITIALIZERS = [
    ("xavier_uniform", "uniform", {"low": -((6 / 884) ** 0.5), "high": (6 / 884) ** 0.5}),
    ("xavier_normal", "normal", {"mean": 0.0, "std": (2 / 884) ** 0.5}),
    ("kaiming_uniform", "uniform", {"low": -((6 / 784) ** 0.5), "high": (6 / 784) ** 0.5}),
    ("kaiming_normal", "normal", {"mean": 0.0, "std": 0.05050763}),
    ("kaiming_normal_out", "normal", {"mean": 0.0, "std": (2 / 100) ** 0.5}),
    ("lecun_normal", "normal", {"mean": 0.0, "std": 1 / 28}),
    ("fan_in_uniform", "uniform", {"low": -1 / 28, "high": 1 / 28}),
    ("normal(std=0.02)", "normal", {"mean": 0.0, "std": 0.02}),
    ("orthogonal", "orthogonal", {"gain": 1.0}),
    ("zeros", "constant", {"value": 0.0}),
]


@pytest.mark.parametrize(("init", "kind", "numbers"), INITIALIZERS, ids=[i for i, _, _ in INITIALIZERS])
def test_initial_values_take_their_scale_from_the_fans(init: str, kind: str, numbers: dict[str, float]) -> None:
    text = f"model Case()(x: float[B, 784]) {{ return x -> it: Linear(100, init={init}) }}"
    graph = compile_graph(Source("case", text)).entries["forward"]
    linear = next(node.target.graph for node in graph.calls() if node.target is not None)
    initial = linear.parameters["weight"].initial
    assert initial.kind == kind
    assert dict(initial.arguments) == pytest.approx(numbers)


# --- what the library refuses --------------------------------------------

REFUSED = [
    ("mse(x, t)", "prediction and target must have the same shape"),
    ('mae(x, x, reduction="average")', 'reduction is "mean", "sum" or "none"'),
    ("x -> SelfAttention(3)", "the heads must divide the width"),
    ("x -> SelfAttention(4, kv_heads=3)", "kv_heads must divide heads"),
    ("x -> Conv1d(4, 3, groups=2)", "groups must divide the channels on both sides"),
    ("x -> GroupNorm(2)", "groups must divide the channels"),
    ("x -> LearnedPositions(2)", "the sequence is longer than the context window"),
    ("max_pool2d(x, 2)", "`x` has 4 axes, and 3 are given"),
]


@pytest.mark.parametrize(("expression", "message"), REFUSED, ids=[e for e, _ in REFUSED])
def test_refused(expression: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_graph(Source("case", f"model Case()(x: float[2, 3, 8], t: float[2, 3, 1]) {{ return {expression} }}"))
    assert message in caught.value.diagnostics[0].message
