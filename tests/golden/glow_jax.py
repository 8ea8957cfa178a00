"""Glow in JAX, generated from glow.dl by dslc 0.1.0.

z is all latents in a row, those of the finest level first.

Call params, state = init(jax.random.key(0)), then (latents_0, latents_1, logdet),
state = apply(params, state, x).

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


def add_bias(params, y):
    """y plus `bias` along its axis of channels, where there is one."""
    if "bias" not in params:
        return y
    return y + params["bias"].reshape(-1, *[1] * (y.ndim - 2))


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


def squeeze_blocks(x):
    """Blocks of 2 x 2 positions as channels, and back: float[B, C, H, W] -> float[B, 4
    C, H / 2, W / 2]. Dinh et al. 2017, section 3.6.
    """
    B = x.shape[0]
    y = x.reshape(B, 3, 16, 2, 16, 2).transpose(0, 1, 3, 5, 2, 4).reshape(B, 12, 16, 16)
    return y


def squeeze_blocks_1(x):
    """Blocks of 2 x 2 positions as channels, and back: float[B, C, H, W] -> float[B, 4
    C, H / 2, W / 2]. Dinh et al. 2017, section 3.6.
    """
    B = x.shape[0]
    return x.reshape(B, 6, 8, 2, 8, 2).transpose(0, 1, 3, 5, 2, 4).reshape(B, 24, 8, 8)


def squeeze_blocks_2(x):
    """Blocks of 2 x 2 positions as channels, as a flow."""
    B = x.shape[0]
    return squeeze_blocks(x), jnp.zeros((B,), jnp.float32)


def squeeze_blocks_3(x):
    """Blocks of 2 x 2 positions as channels, as a flow."""
    B = x.shape[0]
    return squeeze_blocks_1(x), jnp.zeros((B,), jnp.float32)


def first_batch(state, x, training):
    """What a layer was given in the first batch of training, from that batch on: a
    statistic that initialises a layer from data. float[C] -> the same. In inference
    it is 0 as long as there was no training. No gradient passes.
    """
    state = dict(state)
    if training:
        first = lax.stop_gradient(jnp.where(state["batches"] > 0, state["kept"], x))
        first_1 = first
    else:
        first_1 = state["kept"]
    if training:
        batches = state["batches"] + 1
        state["kept"] = lax.stop_gradient(first)
        state["batches"] = lax.stop_gradient(batches)
    return first_1, state


def act_norm(params, state, x, training, c, scale):
    """Activation normalisation: a scale and a shift for each channel (axis 1), such
    that each channel of the first batch has mean 0 and deviation 1; unlike in batch
    normalisation they are parameters from then on. float[B, C, ...] -> the same, and
    logdet, positions * sum(log |scale|). Kingma & Dhariwal 2018, section 3.1.
    """
    B = x.shape[0]
    state = dict(state)
    first_mean, state["center"] = first_batch(
        state["center"], jnp.mean(x, axis=(0, 2, 3)), training
    )
    h = 0.5 * jnp.log(jnp.var(x, axis=(0, 2, 3)) + 1e-6)
    h, state["log_spread"] = first_batch(state["log_spread"], h, training)
    log_s = params["log_scale"] - h
    y = (x - first_mean.reshape(c, 1, 1)) * jnp.exp(log_s).reshape(c, 1, 1)
    y = y + params["bias"].reshape(c, 1, 1)
    return y, jnp.broadcast_to(scale * jnp.sum(log_s), (B,)), state


def invertible_conv(params, state, x, c, scale):
    """A learned mix of the channels, the same at each position: float[B, C, H, W] ->
    the same, and logdet, H W log |det W|. It begins as a random rotation. With `lu`
    W is rotation L (U + diag(exp(log_scale))), a fixed rotation and unit triangles:
    logdet is a sum, and the inverse two substitutions. Kingma & Dhariwal 2018,
    section 3.2.
    """
    B = x.shape[0]
    state = dict(state)
    eye = jnp.eye(c, dtype=jnp.float32)
    left = jnp.tril(params["lower"], -1) + eye
    right = jnp.triu(params["upper"], 1) + eye * jnp.exp(params["log_scale"])
    weight = state["rotation"] @ left @ right
    y = jnp.einsum("dc,bchw->bdhw", weight, x)
    volume = jnp.sum(params["log_scale"])
    return y, jnp.broadcast_to(scale * volume, (B,)), state


def scale_and_shift(params, x):
    """Log scales and shifts, none at first."""
    h = jax.nn.relu(conv(params["conv1"], x, (1, 1), ((1, 1), (1, 1))))
    h = jax.nn.relu(conv(params["conv2"], h, (1, 1), ((0, 0), (0, 0))))
    return conv(params["last"], h, (1, 1), ((1, 1), (1, 1)))


def sum_each(x, size):
    """The sum of all numbers of each example: float[B, ...] -> float[B]."""
    B = x.shape[0]
    return jnp.sum(x.reshape(B, size), axis=-1)


def affine_coupling(params, x, size):
    """Affine coupling: the first half of the channels (axis 1) stays, and `net` says of
    it how the rest is scaled and shifted, log scales and shifts side by side:
    float[B, C, ...] -> the same, and logdet, the sum of the log scales. The halves
    change roles with `swapped`. Dinh et al. 2017, section 3.2.
    """
    first, second = jnp.split(x, 2, axis=1)
    s, t = jnp.split(scale_and_shift(params["scale_and_shift"], first), 2, axis=1)
    y = second * jnp.exp(s) + t
    return jnp.concatenate([first, y], axis=1), sum_each(s, size=size)


def flow(params, state, x, training, c, scale, size):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """
    B = x.shape[0]
    state = dict(state)
    logdet = jnp.zeros((B,), jnp.float32)
    x, stretched, state["step"] = act_norm(
        params["step"], state["step"], x, training, c=c, scale=scale
    )
    logdet = logdet + stretched
    x, stretched, state["step_1"] = invertible_conv(
        params["step_1"], state["step_1"], x, c=c, scale=scale
    )
    logdet = logdet + stretched
    x, stretched = affine_coupling(params["step_2"], x, size=size)
    logdet = logdet + stretched
    return x, logdet, state


