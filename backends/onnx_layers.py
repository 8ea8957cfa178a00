"""Library layers and functions that ONNX has operators for. A row that answers None, or is Refused, leaves the library's own body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias, cast

import numpy as np

from backends.onnx_builder import Body
from backends.onnx_shapes import reshaped
from backends.onnx_site import Bindings, Site
from backends.onnx_types import Refused
from backends.onnx_values import Attribute, Tensor, Weight
from backends.onnx_windows import conv, conv_transpose
from dsl.dims import Dim, dims_equal
from dsl.ir import Graph
from dsl.types import DType, TensorType


@dataclass(slots=True)
class Layer:
    """A call of a library definition. `prefix` leads to its parameters in the names of the body."""

    body: Body
    graph: Graph
    xs: list[Tensor]
    types: list[TensorType]
    bindings: Bindings
    prefix: str

    @property
    def x(self) -> Tensor:
        return self.xs[0]

    @property
    def rank(self) -> int:
        return self.types[0].rank

    def param(self, name: str, transposed: bool = False) -> Tensor | None:
        """An own parameter, None where the layer was made without."""
        found = self.graph.parameters.get(name)
        return None if found is None else self.body.weight(Weight((self.prefix + name,), transposed), found.type.dtype)

    def needed(self, name: str, transposed: bool = False) -> Tensor:
        found = self.param(name, transposed)
        if found is None:
            raise Refused(f"there is no parameter {name}")
        return found

    def number(self, name: str) -> float:
        return float(cast(float, self.graph.hyper[name]))


LayerRow: TypeAlias = Callable[[Layer], "Tensor | tuple[Tensor, ...] | None"]


def _linear(layer: Layer) -> Tensor | None:
    """Gemm for a matrix; for more axes MatMul with the transposed weight, and Add. The definition for nothing."""
    if 0 in layer.types[0].shape:
        return None
    bias = layer.param("bias")
    if layer.rank == 2:
        return layer.body.op("Gemm", layer.x, layer.needed("weight"), *([bias] if bias else []), transB=1)
    y = layer.body.op("MatMul", layer.x, layer.needed("weight", transposed=True))
    return layer.body.op("Add", y, bias) if bias else y


def _convolution(op: str, spell: Callable[[Site, Tensor, Sequence[int], Tensor | None], Tensor]) -> LayerRow:
    def row(layer: Layer) -> Tensor | None:
        node = next((n for n in layer.graph if n.op == op), None)
        if node is None:
            return None
        site = Site(layer.body, node, [layer.x], layer.types, layer.bindings)
        kernel = [k for k in layer.graph.parameters["weight"].type.shape[2:] if isinstance(k, int)]
        return spell(site, layer.needed("weight"), kernel, layer.param("bias"))

    return row


def _channels(layer: Layer, axis: int = 1) -> int | None:
    size = layer.types[0].shape[axis]
    return size if isinstance(size, int) else None


def _scale_and_bias(layer: Layer, count: int) -> tuple[Tensor, Tensor]:
    """The affine parameters, or ones and zeros."""
    b, dtype = layer.body, layer.x.dtype
    weight = layer.param("weight") or b.const(np.ones(count), dtype)
    return weight, layer.param("bias") or b.const(np.zeros(count), dtype)


def _batch_norm(layer: Layer) -> Tensor | None:
    """The attribute eps is single precision, so f64 keeps the body."""
    count = _channels(layer)
    if count is None or layer.x.dtype is DType.F64 or "running_mean" not in layer.graph.parameters:
        return None
    scale, bias = _scale_and_bias(layer, count)
    mean, var = layer.needed("running_mean"), layer.needed("running_var")
    return layer.body.op("BatchNormalization", layer.x, scale, bias, mean, var, epsilon=layer.number("eps"))


def _layer_norm(layer: Layer) -> Tensor | None:
    """ONNX takes the statistics of f64 in f32, so f64 keeps the body."""
    count = _channels(layer, -1)
    if count is None or layer.x.dtype is DType.F64:
        return None
    scale = layer.param("weight") or layer.body.const(np.ones(count), layer.x.dtype)
    bias = layer.param("bias")
    return layer.body.op("LayerNormalization", layer.x, scale, *([bias] if bias else []), axis=-1, epsilon=layer.number("eps"))


def _rms_norm(layer: Layer) -> Tensor | None:
    count = _channels(layer, -1)
    if count is None or layer.body.opset < 23 or layer.x.dtype is DType.F64:
        return None
    scale = layer.param("weight") or layer.body.const(np.ones(count), layer.x.dtype)
    return layer.body.op("RMSNormalization", layer.x, scale, axis=-1, epsilon=layer.number("eps"))


def _instance_norm(layer: Layer) -> Tensor | None:
    count = _channels(layer)
    if count is None:
        return None
    return layer.body.op("InstanceNormalization", layer.x, *_scale_and_bias(layer, count), epsilon=layer.number("eps"))


def _group_norm(layer: Layer) -> Tensor | None:
    """GroupNormalization in the main graph; in a function, where shape inference stops at it, InstanceNormalization of the groups."""
    count, b, x = _channels(layer), layer.body, layer.x
    if count is None:
        return None
    groups, shape, eps = int(layer.number("groups")), layer.types[0].shape, layer.number("eps")
    if b.opset >= 21 and b.constants is not None and x.dtype is DType.F32:
        y = b.op("GroupNormalization", x, *_scale_and_bias(layer, count), num_groups=groups, epsilon=eps)
        b.described[y.name] = TensorType(x.dtype, shape)
        return y
    rows = b.op("Reshape", x, b.const([0, groups, -1]))
    ones, zeros = b.const(np.ones(groups), x.dtype), b.const(np.zeros(groups), x.dtype)
    y = reshaped(b, b.op("InstanceNormalization", rows, ones, zeros, epsilon=eps), (), shape)
    for op, name in (("Mul", "weight"), ("Add", "bias")):
        parameter = layer.param(name)
        if parameter is not None:
            y = b.op(op, y, b.op("Reshape", parameter, b.const([count] + [1] * (layer.rank - 2))))
    return y


def _embedding(layer: Layer) -> Tensor | None:
    index = layer.x if layer.x.dtype in (DType.I32, DType.I64) else layer.body.cast(layer.x, DType.I64)
    run = layer.body.runs.get(layer.x.name)
    if run is not None:
        return layer.body.slice(layer.needed("weight"), layer.body.dim(run[0]), layer.body.dim(run[1]), [0])
    return layer.body.op("Gather", layer.needed("weight"), index, axis=0)


# --- functions --------------------------------------------------------------------------------------------------------------------


def _function(op: str, since: int = 0, **attributes: Attribute) -> LayerRow:
    """An operator of one operand, from the opset on that has it."""
    return lambda layer: None if layer.body.opset < since else layer.body.ops(op, (layer.x,), (None,), attributes)[0]


def _with(op: str, **names: str) -> LayerRow:
    """An operator of one operand whose attributes are the hyper-parameters of those names."""
    return lambda layer: layer.body.ops(op, (layer.x,), (None,), {k: layer.number(v) for k, v in names.items()})[0]


def _celu(layer: Layer) -> Tensor | None:
    """ONNX has Celu in f32 only."""
    if layer.x.dtype is DType.F16:
        return None
    return layer.body.ops("Celu", (layer.x,), (None,), {"alpha": layer.number("alpha")})[0]


def _over(op: str) -> LayerRow:
    return lambda layer: layer.body.op(op, layer.x, axis=cast(int, layer.graph.hyper["over"]))


# --- attention --------------------------------------------------------------------------------------------------------------------


def _attention(layer: Layer) -> Tensor | None:
    """Attention-23 on [batch, heads, places, width]; on [batch, places, heads * width] where that is what the heads were split from."""
    q, k, v = layer.types[:3]
    if layer.body.opset < 23 or q.rank != 4 or k.rank != 4 or v.rank != 4:
        return None
    if not all(dims_equal(q.shape[i], t.shape[i]) for t in (k, v) for i in (0, 1)):
        return None
    scale = layer.graph.hyper.get("scale")
    factor = None if scale is None else float(cast(float, scale))
    causal = layer.graph.hyper["causal"] is True
    mask, b = _whole_mask(layer, 3, q.shape[2], k.shape[2]), layer.body
    flat = [_before_split_heads(b, x, t) for x, t in zip(layer.xs, (q, k, v), strict=False)]
    heads = q.shape[1]
    if None in flat or not isinstance(heads, int):
        return _attend(b, layer.xs[:3], mask, causal, scale=factor)
    y = _attend(b, [x for x in flat if x], mask, causal, scale=factor, q_num_heads=heads, kv_num_heads=heads)
    batch, places, width = q.shape[0], q.shape[2], v.shape[3]
    return b.transpose(reshaped(b, y, (batch, places, heads * width), (batch, places, heads, width)), (0, 2, 1, 3))


def _before_split_heads(b: Body, x: Tensor, t: TensorType) -> Tensor | None:
    """The [batch, places, heads * width] that [batch, heads, places, width] was made of, if it was."""
    turned = b.before(x, "Transpose")
    split = (
        b.before(Tensor(turned.inputs[0], x.dtype), "Reshape") if turned and turned.attributes["perm"] == [0, 2, 1, 3] else None
    )
    shape = b.shapes.get(split.inputs[0]) if split else None
    if split is None or shape is None or len(shape) != 3 or not dims_equal(shape[2], t.shape[1] * t.shape[3]):
        return None
    return Tensor(split.inputs[0], x.dtype) if dims_equal(shape[1], t.shape[2]) else None


def _attend(b: Body, xs: Sequence[Tensor], mask: Tensor | None, causal: bool, **attributes: Attribute) -> Tensor:
    told = {"is_causal": int(causal) or None, **attributes}
    return b.ops("Attention", (*xs, *([mask] if mask else [])), (None,), told)[0]


def _mask(layer: Layer, at: int) -> Tensor | None:
    """The optional mask, with two axes at least."""
    if len(layer.xs) <= at:
        return None
    mask = layer.xs[at]
    return layer.body.unsqueeze(mask, 0) if layer.types[at].rank < 2 else mask


def _whole_mask(layer: Layer, at: int, queries: Dim, keys: Dim) -> Tensor | None:
    """The mask with a row for each query and a column for each key: onnxruntime stretches only the axes before."""
    mask = _mask(layer, at)
    if mask is None:
        return None
    shape = (1, 1, *layer.types[at].shape)[-max(layer.types[at].rank, 2) :]
    if dims_equal(shape[-2], queries) and dims_equal(shape[-1], keys):
        return mask
    wanted = (*(1 for _ in shape[:-2]), *(1 if dims_equal(a, d) else d for a, d in zip(shape[-2:], (queries, keys), strict=True)))
    return layer.body.op("Expand", mask, layer.body.shape(wanted))


def _self_attention(layer: Layer) -> Tensor | None:
    """One product for queries, keys and values, then Attention-23, or its parts with the scale inside the weight of the queries."""
    b, hyper, (batch, places, width) = layer.body, layer.graph.hyper, layer.types[0].shape
    heads = cast(int, hyper["heads"])
    if hyper.get("kv_heads") not in (None, heads) or not isinstance(width, int):
        return None
    mask, causal = _mask(layer, 1), hyper["causal"] is True
    fused = b.opset >= 23 and layer.x.dtype is not DType.F64
    scale = 1.0 if fused else 1 / sqrt(width // heads)
    x = _joined_linear(layer, ("q", "k", "v"), layer.x, scale)
    q, k, v = b.ops("Split", (x, b.const([width] * 3)), (x.dtype,) * 3, {"axis": 2})
    if fused:
        y = _attend(b, (q, k, v), _whole_mask(layer, 1, places, places), causal, q_num_heads=heads, kv_num_heads=heads)
    else:
        split = (batch, places, heads, width // heads)
        by_head = [reshaped(b, t, (batch, places, width), split) for t in (q, k, v)]
        q, k, v = (b.transpose(t, order) for t, order in zip(by_head, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)), strict=True))
        y = b.op("MatMul", _weights(b, b.op("MatMul", q, k), mask, causal, places), v)
        y = reshaped(b, b.transpose(y, (0, 2, 1, 3)), split, (batch, places, width))
    return _joined_linear(layer, ("out",), y)


def _joined_linear(layer: Layer, children: tuple[str, ...], x: Tensor, scale: float = 1.0) -> Tensor:
    """The Linear layers of those names side by side."""
    paths = [tuple(f"{layer.prefix}{child}.{name}" for child in children) for name in ("weight", "bias")]
    y = layer.body.op("MatMul", x, layer.body.weight(Weight(paths[0], True, scale), x.dtype))
    if not layer.graph.hyper["bias"]:
        return y
    return layer.body.op("Add", y, layer.body.weight(Weight(paths[1], False, scale), x.dtype))


def _weights(b: Body, scores: Tensor, mask: Tensor | None, causal: bool, places: Dim) -> Tensor:
    """softmax of the scores that are allowed; a row with nothing allowed is 0."""
    allowed = mask
    if causal:
        index = b.count_to(b.size(places))
        past = b.op("GreaterOrEqual", b.unsqueeze(index, 1), index, dtype=DType.BOOL)
        allowed = past if mask is None else b.op("And", mask, past)
    if allowed is not None:
        scores = b.op("Where", allowed, scores, b.number(-3e4 if scores.dtype is DType.F16 else -1e30, scores.dtype))
    weights = b.op("Softmax", scores, axis=3)
    return weights if mask is None or allowed is None else b.op("Where", allowed, weights, b.number(0, scores.dtype))


LAYERS: dict[str, LayerRow] = {
    "Linear": _linear,
    "Conv1d": _convolution("conv", conv),
    "Conv2d": _convolution("conv", conv),
    "Conv3d": _convolution("conv", conv),
    "ConvTranspose1d": _convolution("conv_transpose", conv_transpose),
    "ConvTranspose2d": _convolution("conv_transpose", conv_transpose),
    "ConvTranspose3d": _convolution("conv_transpose", conv_transpose),
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "BatchNorm3d": _batch_norm,
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "InstanceNorm": _instance_norm,
    "GroupNorm": _group_norm,
    "Embedding": _embedding,
    "softmax": _over("Softmax"),
    "log_softmax": _over("LogSoftmax"),
    "gelu": _function("Gelu", 20, approximate="none"),
    "gelu_tanh": _function("Gelu", 20, approximate="tanh"),
    "leaky_relu": _with("LeakyRelu", alpha="slope"),
    "elu": _with("Elu", alpha="alpha"),
    "celu": _celu,
    "selu": _function("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
    "hard_sigmoid": _function("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_swish": _function("HardSwish"),
    "mish": _function("Mish", 18),
    "attention": _attention,
}
"""Definitions that become operators in the body of their caller."""

BODIES: dict[str, LayerRow] = {"SelfAttention": _self_attention}
"""Layers that stay functions, with a body better than that of the library."""
