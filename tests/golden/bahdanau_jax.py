"""Bahdanau in JAX, generated from bahdanau.dl by dslc 0.1.0.

Call params = init(jax.random.key(0)), then logits, alignment = apply(params, source,
length, target).

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


def gru(params, x, length):
    """Gates r and z and candidate n, in the order r z n: h = (1 - sigmoid(z)) n +
    sigmoid(z) h, n = tanh(W_in x + b_in + sigmoid(r) (W_hn h + b_hn)), with the
    reset after the product. float[B, T, D] -> the states of all steps and the last
    one. Cho et al. 2014, who reset before the product. torch.nn.GRU; ONNX GRU with
    linear_before_reset = 1, whose order is z r n (there: zrh); Keras with
    reset_after.
    """
    B, T = x.shape[:2]
    inputs = x @ params["weight_ih"].T  # [B, T, 3000]
    inputs = inputs + params["bias_ih"]

    def step(h, xs):
        t, input_ = xs
        r_x, z_x, n_x = jnp.split(input_, 3, axis=-1)
        state_1 = h @ params["weight_hh"].T + params["bias_hh"]
        r_h, z_h, n_h = jnp.split(state_1, 3, axis=-1)
        z = jax.nn.sigmoid(z_x + z_h)
        h_1 = (1.0 - z) * jnp.tanh(n_x + jax.nn.sigmoid(r_x + r_h) * n_h)
        h_1 = h_1 + z * h
        h_2 = (t < length).reshape(B, 1)
        return jnp.where(h_2, h_1, h), jnp.where(h_2, h_1, 0.0)

    h = jnp.zeros((B, 1000), jnp.float32)
    h, hs = lax.scan(step, h, (jnp.arange(T), inputs.swapaxes(0, 1)))
    hs = hs.swapaxes(0, 1)
    return hs, h


def gru_1(params, x, length):
    """Gates r and z and candidate n, in the order r z n: h = (1 - sigmoid(z)) n +
    sigmoid(z) h, n = tanh(W_in x + b_in + sigmoid(r) (W_hn h + b_hn)), with the
    reset after the product. float[B, T, D] -> the states of all steps and the last
    one. Cho et al. 2014, who reset before the product. torch.nn.GRU; ONNX GRU with
    linear_before_reset = 1, whose order is z r n (there: zrh); Keras with
    reset_after.
    """
    B, T = x.shape[:2]
    inputs = x @ params["weight_ih"].T  # [B, T, 3000]
    inputs = inputs + params["bias_ih"]

    def step(h, xs):
        t, input_ = xs
        r_x, z_x, n_x = jnp.split(input_, 3, axis=-1)
        state_1 = h @ params["weight_hh"].T + params["bias_hh"]
        r_h, z_h, n_h = jnp.split(state_1, 3, axis=-1)
        z = jax.nn.sigmoid(z_x + z_h)
        h_1 = (1.0 - z) * jnp.tanh(n_x + jax.nn.sigmoid(r_x + r_h) * n_h)
        h_1 = h_1 + z * h
        h_2 = (t < length).reshape(B, 1)
        return jnp.where(h_2, h_1, h), jnp.where(h_2, h_1, 0.0)

    h = jnp.zeros((B, 1000), jnp.float32)
    h, hs = lax.scan(step, h, (jnp.arange(T), inputs.swapaxes(0, 1)), reverse=True)
    hs = hs.swapaxes(0, 1)
    return hs, h


def stacked_gru(params, x, length):
    """Layers of GRU as StackedRNN has them of RNN. torch.nn.GRU."""
    hs, h = gru(params["fore"], x, length)
    hs_back, h_back = gru_1(params["back"], x, length)
    hs = jnp.concatenate([hs, hs_back], axis=-1)  # [B, T, 2000]
    h = jnp.stack([h, h_back], axis=0)  # [2, B, 1000]
    return hs, h


def additive_score(params, queries, keys_1):
    """v . tanh(W [q; k]), the matrix as two: one for the queries, one for the keys.
    Bahdanau et al. 2015, appendix A.1.2.
    """
    B = queries.shape[0]
    S = keys_1.shape[1]
    q = linear(params["query"], queries)
    k = linear(params["key"], keys_1)  # [B, S, 1000]
    y = jnp.tanh(q.reshape(B, 1, 1, 1000) + k.reshape(B, 1, S, 1000))
    return linear(params["v"], y).reshape(B, 1, S)


def masked_softmax(x, mask):
    """softmax over the places where `mask` is true; uniform where none is."""
    return jax.nn.softmax(jnp.where(mask, x, -1e30))


def gru_cell(params, x, h):
    """One step of GRU: float[B, D], float[B, hidden] -> the new state.
    torch.nn.GRUCell.
    """
    input_ = x @ params["weight_ih"].T  # [B, 3000]
    state_1 = h @ params["weight_hh"].T  # [B, 3000]
    input_ = input_ + params["bias_ih"]
    state_1 = state_1 + params["bias_hh"]
    r_x, z_x, n_x = jnp.split(input_, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(state_1, 3, axis=-1)
    z = jax.nn.sigmoid(z_x + z_h)
    h_1 = (1.0 - z) * jnp.tanh(n_x + jax.nn.sigmoid(r_x + r_h) * n_h)
    return h_1 + z * h


def decoder_step(params, token, s, memory, mask):
    """One target word: where to look, by the state before it; the state after it; and
    what the next word may be.
    """
    B = token.shape[0]
    S = memory.shape[1]
    word = params["embedding"]["weight"][token]  # [B, 620]
    scores = additive_score(params["score"], s.reshape(B, 1, 1000), memory)  # [B, 1, S]
    weights = masked_softmax(scores[:, :].reshape(B, S), mask)
    context = jnp.einsum("bs,bsm->bm", weights, memory)  # [B, 2000]
    s = gru_cell(params["cell"], jnp.concatenate([word, context], axis=-1), s)
    h = linear(params["linear"], jnp.concatenate([s, word, context], axis=-1))
    maxout = jnp.max(h.reshape(B, 620, 2), axis=-1)  # [B, 620]
    return linear(params["linear_1"], maxout), s, weights


def apply(params, source, length, target, *, training=False, key=None):
    """Teacher forcing: `target` begins with token 0, the start, and logits[:, t] are of
    the word after target[:, t].
    """
    B, S = source.shape
    h = params["embedding"]["weight"][source]
    memory, last = stacked_gru(params["encoder"], h, length)
    mask = jnp.arange(S, dtype=jnp.int32) < length.reshape(B, 1)  # [B, S]

    def step(s, token):
        y, s, weights = decoder_step(params["step"], token, s, memory, mask)
        return s, (y, weights)

    s = jnp.tanh(linear(params["start"], last[1:].reshape(B, 1000)))
    _, (logits, alignment) = lax.scan(step, s, target.swapaxes(0, 1))
    logits = logits.swapaxes(0, 1)
    alignment = alignment.swapaxes(0, 1)
    return logits, alignment


def translate(params, source, length, *, training=False, key=None):
    """Free running: each word is the likeliest after the one before."""
    B, S = source.shape
    h = params["embedding"]["weight"][source]
    memory, last = stacked_gru(params["encoder"], h, length)
    mask = jnp.arange(S, dtype=jnp.int32) < length.reshape(B, 1)  # [B, S]

    def step(carry, _):
        s, token = carry
        y, s, _ = decoder_step(params["step"], token, s, memory, mask)
        token = jnp.argmax(y, axis=-1)  # [B]
        return (s, token), token

    s = jnp.tanh(linear(params["start"], last[1:].reshape(B, 1000)))
    token = jnp.zeros((B,), jnp.int32)
    _, words = lax.scan(step, (s, token), None, length=50)
    return words.T


def init_stacked_gru(key):
    keys = random.split(key, 8)
    return {
        "fore": {
            "weight_ih": uniform(
                keys[0], (3000, 620), -0.03162277660168379, 0.03162277660168379
            ),
            "weight_hh": uniform(
                keys[1], (3000, 1000), -0.03162277660168379, 0.03162277660168379
            ),
            "bias_ih": uniform(
                keys[2], (3000,), -0.03162277660168379, 0.03162277660168379
            ),
            "bias_hh": uniform(
                keys[3], (3000,), -0.03162277660168379, 0.03162277660168379
            ),
        },
        "back": {
            "weight_ih": uniform(
                keys[4], (3000, 620), -0.03162277660168379, 0.03162277660168379
            ),
            "weight_hh": uniform(
                keys[5], (3000, 1000), -0.03162277660168379, 0.03162277660168379
            ),
            "bias_ih": uniform(
                keys[6], (3000,), -0.03162277660168379, 0.03162277660168379
            ),
            "bias_hh": uniform(
                keys[7], (3000,), -0.03162277660168379, 0.03162277660168379
            ),
        },
    }


def init_additive_score(key):
    keys = random.split(key, 3)
    return {
        "query": {
            "weight": uniform(
                keys[0], (1000, 1000), -0.05477225575051661, 0.05477225575051661
            ),
        },
        "key": {
            "weight": uniform(
                keys[1], (1000, 2000), -0.044721359549995794, 0.044721359549995794
            ),
        },
        "v": {
            "weight": uniform(
                keys[2], (1, 1000), -0.07742096611387637, 0.07742096611387637
            ),
        },
    }


def init_decoder_step(key):
    keys = random.split(key, 8)
    return {
        "embedding": {
            "weight": normal(keys[0], (30000, 620), 0.0, 1.0),
        },
        "score": init_additive_score(keys[1]),
        "cell": {
            "weight_ih": uniform(
                keys[2], (3000, 2620), -0.03162277660168379, 0.03162277660168379
            ),
            "weight_hh": uniform(
                keys[3], (3000, 1000), -0.03162277660168379, 0.03162277660168379
            ),
            "bias_ih": uniform(
                keys[4], (3000,), -0.03162277660168379, 0.03162277660168379
            ),
            "bias_hh": uniform(
                keys[5], (3000,), -0.03162277660168379, 0.03162277660168379
            ),
        },
        "linear": {
            "weight": uniform(
                keys[6], (1240, 3620), -0.0407118970761117, 0.0407118970761117
            ),
            "bias": jnp.zeros((1240,)),
        },
        "linear_1": {
            "weight": uniform(
                keys[7], (30000, 620), -0.09837387536759296, 0.09837387536759296
            ),
            "bias": jnp.zeros((30000,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 4)
    return {
        "embedding": {
            "weight": normal(keys[0], (30000, 620), 0.0, 1.0),
        },
        "encoder": init_stacked_gru(keys[1]),
        "start": {
            "weight": uniform(
                keys[2], (1000, 1000), -0.07745966692414835, 0.07745966692414835
            ),
            "bias": jnp.zeros((1000,)),
        },
        "step": init_decoder_step(keys[3]),
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