def flow_1(params, state, x, training):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """
    B = x.shape[0]
    state = dict(state)
    logdet = jnp.zeros((B,), jnp.float32)  # [B]
    x, stretched = squeeze_blocks_2(x)
    logdet = logdet + stretched
    x, stretched, state["step_1"] = flow(
        params["step_1"], state["step_1"], x, training, c=12, scale=256.0, size=1536
    )
    logdet = logdet + stretched
    x, stretched, state["step_2"] = flow(
        params["step_2"], state["step_2"], x, training, c=12, scale=256.0, size=1536
    )
    logdet = logdet + stretched
    return x, logdet, state


def flow_2(params, state, x, training):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """
    B = x.shape[0]
    state = dict(state)
    logdet = jnp.zeros((B,), jnp.float32)  # [B]
    x, stretched = squeeze_blocks_3(x)
    logdet = logdet + stretched
    x, stretched, state["step_1"] = flow(
        params["step_1"], state["step_1"], x, training, c=24, scale=64.0, size=768
    )
    logdet = logdet + stretched
    x, stretched, state["step_2"] = flow(
        params["step_2"], state["step_2"], x, training, c=24, scale=64.0, size=768
    )
    logdet = logdet + stretched
    return x, logdet, state


def multi_scale(params, state, x, training):
    """Flows one after the other, such that after each but the last one half of the
    channels (axis 1) is noise already and leaves: the latents are a list of tensors
    of unequal sizes. Dinh et al. 2017, section 3.6.
    """
    B = x.shape[0]
    state = dict(state)
    logdet = jnp.zeros((B,), jnp.float32)  # [B]
    x, stretched, state["level"] = flow_1(params["level"], state["level"], x, training)
    logdet = logdet + stretched
    done, x = jnp.split(x, 2, axis=1)
    x, stretched, state["level_1"] = flow_2(
        params["level_1"], state["level_1"], x, training
    )
    logdet = logdet + stretched
    return done, x, logdet, state


def affine_coupling_1(params, y):
    """Affine coupling: the first half of the channels (axis 1) stays, and `net` says of
    it how the rest is scaled and shifted, log scales and shifts side by side:
    float[B, C, ...] -> the same, and logdet, the sum of the log scales. The halves
    change roles with `swapped`. Dinh et al. 2017, section 3.2.
    """
    first, second = jnp.split(y, 2, axis=1)
    s, t = jnp.split(scale_and_shift(params["scale_and_shift"], first), 2, axis=1)
    x = (second - t) * jnp.exp(-s)
    return jnp.concatenate([first, x], axis=1)


def invertible_conv_1(params, state, y):
    """A learned mix of the channels, the same at each position: float[B, C, H, W] ->
    the same, and logdet, H W log |det W|. It begins as a random rotation. With `lu`
    W is rotation L (U + diag(exp(log_scale))), a fixed rotation and unit triangles:
    logdet is a sum, and the inverse two substitutions. Kingma & Dhariwal 2018,
    section 3.2.
    """
    B = y.shape[0]
    state = dict(state)
    eye = jnp.eye(24, dtype=jnp.float32)
    left = jnp.tril(params["lower"], -1) + eye
    right = jnp.triu(params["upper"], 1) + eye * jnp.exp(params["log_scale"])
    columns = y.reshape(B, 24, 64)  # [B, 24, 64]
    h = state["rotation"].T @ columns
    triangular_solve = jax.scipy.linalg.solve_triangular(left, h, lower=True)
    x = jax.scipy.linalg.solve_triangular(right, triangular_solve)
    return x.reshape(B, 24, 8, 8), state


