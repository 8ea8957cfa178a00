"""GPT2 in JAX, generated from gpt2.dl by dslc 0.1.0.

Medium is width=1024, layers=24, heads=16; large 1280, 36, 20; XL 1600, 48, 25.

Call params = init(jax.random.key(0)), then logits = apply(params, tokens).

The argument `training` is a Python bool: jax.jit(..., static_argnames="training").
"""

import jax
import jax.numpy as jnp
from jax import lax, random


def linear(params, x):
    """The affine map of the last axis; `weight` is [out, in]."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def layer_norm(params, x, eps=1e-5):
    """Each vector of the last axis to mean 0 and variance 1."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    var = jnp.var(x, axis=-1, keepdims=True)
    y = (x - mean) * lax.rsqrt(var + eps)
    if "weight" in params:
        y = y * params["weight"]
    return y + params["bias"] if "bias" in params else y


def dropout(x, rate, training, key):
    """In training, 0 with probability `rate` and else x / (1 - rate)."""
    if not training or rate == 0:
        return x
    keep = random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0.0)


def split_key(key, count):
    """`count` keys, or as many None where there is no key to split."""
    return [None] * count if key is None else random.split(key, count)


def normal(key, shape, mean=0.0, std=1.0, dtype=jnp.float32):
    """Initial values from a normal distribution."""
    return mean + std * random.normal(key, shape, dtype)


def copies(make, key, count, **numbers):
    """What `make` gives for each of `count` keys."""
    return [make(k, **numbers) for k in random.split(key, count)]


def split_heads(x):
    """[B, T, heads * D] -> [B, heads, T, D]"""
    B, T = x.shape[:2]
    return x.reshape(B, T, 12, 64).swapaxes(1, 2)


def attention(q, k, v, training, key):
    """softmax(q k^T scale) v: q [..., T, D], k [..., S, D], v [..., S, E] -> [..., T,
    E]. `mask` broadcasts against [..., T, S]; `causal` lets query t see keys 0 ...
    t; with both, what both allow. `scale` is 1 / sqrt(D) unless given; `rate` is
    dropout on the weights. Vaswani et al. 2017, section 3.2.1.
    """
    T = q.shape[2]
    scores = q * 0.125 @ k.swapaxes(-2, -1)  # [B, 12, T, T]
    positions = jnp.arange(T, dtype=jnp.int32)
    past = positions.reshape(T, 1) >= positions  # [T, T]
    scores = jnp.where(past, scores, -1e30)
    weights = jax.nn.softmax(scores)
    weights = dropout(weights, 0.1, training, key)
    return weights @ v


def self_attention(params, x, training, key):
    """MultiHeadAttention of a sequence to itself: float[B, T, D] -> float[B, T, D].
    Children `q`, `k`, `v`, `out`; masks as there.
    """
    B, T = x.shape[:2]
    q = split_heads(linear(params["q"], x))  # [B, 12, T, 64]
    k = split_heads(linear(params["k"], x))  # [B, 12, T, 64]
    v = split_heads(linear(params["v"], x))  # [B, 12, T, 64]
    y = attention(q, k, v, training, key)
    return linear(params["out"], y.swapaxes(1, 2).reshape(B, T, 768))


def block(params, x, training, key):
    """Attention and a feed-forward step. What is added to the residual starts smaller
    in deeper networks (`out_std`).
    """
    keys = split_key(key, 3)
    h = self_attention(params["attn"], layer_norm(params["ln_1"], x), training, keys[0])
    x = x + dropout(h, 0.1, training, keys[1])
    h = linear(params["fc"], layer_norm(params["ln_2"], x))
    h = linear(params["proj"], jax.nn.gelu(h, approximate=True))
    return x + dropout(h, 0.1, training, keys[2])


def apply(params, tokens, *, training=False, key=None):
    """The outputs of the model: logits."""
    T = tokens.shape[1]
    if T > 1024:
        raise ValueError("the sequence is longer than the context window")
    if training and key is None:
        raise ValueError("random numbers are drawn here: give key=jax.random.key(seed)")
    keys = split_key(key, 2)
    h = params["wpe"]["weight"][jnp.arange(T, dtype=jnp.int32)]
    h = dropout(params["wte"]["weight"][tokens] + h, 0.1, training, keys[0])
    copy_keys = split_key(keys[1], 12)
    for layer, layer_key in zip(params["blocks"], copy_keys):
        h = block(layer, h, training, layer_key)
    h = layer_norm(params["ln_f"], h)
    return h @ params["wte"]["weight"].T


def init_self_attention(key):
    keys = random.split(key, 4)
    return {
        "q": {
            "weight": normal(keys[0], (768, 768), 0.0, 0.02),
            "bias": jnp.zeros((768,)),
        },
        "k": {
            "weight": normal(keys[1], (768, 768), 0.0, 0.02),
            "bias": jnp.zeros((768,)),
        },
        "v": {
            "weight": normal(keys[2], (768, 768), 0.0, 0.02),
            "bias": jnp.zeros((768,)),
        },
        "out": {
            "weight": normal(keys[3], (768, 768), 0.0, 0.004082482904638631),
            "bias": jnp.zeros((768,)),
        },
    }


def init_block(key):
    keys = random.split(key, 3)
    return {
        "ln_1": {
            "weight": jnp.ones((768,)),
            "bias": jnp.zeros((768,)),
        },
        "attn": init_self_attention(keys[0]),
        "ln_2": {
            "weight": jnp.ones((768,)),
            "bias": jnp.zeros((768,)),
        },
        "fc": {
            "weight": normal(keys[1], (3072, 768), 0.0, 0.02),
            "bias": jnp.zeros((3072,)),
        },
        "proj": {
            "weight": normal(keys[2], (768, 3072), 0.0, 0.004082482904638631),
            "bias": jnp.zeros((768,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    keys = random.split(key, 3)
    return {
        "wte": {
            "weight": normal(keys[0], (50257, 768), 0.0, 0.02),
        },
        "wpe": {
            "weight": normal(keys[1], (1024, 768), 0.0, 0.01),
        },
        "blocks": copies(init_block, keys[2], 12),
        "ln_f": {
            "weight": jnp.ones((768,)),
            "bias": jnp.zeros((768,)),
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
