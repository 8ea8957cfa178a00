"""A `train` block as a program: the same curve from PyTorch and JAX, a file that is of use alone, objectives that keep to their layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from backends.base import EmitOptions, TrainingBackend, TrainingSession, TrainOptions
from dsl.compiler import compile_program, compile_training
from dsl.diagnostics import SpecError
from dsl.lower import lower_training
from dsl.source import Source
from dsl.target import backend
from tests.trained import trained
from tests.trainings import BLOCKS, NET, batches, begin, training

TARGETS = ("torch", "jax")
SAME = [name for name in BLOCKS if name != "Drawing"]
"""Blocks without draws, whose curves must be the same."""

ALONE = ("two_4", "drawing_4", "waiting_1")
"""Files that are run where dslc is not: blocks, and in how many parts a batch is taken."""

Curve = list[dict[str, float]]


def session(name: str, target: str, how: TrainOptions | None = None, seed: int = 0) -> TrainingSession:
    found = backend(target)
    artifact, lowered = lower_training(training(name), found, EmitOptions(), how or TrainOptions())
    assert isinstance(found, TrainingBackend)
    return found.load_training(artifact, lowered, begin(lowered), seed=seed)


def numbers(found: Mapping[str, object]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items()}  # type: ignore[arg-type]


def curve(run: TrainingSession, count: int, first: int = 0) -> Curve:
    return [numbers(run.step(i, batch)) for i, batch in enumerate(batches(first + count)) if i >= first]


def apart(a: Curve, b: Curve) -> float:
    """How far two curves are apart, in parts of the larger of the value and one."""
    assert [set(x) for x in a] == [set(y) for y in b]
    return max(abs(x[n] - y[n]) / max(1, abs(x[n])) for x, y in zip(a, b, strict=True) for n in x)


@pytest.mark.parametrize("name", SAME)
def test_both_targets_have_the_same_curve(name: str) -> None:
    torch, jax = (session(name, target) for target in TARGETS)
    assert apart(curve(torch, 100), curve(jax, 100)) < 2e-3
    last = batches(1)[0]
    assert numbers(torch.evaluate(last)) == pytest.approx(numbers(jax.evaluate(last)), abs=2e-3)


@pytest.mark.parametrize("target", TARGETS)
def test_it_learns(target: str) -> None:
    found = curve(session("Plain", target), 100)
    assert np.mean([row["loss"] for row in found[-10:]]) < 0.5 * np.mean([row["loss"] for row in found[:10]])


def test_parts_of_a_batch_add_up() -> None:
    """Without batch statistics, which are those of a part, the update is that of the whole batch."""
    text = NET + "train T()(x: float[B, 4], label: int[B]) {\n  layer net = MLP([8], out=3)\n"
    text += "  minimize loss = cross_entropy(net(x), label) using sgd(0.1) clip 1.0\n}"
    curves = []
    for target in TARGETS:
        for parts in (1, 4):
            found = backend(target)
            assert isinstance(found, TrainingBackend)
            made = compile_program(Source("t.dl", text), target, how=TrainOptions(accumulate=parts))
            curves.append(curve(found.load_training(made.artifact, made.training, begin(made.training)), 20))
    assert max(apart(curves[0], other) for other in curves[1:]) < 1e-4


@pytest.mark.parametrize("target", TARGETS)
def test_mixed_precision_is_near(target: str) -> None:
    half, whole = (curve(session("Plain", target, TrainOptions(amp=amp)), 10) for amp in ("bf16", None))
    assert 0 < apart(half, whole) < 0.2


@pytest.mark.parametrize("target", TARGETS)
def test_an_objective_changes_its_own_layers_in_its_own_turn(target: str) -> None:
    run = session("Two", target)
    seen = [dict(run.weights())]
    for i, batch in enumerate(batches(4)):
        found = numbers(run.step(i, batch))
        assert ("second" in found) == (i % 2 == 0)
        seen.append(dict(run.weights()))

    def changed(step: int, layer: str) -> bool:
        return any(not np.array_equal(seen[step][n], seen[step + 1][n]) for n in seen[0] if n.startswith(f"{layer}."))

    assert [changed(i, "net") for i in range(4)] == [True] * 4
    assert [changed(i, "other") for i in range(4)] == [True, False, True, False]
    assert [changed(i, "old") for i in range(4)] == [False, False, True, False]
    name = "net.fc.weight"
    follow = 0.9 * seen[1]["slow.fc.weight"] + 0.1 * seen[2][name]
    np.testing.assert_allclose(seen[2]["slow.fc.weight"], follow, rtol=1e-6)
    np.testing.assert_array_equal(seen[3]["old.linear.weight"], seen[3]["other.linear.weight"])


@pytest.mark.parametrize("target", TARGETS)
def test_a_parameter_of_two_objectives_has_moments_of_both(target: str) -> None:
    """Each gradient is taken where the objective before left the parameter."""
    text = """
    train Both()(x: float[B]) {
      param w: float[] = 2.0
      minimize small = mean(x) * w ** 2 over w using sgd(0.1, momentum=0.5)
      minimize near = mean(x) * (w - 1) ** 2 over w using sgd(0.2, momentum=0.9) every 2
    }"""
    rows, weights = trained(compile_training(Source("both.dl", text))[0], [{"x": np.ones(2, np.float32)}] * 5, target)
    w, first, second, near = 2.0, 0.0, 0.0, []
    for step in range(5):
        first = 0.5 * first + 2 * w
        w -= 0.1 * first
        if step % 2 == 0:
            near.append((w - 1) ** 2)
            second = 0.9 * second + 2 * (w - 1)
            w -= 0.2 * second
    assert [row["near"] for row in rows if "near" in row] == pytest.approx(near, abs=1e-6)
    assert float(weights["w"]) == pytest.approx(w, abs=1e-6)


@pytest.mark.parametrize("target", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_draws_are_a_function_of_seed_and_step(target: str) -> None:
    whole = session("Drawing", target, seed=3)
    first = curve(whole, 5)
    kept = dict(whole.weights()), dict(whole.moments())
    rest = curve(whole, 5, first=5)
    again = session("Drawing", target, seed=3)
    again.restore(*kept)
    assert curve(again, 5, first=5) == rest
    assert curve(session("Drawing", target, seed=4), 5) != first


@pytest.mark.parametrize("target", TARGETS)
def test_a_rate_that_waits_is_scaled(target: str) -> None:
    run, other = session("Waiting", target), session("Waiting", target)
    run.scale("loss", 0.0)
    before = dict(run.weights())
    batch = batches(1)[0]
    run.step(0, batch)
    other.step(0, batch)
    trained = [n for n in before if "running" not in n]
    assert all(np.array_equal(run.weights()[n], before[n]) for n in trained)
    assert not all(np.array_equal(other.weights()[n], before[n]) for n in trained)


def test_targets_that_only_infer_refuse() -> None:
    with pytest.raises(SpecError, match="DL0713"):
        compile_program(Source("t.dl", NET + BLOCKS["Plain"]), "onnx")


@pytest.mark.parametrize("target", TARGETS)
def test_an_average_that_no_loss_reads_is_kept_all_the_same(target: str) -> None:
    text = "train T()(x: float[B, 4], label: int[B]) {\n  layer net = MLP([8], out=3)\n  layer slow = ema of net decay 0.9\n"
    text += "  minimize loss = cross_entropy(net(x), label) using sgd(0.1)\n}"
    made = compile_program(Source("t.dl", text), target)
    found = backend(target)
    assert isinstance(found, TrainingBackend)
    run = found.load_training(made.artifact, made.training, begin(made.training))
    before = run.weights()["slow.linear.weight"]
    assert np.array_equal(before, run.weights()["net.linear.weight"])
    run.step(0, batches(1)[0])
    after = run.weights()
    np.testing.assert_allclose(after["slow.linear.weight"], 0.9 * before + 0.1 * after["net.linear.weight"], rtol=1e-6)


# --- the file ---------------------------------------------------------------------------------------------------------------------


@cache
def text(name: str, target: str, accumulate: int = 1) -> bytes:
    how = TrainOptions("bf16" if accumulate > 1 else None, accumulate)
    return compile_program(Source(f"{name}.dl", NET + BLOCKS[name]), target, how=how).artifact.content


@pytest.fixture(scope="module", params=TARGETS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Every block as a file, with and without parts, and data beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    data = batches(1, 64)[0]
    for name in BLOCKS:
        for parts in (1, 4):
            stem = f"{name.lower()}_{parts}"
            (folder / f"{stem}.py").write_bytes(text(name, request.param, parts))
            np.savez(folder / f"{stem}.npz", allow_pickle=False, **data)
    return request.param, folder


def test_a_file_alone_trains(written: tuple[str, Path], tmp_path: Path) -> None:
    """Some of them: compiling takes JAX a while."""
    target, whole = written
    for stem in ALONE:
        for suffix in (".py", ".npz"):
            (tmp_path / f"{stem}{suffix}").write_bytes((whole / f"{stem}{suffix}").read_bytes())
    command = [sys.executable, "-I", str(Path(__file__).with_name("run_training.py")), target, str(tmp_path)]
    quick = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"}
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=quick)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    for stem in ALONE:
        parameters = training(stem.split("_")[0].capitalize()).program.parameters()
        assert found[stem] == {n: list(p.type.shape) for n, p in parameters.items()}


def test_ruff_has_nothing_to_say(written: tuple[str, Path]) -> None:
    _, folder = written
    for command in (["check", "--extend-select", "I,UP,W"], ["format", "--check", "--diff"]):
        words = [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "--line-length", "88", str(folder)]
        finished = subprocess.run(words, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_block_gives_the_same_text(target: str) -> None:
    again = compile_program(Source("Two.dl", NET + BLOCKS["Two"]), target).artifact.content
    assert again == text("Two", target)


@pytest.mark.parametrize(
    ("minimize", "reason"),
    [
        ('mean(net(x)) over net."blocks.0.**", net.head using adam(0.1)', "the rule is not for"),
        ("mean(net(x)) using normed(0.1)", "not elementwise"),
    ],
)
def test_jax_refuses_rules_for_a_part_of_what_it_keeps_as_one_array(minimize: str, reason: str) -> None:
    """The copies of a long `repeat` are stacked there."""
    spec = Source(
        "net.dl",
        f"""
        fn normed(p, g, step, lr = 0.1) = p - lr * g / (norm(g) + 0.00001)
        module Net()(x: float[B, 4]) {{ return x -> blocks: repeat(20) {{ Linear(4) -> tanh }} -> head: Linear(1) }}
        train Fit()(x: float[B, 4]) {{ layer net = Net()
          minimize {minimize} }}
        """,
    )
    with pytest.raises(SpecError, match=reason):
        compile_program(spec, "jax")
    compile_program(spec, "torch")


@pytest.mark.parametrize("target", ["torch", "jax"])
def test_what_a_loop_carries_keeps_its_type_in_mixed_precision(target: str) -> None:
    """Products are in bf16 and numbers are not: a sum of both would leave a step in another type than it came."""
    text = """
    train Fit()(x: float[B, 4], label: int[B]) {
      layer l = Linear(4)
      scan i in range(3) carry h = x { h = h + l(h) * cast(i, float) }
      minimize loss = cross_entropy(h, label) using sgd(0.01)
      while max(abs(x)) > 1.0 carry x = x, n = 0 limit 5 {
        x = x * 0.5 + cast(n, float)
        n = n + 1
      }
      metric size = mean(abs(x)) + loss
    }
    """
    block, _ = compile_training(Source("net.dl", text))
    found = backend(target)
    artifact, block = lower_training(block, found, EmitOptions(), TrainOptions(amp="bf16"))
    assert isinstance(found, TrainingBackend)
    session = found.load_training(artifact, block, begin(block))
    assert np.isfinite(float(session.step(0, batches(1)[0])["size"]))
