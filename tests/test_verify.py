"""`verify` finds what a backend computes otherwise, and says at which line of the spec it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.base import find, names
from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.ir import Node, Program
from dsl.passes.drop_dropout import drop_dropout
from dsl.passes.inline import inline_graph
from dsl.passes.lift_draws import lift_draws
from dsl.passes.lift_parameters import lift_parameters
from dsl.passes.specialize import specialize_graph
from dsl.source import Source
from dsl.verification.compare import verify
from dsl.verification.input_ranges import input_ranges
from dsl.verification.report import Report
from dsl.verification.sizes import choose_sizes
from tests.twin_backend import Spoil, TwinBackend, faithful


def program(text: str) -> Program:
    return compile_graph(Source("net.dl", text))


def install(place: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Leave in `place`, as `pip install` would, a package with `NAME = "VALUE"` under `[project.entry-points."dslc.backends"]`."""
    info = place / f"dslc_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dslc-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dslc.backends]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(place)


class TwinPlug:
    """Verifies a spec on the backend `twin`, spoiled as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, text: str, spoil: Spoil = faithful, refuses: str | None = None) -> Report:
        self.monkeypatch.setattr("tests.twin_backend.BACKEND", TwinBackend(spoil, refuses))
        return verify(program(text), ["twin"])


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TwinPlug:
    install(tmp_path, monkeypatch, "twin", "tests.twin_backend:BACKEND")
    return TwinPlug(monkeypatch)


NET = """\
model Net()(x: float[B, 4]) -> (y: float[B, 3]) {
  h = x -> first: Linear(5) -> tanh
  h = h -> second: Linear(5) -> tanh
  return h -> Linear(3) -> LayerNorm
}
"""


def line_of(report: Report) -> str:
    """The line of the spec that the first divergence is blamed on."""
    span = report.divergences[0].spans[0]
    return span.source.line(span.line).strip()


def off_by(amount: float, op: str, nth: int = 0) -> Spoil:
    """Makes the `nth` operation of that kind in each run off by `amount`."""
    lines: list[int] = []

    def spoil(node: Node, results: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        if node.op != op:
            return results
        if node.span.line not in lines:
            lines.append(node.span.line)
        return tuple(r + amount for r in results) if lines.index(node.span.line) == nth else results

    return spoil


# --- rows ---------------------------------------------------------------------------------------------------------------------------


def test_a_faithful_backend_agrees_at_three_sizes(plugged_in: TwinPlug) -> None:
    report = plugged_in(NET)
    assert report.ok
    assert [(row.entry, row.mode, row.error) for row in report.rows] == [("forward", "inference", 0.0)] * 3
    assert len({row.sizes["B"] for row in report.rows}) == 3
    assert report.diagnostics == ()


def test_tolerances_are_a_few_roundings(plugged_in: TwinPlug) -> None:
    assert all(1e-7 < row.tolerance < 1e-3 for row in plugged_in(NET).rows)
    assert plugged_in(NET, off_by(1e-8, "tanh")).ok
    assert not plugged_in(NET, off_by(1e-3, "tanh")).ok


@pytest.mark.parametrize("expression", ["rfft(x, over=1)[1]", "x[:, :1] -> LayerNorm(affine=false)"])
def test_what_cancels_is_held_to_the_noise_of_what_it_is_made_from(plugged_in: TwinPlug, expression: str) -> None:
    def adds(amount: float) -> Spoil:
        return lambda node, results: tuple(r + amount if r.size and not np.any(r) else r for r in results)

    text = f"model Net()(x: float[3, 2]) {{ return {expression} }}\n"
    assert plugged_in(text, adds(1e-8)).ok
    assert not plugged_in(text, adds(1e-3)).ok


def test_every_entry_point_and_mode_is_compared(plugged_in: TwinPlug) -> None:
    report = plugged_in("""\
