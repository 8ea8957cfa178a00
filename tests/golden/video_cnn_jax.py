"""SlowFusion in JAX, generated from video_cnn.dl by dslc 0.1.0.

Of ten frames the first convolution makes four maps in time, the second two, the
third one.

Call params = init(jax.random.key(0)), then logits = apply(params, clip).

The argument `training` is a Python bool: jax.jit(..., static_argnames="training").
"""

import jax
import jax.numpy as jnp
from jax import lax, random


def linear(params, x):
    """The affine map of the last axis; `weight` is [out, in]."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


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


def add_bias(params, y):
    """y plus `bias` along its axis of channels, where there is one."""
    if "bias" not in params:
        return y
    return y + params["bias"].reshape(-1, *[1] * (y.ndim - 2))


def dropout(x, rate, training, key):
    """In training, 0 with probability `rate` and else x / (1 - rate)."""
    if not training or rate == 0:
        return x
    keep = random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0.0)


def split_key(key, count):
    """`count` keys, or as many None where there is no key to split."""
    return [None] * count if key is None else random.split(key, count)


def max_pool(x, kernel, stride, padding):
    """The largest element of each window."""
    window, stride = (1, 1, *kernel), (1, 1, *stride)
    padding = ((0, 0), (0, 0), *padding)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, stride, padding)


def avg_pool(x, kernel, stride, padding):
    """The mean of each window, with the zeros of the padding."""
    window, stride = (1, 1, *kernel), (1, 1, *stride)
    padding = ((0, 0), (0, 0), *padding)
    total = lax.reduce_window(x, 0.0, lax.add, window, stride, padding)
    count = 1
    for size in kernel:
        count *= size
    return total / count


def ceil_padding(x, kernel, stride, padding, dilation=None):
    """Padding that also covers a last window which hangs over the end."""
    result = []
    dilation = dilation or (1,) * len(kernel)
    axes = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    for size, k, s, (low, high), d in axes:
        reach = d * (k - 1) + 1
        count = -((reach - size - low - high) // s) + 1
        count = min(count, -(-(size + low) // s))
        result.append((low, max(high, (count - 1) * s + reach - size - low)))
    return result


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def local_response_norm(x):
    """x / (k + alpha mean of x^2 over the `size` channels around) ** beta: float[B, C,
    H, W] -> the same. The mean counts the zeros beside the first and last channel.
    Krizhevsky et al. 2012 write the sum: their alpha is alpha / size here.
    torch.nn.functional.local_response_norm; ONNX LRN.
    """
    B = x.shape[0]
    squares = jnp.pad(x * x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    squares = squares.reshape(B, 1, 100, 216, 54)  # [B, 1, 100, 216, 54]
    h = avg_pool(squares, (5, 1, 1), (1, 1, 1), ((0, 0), (0, 0), (0, 0)))
    return x / (2.0 + 0.0005 * h.reshape(B, 96, 216, 54)) ** 0.5


def local_response_norm_1(x):
    """x / (k + alpha mean of x^2 over the `size` channels around) ** beta: float[B, C,
    H, W] -> the same. The mean counts the zeros beside the first and last channel.
    Krizhevsky et al. 2012 write the sum: their alpha is alpha / size here.
    torch.nn.functional.local_response_norm; ONNX LRN.
    """
    B = x.shape[0]
    squares = jnp.pad(x * x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    squares = squares.reshape(B, 1, 260, 54, 27)  # [B, 1, 260, 54, 27]
    h = avg_pool(squares, (5, 1, 1), (1, 1, 1), ((0, 0), (0, 0), (0, 0)))
    return x / (2.0 + 0.0005 * h.reshape(B, 256, 54, 27)) ** 0.5


def halve_frames(x):
    """Normalised and halved, each frame for itself."""
    B = x.shape[0]
    y = local_response_norm(x.reshape(B, 96, 216, 54)).reshape(B, 96, 4, 54, 54)
    return max_pool(
        y,
        (1, 2, 2),
        (1, 2, 2),
        ceil_padding(y, (1, 2, 2), (1, 2, 2), ((0, 0), (0, 0), (0, 0))),
    )


def halve_frames_1(x):
    """Normalised and halved, each frame for itself."""
    B = x.shape[0]
    y = local_response_norm_1(x.reshape(B, 256, 54, 27)).reshape(B, 256, 2, 27, 27)
    return max_pool(
        y,
        (1, 2, 2),
        (1, 2, 2),
        ceil_padding(y, (1, 2, 2), (1, 2, 2), ((0, 0), (0, 0), (0, 0))),
    )


def classifier(params, x, training, key):
    keys = split_key(key, 2)
    h = dropout(jax.nn.relu(linear(params["fc6"], x)), 0.5, training, keys[0])
    h = dropout(jax.nn.relu(linear(params["fc7"], h)), 0.5, training, keys[1])
    return linear(params["fc8"], h)


def apply(params, clip, *, training=False, key=None):
    """The outputs of the model: logits."""
    B = clip.shape[0]
    if training and key is None:
        raise ValueError("random numbers are drawn here: give key=jax.random.key(seed)")
    h = jax.nn.relu(conv(params["conv1"], clip, (2, 3, 3), ((0, 0), (0, 0), (0, 0))))
    h = conv(params["conv2"], halve_frames(h), (2, 1, 1), ((0, 0), (2, 2), (2, 2)))
    h = halve_frames_1(jax.nn.relu(h))
    h = jax.nn.relu(conv(params["conv3"], h, (1, 1, 1), ((0, 0), (1, 1), (1, 1))))
    h = conv(params["conv4"], h.reshape(B, 384, 14, 14), (1, 1), ((1, 1), (1, 1)))
    h = jax.nn.relu(conv(params["conv5"], jax.nn.relu(h), (1, 1), ((1, 1), (1, 1))))
    h = max_pool(h, (2, 2), (2, 2), ceil_padding(h, (2, 2), (2, 2), ((0, 0), (0, 0))))
    return classifier(params["head"], h.reshape(B, 12544), training, key)


def init_classifier(key):
    keys = random.split(key, 3)
    return {
        "fc6": {
            "weight": uniform(
                keys[0], (4096, 12544), -0.021870444131992663, 0.021870444131992663
            ),
            "bias": jnp.zeros((4096,)),
        },
        "fc7": {
            "weight": uniform(
                keys[1], (4096, 4096), -0.03827327723098716, 0.03827327723098716
            ),
            "bias": jnp.zeros((4096,)),
        },
        "fc8": {
            "weight": uniform(
                keys[2], (487, 4096), -0.03827327723098716, 0.03827327723098716
            ),
            "bias": jnp.zeros((487,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 6)
    return {
        "conv1": {
            "weight.hwio": uniform(
                keys[0], (4, 11, 11, 3, 96), -0.0642824346533225, 0.0642824346533225
            ),
            "bias": jnp.zeros((96,)),
        },
        "conv2": {
            "weight.hwio": uniform(
                keys[1], (2, 5, 5, 96, 256), -0.03535533905932738, 0.03535533905932738
            ),
            "bias": jnp.zeros((256,)),
        },
        "conv3": {
            "weight.hwio": uniform(
                keys[2],
                (2, 3, 3, 256, 384),
                -0.036084391824351615,
                0.036084391824351615,
            ),
            "bias": jnp.zeros((384,)),
        },
        "conv4": {
            "weight.hwio": uniform(
                keys[3], (3, 3, 384, 384), -0.04166666666666667, 0.04166666666666667
            ),
            "bias": jnp.zeros((384,)),
        },
        "conv5": {
            "weight.hwio": uniform(
                keys[4], (3, 3, 384, 256), -0.04166666666666667, 0.04166666666666667
            ),
            "bias": jnp.zeros((256,)),
        },
        "head": init_classifier(keys[5]),
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
