"""ConvAutoencoder in JAX, generated from conv_autoencoder.dl by dslc 0.1.0.

Two widths, hence a code of a quarter of the height and width.

Call params = init(jax.random.key(0)), then recon = apply(params, image).

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


def encoder(params, image):
    x = jax.nn.relu(conv(params["conv2d"], image, (2, 2), ((1, 1), (1, 1))))
    x = jax.nn.relu(conv(params["conv2d_1"], x, (2, 2), ((1, 1), (1, 1))))
    return x


def decoder(params, code):
    x = conv_transpose(params["conv_transpose2d"], code, (2, 2), ((1, 1), (1, 1)))
    x = jax.nn.relu(x)
    return jax.nn.sigmoid(conv_transpose(params["out"], x, (2, 2), ((1, 1), (1, 1))))


def apply(params, image, *, training=False, key=None):
    """The outputs of the model: recon."""
    H, W = image.shape[2], image.shape[3]
    if H % 4 != 0:
        raise ValueError("image sides must be multiples of 4")
    if W % 4 != 0:
        raise ValueError("image sides must be multiples of 4")
    return decoder(params["decoder"], encoder(params["encoder"], image))


def encode(params, image, *, training=False, key=None):
    """The outputs of the model: y."""
    return encoder(params["encoder"], image)


def decode(params, code, *, training=False, key=None):
    """The outputs of the model: y."""
    return decoder(params["decoder"], code)


def init_encoder(key):
    keys = random.split(key, 2)
    return {
        "conv2d": {
            "weight.hwio": uniform(
                keys[0], (4, 4, 1, 16), -0.6123724356957946, 0.6123724356957946
            ),
            "bias": jnp.zeros((16,)),
        },
        "conv2d_1": {
            "weight.hwio": uniform(
                keys[1], (4, 4, 16, 32), -0.15309310892394865, 0.15309310892394865
            ),
            "bias": jnp.zeros((32,)),
        },
    }


def init_decoder(key):
    keys = random.split(key, 2)
    return {
        "conv_transpose2d": {
            "weight": uniform(
                keys[0], (32, 16, 4, 4), -0.10825317547305482, 0.10825317547305482
            ),
            "bias": jnp.zeros((16,)),
        },
        "out": {
            "weight": uniform(
                keys[1], (16, 1, 4, 4), -0.15309310892394865, 0.15309310892394865
            ),
            "bias": jnp.zeros((1,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 2)
    return {
        "encoder": init_encoder(keys[0]),
        "decoder": init_decoder(keys[1]),
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