model Net() {
  layer fc = Linear(4)
  def forward(x: float[B, 4]) -> float[B, 4] { return x -> BatchNorm1d -> fc -> dropout(0.5) }
  def inverse(y: float[B, 4]) -> float[B, 4] { return fc(y) }
}
""")
    assert report.ok
    modes = ["inference", "training without dropout", "training"]
    assert list(dict.fromkeys((r.entry, r.mode) for r in report.rows)) == [
        *(("forward", m) for m in modes),
        ("inverse", "inference"),
    ]


@pytest.mark.parametrize("draw", ["randn(B, 4)", "rand(B, 4)", "bernoulli(sigmoid(x))", "cast(categorical(x), float)"])
def test_random_draws_are_the_same_for_all(plugged_in: TwinPlug, draw: str) -> None:
    report = plugged_in(f"model Net()(x: float[B, 4]) {{\n  return sum(x, over=1) + sum(reshape({draw}, [B, -1]), over=1)\n}}")
    assert report.ok
    assert {row.mode for row in report.rows} == {"inference"}


def test_integers_must_be_equal(plugged_in: TwinPlug) -> None:
    net = "model Net()(x: float[B, 4]) -> (best: int[B]) {\n  return argmax(x, over=1)\n}"
    assert plugged_in(net).ok
    assert not plugged_in(net, off_by(1, "argmax")).ok


def test_a_backend_that_cannot_express_a_model(plugged_in: TwinPlug) -> None:
    with pytest.raises(SpecError, match="cannot express `tanh`: it is too hard"):
        plugged_in(NET, refuses="tanh")
    report = verify(program(NET))
    assert [r.backend for r in report.refusals] == ["twin"]
    assert report.ok, "the other backends that are installed agree"


# --- where it begins ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [0, 1])
def test_a_wrong_operation_is_found_at_its_line(plugged_in: TwinPlug, nth: int) -> None:
    report = plugged_in(NET, off_by(0.01, "tanh", nth))
    assert not report.ok
    assert (report.divergences[0].op, line_of(report)) == ("tanh", NET.splitlines()[1 + nth].strip())
    (diagnostic,) = report.diagnostics
    assert diagnostic.code == "DL0812"
    assert diagnostic.message.startswith("twin differs from the reference first in `tanh`")


def test_a_layer_that_is_wrong_as_a_whole_is_found_at_its_call(plugged_in: TwinPlug) -> None:
    """As when a backend has a word of its own for a layer, with another epsilon: each operation by itself agrees."""

    def spoil(node: Node, results: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        wrong = node.target is not None and node.target.graph.definition == "LayerNorm"
        return tuple(1.01 * r for r in results) if wrong else results

    report = plugged_in(NET, spoil)
    found = report.divergences[0]
    assert (found.op, found.name, line_of(report)) == ("call", "LayerNorm", "return h -> Linear(3) -> LayerNorm")


def test_a_wrong_update_of_a_buffer_is_found(plugged_in: TwinPlug) -> None:
    net = "model Net()(x: float[B, 4]) { return x -> BatchNorm1d }"
    report = plugged_in(
        net, lambda node, results: tuple(2 * r for r in results) if node.attributes.get("correction") == 1 else results
    )
    assert {row.mode for row in report.rows if not row.ok} == {"training"}
    assert {row.output for row in report.rows if not row.ok} == {"update batch_norm1d.running_var"}
    assert (report.divergences[0].op, report.divergences[0].spans[0].source.name) == ("var", "dsl/lib/norm.dl")


def test_nan_in_one_of_two_is_a_difference(plugged_in: TwinPlug) -> None:
    assert not plugged_in(NET, off_by(float("nan"), "tanh")).ok


# --- draws and parameters as inputs -----------------------------------------------------------------------------------------------


def test_each_draw_becomes_an_input() -> None:
    net = program("model Net()(x: float[B, 4]) { return dropout(x, 0.25) + randn(B, 4), categorical(x) }")
    graph, draws = lift_draws(net.main)
    graph.verify()
    assert [(d.op, str(d.type)) for d in draws] == [("dropout", "f32[B, 4]"), ("randn", "f32[B, 4]"), ("categorical", "i64[B]")]
    assert list(graph.inputs) == ["x", "draw_0", "draw_1", "draw_2"]
    rng = np.random.default_rng(0)
    mask, _, classes = (d.sample({"B": 200}, rng) for d in draws)
    assert sorted(set(mask.ravel().tolist())) == pytest.approx([0.0, 4 / 3])
    assert (mask == 0).mean() == pytest.approx(0.25, abs=0.05)
    assert set(classes.tolist()) == {0, 1, 2, 3}


def test_parameters_become_inputs_and_updates_outputs() -> None:
    net = program("model Net()(x: float[B, 4]) { return x -> bn: BatchNorm1d(affine=false) -> Linear(2, bias=false) }")
    pure = lift_parameters(specialize_graph(inline_graph(net.main), training=True)[0])
    pure.graph.verify()
    assert pure.parameters == {
        "bn_running_mean": "bn.running_mean", "bn_running_var": "bn.running_var", "linear_weight": "linear.weight",
    }  # fmt: skip
    assert pure.updates == {"bn_running_mean": "bn.running_mean", "bn_running_var": "bn.running_var"}
    assert not pure.graph.parameters


def test_dropout_is_dropped_within_repeats() -> None:
    net = program("""\
