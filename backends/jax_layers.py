"""Functions that generated JAX programs copy, each only where it is used.

The JAX backend reads this file as text and copies single functions with those they call, so each stands alone: it may use `jax`, `jnp`,
`lax`, `random` and other functions of this file, and its lines fit 88 columns. Arrays are [batch, channels, *spatial].
"""
# mypy: ignore-errors
# fmt: off

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


def layer_norm(params, x, eps=1e-5):
    """Each vector of the last axis to mean 0 and variance 1."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    var = jnp.var(x, axis=-1, keepdims=True)
    y = (x - mean) * lax.rsqrt(var + eps)
    if "weight" in params:
        y = y * params["weight"]
    return y + params["bias"] if "bias" in params else y


def rms_norm(params, x, eps=1e-6):
    """Each vector of the last axis divided by its root mean square."""
    y = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)
    return y * params["weight"] if "weight" in params else y


def group_norm(params, x, groups, eps=1e-5):
    """Each group of channels of each sample to mean 0 and variance 1."""
    y = x.reshape(x.shape[0], groups, -1)
    mean, var = jnp.mean(y, -1, keepdims=True), jnp.var(y, -1, keepdims=True)
    y = ((y - mean) * lax.rsqrt(var + eps)).reshape(x.shape)
    if "weight" in params:
        y = y * params["weight"].reshape(-1, *[1] * (x.ndim - 2))
    return add_bias(params, y)


def cross_entropy(logits, target):
    """The softmax cross entropy of each row of the last axis, for integer classes."""
    picked = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked


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


def max_pool_dilated(x, kernel, stride, padding, dilation):
    """The largest element of each window whose places are `dilation` apart."""
    x = jnp.pad(x, ((0, 0), (0, 0), *padding), constant_values=-jnp.inf)
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        stop = x.shape[axis] - d * (k - 1)
        views = [lax.slice_in_dim(x, i * d, stop + i * d, s, axis) for i in range(k)]
        x = views[0]
        for view in views[1:]:
            x = jnp.maximum(x, view)
    return x


def avg_pool(x, kernel, stride, padding):
    """The mean of each window, with the zeros of the padding."""
    window, stride = (1, 1, *kernel), (1, 1, *stride)
    padding = ((0, 0), (0, 0), *padding)
    total = lax.reduce_window(x, 0.0, lax.add, window, stride, padding)
    count = 1
    for size in kernel:
        count *= size
    return total / count


def avg_pool_counted(x, kernel, stride, padding, whole, count_padding):
    """The mean of each window over the places that count.

    `whole` is `padding` made wide enough for windows that hang over the end.
    """
    edges = padding if count_padding else [(0, 0)] * len(kernel)
    counted = jnp.pad(jnp.ones(x.shape[2:], x.dtype), edges, constant_values=1)
    rest = zip(whole, edges, strict=True)
    rest = [(w[0] - e[0], w[1] - e[1]) for w, e in rest]
    count = lax.reduce_window(counted, 0.0, lax.add, kernel, stride, rest)
    window, stride = (1, 1, *kernel), (1, 1, *stride)
    whole = ((0, 0), (0, 0), *whole)
    return lax.reduce_window(x, 0.0, lax.add, window, stride, whole) / count


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


def adaptive_avg_pool(x, size):
    """The means of cells that divide the spatial axes into `size` parts."""
    for axis, m in enumerate(size, 2):
        n = x.shape[axis]
        if n % m == 0:
            cells = x.reshape(*x.shape[:axis], m, n // m, *x.shape[axis + 1 :])
            x = cells.mean(axis + 1)
        else:
            cuts = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            cells = [lax.slice_in_dim(x, *cut, axis=axis).mean(axis) for cut in cuts]
            x = jnp.stack(cells, axis)
    return x


def resize_nearest(x, size, scale=None):
    """x resized by taking for place i the place floor(i * ratio)."""
    for axis, m in enumerate(size, 2):
        n = x.shape[axis]
        ratio = n / m if scale is None else 1 / scale[axis - 2]
        if m % n == 0 and ratio == n / m:
            x = jnp.repeat(x, m // n, axis)
        else:
            index = [min(int(i * ratio), n - 1) for i in range(m)]
            x = jnp.take(x, jnp.array(index), axis)
    return x


def resize_bilinear(x, size, scale=None, align_corners=False):
    """x resized by interpolating between neighbours along each spatial axis."""
    for axis, m in enumerate(size, 2):
        n = x.shape[axis]
        ratio = n / m if scale is None else 1 / scale[axis - 2]
        if align_corners:
            places = [i * (n - 1) / max(m - 1, 1) for i in range(m)]
        else:
            places = [max((i + 0.5) * ratio - 0.5, 0.0) for i in range(m)]
        low = [min(int(place), n - 1) for place in places]
        high = [min(i + 1, n - 1) for i in low]
        share = [min(p - i, 1.0) for p, i in zip(places, low, strict=True)]
        share = jnp.array(share, x.dtype).reshape(-1, *[1] * (x.ndim - axis - 1))
        first = jnp.take(x, jnp.array(low), axis)
        x = first * (1 - share) + jnp.take(x, jnp.array(high), axis) * share
    return x


def pick(x, index, axis):
    """One entry along an axis for each row, by the row's own index."""
    index = jnp.expand_dims(index, axis)
    return jnp.take_along_axis(x, index, axis=axis).squeeze(axis)


