"""GoogLeNet in JAX, generated from googlenet.dl by dslc 0.1.0.

Call params = init(jax.random.key(0)), then logits = apply(params, image).

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


def conv_relu(params, x, stride, padding):
    """A convolution, with its bias, and relu."""
    return jax.nn.relu(
        conv(
            params["conv"],
            x,
            (stride, stride),
            ((padding, padding), (padding, padding)),
        ),
    )


def local_response_norm(x):
    """x / (k + alpha mean of x^2 over the `size` channels around) ** beta: float[B, C,
    H, W] -> the same. The mean counts the zeros beside the first and last channel.
    Krizhevsky et al. 2012 write the sum: their alpha is alpha / size here.
    torch.nn.functional.local_response_norm; ONNX LRN.
    """
    B, H, W = x.shape[0], x.shape[2], x.shape[3]
    squares = jnp.pad(x * x, ((0, 0), (2, 2), (0, 0), (0, 0))).reshape(B, 1, 68, H, W)
    h = avg_pool(squares, (5, 1, 1), (1, 1, 1), ((0, 0), (0, 0), (0, 0)))
    return x / (1.0 + 0.0001 * h.reshape(B, 64, H, W)) ** 0.75


def local_response_norm_1(x):
    """x / (k + alpha mean of x^2 over the `size` channels around) ** beta: float[B, C,
    H, W] -> the same. The mean counts the zeros beside the first and last channel.
    Krizhevsky et al. 2012 write the sum: their alpha is alpha / size here.
    torch.nn.functional.local_response_norm; ONNX LRN.
    """
    B, H, W = x.shape[0], x.shape[2], x.shape[3]
    squares = jnp.pad(x * x, ((0, 0), (2, 2), (0, 0), (0, 0))).reshape(B, 1, 196, H, W)
    h = avg_pool(squares, (5, 1, 1), (1, 1, 1), ((0, 0), (0, 0), (0, 0)))
    return x / (1.0 + 0.0001 * h.reshape(B, 192, H, W)) ** 0.75


def inception(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 64, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 128, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 32, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 32, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def inception_1(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 128, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 192, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 96, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 64, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def inception_2(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 192, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 208, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 48, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 64, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def inception_3(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 160, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 224, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 64, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 64, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def inception_4(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 128, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 256, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 64, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 64, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def inception_5(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 112, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 288, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 64, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 64, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def inception_6(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 256, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 320, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 128, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 128, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def inception_7(params, x):
    """Four branches side by side: 1x1; 3x3 and 5x5, each after a narrowing 1x1; a pool
    and its 1x1.
    """
    b1 = conv_relu(params["branch1"], x, stride=1, padding=0)  # [B, 384, H, W]
    b3 = conv_relu(params["reduce3"], x, stride=1, padding=0)
    b3 = conv_relu(params["branch3"], b3, stride=1, padding=1)  # [B, 384, H, W]
    b5 = conv_relu(params["reduce5"], x, stride=1, padding=0)
    b5 = conv_relu(params["branch5"], b5, stride=1, padding=2)  # [B, 128, H, W]
    bp = max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    bp = conv_relu(params["branch_pool"], bp, stride=1, padding=0)  # [B, 128, H, W]
    return jnp.concatenate([b1, b3, b5, bp], axis=1)


def blocks(params, image):
    """All but the classifiers: the map of each block."""
    h = conv_relu(params["conv1"], image, stride=2, padding=3)
    h = max_pool(h, (3, 3), (2, 2), ceil_padding(h, (3, 3), (2, 2), ((0, 0), (0, 0))))
    h = conv_relu(params["conv2"], local_response_norm(h), stride=1, padding=0)
    h = local_response_norm_1(conv_relu(params["conv3"], h, stride=1, padding=1))
    h = max_pool(h, (3, 3), (2, 2), ceil_padding(h, (3, 3), (2, 2), ((0, 0), (0, 0))))
    h = inception(params["block"], h)  # [B, 256, (H + 1) // 8, (W + 1) // 8]
    h = inception_1(params["block_1"], h)  # [B, 480, (H + 1) // 8, (W + 1) // 8]
    h = max_pool(h, (3, 3), (2, 2), ceil_padding(h, (3, 3), (2, 2), ((0, 0), (0, 0))))
    h = inception_2(params["block_2"], h)  # [B, 512, (H + 1) // 16, (W + 1) // 16]
    h = inception_3(params["block_3"], h)
    h = inception_4(params["block_4"], h)
    h = inception_5(params["block_5"], h)  # [B, 528, (H + 1) // 16, (W + 1) // 16]
    h = inception_6(params["block_6"], h)  # [B, 832, (H + 1) // 16, (W + 1) // 16]
    h = max_pool(h, (3, 3), (2, 2), ceil_padding(h, (3, 3), (2, 2), ((0, 0), (0, 0))))
    h = inception_6(params["block_7"], h)
    h = inception_7(params["block_8"], h)  # [B, 1024, (H + 1) // 32, (W + 1) // 32]
    return h


def apply(params, image, *, training=False, key=None):
    """The outputs of the model: logits."""
    if training and key is None:
        raise ValueError("random numbers are drawn here: give key=jax.random.key(seed)")
    maps_8 = blocks(params["blocks"], image)  # [B, 1024, (H + 1) // 32, (W + 1) // 32]
    return linear(
        params["fc"], dropout(jnp.mean(maps_8, axis=(2, 3)), 0.4, training, key)
    )


def init_conv_relu(key, kernel, c, channels, scale):
    return {
        "conv": {
            "weight.hwio": uniform(key, (kernel, kernel, c, channels), -scale, scale),
            "bias": jnp.zeros((channels,)),
        },
    }


def init_inception(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=192, channels=64, scale=0.1767766952966369
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=192, channels=96, scale=0.1767766952966369
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=96, channels=128, scale=0.08333333333333334
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=192, channels=16, scale=0.1767766952966369
        ),
        "branch5": init_conv_relu(
            keys[4], kernel=5, c=16, channels=32, scale=0.12247448713915891
        ),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=192, channels=32, scale=0.1767766952966369
        ),
    }


def init_inception_1(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=256, channels=128, scale=0.15309310892394865
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=256, channels=128, scale=0.15309310892394865
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=128, channels=192, scale=0.07216878364870323
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=256, channels=32, scale=0.15309310892394865
        ),
        "branch5": init_conv_relu(
            keys[4], kernel=5, c=32, channels=96, scale=0.08660254037844387
        ),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=256, channels=64, scale=0.15309310892394865
        ),
    }


def init_inception_2(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=480, channels=192, scale=0.1118033988749895
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=480, channels=96, scale=0.1118033988749895
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=96, channels=208, scale=0.08333333333333334
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=480, channels=16, scale=0.1118033988749895
        ),
        "branch5": init_conv_relu(
            keys[4], kernel=5, c=16, channels=48, scale=0.12247448713915891
        ),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=480, channels=64, scale=0.1118033988749895
        ),
    }


def init_inception_3(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=512, channels=160, scale=0.10825317547305482
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=512, channels=112, scale=0.10825317547305482
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=112, channels=224, scale=0.07715167498104596
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=512, channels=24, scale=0.10825317547305482
        ),
        "branch5": init_conv_relu(keys[4], kernel=5, c=24, channels=64, scale=0.1),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=512, channels=64, scale=0.10825317547305482
        ),
    }


def init_inception_4(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=512, channels=128, scale=0.10825317547305482
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=512, channels=128, scale=0.10825317547305482
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=128, channels=256, scale=0.07216878364870323
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=512, channels=24, scale=0.10825317547305482
        ),
        "branch5": init_conv_relu(keys[4], kernel=5, c=24, channels=64, scale=0.1),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=512, channels=64, scale=0.10825317547305482
        ),
    }


def init_inception_5(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=512, channels=112, scale=0.10825317547305482
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=512, channels=144, scale=0.10825317547305482
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=144, channels=288, scale=0.06804138174397718
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=512, channels=32, scale=0.10825317547305482
        ),
        "branch5": init_conv_relu(
            keys[4], kernel=5, c=32, channels=64, scale=0.08660254037844387
        ),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=512, channels=64, scale=0.10825317547305482
        ),
    }


def init_inception_6(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=528, channels=256, scale=0.10660035817780522
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=528, channels=160, scale=0.10660035817780522
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=160, channels=320, scale=0.06454972243679027
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=528, channels=32, scale=0.10660035817780522
        ),
        "branch5": init_conv_relu(
            keys[4], kernel=5, c=32, channels=128, scale=0.08660254037844387
        ),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=528, channels=128, scale=0.10660035817780522
        ),
    }


def init_inception_7(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=832, channels=256, scale=0.08492077756084469
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=832, channels=160, scale=0.08492077756084469
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=160, channels=320, scale=0.06454972243679027
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=832, channels=32, scale=0.08492077756084469
        ),
        "branch5": init_conv_relu(
            keys[4], kernel=5, c=32, channels=128, scale=0.08660254037844387
        ),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=832, channels=128, scale=0.08492077756084469
        ),
    }


def init_inception_8(key):
    keys = random.split(key, 6)
    return {
        "branch1": init_conv_relu(
            keys[0], kernel=1, c=832, channels=384, scale=0.08492077756084469
        ),
        "reduce3": init_conv_relu(
            keys[1], kernel=1, c=832, channels=192, scale=0.08492077756084469
        ),
        "branch3": init_conv_relu(
            keys[2], kernel=3, c=192, channels=384, scale=0.05892556509887896
        ),
        "reduce5": init_conv_relu(
            keys[3], kernel=1, c=832, channels=48, scale=0.08492077756084469
        ),
        "branch5": init_conv_relu(
            keys[4], kernel=5, c=48, channels=128, scale=0.07071067811865477
        ),
        "branch_pool": init_conv_relu(
            keys[5], kernel=1, c=832, channels=128, scale=0.08492077756084469
        ),
    }


def init_blocks(key):
    keys = random.split(key, 12)
    return {
        "conv1": init_conv_relu(
            keys[0], kernel=7, c=3, channels=64, scale=0.20203050891044216
        ),
        "conv2": init_conv_relu(
            keys[1], kernel=1, c=64, channels=64, scale=0.3061862178478973
        ),
        "conv3": init_conv_relu(
            keys[2], kernel=3, c=64, channels=192, scale=0.10206207261596575
        ),
        "block": init_inception(keys[3]),
        "block_1": init_inception_1(keys[4]),
        "block_2": init_inception_2(keys[5]),
        "block_3": init_inception_3(keys[6]),
        "block_4": init_inception_4(keys[7]),
        "block_5": init_inception_5(keys[8]),
        "block_6": init_inception_6(keys[9]),
        "block_7": init_inception_7(keys[10]),
        "block_8": init_inception_8(keys[11]),
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 2)
    return {
        "blocks": init_blocks(keys[0]),
        "fc": {
            "weight": uniform(
                keys[1], (1000, 1024), -0.07654655446197432, 0.07654655446197432
            ),
            "bias": jnp.zeros((1000,)),
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
