"""Hello in JAX, generated from hello.dl by dslc 0.1.0.

Of two letters "l", the first is followed by "l" and the second by "o": only the
state tells them apart. Without it (`recurrent=false`) the loss cannot go below ln 2
/ 2.

Call params = init(jax.random.key(0)), then logits = apply(params, x).

The argument `training` is a Python bool: jax.jit(..., static_argnames="training").
"""

import jax
import jax.numpy as jnp
from jax import lax, random


def linear(params, x):
    """The affine map of the last axis; `weight` is [out, in]."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def rnn(params, x):
    """h = act(W_ih x + b_ih + W_hh h + b_hh) for each step: float[B, T, D] -> the
    states of all steps and the last one. Elman 1990; torch.nn.RNN; ONNX RNN.
    """
    B = x.shape[0]
    inputs = x @ params["weight_ih"].T  # [B, T, 3]
    bias = params["bias_ih"] + params["bias_hh"]
    inputs = inputs + bias

    def step(h, input_):
        h = jnp.tanh(input_ + h @ params["weight_hh"].T)
        return h, h

    h = jnp.zeros((B, 3), jnp.float32)
    h, hs = lax.scan(step, h, inputs.swapaxes(0, 1))
    hs = hs.swapaxes(0, 1)
    return hs, h


def apply(params, x, *, training=False, key=None):
    """The outputs of the model: logits."""
    e = jax.nn.one_hot(x, 4, dtype=jnp.float32)  # [B, T, 4]
    hs, _ = rnn(params["rnn"], e)
    return linear(params["out"], hs)


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 5)
    return {
        "rnn": {
            "weight_ih": uniform(
                keys[0], (3, 4), -0.5773502691896258, 0.5773502691896258
            ),
            "weight_hh": uniform(
                keys[1], (3, 3), -0.5773502691896258, 0.5773502691896258
            ),
            "bias_ih": uniform(keys[2], (3,), -0.5773502691896258, 0.5773502691896258),
            "bias_hh": uniform(keys[3], (3,), -0.5773502691896258, 0.5773502691896258),
        },
        "out": {
            "weight": uniform(keys[4], (4, 3), -1.4142135623730951, 1.4142135623730951),
            "bias": jnp.zeros((4,)),
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
