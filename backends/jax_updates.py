"""Functions that generated JAX trainings copy, each only where it is used; see jax_layers.py, whose functions these may use."""
# mypy: ignore-errors
# fmt: off

import jax
import jax.numpy as jnp
import optax

from backends.jax_layers import spec_names


def by_rule(rule, rate, moments=()):
    """`rule(p, g, *moments, step, lr)`, which gives p and the moments, for optax."""

    def init(params):
        flat = jax.tree.map(lambda p: jnp.zeros(p.size, p.dtype), params)
        zeros = {m: jax.tree.map(jnp.copy, flat) for m in moments}
        return {"count": jnp.zeros((), jnp.int32), **zeros}

    def update(gradients, state, params):
        count = state["count"]
        lr = rate(count) if callable(rate) else rate
        step = (count + 1).astype(jnp.float32)
        leaves, tree = jax.tree.flatten(params)
        trees = (gradients, *(state[m] for m in moments))
        rows = zip(leaves, *(jax.tree.leaves(t) for t in trees), strict=True)
        made = [rule(*(x.reshape(-1) for x in row), step, lr) for row in rows]
        made = [m if isinstance(m, tuple) else (m,) for m in made]
        pairs = zip(made, leaves, strict=True)
        updates = tree.unflatten([m[0].reshape(p.shape) - p for m, p in pairs])
        columns = [tree.unflatten(column) for column in zip(*made, strict=True)]
        kept = dict(zip(moments, columns[1:], strict=True))
        return updates, {"count": count + 1, **kept}

    return optax.GradientTransformation(init, update)


def clip_by_norm(gradients, limit):
    """Gradients scaled down where their norm, taken together, is above the limit."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradients)))
    scale = jnp.minimum(1.0, limit / (norm + 1e-6))
    return jax.tree.map(lambda g: g * scale, gradients)


def clip_by_value(gradients, limit):
    """Gradients with every number between -limit and limit."""
    return jax.tree.map(lambda g: jnp.clip(g, -limit, limit), gradients)


def in_bfloat16(tree):
    """The arrays of 32 bits in bfloat16; the others as they are."""
    return jax.tree.map(
        lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, tree
    )


def selected(tree, names):
    """The leaves whose tensors have these names, by the first name of each."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = {spec_names(path)[0][0]: leaf for path, leaf in leaves}
    return {name: leaf for name, leaf in found.items() if name in names}


def with_leaves(tree, leaves):
    """The tree with other leaves, named as `selected` names them."""

    def other(path, leaf):
        return leaves.get(spec_names(path)[0][0], leaf)

    return jax.tree_util.tree_map_with_path(other, tree)