module Block()(x: float[B, D]) -> float[B, D] { return x -> Linear(D) -> dropout(0.1) }
model Net()(x: float[B, 4]) { return x -> blocks: repeat(3) { Block() } }
""")
    quiet = drop_dropout(net)
    assert list(quiet.parameters()) == list(net.parameters())
    assert not any(n.op == "dropout" for g in quiet.main.callees() for n in g)


# --- sizes and inputs ---------------------------------------------------------------------------------------------------------------


def test_sizes_meet_the_requirements() -> None:
    net = program("""\
model Net()(image: float[B, 3, H, W]) {
  require H % 32 == 0 and W % 32 == 0, "image sides must be multiples of 32"
  require H > W, "upright"
  return image
}
""")
    found = choose_sizes(net.main, 3)
    assert len(found) == 3
    assert all(s["H"] % 32 == 0 and s["W"] % 32 == 0 and s["H"] > s["W"] for s in found)
    assert len({s["H"] for s in found}) == 3


def test_sizes_leave_no_tensor_empty() -> None:
    net = program("model Net()(x: float[B, 3, H, W]) { return x -> Conv2d(4, kernel=9) -> max_pool2d(4) }")
    assert all(min(s["H"], s["W"]) >= 12 for s in choose_sizes(net.main, 3))


def test_a_model_without_symbolic_dimensions_has_one_assignment() -> None:
    assert choose_sizes(program("model Net()(x: float[2, 3]) { return x }").main, 3) == [{}]


def test_sizes_that_do_not_exist() -> None:
    net = program('model Net()(x: float[B, 3]) {\n  require B > 5000, "large batches only"\n  return x\n}')
    with pytest.raises(SpecError, match="found no sizes up to 1024 for `B`"):
        choose_sizes(net.main, 3)


def test_indices_stay_within_what_they_index() -> None:
    net = program("""\
model Net()(tokens: int[B, T], label: int[B], place: int[B], table: float[N, 2], times: int[B]) {
  e = Embedding(7, 2)(tokens)
  picked = one_hot(label + 1, 5)
  rows = table[place]
  return e, picked, rows, times * 2
}
""")
    ranges = {name: range_.bounds({"B": 2, "T": 3, "N": 6}) for name, range_ in input_ranges(net.main).items()}
    assert ranges == {"tokens": (0, 7), "label": (0, 4), "place": (0, 6), "times": (1, 4)}


# --- plug-ins -----------------------------------------------------------------------------------------------------------------------


def test_a_package_registers_a_backend_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "twin", "tests.twin_backend:BACKEND")
    assert names()[-1] == "twin"
    assert find("twin").summary == "the reference again"
    assert verify(program(NET), ["twin"]).ok


def test_a_plug_in_that_is_no_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "odd", "math:pi")
    with pytest.raises(SpecError, match="`odd` does not fit the protocol") as error:
        verify(program(NET), ["odd"])
    assert error.value.exit_code == 3
