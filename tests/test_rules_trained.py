"""Each update rule of the library in a generated training: PyTorch, JAX and a trace in NumPy give the same losses, update for update.

The trace follows the exact gradient of a linear regression, in float64, by the rule of the spec that the reference computes.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from backends.base import EmitOptions, TrainOptions
from backends.reference import Interpreter
from dsl.compiler import compile_training
from dsl.lower import lower_training
from dsl.source import Source
from dsl.target import backend
from dsl.training import Training
from dsl.types import DType

STEPS = 15
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))
START = {"net.weight": RNG.normal(size=(2, 3)), "net.bias": RNG.normal(size=2)}
RULES = [
    "sgd(0.1)",
    "sgd(cosine_decay(0.1, 12), momentum=0.9, nesterov=true, weight_decay=0.01)",
    "sgd(0.1, momentum=0.8, dampening=0.3)",
    "adagrad(0.3)",
    "rmsprop(0.05, eps=1e-3)",
    "rmsprop(warmup_cosine(0.05, warmup=3, steps=20), momentum=0.9)",
    "rmsprop(0.05, centered=true, eps=1e-3)",
    "adadelta(2.0, eps=1e-3)",
    "adam(linear_warmup(0.1, 5))",
    "adam(0.1, betas=[0.5, 0.9], weight_decay=0.1)",
    "adam(0.1, eps=0.0, eps_root=1e-3)",
    "adam(0.1, corrected=false)",
    "rmsprop(0.05, eps=0.0, eps_root=1e-3)",
    "adagrad(0.3, eps_root=1e-3)",
    "adamw(one_cycle(0.1, 15), weight_decay=0.1)",
    "nadam(0.1)",
    "adamax(inverse_sqrt(0.1, 4))",
    "lion(step_decay(0.03, 5), weight_decay=0.1)",
    "signum(0.03, decay=0.8)",
    "sgd(constant_rate(0.1))",
    "sgd(multistep_decay(0.1, [3, 7], factor=0.5))",
    "sgd(exponential_decay(0.1, 0.9))",
    "sgd(linear_decay(0.1, 10, end=0.01))",
    "sgd(polynomial_decay(0.1, 10, power=1.5))",
    "sgd(warmup_linear(0.1, warmup=4, steps=12))",
    "sgd(cosine_restarts(0.1, 5))",
    "sgd(inverse_time(0.1, 0.5))",
    "sgd(triangular(0.01, 0.1, period=6))",
    "sgd(slanted_triangular(0.1, steps=12))",
    "adam(frozen_until(cosine_decay(0.1, 12), until=3))",
    "sgd(cosine_restarts(0.1, 2, growth=2, end=0.01))",
]


def training(rule: str, float_type: DType = DType.F32) -> Training:
    text = f"""
    fn signum(p, g, m, step, lr=1e-3, decay: float = 0.9) {{
      m = decay * m + (1 - decay) * g
      return p - lr * sign(m), m
    }}

    train Fit()(x: float[B, 3], y: float[B, 2]) {{
      layer net = Linear(2)
      minimize mse(net(x), y) using {rule}
    }}
    """
    return compile_training(Source("fit.dl", text), float_type=float_type)[0]


def module_of(rule: str, target: str) -> ModuleType:
    """The generated training as a module."""
    artifact, _ = lower_training(training(rule), backend(target), EmitOptions(), TrainOptions())
    module = ModuleType(f"fit_{target}")
    exec(compile(artifact.content, module.__name__, "exec"), vars(module))
    return module


def trace(rule: str) -> list[float]:
    """The losses by the rule's own graph."""
    (found,) = training(rule, DType.F64).objectives[0].rules
    assert found.update is not None
    values, state = dict(START), {n: {s: np.zeros(v.size) for s in found.state} for n, v in START.items()}
    losses = []
    for step in range(STEPS):
        error = X @ values["net.weight"].T + values["net.bias"] - Y
        losses.append(float(np.mean(error**2)))
        gradients = {"net.weight": error.T @ X * 2 / error.size, "net.bias": error.sum(0) * 2 / error.size}
        (lr,) = Interpreter({}).run(found.rate, {"step": np.asarray(float(step))}).values()
        for name, p in values.items():
            kept = {"p": p.ravel(), "g": gradients[name].ravel(), **state[name], "step": np.asarray(step + 1.0), "lr": lr}
            new, *rest = Interpreter({}).run(found.update, kept).values()
            values[name] = new.reshape(p.shape)
            state[name] = dict(zip(found.state, rest, strict=True))
    return losses


def torch_losses(rule: str) -> list[float]:
    module = module_of(rule, "torch")
    model = module.Fit()
    model.load_state_dict({n: torch.tensor(v, dtype=torch.float32) for n, v in START.items()})
    optimizers = module.make_optimizers(model)
    x, y = torch.tensor(X, dtype=torch.float32), torch.tensor(Y, dtype=torch.float32)
    return [module.train_step(model, optimizers, step, x, y)["loss"].item() for step in range(STEPS)]


def jax_losses(rule: str) -> list[float]:
    module = module_of(rule, "jax")
    state = module.init_training(module.from_named({n: v.astype(np.float32) for n, v in START.items()}))
    losses = []
    for _ in range(STEPS):
        state, found = module.train_step(state, jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32))
        losses.append(float(jax.device_get(found["loss"])))
    return losses


@pytest.mark.parametrize("losses", [torch_losses, jax_losses], ids=["torch", "jax"])
@pytest.mark.parametrize("rule", RULES)
def test_losses_are_those_of_the_trace(rule: str, losses: Callable[[str], list[float]]) -> None:
    wanted = trace(rule)
    assert wanted[-1] < wanted[0]
    np.testing.assert_allclose(losses(rule), wanted, rtol=2e-5)
