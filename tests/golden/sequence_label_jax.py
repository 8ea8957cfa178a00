"""Tagger in JAX, generated from sequence_label.dl by dslc 0.1.0.

The states of both directions at a token decide on that one.

Call params = init(jax.random.key(0)), then logits = apply(params, tokens, length).

The argument `training` is a Python bool: jax.jit(..., static_argnames="training").
"""

import jax
import jax.numpy as jnp
from jax import lax, random


def linear(params, x):
    """The affine map of the last axis; `weight` is [out, in]."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def normal(key, shape, mean=0.0, std=1.0, dtype=jnp.float32):
    """Initial values from a normal distribution."""
    return mean + std * random.normal(key, shape, dtype)


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def lstm(params, x, length):
    """Gates i, f, o and candidate g from W_ih x + b_ih + W_hh h + b_hh, in the order i
    f g o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c). float[B, T,
    D] -> the states h of all steps, and the last h and c. Hochreiter & Schmidhuber
    1997; Gers et al. 2000. torch.nn.LSTM; ONNX LSTM, whose order is i o f g (there:
    iofc). With `bias_init`, such as gate_bias, that is where `bias_ih` begins, and
    `bias_hh` at 0.
    """
    B, T = x.shape[:2]
    inputs = x @ params["weight_ih"].T  # [B, T, 512]
    bias = params["bias_ih"] + params["bias_hh"]
    inputs = inputs + bias
    zeros = jnp.zeros((B, 128), jnp.float32)

    def step(carry, xs):
        h, c = carry
        t, input_ = xs
        i, f, g, o = jnp.split(input_ + h @ params["weight_hh"].T, 4, axis=-1)
        c_1 = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_1 = jax.nn.sigmoid(o) * jnp.tanh(c_1)
        h_2 = (t < length).reshape(B, 1)
        h = jnp.where(h_2, h_1, h)
        c = jnp.where(h_2, c_1, c)
        hs = jnp.where(h_2, h_1, 0.0)
        return (h, c), hs

    (h, c), hs = lax.scan(step, (zeros, zeros), (jnp.arange(T), inputs.swapaxes(0, 1)))
    hs = hs.swapaxes(0, 1)
    return hs, h, c


def lstm_1(params, x, length):
    """Gates i, f, o and candidate g from W_ih x + b_ih + W_hh h + b_hh, in the order i
    f g o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c). float[B, T,
    D] -> the states h of all steps, and the last h and c. Hochreiter & Schmidhuber
    1997; Gers et al. 2000. torch.nn.LSTM; ONNX LSTM, whose order is i o f g (there:
    iofc). With `bias_init`, such as gate_bias, that is where `bias_ih` begins, and
    `bias_hh` at 0.
    """
    B, T = x.shape[:2]
    inputs = x @ params["weight_ih"].T  # [B, T, 512]
    bias = params["bias_ih"] + params["bias_hh"]
    inputs = inputs + bias
    zeros = jnp.zeros((B, 128), jnp.float32)

    def step(carry, xs):
        h, c = carry
        t, input_ = xs
        i, f, g, o = jnp.split(input_ + h @ params["weight_hh"].T, 4, axis=-1)
        c_1 = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_1 = jax.nn.sigmoid(o) * jnp.tanh(c_1)
        h_2 = (t < length).reshape(B, 1)
        h = jnp.where(h_2, h_1, h)
        c = jnp.where(h_2, c_1, c)
        hs = jnp.where(h_2, h_1, 0.0)
        return (h, c), hs

    (h, c), hs = lax.scan(
        step, (zeros, zeros), (jnp.arange(T), inputs.swapaxes(0, 1)), reverse=True
    )
    hs = hs.swapaxes(0, 1)
    return hs, h, c


def bidirectional(params, x, length):
    """Two layers of one kind (RNN, LSTM or GRU), the second of which reads from the
    end, and their states side by side: float[B, T, D] -> float[B, T, 2 * hidden].
    Children are `fore` and `back`. Schuster & Paliwal 1997.
    """
    ahead, _, _ = lstm(params["fore"], x, length)
    behind, _, _ = lstm_1(params["back"], x, length)
    return jnp.concatenate([ahead, behind], axis=-1)


def apply(params, tokens, length, *, training=False, key=None):
    """The outputs of the model: logits."""
    h = params["embedding"]["weight"][tokens]
    return linear(params["out"], bidirectional(params["bidirectional"], h, length))


def init_bidirectional(key):
    keys = random.split(key, 8)
    return {
        "fore": {
            "weight_ih": uniform(
                keys[0], (512, 64), -0.08838834764831843, 0.08838834764831843
            ),
            "weight_hh": uniform(
                keys[1], (512, 128), -0.08838834764831843, 0.08838834764831843
            ),
            "bias_ih": uniform(
                keys[2], (512,), -0.08838834764831843, 0.08838834764831843
            ),
            "bias_hh": uniform(
                keys[3], (512,), -0.08838834764831843, 0.08838834764831843
            ),
        },
        "back": {
            "weight_ih": uniform(
                keys[4], (512, 64), -0.08838834764831843, 0.08838834764831843
            ),
            "weight_hh": uniform(
                keys[5], (512, 128), -0.08838834764831843, 0.08838834764831843
            ),
            "bias_ih": uniform(
                keys[6], (512,), -0.08838834764831843, 0.08838834764831843
            ),
            "bias_hh": uniform(
                keys[7], (512,), -0.08838834764831843, 0.08838834764831843
            ),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 3)
    return {
        "embedding": {
            "weight": normal(keys[0], (10000, 64), 0.0, 1.0),
        },
        "bidirectional": init_bidirectional(keys[1]),
        "out": {
            "weight": uniform(
                keys[2], (17, 256), -0.15309310892394865, 0.15309310892394865
            ),
            "bias": jnp.zeros((17,)),
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
