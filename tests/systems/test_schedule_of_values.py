"""Numbers of a `train` block that change with its steps: weights of losses, epsilon, temperatures, curricula."""

from __future__ import annotations

import numpy as np
import pytest

from backends.base import EmitOptions, TrainingBackend, TrainOptions
from dsl.compiler import compile_training
from dsl.initial_values import initial_weights
from dsl.lower import lower_training
from dsl.source import Source
from dsl.target import backend
from tests.agreement import Agreement
from tests.systems.expressions import DIFFERENTIATING
from tests.trained import trained

ANNEALED = """
train Annealed(n: int = 10)(x: float[B, 2]) {
  layer net = Linear(2)
  beta = linear_decay(1.0, steps=n)
  epsilon = maximum(0.1, linear_decay(1.0, steps=n))
  temperature = exponential_decay(2.0, factor=0.5, every=4)
  hard = sum(one_hot(argmax(net(x) / temperature, over=1), 2))
  explores = bernoulli(stop_gradient(epsilon * ones_like(x)))
  minimize loss = mean(net(x) ** 2) + beta * mean(abs(net(x))) using sgd(0.01)
  metric beta = beta
  metric epsilon = epsilon
  metric temperature = temperature + 0 * hard
  metric explored = mean(explores)
}
"""

X = {"x": np.ones((400, 2), np.float32)}


def annealed(target: str, steps: int) -> list[dict[str, float]]:
    return trained(compile_training(Source("annealed.dl", ANNEALED))[0], [X] * steps, target)[0]


@pytest.mark.system("value-schedule")
@pytest.mark.parametrize("target", DIFFERENTIATING)
def test_a_weight_from_1_to_0_over_n_steps_is_exactly_one_half_in_the_middle(target: str) -> None:
    rows = annealed(target, 12)
    assert rows[0]["beta"] == 1.0
    assert rows[5]["beta"] == 0.5
    assert rows[10]["beta"] == rows[11]["beta"] == 0.0
    assert [rows[i]["temperature"] for i in (0, 4, 8)] == pytest.approx([2.0, 1.0, 0.5])
    assert rows[11]["epsilon"] == pytest.approx(0.1)
    assert rows[0]["explored"] == 1.0 and rows[11]["explored"] == pytest.approx(0.1, abs=0.05)


@pytest.mark.system("value-schedule")
def test_jax_compiles_one_step_for_all() -> None:
    found = backend("jax")
    assert isinstance(found, TrainingBackend)
    artifact, lowered = lower_training(compile_training(Source("annealed.dl", ANNEALED))[0], found, EmitOptions(), TrainOptions())
    session = found.load_training(artifact, lowered, initial_weights(lowered.program, 0), seed=0)
    for i in range(6):
        session.step(i, X)
    assert session.module.train_step._cache_size() == 1  # type: ignore[attr-defined]


@pytest.mark.system("value-schedule")
def test_torch_traces_one_loss_for_all_steps() -> None:
    """Traced by TorchDynamo: a guard on the value of a step would make a second graph, which is an error here."""
    import torch

    text = "train T()(x: float[B, 2]) { layer net = Linear(1)\nbeta = linear_decay(1.0, steps=8)\nmetric weight = beta\n"
    text += "minimize loss = beta * mean(net(x)) using sgd(0.1) }"
    found = backend("torch")
    assert isinstance(found, TrainingBackend)
    artifact, lowered = lower_training(compile_training(Source("t.dl", text))[0], found, EmitOptions(), TrainOptions())
    session = found.load_training(artifact, lowered, initial_weights(lowered.program, 0), seed=0)
    model = session.model  # type: ignore[attr-defined]
    with torch._dynamo.config.patch(error_on_recompile=True):
        traced = torch.compile(model.loss, backend="eager", fullgraph=True)
        for i in range(4):
            _, weight = traced(torch.ones(3, 2))  # type: ignore[no-untyped-call]
            assert weight.item() == 1 - i / 8
            session.step(i, {"x": np.ones((3, 2), np.float32)})


@pytest.mark.system("value-schedule")
@pytest.mark.verification
def test_schedules_agree_as_functions_of_a_number(agrees: Agreement) -> None:
    agrees(
        """model M()(step: float[]) {
          falls = linear_decay(step, 1.0, steps=10)
          return falls, exponential_decay(step, 2.0, factor=0.5, every=4), cosine_decay(step, 1.0, steps=10)
        }""",
    )
