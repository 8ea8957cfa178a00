"""Penalties, noise and early stopping."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from backends.reference import Interpreter
from dsl.cli import run as dslc
from dsl.compiler import compile_graph, compile_training, run
from dsl.passes.inline import everything, inline_graph
from dsl.passes.lift_draws import lift_draws
from dsl.passes.specialize import specialize_graph
from dsl.source import Source
from dsl.trainer.curves import read_rows
from dsl.weights import load_weights
from tests.agreement import Agreement
from tests.systems.expressions import DIFFERENTIATING, TARGETS, value, values

every_target = pytest.mark.parametrize("target", TARGETS)
every_differentiating_target = pytest.mark.parametrize("target", DIFFERENTIATING)

# --- penalties ------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("weight-decay")
@every_target
def test_the_penalty_of_a_large_linear_layer_against_its_loss(target: str) -> None:
    spec = """
model Penalty(strength: float)(x: float[B, 12288]) {
  layer net = Linear(1000, bias=false, init=normal(std=0.0001))
  scores = net(x)
  return strength * sum(l2(net.weight)), scores
}
"""
    weak, strong = (
        next(iter(run(Source("case", spec), {"x": np.zeros((1, 12288))}, {"strength": s}, target=target).outputs.values()))
        for s in (5e-4, 100)
    )
    assert weak == pytest.approx(3.07e-5, rel=2e-3) and strong == pytest.approx(6.144, rel=2e-3)


@pytest.mark.system("weight-decay")
@every_differentiating_target
def test_the_slopes_of_the_penalties(target: str) -> None:
    slopes = values([f"grad(sum({p}(w)), w)" for p in ("l2", "l1", "elastic")], {"w": [3.0, 0.0, -2.0]}, target)
    np.testing.assert_allclose(slopes, np.array([[3, 0, -2], [1, 0, -1], [2, 0, -1.5]]), atol=1e-6)


@pytest.mark.system("weight-decay")
@every_target
def test_a_penalty_is_over_the_parameters_whose_names_match(target: str) -> None:
    spec = """
model Penalty()(x: float[B, 3]) {
  layer net = MLP([4], out=2, init=constant(2.0))
  y = net(x)
  return y, sum(l2(net.params."**.weight")), sum(elastic(net.params, ratio=1.0))
}
"""
    _, weights, both = run(Source("case", spec), {"x": np.ones((1, 3))}, target=target).outputs.values()
    assert weights == (3 * 4 + 4 * 2) * 4 / 2 and both == (3 * 4 + 4 * 2) * 2


DECAY = """
model Net()(x: float[B, 3]) -> float[B, 2] { return x -> MLP([4], out=2) }

fn decoupled(p, g, step, lr = 0.1) = p - lr * g - lr * 0.1 * p + 0 * step

train Sgd()(x: float[B, 3], y: float[B, 2]) {
  layer net = Net()
  minimize mse(net(x), y) + 0.1 * sum(l2(net.params)) using sgd(0.1)
}

train DecoupledSgd()(x: float[B, 3], y: float[B, 2]) {
  layer net = Net()
  minimize mse(net(x), y) using decoupled(0.1)
}

train Adam()(x: float[B, 3], y: float[B, 2]) {
  layer net = Net()
  minimize mse(net(x), y) + 0.1 * sum(l2(net.params)) using adam(0.1)
}

