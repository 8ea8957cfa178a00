"""What a `train` block means: which parameters an objective changes, by which rules, and what its steps compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.reference import Interpreter
from dsl.compiler import compile_graph, compile_training
from dsl.diagnostics import SpecError
from dsl.ir import Graph
from dsl.source import Source
from dsl.training import Follower, Objective, Training

NET = """
module Net(out: int = 2)(x: float[B, 4]) -> float[B, out] {
  return x -> body: Linear(8) -> relu -> head: Linear(out)
}
"""


def training(body: str, inputs: str = "x: float[B, 4], y: float[B, 2]", more: str = "", name: str | None = None) -> Training:
    return compile_training(Source("fit.dl", f"{NET}{more}\ntrain Fit(steps: int = 100)({inputs}) {{\n{body}\n}}"), name=name)[0]


def warnings(body: str) -> list[str]:
    text = f"{NET}\ntrain Fit()(x: float[B, 4], y: float[B, 2]) {{\n{body}\n}}"
    return [d.message for d in compile_training(Source("fit.dl", text))[1]]


def only(found: Training) -> Objective:
    (objective,) = found.objectives
    return objective


def rate_at(graph: Graph, step: float) -> float:
    return float(Interpreter({}).run(graph, {"step": np.asarray(step)})["lr"])


def test_an_objective_changes_all_parameters_that_its_loss_depends_on() -> None:
    found = training("layer net = Net()\n minimize mse(net(x), y) using sgd(0.1)")
    assert only(found).parameters == ("net.body.weight", "net.body.bias", "net.head.weight", "net.head.bias")
    assert found.untrained == ()


def test_over_takes_layers_members_and_patterns() -> None:
    for over, names in {
        "net.head": ("net.head.weight", "net.head.bias"),
        "net.head.weight": ("net.head.weight",),
        'net."**.bias"': ("net.body.bias", "net.head.bias"),
        'net.head."**.bias"': ("net.head.bias",),  # two stars stand for no part, too
        '"*.head.*"': ("net.head.weight", "net.head.bias"),
    }.items():
        found = training(f"layer net = Net()\n minimize mse(net(x), y) over {over} using sgd(0.1)")
        assert only(found).parameters == names


def test_what_no_objective_changes_is_listed() -> None:
    body = "layer net = Net()\n minimize mse(net(x), y) over net.head using sgd(0.1)"
    assert training(body).untrained == ("net.body.weight", "net.body.bias")
    assert warnings(body) == ["no objective changes `net.body.weight`, `net.body.bias`"]


def test_parameters_behind_a_stopped_gradient_are_not_trained() -> None:
    found = training("layer a = Net(4)\n layer b = Net()\n minimize mse(b(stop_gradient(a(x))), y) using sgd(0.1)")
    assert all(name.startswith("b.") for name in only(found).parameters)


def test_groups_of_parameters_have_rules_of_their_own() -> None:
    found = training('layer net = Net()\n minimize mse(net(x), y) using adamw(0.1, weight_decay=0.0) for "**.bias", adamw(0.1)')
    plain, decayed = only(found).rules
    assert plain.parameters == ("net.body.bias", "net.head.bias")
    assert decayed.parameters == ("net.body.weight", "net.head.weight")
    assert plain.settings["weight_decay"] == 0.0
    assert decayed.settings["weight_decay"] == 0.01  # the rule's default


def test_a_rule_is_a_function_of_the_language() -> None:
    rule = only(training("layer net = Net()\n minimize mse(net(x), y) using adam(0.1)")).rules[0]
    assert (rule.name, rule.library, rule.state) == ("adam", True, ("m", "v"))
    assert rule.update is not None
    assert list(rule.update.inputs) == ["p", "g", "m", "v", "step", "lr"]
    one = np.ones(3)
    new = Interpreter({}).run(
        rule.update, {"p": one, "g": one, "m": 0 * one, "v": 0 * one, "step": np.asarray(1.0), "lr": np.asarray(0.1)}
    )
    np.testing.assert_allclose(next(iter(new.values())), 0.9, rtol=2e-6)  # lr in size; the betas are f32


def test_state_that_the_settings_leave_unused_is_dropped() -> None:
    for written, state in {"sgd(0.1)": (), "sgd(0.1, momentum=0.9)": ("m",), "rmsprop(0.1)": ("v",)}.items():
        rule = only(training(f"layer net = Net()\n minimize mse(net(x), y) using {written}")).rules[0]
        assert rule.state == state
        assert rule.update is not None
        assert list(rule.update.inputs) == ["p", "g", *state, "step", "lr"]


def test_a_rule_of_the_spec_is_no_different() -> None:
    more = "fn halving(p, g, step, lr = 0.1) = p - lr * g / step\n"
    rule = only(training("layer net = Net()\n minimize mse(net(x), y) using halving(0.2)", more=more)).rules[0]
    assert (rule.name, rule.library, rule.state) == ("halving", False, ())


@pytest.mark.parametrize(
    ("rate", "values"),
    [
        ("0.5", {0: 0.5, 99: 0.5}),
        ("linear_decay(0.5, steps=steps)", {0: 0.5, 50: 0.25, 100: 0.0}),
        ("0.5 * 0.1 ** (step / steps)", {0: 0.5, 100: 0.05}),
        ("mine(0.5)", {0: 0.5, 1: 0.25}),
    ],
)
def test_a_learning_rate_is_a_function_of_the_step(rate: str, values: dict[int, float]) -> None:
    more = "fn mine(step, rate) = rate / (step + 1)\n"
    rule = only(training(f"layer net = Net()\n minimize mse(net(x), y) using sgd({rate})", more=more)).rules[0]
    for step, value in values.items():
        assert rate_at(rule.rate, step) == pytest.approx(value, abs=1e-9)


def test_a_rate_that_falls_on_a_plateau_is_left_to_who_runs_the_training() -> None:
    rule = only(training("layer net = Net()\n minimize mse(net(x), y) using sgd(reduce_on_plateau(0.5, patience=3))")).rules[0]
    assert rule.plateau is not None
    assert (rule.plateau.factor, rule.plateau.patience) == (0.1, 3)
    assert rate_at(rule.rate, 7) == 0.5


def test_several_objectives_are_entry_points_of_one_program() -> None:
    body = """
    layer a = Net()
    layer b = Net()
    h = a(x)
    minimize first = mse(h, y) over a using sgd(0.1) clip 1.0
    minimize second = mse(b(x), h) over b using adam(0.1) clip_value 0.5 every 2
    metric gap = mean(abs(h - y))
    """
    found = training(body)
    first, second = found.objectives
    assert list(found.program.entries) == ["first", "second"]
    assert list(found.program.entries["second"].outputs) == ["second", "gap"]  # a metric comes with the loss before it
    assert found.metrics == {"gap": "second"}
    assert first.clip is not None and (first.clip.kind, first.clip.limit) == ("norm", 1.0)
    assert second.clip is not None and (second.clip.kind, second.clip.limit, second.every) == ("value", 0.5, 2)


def test_two_objectives_share_parameters_only_where_both_name_them() -> None:
    one, other = "minimize a = mse(net(x), y){} using sgd(0.1)", "minimize b = mean(net(x) ** 2){} using adam(0.1)"
    found = training(f"layer net = Net()\n {one.format(' over net')}\n {other.format(' over net.head')}")
    assert [o.parameters[-1] for o in found.objectives] == ["net.head.bias", "net.head.bias"]
    for first, second in (("", " over net"), (" over net", ""), ("", "")):
        with pytest.raises(SpecError, match="two objectives change") as error:
            training(f"layer net = Net()\n {one.format(first)}\n {other.format(second)}")
        assert "both may name the same" in (error.value.diagnostics[0].help or "")


def test_a_draw_that_two_objectives_read_is_made_once() -> None:
    body = """
    layer G = Net()
    layer D = Net(1)
    fake = G(randn(B, 4))
    minimize d = mean(D(x)) - mean(D(stop_gradient(concat(fake, fake, over=1)))) over D using sgd(0.1)
    minimize g = mean(D(concat(fake, fake, over=1))) over G using sgd(0.1)
    """
    found = training(body)
    assert found.draws is not None
    (name,) = found.draws.outputs
    assert name in found.program.entries["d"].inputs
    assert name in found.program.entries["g"].inputs
    assert list(found.draws.inputs) == ["x"]  # which says how large it is


def test_layers_that_follow_others() -> None:
    body = """
    layer q = Net()
    layer target = copy of q every 500
    layer slow = ema of q decay 0.99
    minimize mse(q(x), stop_gradient(target(x))) using sgd(0.1)
    metric drift = mse(slow(x), y)
    """
    found = training(body)
    assert found.followers == (Follower("target", "q", every=500), Follower("slow", "q", decay=0.99))
    assert all(name.startswith("q.") for name in only(found).parameters)
    assert found.untrained == ()
    assert {"target.head.bias", "slow.head.bias"} <= set(found.program.parameters())


def test_a_layer_on_other_parameters_belongs_to_the_layer_it_is_made_of() -> None:
    body = """
    layer net = Net()
    before = mse(net(x), y)
    layer fast = net with net.params - 0.1 * grad(before, net.params)
    minimize mse(fast(x), y) using sgd(0.1)
    """
    assert only(training(body)).parameters == ("net.body.weight", "net.body.bias", "net.head.weight", "net.head.bias")


def test_the_first_block_is_meant_unless_another_is_named() -> None:
    source = Source(
        "fit.dl",
        NET
        + "".join(f"train {n}()(x: float[B, 4]) {{ layer net = Net()\n minimize mean(net(x)) using sgd(0.1) }}\n" for n in "AB"),
    )
    assert compile_training(source)[0].name == "A"
    assert compile_training(source, name="B")[0].name == "B"
    with pytest.raises(SpecError, match="no `train` block `C`"):
        compile_training(source, name="C")
    with pytest.raises(SpecError, match="no `train` block in"):
        compile_training(Source("net.dl", NET))


def test_a_block_may_be_checked_and_verified_like_a_model() -> None:
    fit = "train Fit()(x: float[B, 4]) { layer net = Net()\n minimize loss = mean(net(x)) using sgd(0.1) }"
    alone = compile_graph(Source("fit.dl", f"module Part()(x: float[B, 4]) {{ return x -> Linear(2) }}\n{fit.replace('Net', 'Part')}"),
                          model="Fit")  # fmt: skip
    assert list(alone.entries) == ["loss"]
    imported = compile_graph(Source("fit.dl", f"from cnn.lenet import LeNet as Net\n{fit.replace('4', '1, 28, 28')}"))
    assert list(imported.entries) == ["loss"]  # a file without a model


def test_the_blocks_of_the_specs_are_trainings() -> None:
    specs = Path(__file__).parent.parent / "specs"
    for path in ("cnn/lenet.dl", "language/gpt2.dl", "gan/gan.dl", "meta_learning/maml.dl", "rl/dqn.dl", "autoencoder/vae.dl"):
        assert compile_training(specs / path)[0].objectives