def scatter_add(x, index, updates, axis):
    """x with `updates` added at the places `index` along one axis."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[axis] = index
    return x.at[tuple(places)].add(updates)


def largest_k(x, k, axis):
    """The k largest along an axis that is not the last, in order, and their indices."""
    values, index = lax.top_k(jnp.moveaxis(x, axis, -1), k)
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(index, -1, axis)


def smallest_k(x, k, axis):
    """The k smallest along one axis, in order, and their indices."""
    index = lax.slice_in_dim(jnp.argsort(x, axis=axis), 0, k, axis=axis)
    return jnp.take_along_axis(x, index, axis=axis), index


def absolute(x):
    """The absolute value, with gradient 0 at 0."""
    return x * jnp.sign(x)


def normal(key, shape, mean=0.0, std=1.0, dtype=jnp.float32):
    """Initial values from a normal distribution."""
    return mean + std * random.normal(key, shape, dtype)


def truncated_normal(key, shape, mean, std, low, high, dtype=jnp.float32):
    """Initial values from a normal distribution cut off at `low` and `high`."""
    bounds = (low - mean) / std, (high - mean) / std
    return mean + std * random.truncated_normal(key, *bounds, shape, dtype)


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def orthogonal(key, shape, gain=1.0, dtype=jnp.float32):
    """Initial values with orthonormal rows or columns, as [first, rest]."""
    columns = 1
    for size in shape[1:]:
        columns *= size
    rows = shape[0]
    tall = (max(rows, columns), min(rows, columns))
    wide = jnp.promote_types(dtype, jnp.float32)
    q, r = jnp.linalg.qr(random.normal(key, tall, wide))
    q = q * jnp.sign(jnp.diagonal(r))
    return (gain * (q.T if rows < columns else q)).reshape(shape).astype(dtype)


def identity(shape, gain=1.0, dtype=jnp.float32):
    """The identity matrix times `gain`, at the centre of a kernel."""
    square = gain * jnp.eye(shape[0], shape[1], dtype=dtype)
    centre = tuple(size // 2 for size in shape[2:])
    return jnp.zeros(shape, dtype).at[(..., *centre)].set(square)


def eigh(x):
    """Eigenvalues, ascending, and eigenvectors with their signs fixed."""
    values, vectors = jnp.linalg.eigh(x)
    return values, vectors * column_signs(vectors)


def svd(x):
    """The reduced decomposition, with the signs of the columns of u fixed."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    signs = column_signs(u)
    return u * signs, s, vt * signs.mT


def column_signs(vectors):
    """Of each column the sign of the first of its largest components."""
    size = jnp.abs(vectors)
    largest = size >= 0.99 * jnp.max(size, axis=-2, keepdims=True)
    first = jnp.argmax(largest, axis=-2, keepdims=True)
    return jnp.sign(jnp.take_along_axis(vectors, first, axis=-2))


def qr(x):
    """The reduced decomposition; no element of the diagonal of r is negative."""
    q, r = jnp.linalg.qr(x)
    signs = jnp.where(jnp.diagonal(r, axis1=-2, axis2=-1) < 0, -1, 1).astype(x.dtype)
    return q * signs[..., None, :], r * signs[..., :, None]


def rfft(x, axis):
    """The real and the imaginary part of the spectrum of a real signal."""
    spectrum = jnp.fft.rfft(x, axis=axis)
    return spectrum.real, spectrum.imag


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


def replaced(tree, tensors):
    """The tree with other leaves, given by the names of the spec."""

    def take(path, leaf):
        names, copies = spec_names(path)
        found = {i: tensors[name] for i, name in enumerate(names) if name in tensors}
        if not found:
            return leaf
        values = [hwio(v) if is_hwio(path) else v for v in found.values()]
        if not copies:
            return values[0]
        pieces = leaf.reshape(-1, *leaf.shape[copies:])
        places = jnp.array(list(found))
        return pieces.at[places].set(jnp.stack(values)).reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(take, tree)


def copies(make, key, count, **numbers):
    """What `make` gives for each of `count` keys."""
    return [make(k, **numbers) for k in random.split(key, count)]


def stacked_copies(make, key, count, **numbers):
    """What `make` gives for each of `count` keys, stacked along a new first axis."""
    return jax.vmap(lambda k: make(k, **numbers))(random.split(key, count))


def stacked_alike(tree, count):
    """`count` copies of the arrays of a tree, stacked along a new first axis."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tree)


def hwio(weight):
    """The weight of a convolution from [out, in, *kernel] to [*kernel, in, out]."""
    return jnp.moveaxis(weight, (0, 1), (-1, -2))


def is_hwio(path):
    """Whether the leaf at `path` is the weight of a convolution, [*kernel, in, out]."""
    return str(getattr(path[-1], "key", "")).endswith(".hwio")


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


def table(dtype, shape, *digits):
    """A constant from its bytes in hexadecimal."""
    return jnp.frombuffer(bytes.fromhex("".join(digits)), dtype).reshape(shape)


def same_types(step):
    """The step of a scan, with carries of the types that they came in."""

    def kept(carry, xs):
        new, stacks = step(carry, xs)
        return as_before(carry, new), stacks

    return kept


def as_before(old, new):
    """New values in the types of the old ones."""
    return jax.tree.map(lambda a, b: jnp.asarray(b, a.dtype), old, new)