train DecoupledAdam()(x: float[B, 3], y: float[B, 2]) {
  layer net = Net()
  minimize mse(net(x), y) using adamw(0.1, weight_decay=0.1)
}
"""


@pytest.mark.system("weight-decay")
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_a_penalty_is_decoupled_decay_under_sgd_and_not_under_adam(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(DECAY)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
    np.savez("data.npz", allow_pickle=False, x=x, y=y)

    def trained(block: str) -> np.ndarray:
        assert (
            dslc(["train", "net.dl", block, "--data", "data.npz", "--batch", "8", "--steps", "5", "-b", backend, "-o", block])
            == 0
        )
        program = compile_training(Path("net.dl"), name=block)[0].program
        weights = load_weights(Path(block, "weights.safetensors"), program)
        return np.concatenate([weights[name].ravel() for name in sorted(weights)])

    np.testing.assert_allclose(trained("Sgd"), trained("DecoupledSgd"), atol=1e-6)
    assert np.abs(trained("Adam") - trained("DecoupledAdam")).max() > 0.01


@pytest.mark.system("total-variation")
@every_target
def test_the_total_variation_of_an_edge_is_its_length(target: str) -> None:
    edge = np.zeros((6, 9))
    edge[:, 4:] = 1
    flat, upright, across, pair = values(
        ["total_variation(0 * x + 3)", "total_variation(x)", "total_variation(x.T)", "total_variation(stack(x, x, over=0))"],
        {"x": edge}, target,
    )  # fmt: skip
    assert [x.item() for x in (flat, upright, across, pair)] == [0, 6, 6, 12]


# --- dropout --------------------------------------------------------------------------------------------------------------------


@pytest.mark.system("dropout")
def test_the_mean_over_all_masks_is_what_inference_gives() -> None:
    program = compile_graph(Source("case", "model M()(x: float[3]) { return dropout(x, 0.2) }"))
    x = np.array([1.0, 2.0, 3.0])
    flat = inline_graph(program.main, everything)
    lifted, (draw,) = lift_draws(specialize_graph(flat, training=True)[0])
    mean = np.zeros(3)
    for kept in itertools.product([True, False], repeat=3):
        mask = np.where(kept, 1 / (1 - draw.rate), 0.0)
        share = np.prod([0.8 if k else 0.2 for k in kept])
        (y,) = Interpreter({}).run(lifted, {"x": x, draw.name: mask}).values()
        mean += share * y
    np.testing.assert_allclose(mean, x)
    (inference,) = Interpreter({}).run(specialize_graph(flat, training=False)[0], {"x": x}).values()
    np.testing.assert_array_equal(inference, x)


@pytest.mark.system("dropout")
@every_target
def test_dropout_is_the_identity_in_inference(target: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    for expression in ("dropout(x, 0.5)", "dropout2d(x, 0.5)"):
        np.testing.assert_array_equal(value(expression, {"x": x}, target), x)


@pytest.mark.system("dropout")
@every_differentiating_target
def test_dropout_drops_elements_and_dropout2d_whole_maps(target: str) -> None:
    x = np.ones((100, 20, 4, 5), np.float32)
    elements, maps = values(["dropout(x, 0.2)", "dropout2d(x, 0.2)"], {"x": x}, target, training=True)
    for found in (elements, maps):
        assert set(np.unique(found)) == {np.float32(0), np.float32(1.25)}
        assert found.mean() == pytest.approx(1, abs=0.04)
        assert np.mean(found == 0) == pytest.approx(0.2, abs=0.03)
    of_maps = maps.reshape(2000, 20)
    assert (of_maps == of_maps[:, :1]).all()
    assert not (elements.reshape(2000, 20) == elements.reshape(2000, 20)[:, :1]).all()
    again = value("dropout(x, 0.2)", {"x": x}, target, training=True, seed=1)
    assert (again != elements).any()


# --- early stopping -------------------------------------------------------------------------------------------------------------

SCRIPTED = """
# A network whose validation loss is 5, 4, 3, 3.5, 3.6, 3.7, ... after step 1, 2, 3, ...
model Counter()(x: float[B]) -> (count: float[]) {
  param count: float[] = 0.0
  return count + 0 * sum(x)
}

fn one_more(p, g, step, lr = 1.0) = p + lr + 0 * (g + step)