def invertible_conv_2(params, state, y):
    """A learned mix of the channels, the same at each position: float[B, C, H, W] ->
    the same, and logdet, H W log |det W|. It begins as a random rotation. With `lu`
    W is rotation L (U + diag(exp(log_scale))), a fixed rotation and unit triangles:
    logdet is a sum, and the inverse two substitutions. Kingma & Dhariwal 2018,
    section 3.2.
    """
    B = y.shape[0]
    state = dict(state)
    eye = jnp.eye(12, dtype=jnp.float32)
    left = jnp.tril(params["lower"], -1) + eye
    right = jnp.triu(params["upper"], 1) + eye * jnp.exp(params["log_scale"])
    columns = y.reshape(B, 12, 256)  # [B, 12, 256]
    h = state["rotation"].T @ columns
    triangular_solve = jax.scipy.linalg.solve_triangular(left, h, lower=True)
    x = jax.scipy.linalg.solve_triangular(right, triangular_solve)
    return x.reshape(B, 12, 16, 16), state


def first_batch_1(state, x):
    """What a layer was given in the first batch of training, from that batch on: a
    statistic that initialises a layer from data. float[C] -> the same. In inference
    it is 0 as long as there was no training. No gradient passes.
    """
    state = dict(state)
    return state["kept"], state


def act_norm_1(params, state, y, c):
    """Activation normalisation: a scale and a shift for each channel (axis 1), such
    that each channel of the first batch has mean 0 and deviation 1; unlike in batch
    normalisation they are parameters from then on. float[B, C, ...] -> the same, and
    logdet, positions * sum(log |scale|). Kingma & Dhariwal 2018, section 3.1.
    """
    state = dict(state)
    zeros = jnp.zeros((c,), jnp.float32)
    first_mean, state["center"] = first_batch_1(state["center"], zeros)
    h, state["log_spread"] = first_batch_1(state["log_spread"], zeros)
    log_s = params["log_scale"] - h
    y = (y - params["bias"].reshape(c, 1, 1)) * jnp.exp(-log_s).reshape(c, 1, 1)
    return y + first_mean.reshape(c, 1, 1), state


def flow_3(params, state, y):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """
    state = dict(state)
    y = affine_coupling_1(params["step_2"], y)
    y, state["step_1"] = invertible_conv_1(params["step_1"], state["step_1"], y)
    y, state["step"] = act_norm_1(params["step"], state["step"], y, c=24)
    return y, state


def flow_4(params, state, y):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """
    state = dict(state)
    y = affine_coupling_1(params["step_2"], y)
    y, state["step_1"] = invertible_conv_2(params["step_1"], state["step_1"], y)
    y, state["step"] = act_norm_1(params["step"], state["step"], y, c=12)
    return y, state


def unsqueeze_blocks(x):
    B = x.shape[0]
    return x.reshape(B, 6, 2, 2, 8, 8).transpose(0, 1, 4, 2, 5, 3).reshape(B, 6, 16, 16)


def unsqueeze_blocks_1(x):
    B = x.shape[0]
    y = x.reshape(B, 3, 2, 2, 16, 16).transpose(0, 1, 4, 2, 5, 3).reshape(B, 3, 32, 32)
    return y


def squeeze_blocks_4(y):
    """Blocks of 2 x 2 positions as channels, as a flow."""
    return unsqueeze_blocks(y)


def squeeze_blocks_5(y):
    """Blocks of 2 x 2 positions as channels, as a flow."""
    return unsqueeze_blocks_1(y)


