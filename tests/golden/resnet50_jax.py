"""ResNet50 in JAX, generated from resnet.dl by dslc 0.1.0.

[3, 4, 23, 3] is ResNet-101.

Call params, state = init(jax.random.key(0)), then logits, state = apply(params,
state, image).

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


def batch_norm(params, state, x, training=False, momentum=0.1, eps=1e-5):
    """Normalisation by channel, and the new running statistics."""
    shape = (-1, *[1] * (x.ndim - 2))
    mean, var = state["running_mean"], state["running_var"]
    if training:
        if x.size == x.shape[1]:
            raise ValueError(
                "batch norm in training needs more than one value a channel"
            )
        axes = (0, *range(2, x.ndim))
        unbiased = jnp.var(x, axes, ddof=1)
        state = {
            "running_mean": (1 - momentum) * mean + momentum * jnp.mean(x, axes),
            "running_var": (1 - momentum) * var + momentum * unbiased,
        }
        mean, var = jnp.mean(x, axes), jnp.var(x, axes)
    scale = lax.rsqrt(var + eps)
    if "weight" in params:
        scale = scale * params["weight"]
    y = (x - mean.reshape(shape)) * scale.reshape(shape)
    return add_bias(params, y), lax.stop_gradient(state)


def max_pool(x, kernel, stride, padding):
    """The largest element of each window."""
    window, stride = (1, 1, *kernel), (1, 1, *stride)
    padding = ((0, 0), (0, 0), *padding)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, stride, padding)


def normal(key, shape, mean=0.0, std=1.0, dtype=jnp.float32):
    """Initial values from a normal distribution."""
    return mean + std * random.normal(key, shape, dtype)


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def copies(make, key, count, **numbers):
    """What `make` gives for each of `count` keys."""
    return [make(k, **numbers) for k in random.split(key, count)]


def conv_norm2d(params, state, x, training, stride, size):
    """A convolution without bias, whose places stay at stride 1, and batch
    normalisation: float[B, C, H, W] -> float[B, channels, H', W'].
    """
    state = dict(state)
    h = conv(params["conv"], x, (stride, stride), ((size, size), (size, size)))
    h, state["bn"] = batch_norm(params["bn"], state["bn"], h, training)
    return h, state


def shortcut2d(params, state, x, training, stride):
    """x itself, or its projection where the shape changes: what a residual block adds
    to.
    """
    state = dict(state)
    h, state["project"] = conv_norm2d(
        params["project"], state["project"], x, training, stride=stride, size=0
    )
    return h, state


def shortcut2d_1(x):
    """x itself, or its projection where the shape changes: what a residual block adds
    to.
    """
    return x


def bottleneck_block(params, state, x, training, stride):
    """A narrow 3x3 convolution between two 1x1, beside a shortcut: float[B, C, H, W] ->
    float[B, expansion channels, H', W']. The stride is at the 3x3, as in torchvision
    ("v1.5"); the paper has it at the first 1x1. He et al. 2016.
    """
    state = dict(state)
    main, state["a"] = conv_norm2d(
        params["a"], state["a"], x, training, stride=1, size=0
    )
    main = jax.nn.relu(main)
    main, state["b"] = conv_norm2d(
        params["b"], state["b"], main, training, stride=stride, size=1
    )
    main = jax.nn.relu(main)
    main, state["c"] = conv_norm2d(
        params["c"], state["c"], main, training, stride=1, size=0
    )
    h, state["shortcut"] = shortcut2d(
        params["shortcut"], state["shortcut"], x, training, stride=stride
    )
    return jax.nn.relu(main + h), state


def bottleneck_block_1(params, state, x, training):
    """A narrow 3x3 convolution between two 1x1, beside a shortcut: float[B, C, H, W] ->
    float[B, expansion channels, H', W']. The stride is at the 3x3, as in torchvision
    ("v1.5"); the paper has it at the first 1x1. He et al. 2016.
    """
    state = dict(state)
    main, state["a"] = conv_norm2d(
        params["a"], state["a"], x, training, stride=1, size=0
    )
    main = jax.nn.relu(main)
    main, state["b"] = conv_norm2d(
        params["b"], state["b"], main, training, stride=1, size=1
    )
    main = jax.nn.relu(main)
    main, state["c"] = conv_norm2d(
        params["c"], state["c"], main, training, stride=1, size=0
    )
    return jax.nn.relu(main + shortcut2d_1(x)), state


def backbone(params, state, image, training):
    """All but the classifier: the maps of the four stages (C2 to C5), whose sides are
    1/4, 1/8, 1/16 and 1/32 of the image's.
    """
    state = dict(state)
    h, state["stem"] = conv_norm2d(
        params["stem"], state["stem"], image, training, stride=2, size=3
    )
    h = max_pool(jax.nn.relu(h), (3, 3), (2, 2), ((1, 1), (1, 1)))
    h, state["first"] = bottleneck_block(
        params["first"], state["first"], h, training, stride=1
    )
    state["rest"] = list(state["rest"])
    for i in range(2):
        h, state["rest"][i] = bottleneck_block_1(
            params["rest"][i], state["rest"][i], h, training
        )
    h, state["first_1"] = bottleneck_block(
        params["first_1"], state["first_1"], h, training, stride=2
    )
    state["rest_1"] = list(state["rest_1"])
    for i_1 in range(3):
        h, state["rest_1"][i_1] = bottleneck_block_1(
            params["rest_1"][i_1], state["rest_1"][i_1], h, training
        )
    h, state["first_2"] = bottleneck_block(
        params["first_2"], state["first_2"], h, training, stride=2
    )
    state["rest_2"] = list(state["rest_2"])
    for i_2 in range(5):
        h, state["rest_2"][i_2] = bottleneck_block_1(
            params["rest_2"][i_2], state["rest_2"][i_2], h, training
        )
    h, state["first_3"] = bottleneck_block(
        params["first_3"], state["first_3"], h, training, stride=2
    )
    state["rest_3"] = list(state["rest_3"])
    for i_3 in range(2):
        h, state["rest_3"][i_3] = bottleneck_block_1(
            params["rest_3"][i_3], state["rest_3"][i_3], h, training
        )
    return h, state


def apply(params, state, image, *, training=False, key=None):
    """The outputs of the model: logits."""
    H, W = image.shape[2], image.shape[3]
    if H % 32 != 0:
        raise ValueError("image sides must be multiples of 32")
    if W % 32 != 0:
        raise ValueError("image sides must be multiples of 32")
    state = dict(state)
    maps_3, state["backbone"] = backbone(
        params["backbone"], state["backbone"], image, training
    )
    return linear(params["fc"], jnp.mean(maps_3, axis=(2, 3))), state


def init_conv_norm2d(key, kernel, c, channels, scale):
    return {
        "conv": {
            "weight.hwio": normal(key, (kernel, kernel, c, channels), 0.0, scale),
        },
        "bn": {
            "weight": jnp.ones((channels,)),
            "bias": jnp.zeros((channels,)),
        },
    }


def init_shortcut2d(key, c, channels, scale):
    return {
        "project": init_conv_norm2d(key, kernel=1, c=c, channels=channels, scale=scale),
    }


def init_bottleneck_block(key, c, channels, scale, scale_1, size, scale_2):
    keys = random.split(key, 4)
    return {
        "a": init_conv_norm2d(keys[0], kernel=1, c=c, channels=channels, scale=scale),
        "b": init_conv_norm2d(
            keys[1], kernel=3, c=channels, channels=channels, scale=scale_1
        ),
        "c": init_conv_norm2d(
            keys[2], kernel=1, c=channels, channels=size, scale=scale_2
        ),
        "shortcut": init_shortcut2d(keys[3], c=c, channels=size, scale=scale_2),
    }


def init_bottleneck_block_1(key, c, channels, scale, scale_1, scale_2):
    keys = random.split(key, 3)
    return {
        "a": init_conv_norm2d(keys[0], kernel=1, c=c, channels=channels, scale=scale),
        "b": init_conv_norm2d(
            keys[1], kernel=3, c=channels, channels=channels, scale=scale_1
        ),
        "c": init_conv_norm2d(keys[2], kernel=1, c=channels, channels=c, scale=scale_2),
    }


def init_backbone(key):
    keys = random.split(key, 9)
    return {
        "stem": init_conv_norm2d(
            keys[0], kernel=7, c=3, channels=64, scale=0.02525381361380527
        ),
        "first": init_bottleneck_block(
            keys[1],
            c=64,
            channels=64,
            scale=0.1767766952966369,
            scale_1=0.05892556509887897,
            size=256,
            scale_2=0.08838834764831845,
        ),
        "rest": copies(
            init_bottleneck_block_1,
            keys[2],
            2,
            c=256,
            channels=64,
            scale=0.1767766952966369,
            scale_1=0.05892556509887897,
            scale_2=0.08838834764831845,
        ),
        "first_1": init_bottleneck_block(
            keys[3],
            c=256,
            channels=128,
            scale=0.125,
            scale_1=0.04166666666666667,
            size=512,
            scale_2=0.0625,
        ),
        "rest_1": copies(
            init_bottleneck_block_1,
            keys[4],
            3,
            c=512,
            channels=128,
            scale=0.125,
            scale_1=0.04166666666666667,
            scale_2=0.0625,
        ),
        "first_2": init_bottleneck_block(
            keys[5],
            c=512,
            channels=256,
            scale=0.08838834764831845,
            scale_1=0.029462782549439483,
            size=1024,
            scale_2=0.04419417382415922,
        ),
        "rest_2": copies(
            init_bottleneck_block_1,
            keys[6],
            5,
            c=1024,
            channels=256,
            scale=0.08838834764831845,
            scale_1=0.029462782549439483,
            scale_2=0.04419417382415922,
        ),
        "first_3": init_bottleneck_block(
            keys[7],
            c=1024,
            channels=512,
            scale=0.0625,
            scale_1=0.020833333333333336,
            size=2048,
            scale_2=0.03125,
        ),
        "rest_3": copies(
            init_bottleneck_block_1,
            keys[8],
            2,
            c=2048,
            channels=512,
            scale=0.0625,
            scale_1=0.020833333333333336,
            scale_2=0.03125,
        ),
    }


def init_params(key):
    keys = random.split(key, 2)
    return {
        "backbone": init_backbone(keys[0]),
        "fc": {
            "weight": uniform(
                keys[1], (1000, 2048), -0.05412658773652741, 0.05412658773652741
            ),
            "bias": jnp.zeros((1000,)),
        },
    }


def init_conv_norm2d_state(channels):
    return {
        "bn": {
            "running_mean": jnp.zeros((channels,)),
            "running_var": jnp.ones((channels,)),
        },
    }


def init_shortcut2d_state(channels):
    return {
        "project": init_conv_norm2d_state(channels=channels),
    }


def init_bottleneck_block_state(channels, size):
    return {
        "a": init_conv_norm2d_state(channels=channels),
        "b": init_conv_norm2d_state(channels=channels),
        "c": init_conv_norm2d_state(channels=size),
        "shortcut": init_shortcut2d_state(channels=size),
    }


def init_bottleneck_block_state_1(channels, c):
    return {
        "a": init_conv_norm2d_state(channels=channels),
        "b": init_conv_norm2d_state(channels=channels),
        "c": init_conv_norm2d_state(channels=c),
    }


def init_backbone_state():
    return {
        "stem": init_conv_norm2d_state(channels=64),
        "first": init_bottleneck_block_state(channels=64, size=256),
        "rest": [
            init_bottleneck_block_state_1(channels=64, c=256),
            init_bottleneck_block_state_1(channels=64, c=256),
        ],
        "first_1": init_bottleneck_block_state(channels=128, size=512),
        "rest_1": [
            init_bottleneck_block_state_1(channels=128, c=512),
            init_bottleneck_block_state_1(channels=128, c=512),
            init_bottleneck_block_state_1(channels=128, c=512),
        ],
        "first_2": init_bottleneck_block_state(channels=256, size=1024),
        "rest_2": [
            init_bottleneck_block_state_1(channels=256, c=1024),
            init_bottleneck_block_state_1(channels=256, c=1024),
            init_bottleneck_block_state_1(channels=256, c=1024),
            init_bottleneck_block_state_1(channels=256, c=1024),
            init_bottleneck_block_state_1(channels=256, c=1024),
        ],
        "first_3": init_bottleneck_block_state(channels=512, size=2048),
        "rest_3": [
            init_bottleneck_block_state_1(channels=512, c=2048),
            init_bottleneck_block_state_1(channels=512, c=2048),
        ],
    }


def init_state():
    return {
        "backbone": init_backbone_state(),
    }


def init(key):
    """The initial parameters, drawn with `key`, and the initial state."""
    return init_params(key), init_state()


def from_named(tensors):
    """Parameters and state from tensors by the names of the spec."""
    params, state = jax.eval_shape(init, random.key(0))
    return nested(params, tensors), nested(state, tensors)


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
