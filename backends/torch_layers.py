"""The layers and functions of the library for which PyTorch has its own; the others get their bodies.

A layer must have the same meaning and the same names and layouts of parameters. What a layer of the library can do and PyTorch's
cannot (padding that differs between the ends) is answered with None, which means the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from backends.python import Body
from backends.torch_recurrent import activation
from backends.torch_rows import ROWS
from backends.torch_tensors import DTYPES, one_axis
from backends.torch_windows import short, symmetric
from backends.writer import Expression, call, index, method, quoted
from dsl.dims import Dim, Expr, dim_lower, dims_equal
from dsl.ir import Graph, Node, StaticValue
from dsl.ops.card import AttributeValue
from dsl.ops.sizes import dim_tuple, int_tuple, pair_tuple
from dsl.types import DType

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Setting:
    """A constructor's argument: by position where it is required, else by name and only where it is not the default."""

    name: str
    value: StaticValue
    default: object = REQUIRED
    verbatim: bool = False


@dataclass(frozen=True, slots=True)
class Native:
    """A layer of torch.nn and its settings."""

    name: str
    settings: tuple[Setting, ...]


def _with_dtype(graph: Graph, name: str, *settings: Setting) -> Native:
    kinds = {p.type.dtype for p in graph.parameters.values()}
    if kinds <= {DType.F32}:
        return Native(name, settings)
    return Native(name, (*settings, Setting("dtype", DTYPES[next(iter(kinds))], None, verbatim=True)))


