"""The training MAML in JAX, generated from tour.dl by dslc 0.1.0.

Call params = init(jax.random.key(0)) and training = init_training(params), then
training, found = train_step(training, xs, ys, xq, yq) again and again.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random


def linear(params, x):
    """The affine map of the last axis; `weight` is [out, in]."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def uniform(key, shape, low, high, dtype=jnp.float32):
    """Initial values evenly spread from `low` to `high`."""
    return random.uniform(key, shape, dtype, low, high)


def replaced(tree, tensors):
    """The tree with other leaves, given by the names of the spec."""

    def take(path, leaf):
        names, copies = spec_names(path)
        found = {i: tensors[name] for i, name in enumerate(names) if name in tensors}
        if not found:
            return leaf
        values = [hwio(v) if is_hwio(path) else v for v in found.values()]
        if not copies:
            return values[0]
        pieces = leaf.reshape(-1, *leaf.shape[copies:])
        places = jnp.array(list(found))
        return pieces.at[places].set(jnp.stack(values)).reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(take, tree)


def hwio(weight):
    """The weight of a convolution from [out, in, *kernel] to [*kernel, in, out]."""
    return jnp.moveaxis(weight, (0, 1), (-1, -2))


def mlp(params, x):
    """Linear -> act for each of `widths`, then a plain Linear(out) unless `out` is
    none: float[..., D] -> float[..., out]. The layers are `linear`, `linear_1`, ...
    in order.
    """
    x = jax.nn.relu(linear(params["linear"], x))
    x = jax.nn.relu(linear(params["linear_1"], x))
    return linear(params["linear_2"], x)


def mse(prediction, target):
    """Squared error, of equal shapes: the sum is N times the mean, and no half is
    taken.
    """
    return jnp.mean((prediction - target) ** 2)


def loss(params, xs, ys, xq, yq, *, training=False, key=None):
    def support_of(
        net_linear_weight,
        net_linear_bias,
        net_linear_1_weight,
        net_linear_1_bias,
        net_linear_2_weight,
        net_linear_2_bias,
    ):
        net_params = replaced(
            params["net"],
            {
                "linear.weight": net_linear_weight,
                "linear.bias": net_linear_bias,
                "linear_1.weight": net_linear_1_weight,
                "linear_1.bias": net_linear_1_bias,
                "linear_2.weight": net_linear_2_weight,
                "linear_2.bias": net_linear_2_bias,
            },
        )
        support = mse(mlp(net_params, xs), ys)
        return support

    gradient = jax.grad(support_of, argnums=(0, 1, 2, 3, 4, 5))
    (
        grad_net_linear_weight,
        grad_net_linear_bias,
        grad_net_linear_1_weight,
        grad_net_linear_1_bias,
        grad_net_linear_2_weight,
        grad_net_linear_2_bias,
    ) = gradient(
        params["net"]["linear"]["weight"],
        params["net"]["linear"]["bias"],
        params["net"]["linear_1"]["weight"],
        params["net"]["linear_1"]["bias"],
        params["net"]["linear_2"]["weight"],
        params["net"]["linear_2"]["bias"],
    )
    h = 0.01 * grad_net_linear_weight
    fast_linear_weight = params["net"]["linear"]["weight"] - h
    fast_linear_bias = params["net"]["linear"]["bias"] - 0.01 * grad_net_linear_bias
    h = 0.01 * grad_net_linear_1_weight
    fast_linear_1_weight = params["net"]["linear_1"]["weight"] - h
    h = 0.01 * grad_net_linear_1_bias
    fast_linear_1_bias = params["net"]["linear_1"]["bias"] - h
    h = 0.01 * grad_net_linear_2_weight
    fast_linear_2_weight = params["net"]["linear_2"]["weight"] - h
    h = 0.01 * grad_net_linear_2_bias
    fast_linear_2_bias = params["net"]["linear_2"]["bias"] - h
    net_params = replaced(
        params["net"],
        {
            "linear.weight": fast_linear_weight,
            "linear.bias": fast_linear_bias,
            "linear_1.weight": fast_linear_1_weight,
            "linear_1.bias": fast_linear_1_bias,
            "linear_2.weight": fast_linear_2_weight,
            "linear_2.bias": fast_linear_2_bias,
        },
    )
    return mse(mlp(net_params, xq), yq)


def init_mlp(key):
    keys = random.split(key, 3)
    return {
        "linear": {
            "weight": uniform(
                keys[0], (40, 1), -2.4494897427831783, 2.4494897427831783
            ),
            "bias": jnp.zeros((40,)),
        },
        "linear_1": {
            "weight": uniform(
                keys[1], (40, 40), -0.3872983346207417, 0.3872983346207417
            ),
            "bias": jnp.zeros((40,)),
        },
        "linear_2": {
            "weight": uniform(
                keys[2], (1, 40), -0.3872983346207417, 0.3872983346207417
            ),
            "bias": jnp.zeros((1,)),
        },
    }


def init(key):
    """The initial parameters, drawn with `key`."""
    return {
        "net": init_mlp(key),
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
    "loss": optax.adam(0.001, b1=0.9, b2=0.999, eps=1e-08),
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


def update_loss(params, moments, xs, ys, xq, yq):
    """One update by the gradient of loss."""

    def objective(trained):
        value = loss(trained, xs, ys, xq, yq, training=True)
        return value, {"loss": value}

    (_, found), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    optimizer = OPTIMIZERS["loss"]
    updates, moments = optimizer.update(gradients, moments, params)
    params = optax.apply_updates(params, updates)
    return params, moments, found


@partial(jax.jit, donate_argnums=0)
def train_step(training, xs, ys, xq, yq):
    """One step: every objective in turn, on what the others left."""
    params, moments = training["params"], dict(training["moments"])
    found = {}
    params, moments["loss"], more = update_loss(params, moments["loss"], xs, ys, xq, yq)
    found |= more
    step = training["step"] + 1
    training = {**training, "params": params, "moments": moments, "step": step}
    return training, found


@jax.jit
def evaluate(training, xs, ys, xq, yq):
    """The losses and metrics in inference mode."""
    params = training["params"]
    found = {}
    value = loss(params, xs, ys, xq, yq)
    found["loss"] = value
    return found


def train(data, steps=1000, batch=64, seed=0):
    """Train on arrays whose first axis is that of the examples."""
    generator = np.random.default_rng(seed)
    training = init_training(init(random.key(seed)))
    for step in range(steps):
        rows = generator.integers(len(data["xs"]), size=batch)
        training, found = train_step(
            training,
            data["xs"][rows],
            data["ys"][rows],
            data["xq"][rows],
            data["yq"][rows],
        )
        if step % 100 == 0 or step == steps - 1:
            print(step, {name: round(float(x), 4) for name, x in found.items()})
    return training


def main():
    """Read the data, train, write the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="an .npz file: xs, ys, xq, yq")
    parser.add_argument("weights", help="where the weights go, .npz")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with np.load(given.data) as file:
        data = {
            "xs": file["xs"].astype(jnp.float32),
            "ys": file["ys"].astype(jnp.float32),
            "xq": file["xq"].astype(jnp.float32),
            "yq": file["yq"].astype(jnp.float32),
        }
    training = train(data, given.steps, given.batch, given.seed)
    np.savez(given.weights, **to_named(training["params"]))


if __name__ == "__main__":
    main()
