"""The training Pretrain in JAX, generated from tour.dl by dslc 0.1.0.

Training is declared beside the model and needs it, never the other way round.

Call params = init(jax.random.key(0)) and training = init_training(params), then
training, found = train_step(training, key, tokens) again and again.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
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


def normal(key, shape, mean=0.0, std=1.0, dtype=jnp.float32):
    """Initial values from a normal distribution."""
    return mean + std * random.normal(key, shape, dtype)


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def copies(make, key, count, **numbers):
    """What `make` gives for each of `count` keys."""
    return [make(k, **numbers) for k in random.split(key, count)]


def clip_by_norm(gradients, limit):
    """Gradients scaled down where their norm, taken together, is above the limit."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradients)))
    scale = jnp.minimum(1.0, limit / (norm + 1e-6))
    return jax.tree.map(lambda g: g * scale, gradients)


def split_heads(x):
    """[B, T, heads * D] -> [B, heads, T, D]"""
    B, T = x.shape[:2]
    return x.reshape(B, T, 4, 32).swapaxes(1, 2)


def attention(q, k, v):
    """softmax(q k^T scale) v: q [..., T, D], k [..., S, D], v [..., S, E] -> [..., T,
    E]. `mask` broadcasts against [..., T, S]; `causal` lets query t see keys 0 ...
    t; with both, what both allow. `scale` is 1 / sqrt(D) unless given; `rate` is
    dropout on the weights. Vaswani et al. 2017, section 3.2.1.
    """
    T = q.shape[2]
    scores = q * 0.17677669 @ k.swapaxes(-2, -1)  # [B, 4, T, T]
    positions = jnp.arange(T, dtype=jnp.int32)
    past = positions.reshape(T, 1) >= positions  # [T, T]
    scores = jnp.where(past, scores, -1e30)
    weights = jax.nn.softmax(scores)
    return weights @ v


def self_attention(params, x):
    """MultiHeadAttention of a sequence to itself: float[B, T, D] -> float[B, T, D].
    Children `q`, `k`, `v`, `out`; masks as there.
    """
    B, T = x.shape[:2]
    q = split_heads(linear(params["q"], x))  # [B, 4, T, 32]
    k = split_heads(linear(params["k"], x))  # [B, 4, T, 32]
    v = split_heads(linear(params["v"], x))  # [B, 4, T, 32]
    y = attention(q, k, v)
    return linear(params["out"], y.swapaxes(1, 2).reshape(B, T, 128))


def linear_1(params, x):
    """What the library looks like: this is all that Linear is. Backends may spell a
    library name in their own way (nn.Linear, Gemm).
    """
    y = x @ params["weight"].T  # [B, T, 512]
    y = y + params["bias"]
    return y


def linear_2(params, x):
    """What the library looks like: this is all that Linear is. Backends may spell a
    library name in their own way (nn.Linear, Gemm).
    """
    y = x @ params["weight"].T  # [B, T, 128]
    y = y + params["bias"]
    return y


def gelu_tanh(x):
    return 0.5 * x * (1.0 + jnp.tanh(0.7978846 * (x + 0.044715 * x**3)))


def block(params, x, training, key):
    keys = split_key(key, 2)
    h = self_attention(params["attn"], layer_norm(params["ln_1"], x))
    x = x + dropout(h, 0.1, training, keys[0])
    h = gelu_tanh(linear_1(params["fc"], layer_norm(params["ln_2"], x)))
    return x + dropout(linear_2(params["proj"], h), 0.1, training, keys[1])


def gpt2(params, tokens, training, key):
    T = tokens.shape[1]
    h = params["wpe"]["weight"][jnp.arange(T, dtype=jnp.int32)]
    h = params["wte"]["weight"][tokens] + h
    copy_keys = split_key(key, 4)
    for layer, layer_key in zip(params["blocks"], copy_keys):
        h = block(layer, h, training, layer_key)
    h = layer_norm(params["ln_f"], h)
    return h @ params["wte"]["weight"].T


def cosine_decay(step):
    """From rate to `end` in `steps` updates along half a cosine. Loshchilov & Hutter
    2017, without restarts. torch CosineAnnealingLR(steps, end), which rises again
    afterwards; optax.cosine_decay_schedule(rate, steps, end / rate).
    """
    return 0.00015 * (1.0 + jnp.cos(jnp.minimum(step, 900.0) * 0.0034906585))


def warmup_cosine(step):
    """From `start` to rate along a line in `warmup` updates, then to `end` along half a
    cosine by update `steps`. optax.warmup_cosine_decay_schedule(start, rate, warmup,
    steps, end).
    """
    up = 0.0003 * step / 100.0
    return jnp.where(step < 100.0, up, cosine_decay(step - 100.0))


def learning_rate(step):
    return warmup_cosine(step)


