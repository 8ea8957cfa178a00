"""LinearStack in JAX, generated from linear_stack.dl by dslc 0.1.0.

A stack of linear layers: without a non-linearity between them it computes what one
layer computes. A. M. Saxe, J. L. McClelland and S. Ganguli, "Exact solutions to the
nonlinear dynamics of learning in deep linear neural networks", arXiv:1312.6120.
2013. System: linear-stack. No biases.

Call params = init(jax.random.key(0)), then y = apply(params, x).

The argument `training` is a Python bool: jax.jit(..., static_argnames="training").
"""

import jax
import jax.numpy as jnp
from jax import random


def linear(params, x):
    """The affine map of the last axis; `weight` is [out, in]."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def copies(make, key, count, **numbers):
    """What `make` gives for each of `count` keys."""
    return [make(k, **numbers) for k in random.split(key, count)]


def apply(params, x, *, training=False, key=None):
    """The outputs of the model: y."""
    h = x
    for layer in params["stack"]:
        h = linear(layer, h)
    return h


def init_linear(key):
    return {
        "weight": uniform(key, (8, 8), -0.8660254037844386, 0.8660254037844386),
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    return {
        "stack": copies(init_linear, key, 3),
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
