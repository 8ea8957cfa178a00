"""LSTMDecoder in JAX, generated from lstm_decoder.dl by dslc 0.1.0.

Call params = init(jax.random.key(0)), then logits, alignment = apply(params, memory,
target).

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


def lstm(params, x, h0, c0):
    """Gates i, f, o and candidate g from W_ih x + b_ih + W_hh h + b_hh, in the order i
    f g o: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c). float[B, T,
    D] -> the states h of all steps, and the last h and c. Hochreiter & Schmidhuber
    1997; Gers et al. 2000. torch.nn.LSTM; ONNX LSTM, whose order is i o f g (there:
    iofc). With `bias_init`, such as gate_bias, that is where `bias_ih` begins, and
    `bias_hh` at 0.
    """
    inputs = x @ params["weight_ih"].T  # [B, 1, 2400]
    bias = params["bias_ih"] + params["bias_hh"]
    inputs = inputs + bias

    def step(carry, input_):
        h, c = carry
        i, f, g, o = jnp.split(input_ + h @ params["weight_hh"].T, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (h, c), hs = lax.scan(step, (h0, c0), inputs.swapaxes(0, 1))
    hs = hs.swapaxes(0, 1)
    return hs, h, c


def stacked_lstm(params, x, h0, c0):
    """Layers of LSTM as StackedRNN has them of RNN; `c0` and `c` as `h0` and `h`.
    torch.nn.LSTM.
    """
    B = x.shape[0]
    hs, h, c = lstm(params["fore"], x, h0[:1].reshape(B, 600), c0[:1].reshape(B, 600))
    hs, h_1, c_1 = lstm(
        params["fore_1"], hs, h0[1:].reshape(B, 600), c0[1:].reshape(B, 600)
    )
    h = jnp.stack([h, h_1], axis=0)  # [2, B, 600]
    c = jnp.stack([c, c_1], axis=0)  # [2, B, 600]
    return hs, h, c


def decoder_step(params, token, found, h, c, memory):
    """One word: `found` is the attentional state tanh(W [context; s])."""
    B = token.shape[0]
    word = params["embedding"]["weight"][token]  # [B, 300]
    h_1 = jnp.concatenate([word, found], axis=-1).reshape(B, 1, 900)
    states, h, c = stacked_lstm(params["lstm"], h_1, h, c)
    s = states[:, :].reshape(B, 600)  # [B, 600]
    weights = jnp.einsum("bsm,bm->bs", memory, linear(params["query"], s))
    weights = jax.nn.softmax(weights)
    context = jnp.einsum("bs,bsm->bm", weights, memory)  # [B, 600]
    found = jnp.tanh(linear(params["mix"], jnp.concatenate([context, s], axis=-1)))
    logits = linear(params["out"], found)  # [B, 50000]
    return logits, found, h, c, weights


def apply(params, memory, target, *, training=False, key=None):
    """Teacher forcing: `target` begins with token 0, the start, and logits[:, t] are of
    the word after target[:, t].
    """
    B = memory.shape[0]
    zeros = jnp.zeros((2, B, 600), jnp.float32)

    def step(carry, token):
        found, h, c = carry
        y, found, h, c, weights = decoder_step(
            params["step"], token, found, h, c, memory
        )
        return (found, h, c), (y, weights)

    found = jnp.zeros((B, 600), jnp.float32)
    _, (logits, alignment) = lax.scan(
        step, (found, zeros, zeros), target.swapaxes(0, 1)
    )
    logits = logits.swapaxes(0, 1)
    alignment = alignment.swapaxes(0, 1)
    return logits, alignment


def translate(params, memory, *, training=False, key=None):
    """Free running: each word is the likeliest after the one before."""
    B = memory.shape[0]
    zeros = jnp.zeros((2, B, 600), jnp.float32)

    def step(carry, _):
        token, found, h, c = carry
        y, found, h, c, _ = decoder_step(params["step"], token, found, h, c, memory)
        token = jnp.argmax(y, axis=-1)  # [B]
        return (token, found, h, c), (token, y)

    token = jnp.zeros((B,), jnp.int32)
    found = jnp.zeros((B, 600), jnp.float32)
    _, (words, logits) = lax.scan(step, (token, found, zeros, zeros), None, length=50)
    return words.T, logits.swapaxes(0, 1)


def init_stacked_lstm(key):
    keys = random.split(key, 8)
    return {
        "fore": {
            "weight_ih": uniform(
                keys[0], (2400, 900), -0.040824829046386304, 0.040824829046386304
            ),
            "weight_hh": uniform(
                keys[1], (2400, 600), -0.040824829046386304, 0.040824829046386304
            ),
            "bias_ih": uniform(
                keys[2], (2400,), -0.040824829046386304, 0.040824829046386304
            ),
            "bias_hh": uniform(
                keys[3], (2400,), -0.040824829046386304, 0.040824829046386304
            ),
        },
        "fore_1": {
            "weight_ih": uniform(
                keys[4], (2400, 600), -0.040824829046386304, 0.040824829046386304
            ),
            "weight_hh": uniform(
                keys[5], (2400, 600), -0.040824829046386304, 0.040824829046386304
            ),
            "bias_ih": uniform(
                keys[6], (2400,), -0.040824829046386304, 0.040824829046386304
            ),
            "bias_hh": uniform(
                keys[7], (2400,), -0.040824829046386304, 0.040824829046386304
            ),
        },
    }


def init_decoder_step(key):
    keys = random.split(key, 5)
    return {
        "embedding": {
            "weight": normal(keys[0], (50000, 300), 0.0, 1.0),
        },
        "lstm": init_stacked_lstm(keys[1]),
        "query": {
            "weight": uniform(keys[2], (600, 600), -0.1, 0.1),
            "bias": jnp.zeros((600,)),
        },
        "mix": {
            "weight": uniform(
                keys[3], (600, 1200), -0.07071067811865477, 0.07071067811865477
            ),
            "bias": jnp.zeros((600,)),
        },
        "out": {
            "weight": uniform(keys[4], (50000, 600), -0.1, 0.1),
            "bias": jnp.zeros((50000,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    return {
        "step": init_decoder_step(key),
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