def loss(params, tokens, *, training=False, key=None):
    T = tokens.shape[1]
    if T - 1 > 128:
        raise ValueError("the sequence is longer than the context window")
    if training and key is None:
        raise ValueError("random numbers are drawn here: give key=jax.random.key(seed)")
    logits = gpt2(params["lm"], tokens[:, : T - 1], training, key)  # [B, T - 1, 256]
    loss_1 = jnp.mean(cross_entropy(logits, tokens[:, 1:]))
    perplexity = jnp.exp(loss_1)
    return loss_1, perplexity


def init_self_attention(key):
    keys = random.split(key, 4)
    return {
        "q": {
            "weight": uniform(
                keys[0], (128, 128), -0.15309310892394862, 0.15309310892394862
            ),
            "bias": jnp.zeros((128,)),
        },
        "k": {
            "weight": uniform(
                keys[1], (128, 128), -0.15309310892394862, 0.15309310892394862
            ),
            "bias": jnp.zeros((128,)),
        },
        "v": {
            "weight": uniform(
                keys[2], (128, 128), -0.15309310892394862, 0.15309310892394862
            ),
            "bias": jnp.zeros((128,)),
        },
        "out": {
            "weight": uniform(
                keys[3], (128, 128), -0.15309310892394862, 0.15309310892394862
            ),
            "bias": jnp.zeros((128,)),
        },
    }


def init_linear(key, width, d, scale):
    return {
        "weight": uniform(key, (width, d), -scale, scale),
        "bias": jnp.zeros((width,)),
    }


def init_block(key):
    keys = random.split(key, 3)
    return {
        "ln_1": {
            "weight": jnp.ones((128,)),
            "bias": jnp.zeros((128,)),
        },
        "attn": init_self_attention(keys[0]),
        "ln_2": {
            "weight": jnp.ones((128,)),
            "bias": jnp.zeros((128,)),
        },
        "fc": init_linear(keys[1], width=512, d=128, scale=0.21650635094610965),
        "proj": init_linear(keys[2], width=128, d=512, scale=0.10825317547305482),
    }


def init_gpt2(key):
    keys = random.split(key, 3)
    return {
        "wte": {
            "weight": normal(keys[0], (256, 128), 0.0, 0.02),
        },
        "wpe": {
            "weight": normal(keys[1], (128, 128), 0.0, 0.01),
        },
        "blocks": copies(init_block, keys[2], 4),
        "ln_f": {
            "weight": jnp.ones((128,)),
            "bias": jnp.zeros((128,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    return {
        "lm": init_gpt2(key),
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


OPTIMIZERS = {
    "loss": optax.adamw(learning_rate, b1=0.9, b2=0.999, eps=1e-08, weight_decay=0.1),
}


def init_training(params):
    """A training at its beginning."""
    moments = {}
    moments["loss"] = OPTIMIZERS["loss"].init(params)
    return {
        "params": params,
        "moments": moments,
        "step": jnp.zeros((), jnp.int32),
    }


def update_loss(params, moments, tokens, key):
    """One update by the gradient of loss."""

    def objective(trained):
        value, perplexity = loss(trained, tokens, training=True, key=key)
        return value, {"loss": value, "perplexity": perplexity}

    (_, found), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    gradients = clip_by_norm(gradients, 1.0)
    optimizer = OPTIMIZERS["loss"]
    updates, moments = optimizer.update(gradients, moments, params)
    params = optax.apply_updates(params, updates)
    return params, moments, found


@partial(jax.jit, donate_argnums=0)
def train_step(training, key, tokens):
    """One step: every objective in turn, on what the others left."""
    params, moments = training["params"], dict(training["moments"])
    key = random.fold_in(key, training["step"])
    found = {}
    params, moments["loss"], more = update_loss(params, moments["loss"], tokens, key)
    found |= more
    step = training["step"] + 1
    training = {**training, "params": params, "moments": moments, "step": step}
    return training, found


@jax.jit
def evaluate(training, key, tokens):
    """The losses and metrics in inference mode."""
    params = training["params"]
    found = {}
    value, perplexity = loss(params, tokens, key=key)
    found["loss"] = value
    found["perplexity"] = perplexity
    return found


def train(data, steps=1000, batch=64, seed=0):
    """Train on arrays whose first axis is that of the examples."""
    generator = np.random.default_rng(seed)
    training = init_training(init(random.key(seed)))
    for step in range(steps):
        rows = generator.integers(len(data["tokens"]), size=batch)
        training, found = train_step(training, random.key(seed), data["tokens"][rows])
        if step % 100 == 0 or step == steps - 1:
            print(step, {name: round(float(x), 4) for name, x in found.items()})
    return training


def main():
    """Read the data, train, write the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="an .npz file: tokens")
    parser.add_argument("weights", help="where the weights go, .npz")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with np.load(given.data) as file:
        data = {
            "tokens": file["tokens"].astype(jnp.int32),
        }
    training = train(data, given.steps, given.batch, given.seed)
    np.savez(given.weights, **to_named(training["params"]))


if __name__ == "__main__":
    main()