train Scripted(steps: int = 20)(x: float[B]) {
  layer net = Counter()
  count = net(x)
  curve = concat([6.0, 5.0, 4.0, 3.0, 3.5, 3.6], 3.7 + zeros(20), over=0)
  loss = sum(curve * relu(1 - abs(count - cast(arange(26), float))))
  minimize loss using one_more()
  metric height = -loss
}
"""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("net.dl").write_text(SCRIPTED)
    np.savez("data.npz", allow_pickle=False, x=np.zeros(20, np.float32))
    common = ["--data", "data.npz", "--batch", "4", "--validation", "0.2", "--every-validation", "1", "--out", "run"]
    return ["train", "net.dl", *common]


def kept(folder: str = "run") -> float:
    program = compile_training(Path("net.dl"))[0].program
    return float(load_weights(Path(folder, "weights.safetensors"), program)["net.count"])


@pytest.mark.system("early-stopping")
@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("watch", [[], ["--watch", "height", "--highest"]], ids=["loss", "metric"])
def test_a_scripted_curve_stops_at_step_6_and_restores_step_3(
    backend: str, watch: list[str], scripted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dslc([*scripted, "--patience", "3", "--backend", backend, *watch]) == 0
    rows = read_rows(Path("run/curves.csv"))
    np.testing.assert_allclose([row["validation loss"] for row in rows], [5, 4, 3, 3.5, 3.6, 3.7], rtol=1e-6)
    assert kept() == 3
    told = capsys.readouterr()
    name = "height" if watch else "loss"
    assert f"stopped after step 6: in 3 validations `{name}` was not better than in step 3" in told.out
    assert "after step 6" in told.err and "the best validation was in step 3" in told.err


@pytest.mark.system("early-stopping")
def test_patience_outlasts_an_interruption_and_may_be_given_more_of(
    scripted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dslc([*scripted, "--patience", "3", "--steps", "4"]) == 0
    capsys.readouterr()
    assert dslc([*scripted, "--patience", "1", "--steps", "4", "--resume"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert dslc([*scripted, "--patience", "2", "--out", "again"]) == 0
    assert len(read_rows(Path("again/curves.csv"))) == 5
    assert dslc([*scripted, "--patience", "2", "--out", "again", "--resume"]) == 0
    assert "nothing is left to do: stopped after step 5" in capsys.readouterr().out
    assert dslc([*scripted, "--patience", "4", "--out", "again", "--resume"]) == 0
    assert len(read_rows(Path("again/curves.csv"))) == 7
    assert kept("again") == 3


@pytest.mark.system("early-stopping")
def test_what_cannot_be_watched_is_refused(scripted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dslc([*scripted, "--patience", "3", "--watch", "hight"]) == 2
    assert "`Scripted` has no loss or metric `hight` to watch" in capsys.readouterr().err
    assert dslc(["train", "net.dl", "--data", "data.npz", "--patience", "3"]) == 2
    assert "give `--validation SHARE`" in capsys.readouterr().err


# --- verification ---------------------------------------------------------------------------------------------------------------

CASES = {
    "weight-decay": "sum(l2(x)) + sum(l1(x)), sum(elastic(x, ratio=0.3))",
    "total-variation": "total_variation(x)",
    "dropout": "dropout(x, 0.3), dropout2d(x, 0.3)",
}


@pytest.mark.verification
@pytest.mark.parametrize(
    "expressions", [pytest.param(case, id=name, marks=pytest.mark.system(name)) for name, case in CASES.items()]
)
def test_targets_agree(expressions: str, agrees: Agreement) -> None:
    agrees(f"model M()(x: float[B, 2, 3, 4]) {{ return {expressions} }}", sizes=[{"B": 3}])


@pytest.mark.verification
@pytest.mark.system("early-stopping")
def test_targets_agree_on_the_scripted_losses(agrees: Agreement, tmp_path: Path) -> None:
    spec = tmp_path / "net.dl"
    spec.write_text(SCRIPTED)
    program = compile_training(spec)[0].program
    agrees.outputs(program, [{"B": 2}])
