"""Gaussian in JAX, generated from gaussian_density.dl by dslc 0.1.0.

A multivariate Gaussian, fitted in closed form: the mean and the covariance of the
data. C. F. Gauss, "Theoria motus corporum coelestium"; in several dimensions, A.
Bravais, "Analyse mathématique sur les probabilités des erreurs". 1846. System:
gaussian-density. The covariance is L L^T and divides by N (maximum likelihood).

Call params, state = init(jax.random.key(0)), then log_prob, state = log_prob(params,
state, x).

The argument `training` is a Python bool: jax.jit(..., static_argnames="training").
"""

import jax
import jax.numpy as jnp
from jax import lax, random


def identity(shape, gain=1.0, dtype=jnp.float32):
    """The identity matrix times `gain`, at the centre of a kernel."""
    square = gain * jnp.eye(shape[0], shape[1], dtype=dtype)
    centre = tuple(size // 2 for size in shape[2:])
    return jnp.zeros(shape, dtype).at[(..., *centre)].set(square)


def log_prob(params, state, x, *, training=False, key=None):
    """-(z^T z + size log(2 pi)) / 2 - log det L, with L z = x - center."""
    state = dict(state)
    h = (x - state["center"]).T
    z = jax.scipy.linalg.solve_triangular(state["factor"], h, lower=True)
    diagonal = jnp.sum(state["factor"] * jnp.eye(3, dtype=jnp.float32), axis=-1)
    return -0.5 * jnp.sum(z**2, axis=0) - jnp.sum(jnp.log(diagonal)) - 2.7568157, state


def sample(params, state, *, training=False, key=None):
    """The outputs of the model: x."""
    if key is None:
        raise ValueError("random numbers are drawn here: give key=jax.random.key(seed)")
    state = dict(state)
    return (
        state["center"] + random.normal(key, (1, 3), jnp.float32) @ state["factor"].T,
        state,
    )


def fit(params, state, x, *, training=False, key=None):
    """In training the buffers become what was fitted."""
    N = x.shape[0]
    state = dict(state)
    average = jnp.mean(x, axis=0)
    away = x - average
    covariance = away.T @ away / N
    if training:
        state["center"] = lax.stop_gradient(average)
        state["factor"] = lax.stop_gradient(jnp.linalg.cholesky(covariance))
    return (average, covariance), state


def init_params():
    return {}


def init_state():
    return {
        "center": jnp.zeros((3,)),
        "factor": identity((3, 3), 1.0),
    }


def init(key):
    """The initial parameters, drawn with `key`, and the initial state."""
    return init_params(), init_state()


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
