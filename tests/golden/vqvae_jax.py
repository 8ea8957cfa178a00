"""VQVAE in JAX, generated from vqvae.dl by dslc 0.1.0.

Call params = init(jax.random.key(0)), then recon, code, loss = apply(params, image).

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


def copies(make, key, count, **numbers):
    """What `make` gives for each of `count` keys."""
    return [make(k, **numbers) for k in random.split(key, count)]


def residual(params, x):
    h = jax.nn.relu(conv(params["conv2d"], jax.nn.relu(x), (1, 1), ((1, 1), (1, 1))))
    return x + conv(params["conv2d_1"], h, (1, 1), ((0, 0), (0, 0)))


def encoder(params, image):
    """A quarter of the height and width."""
    h = jax.nn.relu(conv(params["conv2d"], image, (2, 2), ((1, 1), (1, 1))))
    h = conv(params["conv2d_1"], h, (2, 2), ((1, 1), (1, 1)))
    for layer in params["repeat"]:
        h = residual(layer, h)
    return conv(params["out"], jax.nn.relu(h), (1, 1), ((0, 0), (0, 0)))


def nearest_code(z, codebook):
    """The row of the codebook that is nearest: float[..., D], float[K, D] -> int[...].
    |z|^2, which all rows share, is left out.
    """
    return jnp.argmin(jnp.sum(codebook**2, axis=-1) - 2.0 * z @ codebook.T, axis=-1)


def vectors_of(codebook, code):
    """The rows of a codebook by their codes, channels second: float[K, D], int[B, ...]
    -> float[B, D, ...].
    """
    return codebook[code].transpose(0, 3, 1, 2)


def mse(prediction, target):
    """Squared error, of equal shapes: the sum is N times the mean, and no half is
    taken.
    """
    return jnp.mean((prediction - target) ** 2)


def straight_through(hard, soft):
    """The value of `hard` with the gradient of `soft`. Bengio et al. 2013; van den Oord
    et al. 2017 (VQ-VAE).
    """
    return lax.stop_gradient(hard) + (soft - lax.stop_gradient(soft))


def vector_quantiser(params, z):
    """Each vector of a map by the nearest of a codebook, float[B, D, ...], D = `width`:
    `quantised`, like the map; the codes, int[B, ...]; and |sg[z] - e|^2, which
    trains the codebook, plus beta * |z - sg[e]|^2, which commits the encoder. What
    follows `quantised` has its gradient in z as if nothing had been quantised, and
    none in the codebook. The squares are means over all numbers, or sums. van den
    Oord et al. 2017.
    """
    code = nearest_code(z.transpose(0, 2, 3, 1), params["codebook"])  # [B, d2, d3]
    nearest = vectors_of(params["codebook"], code)  # [B, 64, d2, d3]
    h = 0.25 * mse(z, lax.stop_gradient(nearest))
    loss = mse(nearest, lax.stop_gradient(z)) + h
    return straight_through(nearest, z), code, loss


def decoder(params, z):
    h = conv(params["conv2d"], z, (1, 1), ((1, 1), (1, 1)))
    for layer in params["repeat"]:
        h = residual(layer, h)
    h = jax.nn.relu(h)
    h = conv_transpose(params["conv_transpose2d"], h, (2, 2), ((1, 1), (1, 1)))
    return conv_transpose(params["out"], jax.nn.relu(h), (2, 2), ((1, 1), (1, 1)))


def vector_quantiser_1(params, code):
    """Each vector of a map by the nearest of a codebook, float[B, D, ...], D = `width`:
    `quantised`, like the map; the codes, int[B, ...]; and |sg[z] - e|^2, which
    trains the codebook, plus beta * |z - sg[e]|^2, which commits the encoder. What
    follows `quantised` has its gradient in z as if nothing had been quantised, and
    none in the codebook. The squares are means over all numbers, or sums. van den
    Oord et al. 2017.
    """
    return vectors_of(params["codebook"], code)


def apply(params, image, *, training=False, key=None):
    """The loss trains the codebook, and keeps the encoder near to it."""
    H, W = image.shape[2], image.shape[3]
    if H % 4 != 0:
        raise ValueError("image sides must be multiples of 4")
    if W % 4 != 0:
        raise ValueError("image sides must be multiples of 4")
    quantised, code, loss = vector_quantiser(
        params["codebook"], encoder(params["encoder"], image)
    )
    return decoder(params["decoder"], quantised), code, loss


def encode(params, image, *, training=False, key=None):
    """The outputs of the model: code."""
    _, code, _ = vector_quantiser(params["codebook"], encoder(params["encoder"], image))
    return code


def decode(params, code, *, training=False, key=None):
    """The outputs of the model: image."""
    return decoder(params["decoder"], vector_quantiser_1(params["codebook"], code))


def init_residual(key):
    keys = random.split(key, 2)
    return {
        "conv2d": {
            "weight.hwio": uniform(
                keys[0], (3, 3, 256, 256), -0.05103103630798288, 0.05103103630798288
            ),
            "bias": jnp.zeros((256,)),
        },
        "conv2d_1": {
            "weight.hwio": uniform(
                keys[1], (1, 1, 256, 256), -0.15309310892394865, 0.15309310892394865
            ),
            "bias": jnp.zeros((256,)),
        },
    }


def init_encoder(key):
    keys = random.split(key, 4)
    return {
        "conv2d": {
            "weight.hwio": uniform(
                keys[0], (4, 4, 3, 256), -0.3535533905932738, 0.3535533905932738
            ),
            "bias": jnp.zeros((256,)),
        },
        "conv2d_1": {
            "weight.hwio": uniform(
                keys[1], (4, 4, 256, 256), -0.03827327723098716, 0.03827327723098716
            ),
            "bias": jnp.zeros((256,)),
        },
        "repeat": copies(init_residual, keys[2], 2),
        "out": {
            "weight.hwio": uniform(
                keys[3], (1, 1, 256, 64), -0.15309310892394865, 0.15309310892394865
            ),
            "bias": jnp.zeros((64,)),
        },
    }


def init_decoder(key):
    keys = random.split(key, 4)
    return {
        "conv2d": {
            "weight.hwio": uniform(
                keys[0], (3, 3, 64, 256), -0.10206207261596575, 0.10206207261596575
            ),
            "bias": jnp.zeros((256,)),
        },
        "repeat": copies(init_residual, keys[1], 2),
        "conv_transpose2d": {
            "weight": uniform(
                keys[2], (256, 256, 4, 4), -0.03827327723098716, 0.03827327723098716
            ),
            "bias": jnp.zeros((256,)),
        },
        "out": {
            "weight": uniform(
                keys[3], (256, 3, 4, 4), -0.03827327723098716, 0.03827327723098716
            ),
            "bias": jnp.zeros((3,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 3)
    return {
        "encoder": init_encoder(keys[0]),
        "codebook": {
            "codebook": uniform(keys[1], (512, 64), -0.001953125, 0.001953125),
        },
        "decoder": init_decoder(keys[2]),
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
