"""Training steps as one writes them by hand in JAX and optax: the functions of hand_jax.py, and a character LSTM of flax.

A step is one jitted function of the parameters, the moments and the batch, whose first two arguments are donated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import hand_jax
import jax
import numpy as np
import optax
from flax import linen as nn
from jax import Array

Weights = Mapping[str, np.ndarray]
Tree = object
Step = Callable[..., Array]


class CharLSTM(nn.Module):
    vocab: int = 65
    width: int = 128
    hidden: int = 512
    layers: int = 2

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        h = nn.Embed(self.vocab, self.width)(tokens)
        for _ in range(self.layers):
            h = nn.RNN(nn.OptimizedLSTMCell(self.hidden))(h)
        return nn.Dense(self.vocab)(h)


def _lstm_params(weights: Weights) -> Tree:
    """Flax keeps the four gates apart: `ii if ig io` of the input, `hi hf hg ho` of the state, with the bias at the state."""
    params: dict[str, object] = {
        "Embed_0": {"embedding": weights["embedding.weight"]},
        "Dense_0": {"kernel": weights["out.weight"].T, "bias": weights["out.bias"]},
    }
    for i, name in enumerate(("lstm", "lstm_1")):
        cell: dict[str, dict[str, np.ndarray]] = {}
        for k, gate in enumerate("ifgo"):
            w_ih, w_hh, bias = (np.split(weights[f"{name}.{part}"], 4)[k] for part in ("weight_ih", "weight_hh", "bias_ih"))
            cell[f"i{gate}"] = {"kernel": w_ih.T}
            cell[f"h{gate}"] = {"kernel": w_hh.T, "bias": bias}
        params[f"OptimizedLSTMCell_{i}"] = cell
    return jax.tree.map(lambda x: jax.numpy.array(np.ascontiguousarray(x)), params)


def _images(weights: Weights) -> Step:
    def loss_of(params: Tree, x: Array, label: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(hand_jax.mlp(params, x), label).mean()

    return _step(loss_of, hand_jax.parameters("mlp", weights), optax.adam(1e-3))


def _text(weights: Weights) -> Step:
    net = CharLSTM()
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return _step(_next_token(lambda params, tokens: net.apply({"params": params}, tokens)), _lstm_params(weights), optimizer)


def _words(weights: Weights) -> Step:
    params = hand_jax.parameters("gpt2", weights)
    matrices = {name: value.ndim >= 2 for name, value in params.items()}
    optimizer = optax.adamw(3e-4, weight_decay=0.1, mask=matrices)
    return _step(_next_token(partial(hand_jax.gpt2, layers=4)), params, optimizer)


def _next_token(net: Callable[[Tree, Array], Array]) -> Callable[[Tree, Array], Array]:
    def loss_of(params: Tree, tokens: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(net(params, tokens[:, :-1]), tokens[:, 1:]).mean()

    return loss_of


def _step(loss_of: Callable[..., Array], params: Tree, optimizer: optax.GradientTransformation) -> Step:
    held = [params, optimizer.init(params)]

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Tree, moments: Tree, *batch: Array) -> tuple[Tree, Tree, Array]:
        loss, gradients = jax.value_and_grad(loss_of)(params, *batch)
        updates, moments = optimizer.update(gradients, moments, params)
        return optax.apply_updates(params, updates), moments, loss

    def step(*batch: Array) -> Array:
        held[0], held[1], loss = update(held[0], held[1], *batch)
        return loss

    return step


STEPS: dict[str, Callable[[Weights], Step]] = {"Images": _images, "Text": _text, "Words": _words}