def flow_5(params, state, y):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """
    state = dict(state)
    y, state["step_2"] = flow_3(params["step_2"], state["step_2"], y)
    y, state["step_1"] = flow_3(params["step_1"], state["step_1"], y)
    y = squeeze_blocks_4(y)  # [B, 6, 16, 16]
    return y, state


def flow_6(params, state, y):
    """Flows one after the other, and their log determinants in sum. Rezende & Mohamed
    2015.
    """
    state = dict(state)
    y, state["step_2"] = flow_4(params["step_2"], state["step_2"], y)
    y, state["step_1"] = flow_4(params["step_1"], state["step_1"], y)
    y = squeeze_blocks_5(y)  # [B, 3, 32, 32]
    return y, state


def multi_scale_1(params, state, latents_0, latents_1):
    """Flows one after the other, such that after each but the last one half of the
    channels (axis 1) is noise already and leaves: the latents are a list of tensors
    of unequal sizes. Dinh et al. 2017, section 3.6.
    """
    state = dict(state)
    x, state["level_1"] = flow_5(params["level_1"], state["level_1"], latents_1)
    x = jnp.concatenate([latents_0, x], axis=1)  # [B, 12, 16, 16]
    x, state["level"] = flow_6(params["level"], state["level"], x)
    return x, state


def apply(params, state, x, *, training=False, key=None):
    """The outputs of the model: latents_0, latents_1, logdet."""
    state = dict(state)
    latents_0, latents_1, logdet, state["flow"] = multi_scale(
        params["flow"], state["flow"], x, training
    )
    return (latents_0, latents_1, logdet), state


def inverse(params, state, z, *, training=False, key=None):
    """The outputs of the model: x."""
    B = z.shape[0]
    state = dict(state)
    parts_0, parts_1 = jnp.split(z, 2, axis=-1)
    h = parts_0.reshape(B, 6, 16, 16)
    h, state["flow"] = multi_scale_1(
        params["flow"], state["flow"], h, parts_1.reshape(B, 24, 8, 8)
    )
    return h, state


def sample(params, state, temperature, *, training=False, key=None):
    """An image for each temperature; 0 gives the most likely noise."""
    B = temperature.shape[0]
    if key is None:
        raise ValueError("random numbers are drawn here: give key=jax.random.key(seed)")
    state = dict(state)
    z = temperature.reshape(B, 1) * random.normal(key, (B, 3072), jnp.float32)
    parts_0, parts_1 = jnp.split(z, 2, axis=-1)
    h = parts_0.reshape(B, 6, 16, 16)
    h, state["flow"] = multi_scale_1(
        params["flow"], state["flow"], h, parts_1.reshape(B, 24, 8, 8)
    )
    return h, state


def init_act_norm(c):
    return {
        "log_scale": jnp.zeros((c,)),
        "bias": jnp.zeros((c,)),
    }


def init_scale_and_shift(key, c, scale, size):
    keys = random.split(key, 2)
    return {
        "conv1": {
            "weight.hwio": uniform(keys[0], (3, 3, c, 512), -scale, scale),
            "bias": jnp.zeros((512,)),
        },
        "conv2": {
            "weight.hwio": uniform(
                keys[1], (1, 1, 512, 512), -0.10825317547305482, 0.10825317547305482
            ),
            "bias": jnp.zeros((512,)),
        },
        "last": {
            "weight.hwio": jnp.zeros((3, 3, 512, size)),
            "bias": jnp.zeros((size,)),
        },
    }


def init_affine_coupling(key, size, scale, c):
    return {
        "scale_and_shift": init_scale_and_shift(key, c=size, scale=scale, size=c),
    }


def init_flow(key, c, size, scale):
    return {
        "step": init_act_norm(c=c),
        "step_1": {
            "lower": jnp.zeros((c, c)),
            "upper": jnp.zeros((c, c)),
            "log_scale": jnp.zeros((c,)),
        },
        "step_2": init_affine_coupling(key, size=size, scale=scale, c=c),
    }


def init_flow_1(key, size, size_1, scale):
    keys = random.split(key, 2)
    return {
        "step_1": init_flow(keys[0], c=size, size=size_1, scale=scale),
        "step_2": init_flow(keys[1], c=size, size=size_1, scale=scale),
    }


def init_multi_scale(key):
    keys = random.split(key, 2)
    return {
        "level": init_flow_1(keys[0], size=12, size_1=6, scale=0.33333333333333337),
        "level_1": init_flow_1(keys[1], size=24, size_1=12, scale=0.23570226039551584),
    }


def init_params(key):
    return {
        "flow": init_multi_scale(key),
    }


def init_act_norm_state(c):
    return {
        "center": {
            "kept": jnp.zeros((c,)),
            "batches": jnp.zeros((), jnp.int32),
        },
        "log_spread": {
            "kept": jnp.zeros((c,)),
            "batches": jnp.zeros((), jnp.int32),
        },
    }


def init_flow_state(key, c):
    return {
        "step": init_act_norm_state(c=c),
        "step_1": {
            "rotation": orthogonal(key, (c, c), 1.0),
        },
    }


def init_flow_state_1(key, size):
    keys = random.split(key, 2)
    return {
        "step_1": init_flow_state(keys[0], c=size),
        "step_2": init_flow_state(keys[1], c=size),
    }


def init_multi_scale_state(key):
    keys = random.split(key, 2)
    return {
        "level": init_flow_state_1(keys[0], size=12),
        "level_1": init_flow_state_1(keys[1], size=24),
    }


def init_state(key):
    return {
        "flow": init_multi_scale_state(key),
    }


def init(key):
    """The initial parameters, drawn with `key`, and the initial state."""
    keys = random.split(key)
    return init_params(keys[0]), init_state(keys[1])


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
