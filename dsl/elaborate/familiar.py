"""Names that users of other systems know, and what they are called here; and how two sizes might be made to match. For help lines only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dsl.diagnostics import did_you_mean
from dsl.dims import Dim, DimTree, dim_tree, dims_differ, dims_equal, format_dim, substitute, symbol, symbols_of
from dsl.types import TensorType

FUNCTIONS = {
    "AdaptiveAvgPool2d": "adaptive_avg_pool2d", "AvgPool2d": "avg_pool2d", "BatchNorm": "BatchNorm2d", "Conv": "Conv2d",
    "Convolution2D": "Conv2d", "ConvTranspose": "ConvTranspose2d", "Dense": "Linear", "FullyConnected": "Linear", "Gemm": "Linear",
    "GlobalAveragePooling2D": "mean", "MaxPool2d": "max_pool2d", "MaxPooling2D": "max_pool2d", "MultiHeadAttention": "SelfAttention",
    "MultiheadAttention": "SelfAttention", "Upsample": "interpolate", "cat": "concat", "clamp": "clip", "concatenate": "concat",
    "expand_dims": "unsqueeze", "masked_fill": "where", "mse_loss": "mse", "power": "pow", "swish": "silu", "view": "reshape",
}  # fmt: skip
"""Functions and layers of PyTorch, Keras and ONNX."""

ARGUMENTS = {
    "axes": "over", "axis": "over", "dim": "over", "dims": "over", "dilation_rate": "dilation", "drop_prob": "rate", "epsilon": "eps",
    "embedding_dim": "width", "features": "width", "filters": "channels", "keep_dims": "keepdims", "keepdim": "keepdims",
    "kernel_shape": "kernel", "kernel_size": "kernel", "n_heads": "heads", "num_embeddings": "count", "num_heads": "heads",
    "out_channels": "channels", "out_features": "width", "output_size": "size", "p": "rate", "pads": "padding", "prob": "rate",
    "scale_factor": "scale", "strides": "stride", "units": "width", "use_bias": "bias",
}  # fmt: skip
"""Their arguments."""


def suggested(word: str, candidates: Iterable[str], familiar: dict[str, str]) -> str | None:
    """The candidate that is meant by `word`: one that is spelled almost so, or is called so elsewhere."""
    known = list(candidates)
    elsewhere = familiar.get(word)
    return elsewhere if elsewhere in known else did_you_mean(word, known)


def reconciliation(left: TensorType, right: TensorType) -> str | None:
    """What would make two shapes match that nothing contradicts, or None where they differ for certain."""
    pairs = [(a, b) for a, b in zip(reversed(left.shape), reversed(right.shape), strict=False) if 1 not in (a, b)]
    open_pairs = [(a, b) for a, b in pairs if not dims_equal(a, b)]
    if not open_pairs or any(dims_differ(a, b) for a, b in pairs):
        return None
    a, b = open_pairs[0]
    for name, divisor in _divisors(a, b):
        whole = {name: symbol(name, multiple=divisor)}
        if dims_equal(substitute(a, whole), substitute(b, whole)):
            return f"they are equal where `{name}` is a multiple of {divisor}: say `require {name} % {divisor} == 0`"
    if any(len(symbols_of(d)) == 1 and format_dim(d) in symbols_of(d) for d in (a, b)):
        return "give both the same dimension name where they are declared, if they are always equal"
    return f"nothing says that {format_dim(a)} is {format_dim(b)}"


def _divisors(*sizes: Dim) -> Iterator[tuple[str, int]]:
    found = {d for size in sizes for d in _constants(dim_tree(size))}
    for name in dict.fromkeys(n for size in sizes for n in symbols_of(size)):
        for divisor in sorted({d * k for d in found for k in (1, 2, 4, 8)}):
            yield name, divisor


def _constants(tree: DimTree) -> Iterator[int]:
    """The constants that something is divided by."""
    if tree[0] == "floordiv" and isinstance(tree[2], tuple) and tree[2][0] == "const":
        yield int(tree[2][1])
    for part in tree[1:]:
        for inner in part if isinstance(part, list) else [part]:
            if isinstance(inner, tuple):
                yield from _constants(inner)
