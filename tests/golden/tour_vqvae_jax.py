"""VQVAE in JAX, generated from tour.dl by dslc 0.1.0.

Call params = init(jax.random.key(0)), then recon, commit, codes_loss = apply(params,
x).

The argument `training` is a Python bool: jax.jit(..., static_argnames="training").
"""

import jax
import jax.numpy as jnp
from jax import lax, random


def conv(params, x, stride, padding, dilation=None, groups=1):
    """Convolution; the weight is [*kernel, in // groups, out]."""
    axes = tuple(range(x.ndim))
    layout = lax.ConvDimensionNumbers(axes, axes[:-3:-1] + axes[:-2], axes)
    y = lax.conv_general_dilated(
        x,
        params["weight.hwio"],
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=layout,
        feature_group_count=groups,
    )
    return add_bias(params, y)


def conv_transpose(params, x, stride, padding, extra=None, dilation=None, groups=1):
    """Transposed convolution; `weight` is [in, out // groups, *kernel]."""
    weight = params["weight"]
    y = conv_transposed(x, weight, stride, padding, extra, dilation, groups)
    return add_bias(params, y)


def add_bias(params, y):
    """y plus `bias` along its axis of channels, where there is one."""
    if "bias" not in params:
        return y
    return y + params["bias"].reshape(-1, *[1] * (y.ndim - 2))


def conv_transposed(x, weight, stride, padding, extra=None, dilation=None, groups=1):
    """The gradient of convolution by its input; `extra` widens the far side."""
    spatial = x.ndim - 2
    extra, dilation = extra or (0,) * spatial, dilation or (1,) * spatial
    inputs, outputs, *kernel = weight.shape
    weight = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    weight = weight.reshape(groups * outputs, inputs // groups, *kernel)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    pads = zip(reach, padding, extra, strict=True)
    return lax.conv_general_dilated(
        x,
        jnp.flip(weight, range(2, x.ndim)),
        (1,) * spatial,
        [(r - low, r - high + e) for r, (low, high), e in pads],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        feature_group_count=groups,
    )


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def apply(params, x, *, training=False, key=None):
    """The outputs of the model: recon, commit, codes_loss."""
    B, H, W = x.shape[0], x.shape[2], x.shape[3]
    z = jax.nn.relu(conv(params["conv2d"], x, (2, 2), ((1, 1), (1, 1))))
    z = conv(params["conv2d_1"], z, (2, 2), ((1, 1), (1, 1)))  # [B, 64, H // 4, W // 4]
    flat = z.transpose(0, 2, 3, 1).reshape(B * (H // 4) * (W // 4), 64)
    distance = jnp.sum(flat**2, axis=-1, keepdims=True)
    distance = distance - 2.0 * flat @ params["codebook"].T
    distance = distance + jnp.sum(params["codebook"] ** 2, axis=-1)
    code = jnp.argmin(distance, axis=-1)  # [B * (H // 4) * (W // 4)]
    e = params["codebook"][code].reshape(B, H // 4, W // 4, 64).transpose(0, 3, 1, 2)
    q = z + lax.stop_gradient(e - z)
    recon = conv_transpose(params["conv_transpose2d"], q, (2, 2), ((1, 1), (1, 1)))
    recon = jax.nn.relu(recon)
    recon = conv_transpose(
        params["conv_transpose2d_1"], recon, (2, 2), ((1, 1), (1, 1))
    )  # [B, 3, 4 * (H // 4), 4 * (W // 4)]
    commit = jnp.mean((z - lax.stop_gradient(e)) ** 2)
    codes_loss = jnp.mean((e - lax.stop_gradient(z)) ** 2)
    return recon, commit, codes_loss


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 5)
    return {
        "codebook": uniform(keys[0], (512, 64), -0.001953125, 0.001953125),
        "conv2d": {
            "weight.hwio": uniform(
                keys[1], (4, 4, 3, 64), -0.3535533905932738, 0.3535533905932738
            ),
            "bias": jnp.zeros((64,)),
        },
        "conv2d_1": {
            "weight.hwio": uniform(
                keys[2], (4, 4, 64, 64), -0.07654655446197432, 0.07654655446197432
            ),
            "bias": jnp.zeros((64,)),
        },
        "conv_transpose2d": {
            "weight": uniform(
                keys[3], (64, 64, 4, 4), -0.07654655446197432, 0.07654655446197432
            ),
            "bias": jnp.zeros((64,)),
        },
        "conv_transpose2d_1": {
            "weight": uniform(
                keys[4], (64, 3, 4, 4), -0.07654655446197432, 0.07654655446197432
            ),
            "bias": jnp.zeros((3,)),
        },
    }


def from_named(tensors):
    """Parameters from tensors by the names of the spec."""
    return nested(jax.eval_shape(init, random.key(0)), tensors)


def to_named(*trees):
    """The leaves of `params` (and `state`) by the names of the spec."""
    return {name: leaf for tree in trees for name, leaf in named(tree).items()}


def nested(like, tensors):
    """The tree with the structure of `like` and the values of `tensors` by name."""

    def take(path, leaf):
        names, copies = spec_names(path)
        shape = leaf.shape[copies:]
        if is_hwio(path):
            shape = (shape[-1], shape[-2], *shape[:-2])
        for name in names:
            if name not in tensors:
                raise ValueError(f"there is no tensor {name!r}")
            if tensors[name].shape != shape:
                found = tensors[name].shape
                raise ValueError(f"{name!r} has shape {found}, not {shape}")
        found = [tensors[name] for name in names]
        value = jnp.asarray(found if copies else found[0], leaf.dtype)
        if is_hwio(path):
            value = jnp.moveaxis(value, (-len(shape), 1 - len(shape)), (-1, -2))
        return value.reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(take, like)


def named(tree):
    """The leaves of a nested tree by the names of the spec, as NumPy arrays.

    A key such as "0:12" stands for that many copies, stacked along the first axis.
    """
    leaves = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names, copies = spec_names(path)
        if is_hwio(path):
            leaf = jnp.moveaxis(leaf, (-1, -2), (copies, copies + 1))
        leaf = jax.device_get(leaf)
        pieces = leaf.reshape(-1, *leaf.shape[copies:])
        leaves |= dict(zip(names, pieces if copies else [leaf], strict=True))
    return leaves


def spec_names(path):
    """The names of the tensors in a leaf, and how many axes of copies it has."""
    names, copies = [""], 0
    for key in path:
        part = str(key.idx if hasattr(key, "idx") else key.key).removesuffix(".hwio")
        start, colon, stop = part.partition(":")
        parts = range(int(start), int(stop)) if colon else [part]
        names = [f"{name}.{p}" if name else str(p) for name in names for p in parts]
        copies += bool(colon)
    return names, copies


def is_hwio(path):
    """Whether the leaf at `path` is the weight of a convolution, [*kernel, in, out]."""
    return str(getattr(path[-1], "key", "")).endswith(".hwio")