def _sizes(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(d for d in graph.parameters[name].type.shape if isinstance(d, int))


def _has_bias(graph: Graph) -> Setting:
    return Setting("bias", "bias" in graph.parameters, True)


def _inner(graph: Graph, op: str) -> Node:
    return next(node for node in graph if node.op == op)


def _hyper(graph: Graph, name: str) -> StaticValue:
    return graph.hyper[name]


def _linear(graph: Graph) -> Native:
    width, given = _sizes(graph, "weight")
    return _with_dtype(graph, "nn.Linear", Setting("in_features", given), Setting("out_features", width), _has_bias(graph))


def _bilinear(graph: Graph) -> Native:
    width, first, second = _sizes(graph, "weight")
    sizes = (Setting("in1_features", first), Setting("in2_features", second), Setting("out_features", width))
    return _with_dtype(graph, "nn.Bilinear", *sizes, _has_bias(graph))


def _embedding(graph: Graph) -> Native:
    count, width = _sizes(graph, "weight")
    return _with_dtype(graph, "nn.Embedding", Setting("num_embeddings", count), Setting("embedding_dim", width))


def _window(node: Node) -> tuple[int | tuple[int, ...], int | tuple[int, ...], int | tuple[int, ...]] | None:
    pairs = pair_tuple(node.attributes, "padding")
    if not symmetric(pairs):
        return None
    padding = short(tuple(low for low, _ in pairs))
    return short(int_tuple(node.attributes, "stride")), padding, short(int_tuple(node.attributes, "dilation"))


def _conv(graph: Graph) -> Native | None:
    node = _inner(graph, "conv")
    window = _window(node)
    if window is None:
        return None
    out, _, *kernel = _sizes(graph, "weight")
    channels = graph.type(next(iter(graph.inputs.values()))).shape[1]
    if isinstance(channels, Expr):
        return None
    return _with_dtype(
        graph, f"nn.{graph.definition}", Setting("in_channels", channels), Setting("out_channels", out),
        Setting("kernel_size", short(tuple(kernel))), Setting("stride", window[0], 1), Setting("padding", window[1], 0),
        Setting("dilation", window[2], 1), Setting("groups", _int(node.attributes["groups"]), 1), _has_bias(graph),
    )  # fmt: skip


def _conv_transpose(graph: Graph) -> Native | None:
    node = _inner(graph, "conv_transpose")
    window = _window(node)
    if window is None:
        return None
    given, part, *kernel = _sizes(graph, "weight")
    groups = _int(node.attributes["groups"])
    return _with_dtype(
        graph, f"nn.{graph.definition}", Setting("in_channels", given), Setting("out_channels", part * groups),
        Setting("kernel_size", short(tuple(kernel))), Setting("stride", window[0], 1), Setting("padding", window[1], 0),
        Setting("output_padding", short(int_tuple(node.attributes, "output_padding")), 0), Setting("groups", groups, 1),
        _has_bias(graph), Setting("dilation", window[2], 1),
    )  # fmt: skip


def _int(value: AttributeValue) -> int:
    assert isinstance(value, int)
    return value


def _batch_norm(graph: Graph) -> Native:
    return _with_dtype(
        graph, f"nn.{graph.definition}", Setting("num_features", _sizes(graph, "running_mean")[0]),
        Setting("eps", _hyper(graph, "eps"), 1e-5), Setting("momentum", _hyper(graph, "momentum"), 0.1),
        Setting("affine", "weight" in graph.parameters, True),
    )  # fmt: skip


def _normalised(graph: Graph, axis: int) -> int | None:
    size = graph.type(next(iter(graph.inputs.values()))).shape[axis]
    return size if isinstance(size, int) else None


def _layer_norm(graph: Graph) -> Native | None:
    width, affine = _normalised(graph, -1), "weight" in graph.parameters
    if width is None:
        return None
    return _with_dtype(
        graph, "nn.LayerNorm", Setting("normalized_shape", width), Setting("eps", _hyper(graph, "eps"), 1e-5),
        Setting("elementwise_affine", affine, True), Setting("bias", "bias" in graph.parameters or not affine, True),
    )  # fmt: skip


def _rms_norm(graph: Graph) -> Native | None:
    width = _normalised(graph, -1)
    if width is None:
        return None
    affine = Setting("elementwise_affine", "weight" in graph.parameters, True)
    return _with_dtype(
        graph, "nn.RMSNorm", Setting("normalized_shape", width), Setting("eps", _hyper(graph, "eps"), None), affine
    )


def _at_least(sizes: Iterable[Dim]) -> int:
    """The least number of elements that a tensor of these sizes may have, none of which is 0."""
    return prod(max(dim_lower(d) or 1, 1) for d in sizes)


def _group_norm(graph: Graph) -> Native | None:
    """Where groups are of more than one number: PyTorch stops where each is of one, and there are no samples beside."""
    channels, groups = _normalised(graph, 1), _int(_hyper(graph, "groups"))
    samples, _, *places = graph.type(next(iter(graph.inputs.values()))).shape
    if channels is None or channels // groups * _at_least([samples, *places]) == 1:
        return None
    return _with_dtype(
        graph, "nn.GroupNorm", Setting("num_groups", groups), Setting("num_channels", channels),
        Setting("eps", _hyper(graph, "eps"), 1e-5), Setting("affine", "weight" in graph.parameters, True),
    )  # fmt: skip


def _instance_norm(graph: Graph) -> Native | None:
    """Where there is more than one place, for PyTorch stops at one."""
    channels, places = _normalised(graph, 1), graph.type(next(iter(graph.inputs.values()))).shape[2:]
    if channels is None or len(places) > 3 or _at_least(places) == 1:
        return None
    eps, affine = Setting("eps", _hyper(graph, "eps"), 1e-5), Setting("affine", "weight" in graph.parameters, False)
    return _with_dtype(graph, f"nn.InstanceNorm{len(places)}d", Setting("num_features", channels), eps, affine)


def _prelu(graph: Graph) -> Native:
    count = _sizes(graph, "weight")[0]
    return _with_dtype(graph, "nn.PReLU", Setting("num_parameters", count, 1), Setting("init", _hyper(graph, "slope"), 0.25))


def _cell(graph: Graph) -> Native | None:
    """A cell with both biases or none: PyTorch has no other."""
    _, given = _sizes(graph, "weight_ih")
    hidden, biases = _sizes(graph, "weight_hh")[1], sum(name.startswith("bias") for name in graph.parameters)
    settings = [Setting("input_size", given), Setting("hidden_size", hidden), Setting("bias", biases == 2, True)]
    if graph.definition == "RNNCell":
        if activation(graph) is None:
            return None
        settings += [Setting("nonlinearity", quoted("relu"), None, verbatim=True)] if activation(graph) == "relu" else []
    return None if biases == 1 else _with_dtype(graph, f"nn.{graph.definition}", *settings)


LAYERS: Mapping[str, Callable[[Graph], Native | None]] = {
    "Linear": _linear,
    "Bilinear": _bilinear,
    "Embedding": _embedding,
    **{f"Conv{n}d": _conv for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": _conv_transpose for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": _batch_norm for n in (1, 2, 3)},
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "PReLU": _prelu,
    **dict.fromkeys(("RNNCell", "LSTMCell", "GRUCell"), _cell),
}


def native_layer(graph: Graph) -> Native | None:
    """The layer of torch.nn that is this layer of the library, if there is one."""
    row = LAYERS.get(graph.definition) if graph.library and graph.entry == "forward" else None
    return row(graph) if row is not None else None


# --- functions --------------------------------------------------------------------------------------------------------------

Spelling: TypeAlias = Callable[[Body, list[Expression]], Expression]
FunctionRow: TypeAlias = Callable[[Graph], Spelling | None]


def _plain(function: str, **fixed: str) -> FunctionRow:
    return lambda callee: lambda body, xs: call(function, *xs, **fixed)


def _hard_sigmoid(callee: Graph) -> Spelling | None:
    """Not in f64, where PyTorch's derivative is the 1/6 of single precision."""
    wide = any(callee.type(x).dtype is DType.F64 for x in callee.inputs.values())
    return None if wide else lambda body, xs: call("F.hardsigmoid", *xs)


def _over(function: str, name: str = "dim") -> FunctionRow:
    """A function along one axis."""

    def row(callee: Graph) -> Spelling | None:
        over, rank = callee.hyper.get("over"), _rank(callee)
        if not isinstance(over, int) or rank == 0:
            return None
        return lambda body, xs: call(function, *xs, dim=one_axis(over % rank, rank))

    return row


def _rank(callee: Graph, position: int = 0) -> int:
    return callee.type(list(callee.inputs.values())[position]).rank


def _numbers(function: str, **named: tuple[str, object]) -> FunctionRow:
    """A function with numbers: the hyper-parameter, and torch's name and default of it."""

    def row(callee: Graph) -> Spelling | None:
        given = {theirs: callee.hyper.get(ours) for ours, (theirs, default) in named.items()}
        defaults = dict(named.values())
        if any(isinstance(v, Expr) for v in given.values()):
            return None
        shown = {k: v for k, v in given.items() if v != defaults[k]}
        return lambda body, xs: call(function, *xs, **{k: body.static(v) for k, v in shown.items()})

    return row


def _loss(function: str, **named: tuple[str, object]) -> FunctionRow:
    """A loss of two tensors of one shape."""
    inner = _numbers(function, reduction=("reduction", "mean"), **named)

    def row(callee: Graph) -> Spelling | None:
        a, b = (callee.type(v) for v in callee.inputs.values())
        same = a.dtype is b.dtype and a.rank == b.rank and all(map(dims_equal, a.shape, b.shape))
        return inner(callee) if same else None

    return row


def _normalize(callee: Graph) -> Spelling | None:
    over, eps, rank = callee.hyper.get("over"), callee.hyper.get("eps"), _rank(callee)
    if not isinstance(over, int) or rank == 0:
        return None
    shown = None if over % rank == 1 else one_axis(over % rank, rank)
    return lambda body, xs: call("F.normalize", *xs, dim=shown, eps=None if eps == 1e-12 else body.static(eps))


def _cross_entropy(callee: Graph) -> Spelling | None:
    hyper, rank = callee.hyper, _rank(callee)
    over, smoothing, ignored = hyper.get("over"), hyper.get("label_smoothing"), hyper.get("ignore_index")
    _, target, *weight = callee.inputs.values()
    if not isinstance(over, int) or rank < 2 or callee.type(target).dtype is not DType.I64:
        return None
    if smoothing and (weight or ignored is not None):
        return None
    flat = over % rank != 1
    if flat and (over % rank != rank - 1 or hyper.get("reduction") == "none"):
        return None

    def spelled(body: Body, xs: list[Expression]) -> Expression:
        x, goal, *scale = xs
        if flat:
            x, goal = method(x, "flatten", "0", str(rank - 2)), method(goal, "flatten")
        return call(
            "F.cross_entropy", x, goal, weight=scale[0] if scale else None,
            ignore_index=None if ignored is None else body.static(ignored),
            reduction=None if hyper.get("reduction") == "mean" else body.static(hyper.get("reduction")),
            label_smoothing=body.static(smoothing) if smoothing else None,
        )  # fmt: skip

    return spelled


def _attention(callee: Graph) -> Spelling | None:
    hyper = callee.hyper
    q, k, v, *mask = callee.inputs.values()
    kinds = {callee.type(x).dtype for x in (q, k, v)}
    if (mask and hyper.get("causal")) or len(kinds) > 1 or len({callee.type(x).rank for x in (q, k, v)}) > 1 or _rank(callee) < 3:
        return None
    if mask and callee.type(mask[0]).rank > _rank(callee):
        return None
    flat = bool(mask) and callee.type(mask[0]).rank < 2  # PyTorch asks the mask for its second axis from the end
    rate, scale = hyper.get("rate"), hyper.get("scale")

    def spelled(body: Body, xs: list[Expression]) -> Expression:
        dropped = None if not rate else f"{body.static(rate)} if {body.dialect.training(body)} else 0.0"
        allowed = index(xs[3], "None") if flat else xs[3] if mask else None
        return call(
            "F.scaled_dot_product_attention", *xs[:3], attn_mask=allowed, dropout_p=dropped,
            is_causal="True" if hyper.get("causal") else None, scale=None if scale is None else body.static(scale),
        )  # fmt: skip

    return spelled


def _primitive(op: str) -> FunctionRow:
    """A function of the library that is one primitive with its arguments made canonical."""

    def row(callee: Graph) -> Spelling | None:
        node = _inner(callee, op)
        if "size" in node.attributes and any(isinstance(d, Expr) for d in dim_tuple(node.attributes, "size")):
            return None
        emit = ROWS[op]
        if not callable(emit) or any(isinstance(d, Expr) for d in _ceil_sizes(node)):
            return None
        return lambda body, xs: emit(body, node, xs)

    return row


def _ceil_sizes(node: Node) -> tuple[object, ...]:
    """Sizes that the row may write: those of a pool with unequal padding and `ceil_mode`."""
    uneven = "padding" in node.attributes and not symmetric(pair_tuple(node.attributes, "padding"))
    return node.type.shape if uneven and node.attributes["ceil_mode"] else ()


FUNCTIONS: Mapping[str, FunctionRow] = {
    "softmax": _over("F.softmax"),
    "log_softmax": _over("F.log_softmax"),
    "glu": _over("F.glu"),
    "log_sigmoid": _plain("F.logsigmoid"),
    "gelu": _plain("F.gelu"),
    "gelu_tanh": _plain("F.gelu", approximate=quoted("tanh")),
    "silu": _plain("F.silu"),
    "swish": _plain("F.silu"),
    "selu": _plain("F.selu"),
    "mish": _plain("F.mish"),
    "relu6": _plain("F.relu6"),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _plain("F.hardswish"),
    "softsign": _plain("F.softsign"),
    "tanh_shrink": _plain("F.tanhshrink"),
    "leaky_relu": _numbers("F.leaky_relu", slope=("negative_slope", 0.01)),
    "elu": _numbers("F.elu", alpha=("alpha", 1.0)),
    "celu": _numbers("F.celu", alpha=("alpha", 1.0)),
    "hard_tanh": _numbers("F.hardtanh", low=("min_val", -1.0), high=("max_val", 1.0)),
    "hard_shrink": _numbers("F.hardshrink", threshold=("lambd", 0.5)),
    "soft_shrink": _numbers("F.softshrink", threshold=("lambd", 0.5)),
    "local_response_norm": _numbers(
        "F.local_response_norm", size=("size", None), alpha=("alpha", 1e-4), beta=("beta", 0.75), k=("k", 1.0)
    ),
    "unfold": _numbers(
        "F.unfold", kernel=("kernel_size", None), dilation=("dilation", 1), padding=("padding", 0), stride=("stride", 1)
    ),
    "normalize": _normalize,
    "attention": _attention,
    "cross_entropy": _cross_entropy,
    "mse": _loss("F.mse_loss"),
    "mae": _loss("F.l1_loss"),
    "huber": _loss("F.huber_loss", delta=("delta", 1.0)),
    "smooth_l1": _loss("F.smooth_l1_loss", beta=("beta", 1.0)),
    "bce": _loss("F.binary_cross_entropy"),
    "bce_with_logits": _loss("F.binary_cross_entropy_with_logits"),
    **{f"{kind}_pool{n}d": _primitive(f"{kind}_pool") for kind in ("max", "avg", "adaptive_avg") for n in (1, 2, 3)},
}


def native_function(callee: Graph) -> Spelling | None:
    """How PyTorch calls this function of the library, if it has it."""
    row = FUNCTIONS.get(callee.definition) if callee.library and len(callee.outputs) == 1 else None
    if row is None or (callee.definition == "bce_with_logits" and callee.hyper.get("pos_weight") != 1.0):
        return None
    return row(callee)
