"""The three networks as one writes them by hand in JAX: pure functions, weights as the spec names them, images as [B, H, W, C]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Params = Mapping[str, Array]


def linear(p: Params, name: str, x: Array) -> Array:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def mlp(p: Params, x: Array) -> Array:
    x = jax.nn.relu(linear(p, "net.linear", x))
    x = jax.nn.relu(linear(p, "net.linear_1", x))
    return linear(p, "net.linear_2", x)


def conv(p: Params, name: str, x: Array, stride: int, padding: int) -> Array:
    pads = [(padding, padding)] * 2
    x = lax.conv_general_dilated(x, p[f"{name}.conv.weight"], (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    scale = p[f"{name}.bn.weight"] * lax.rsqrt(p[f"{name}.bn.running_var"] + 1e-5)
    return (x - p[f"{name}.bn.running_mean"]) * scale + p[f"{name}.bn.bias"]


def bottleneck(p: Params, name: str, x: Array, stride: int) -> Array:
    y = jax.nn.relu(conv(p, f"{name}.a", x, 1, 0))
    y = jax.nn.relu(conv(p, f"{name}.b", y, stride, 1))
    y = conv(p, f"{name}.c", y, 1, 0)
    if f"{name}.shortcut.project.conv.weight" in p:
        x = conv(p, f"{name}.shortcut.project", x, stride, 0)
    return jax.nn.relu(y + x)


def resnet50(p: Params, image: Array) -> Array:
    x = jax.nn.relu(conv(p, "backbone.stem", image, 2, 3))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for i, depth in enumerate((3, 4, 6, 3)):
        suffix = f"_{i}" if i else ""
        x = bottleneck(p, f"backbone.first{suffix}", x, 2 if i else 1)
        for j in range(depth - 1):
            x = bottleneck(p, f"backbone.rest{suffix}.{j}", x, 1)
    return linear(p, "fc", x.mean((1, 2)))


def layer_norm(p: Params, name: str, x: Array) -> Array:
    mean = x.mean(-1, keepdims=True)
    var = x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(p: Params, name: str, x: Array, heads: int) -> Array:
    B, T, C = x.shape
    q, k, v = jnp.split(linear(p, f"{name}.qkv", x), 3, axis=-1)
    q, k, v = (a.reshape(B, T, heads, C // heads).transpose(0, 2, 1, 3) for a in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / (C // heads) ** 0.5
    scores = jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -jnp.inf)
    y = jax.nn.softmax(scores) @ v
    return linear(p, f"{name}.out", y.transpose(0, 2, 1, 3).reshape(B, T, C))


def gpt2(p: Params, tokens: Array, layers: int = 12, heads: int = 12) -> Array:
    x = p["wte.weight"][tokens] + p["wpe.weight"][jnp.arange(tokens.shape[1])]
    for i in range(layers):
        name = f"blocks.{i}"
        x = x + attention(p, f"{name}.attn", layer_norm(p, f"{name}.ln_1", x), heads)
        h = jax.nn.gelu(linear(p, f"{name}.fc", layer_norm(p, f"{name}.ln_2", x)), approximate=True)
        x = x + linear(p, f"{name}.proj", h)
    return layer_norm(p, "ln_f", x) @ p["wte.weight"].T


NETWORKS: dict[str, Callable[..., Array]] = {"mlp": mlp, "resnet50": resnet50, "gpt2": gpt2}


def parameters(name: str, weights: Mapping[str, np.ndarray]) -> dict[str, Array]:
    """The weights in the layouts that these functions multiply with: [in, out], [kernel, in, out], and queries, keys, values in one."""
    given = dict(weights)
    if name == "gpt2":
        for key in [k for k in given if ".attn.q." in k]:
            given[key.replace(".q.", ".qkv.")] = np.concatenate([given.pop(key.replace(".q.", f".{part}.")) for part in "qkv"])
    made = {}
    for key, value in given.items():
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif value.ndim == 2 and key not in ("wte.weight", "wpe.weight"):
            value = value.T
        made[key] = jnp.asarray(np.ascontiguousarray(value))
    return made
