"""State in `train` blocks: what `update` changes, in which order, on both targets alike; the number of the step; going on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.base import Arrays, EmitOptions, TrainingBackend, TrainingSession, TrainOptions
from dsl.compiler import compile_program, compile_training
from dsl.diagnostics import SpecError
from dsl.lower import lower_training
from dsl.source import Source
from dsl.target import backend
from dsl.trainer.checkpoint import Checkpoints, Memory
from dsl.training import Training
from tests.trainings import begin

TARGETS = ("torch", "jax")
X = {"x": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}


def block(body: str, head: str = "T()(x: float[B, 2])") -> Training:
    return compile_training(Source("t.dl", f"train {head} {{\n{body}\n}}"))[0]


def session(training: Training, target: str) -> TrainingSession:
    found = backend(target)
    assert isinstance(found, TrainingBackend)
    artifact, lowered = lower_training(training, found, EmitOptions(), TrainOptions())
    return found.load_training(artifact, lowered, begin(lowered), seed=0)


def after(body: str, target: str, steps: int, batch: Arrays = X) -> tuple[Arrays, list[dict[str, float]]]:
    """The weights after some steps, and what each step reported."""
    run = session(block(body), target)
    found = [{name: float(value) for name, value in run.step(i, batch).items()} for i in range(steps)]
    return run.weights(), found


@pytest.mark.parametrize("target", TARGETS)
def test_a_buffer_of_the_block_counts(target: str) -> None:
    weights, _ = after("buffer n: int[] = 3\nupdate n = n + 2\nmetric size = mean(x)", target, 4)
    assert weights["n"] == 11
    assert weights["n"].dtype == np.int64


@pytest.mark.parametrize("target", TARGETS)
def test_updates_take_place_together(target: str) -> None:
    """Each on what was there before the first of them: so two buffers exchange their values."""
    body = "buffer a: float[2] = zeros\nbuffer b: float[2] = ones\nupdate a = b\nupdate b = a\nmetric size = mean(x)"
    weights, _ = after(body, target, 1)
    assert list(weights["a"]) == [1, 1] and list(weights["b"]) == [0, 0]
    weights, _ = after(body, target, 2)
    assert list(weights["a"]) == [0, 0] and list(weights["b"]) == [1, 1]


@pytest.mark.parametrize("target", TARGETS)
def test_an_update_stands_in_the_order_of_the_objectives(target: str) -> None:
    """w goes from 0 to 1 by its gradient; `before` saw the old one, `behind` the new one."""
    body = """
    param w: float[] = 0.0
    buffer before: float[] = 7.0
    buffer behind: float[] = 7.0
    update before = w
    minimize loss = -w + 0.0 * mean(x) using sgd(1.0)
    update behind = w"""
    weights, _ = after(body, target, 1)
    assert [float(weights[name]) for name in ("before", "w", "behind")] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("target", TARGETS)
def test_a_projection_keeps_a_parameter_where_it_may_be(target: str) -> None:
    body = """
    param w: float[2] = zeros
    minimize loss = -sum(w) * mean(x) using sgd(1.0)
    update w = clip(w, low=-0.25, high=0.25)"""
    weights, _ = after(body, target, 3)
    assert list(weights["w"]) == [0.25, 0.25]


@pytest.mark.parametrize("target", TARGETS)
def test_all_parameters_of_a_layer_are_clipped(target: str) -> None:
    body = """
    layer critic = MLP([8], out=1)
    minimize loss = mean(critic(x)) using sgd(1.0)
    update critic.params = clip(critic.params, low=-0.01, high=0.01)"""
    weights, _ = after(body, target, 2)
    assert max(np.abs(w).max() for w in weights.values()) == pytest.approx(0.01)


@pytest.mark.parametrize("target", TARGETS)
def test_convolutions_and_repeats_are_clipped_in_their_own_layout(target: str) -> None:
    """JAX keeps kernels in another order, and copies in one array: what is updated goes by the names of the spec."""
    body = """
    layer net = Body()
    minimize loss = mean(net(x)) using sgd(0.0001)
    update net.params = net.params + 1"""
    text = f"""
    module Body()(x: float[B, 2]) {{
      image = reshape(x, [B, 1, 1, 2]) -> Conv2d(2, [1, 2], padding="valid") -> flatten
      return image -> repeat(3) {{ Linear(2) -> tanh }}
    }}
    train T()(x: float[B, 2]) {{ {body} }}"""
    training = compile_training(Source("t.dl", text))[0]
    run = session(training, target)
    start = begin(training)
    run.step(0, X)
    for name, value in run.weights().items():
        assert np.allclose(value, start[name] + 1, atol=0.01), name


@pytest.mark.parametrize("target", TARGETS)
def test_schedules_stand_anywhere_in_a_block(target: str) -> None:
    """beta is 1, 0.75, 0.5, ... in the steps; `step` is a name of its own, the steps done."""
    body = """
    param w: float[] = 0.0
    beta = linear_decay(1.0, steps=4)
    minimize loss = beta + 0.0 * w * mean(x) using sgd(0.1)
    metric done = step + 0.0 * w"""
    _, found = after(body, target, 6)
    assert [row["loss"] for row in found] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [row["done"] for row in found] == [0, 1, 2, 3, 4, 5]


def test_the_number_of_the_step_is_no_constant_of_the_program() -> None:
    """One compiled step for all steps."""
    run = session(block("buffer n: float[] = 0.0\nupdate n = linear_decay(1.0, steps=10)\nmetric size = mean(x)"), "jax")
    for i in range(5):
        run.step(i, X)
    assert run.module.train_step._cache_size() == 1  # type: ignore[attr-defined]
    assert run.weights()["n"] == pytest.approx(0.6)


@pytest.mark.parametrize("target", TARGETS)
def test_a_schedule_reaches_a_scan(target: str) -> None:
    body = """
    buffer total: float[] = 0.0
    scan row in x over B carry sum_so_far = 0.0 { sum_so_far = sum_so_far + linear_decay(1.0, steps=4) * row[0] }
    update total = sum_so_far
    metric size = mean(x)"""
    weights, _ = after(body, target, 3)
    assert weights["total"] == pytest.approx(0.5 * 4)


def test_a_name_of_the_user_comes_before_the_number_of_the_step() -> None:
    training = block("buffer step: float[] = 5.0\nupdate step = linear_decay(2.0, steps=2)\nmetric size = mean(x)")
    assert set(training.program.parameters()) == {"step", "steps_done"}
    run = session(training, "torch")
    run.step(0, X)
    assert run.weights()["step"] == 2.0
    run.step(1, X)
    assert run.weights()["step"] == 1.0


def test_who_does_not_ask_for_the_step_has_no_counter() -> None:
    training = block("param w: float[] = 0.0\nminimize loss = w * mean(x) using sgd(linear_decay(1.0, steps=4))")
    assert list(training.program.parameters()) == ["w"]
    assert training.updates == ()


def test_metrics_of_a_block_without_objectives_come_from_the_updates() -> None:
    training = block("buffer n: float[] = 1.0\nmetric twice = 2 * n\nupdate n = n + mean(x)")
    assert training.metrics == {"twice": "update"}
    for target in TARGETS:
        run = session(training, target)
        assert float(run.step(0, X)["twice"]) == 2.0
        assert float(run.evaluate(X)["twice"]) == 7.0
        assert run.weights()["n"] == 3.5  # an evaluation changes nothing


@pytest.mark.parametrize("target", TARGETS)
def test_a_draw_is_the_same_for_an_objective_and_an_update(target: str) -> None:
    body = """
    noise = randn(2)
    param w: float[2] = zeros
    buffer kept: float[2] = zeros
    minimize loss = sum(w * noise) + 0.0 * mean(x) using sgd(1.0)
    update kept = noise"""
    weights, _ = after(body, target, 1)
    assert np.allclose(weights["w"], -weights["kept"]) and weights["w"].any()


def test_a_list_that_is_updated_is_no_constant_of_the_spec(tmp_path: Path) -> None:
    training = block("buffer n: float[2] = [1.0, 2.0]\nupdate n = n + 1\nmetric size = mean(x)")
    run = session(training, "torch")
    run.step(0, X)
    kept = Checkpoints(tmp_path, training.program, training.updated)
    kept.save(Memory(1, 0, {}), run.weights(), run.moments(), best=True)
    assert list(kept.tensors()[0]["n"]) == [2.0, 3.0]


def test_an_update_in_a_loop_is_refused() -> None:
    with pytest.raises(SpecError, match="not updated inside a loop"):
        block("buffer n: float[] = 0.0\nscan row in x over B carry h = 0.0 { h = h + row[0]\nupdate n = h }\nmetric m = h")


def test_an_update_reads_like_one() -> None:
    text = "train T()(x: float[B, 2]) { layer net = Linear(1)\n buffer n: float[] = 0.0\n minimize mean(net(x)) using sgd(0.1)\n"
    text += "update n = n + 1\nupdate net.params = clip(net.params, low=-1, high=1) }"
    torch = compile_program(Source("t.dl", text), "torch", name="T").artifact.content.decode()
    assert "        model.n.copy_(n)\n        model.net.weight.copy_(net_weight)\n" in torch
    jax = compile_program(Source("t.dl", text), "jax", name="T").artifact.content.decode()
    assert 'state = {**state, "n": n}' in jax
