"""Lints: for each the smallest spec with the mistake, its sound twin, and a near miss that must not be reported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsl.cli import run
from dsl.compiler import compile_training, convert, elaborated
from dsl.error_codes import CODES
from dsl.source import Source
from tests.small import SPECS


@dataclass(frozen=True, slots=True)
class Case:
    """The mistake `wrong`, what was meant, and what looks like the mistake and is none."""

    code: str
    wrong: str
    sound: str
    near: str


def model(body: str, inputs: str = "x: float[B, 8]") -> str:
    return f"model Net()({inputs}) {{\n  {body}\n}}"


def fit(body: str, inputs: str = "x: float[B, 8], y: int[B]") -> str:
    return f"train Fit()({inputs}) {{\n  {body}\n}}"


LOSS = "layer net = Linear(3)\n  minimize loss = {} using adam(0.001)"
TIME = "x: float[B, T, 8]"
IMAGE = "x: float[B, 3, 16, 16]"
TWO = "x: float[B, 8], y: float[B]"

CASES = {
    "softmax before cross entropy": Case(
        "DL1010",
        fit(LOSS.format("cross_entropy(softmax(net(x)), y)")),
        fit(LOSS.format("cross_entropy(net(x), y)")),
        fit(LOSS.format("cross_entropy(net(softmax(x)), y)")),
    ),
    "sigmoid before the loss of logits": Case(
        "DL1010",
        fit(LOSS.format("bce_with_logits(sigmoid(net(x)), y)"), "x: float[B, 8], y: float[B, 3]"),
        fit(LOSS.format("bce_with_logits(net(x), y)"), "x: float[B, 8], y: float[B, 3]"),
        fit(LOSS.format("bce(sigmoid(net(x)), y)"), "x: float[B, 8], y: float[B, 3]"),
    ),
    "probabilities for the logits of a distribution": Case(
        "DL1010",
        fit(LOSS.format("-mean(categorical_log_prob(y, softmax(net(x))))")),
        fit(LOSS.format("-mean(categorical_log_prob(y, net(x)))")),
        fit(LOSS.format("-mean(categorical_log_prob(y, log(maximum(softmax(net(x)), 1e-6)) * 2.0))")),
    ),
    "logits into nll": Case(
        "DL1011",
        fit(LOSS.format("nll(net(x), y)")),
        fit(LOSS.format("nll(log_softmax(net(x)), y)")),
        fit(LOSS.format("nll(log(maximum(softmax(net(x)), 1e-6)), y)")),
    ),
    "logits into bce": Case(
        "DL1011",
        fit(LOSS.format("bce(net(x), y)"), "x: float[B, 8], y: float[B, 3]"),
        fit(LOSS.format("bce(sigmoid(net(x)), y)"), "x: float[B, 8], y: float[B, 3]"),
        fit(LOSS.format("bce(clip(net(x), low=0.0, high=1.0), y)"), "x: float[B, 8], y: float[B, 3]"),
    ),
    "softmax twice": Case(
        "DL1012",
        model("return softmax(softmax(x))"),
        model("return softmax(x)"),
        model("return softmax(softmax(x, over=1), over=2)", TIME),
    ),
    "softmax of one class": Case(
        "DL1013",
        model("return softmax(x -> Linear(1))"),
        model("return sigmoid(x -> Linear(1))"),
        model("return softmax(x -> Linear(2))"),
    ),
    "softmax over the batch": Case(
        "DL1013",
        model("return softmax(x -> Linear(3), over=0)"),
        model("return softmax(x -> Linear(3), over=1)"),
        model("h = x -> Linear(3)\n  return softmax(h @ h.T, over=0)"),
    ),
    "relu before cross entropy": Case(
        "DL1014",
        fit(LOSS.format("cross_entropy(relu(net(x)), y)")),
        fit(LOSS.format("cross_entropy(net(x), y)")),
        fit(LOSS.format("cross_entropy(net(relu(x)), y)")),
    ),
    "relu before a squared error": Case(
        "DL1014",
        fit(LOSS.format("mse(relu(net(x)), y)"), "x: float[B, 8], y: float[B, 3]"),
        fit(LOSS.format("mse(net(x), y)"), "x: float[B, 8], y: float[B, 3]"),
        fit(LOSS.format("mse(softplus(net(x)), y)"), "x: float[B, 8], y: float[B, 3]"),
    ),
    "class numbers in a squared error": Case(
        "DL1015",
        fit("layer net = Linear(1)\n  minimize mse(squeeze(net(x), 1), cast(y, float)) using adam(0.001)"),
        fit(LOSS.format("cross_entropy(net(x), y)")),
        fit("layer net = Linear(1)\n  minimize mse(squeeze(net(x), 1), cast(y, float) / 10.0) using adam(0.001)"),
    ),
    "dropout of logits": Case(
        "DL1016",
        fit(LOSS.format("cross_entropy(dropout(net(x), 0.5), y)")),
        fit(LOSS.format("cross_entropy(net(dropout(x, 0.5)), y)")),
        fit(LOSS.format("cross_entropy(net(x), y) + mean(dropout(x, 0.5))")),
    ),
    "a norm of logits": Case(
        "DL1017",
        fit(LOSS.format("cross_entropy(net(x) -> LayerNorm, y)")),
        fit(LOSS.format("cross_entropy(net(x -> LayerNorm), y)")),
        fit(LOSS.format("cross_entropy(10.0 * normalize(net(x)), y)")),
    ),
    "logarithm of a softmax": Case(
        "DL1018",
        model("return log(softmax(x))"),
        model("return log_softmax(x)"),
        model("return log(softmax(x) + 1e-6)"),
    ),
    "logarithm of a sum of exponentials": Case(
        "DL1018",
        model("return log(sum(exp(x), over=-1))"),
        model("return logsumexp(x, over=-1)"),
        model("m = max(x, over=-1, keepdims=true)\n  return log(sum(exp(x - m), over=-1)) + m[:, 0]"),
    ),
    "a root of any number": Case(
        "DL1019",
        model("return sqrt(x -> Linear(3))"),
        model("return sqrt(softplus(x -> Linear(3)))"),
        model("h = x -> Linear(3)\n  return sqrt(h * h + 1e-6)"),
    ),
    "a deviation of any sign": Case(
        "DL1019",
        model("center, std = x -> Linear(6) -> split(2, over=1)\n  return normal_sample(center, std)"),
        model("center, std = x -> Linear(6) -> split(2, over=1)\n  return normal_sample(center, softplus(std))"),
        model("center, std = x -> Linear(6) -> split(2, over=1)\n  return normal_sample(center, exp(0.5 * std))"),
    ),
    "linear maps in a row": Case(
        "DL1020",
        model("return x -> Linear(64) -> Linear(3)"),
        model("return x -> Linear(64) -> relu -> Linear(3)"),
        model("return x -> Linear(2) -> Linear(64)"),
    ),
    "linear maps around dropout": Case(
        "DL1020",
        model("return x -> Linear(64) -> dropout(0.5) -> MLP([32], out=3)"),
        model("return x -> Linear(64) -> tanh -> dropout(0.5) -> MLP([32], out=3)"),
        model("h = x -> Linear(64)\n  return h -> Linear(3), h"),
    ),
    "copies of a linear map": Case(
        "DL1020",
        model("return x -> repeat(3) { Linear(8) }"),
        model("return x -> repeat(3) { Linear(8) -> relu }"),
        model("return x -> repeat(1) { Linear(8) }"),
    ),
    "convolutions in a row": Case(
        "DL1020",
        model("return x -> Conv2d(8, 3) -> BatchNorm2d -> Conv2d(8, 3)", IMAGE),
        model("return x -> Conv2d(8, 3) -> BatchNorm2d -> relu -> Conv2d(8, 3)", IMAGE),
        model("return x -> Conv2d(3, 3, groups=3) -> Conv2d(8, 1)", IMAGE),
    ),
    "relu twice": Case(
        "DL1021",
        model("return x -> Linear(3) -> relu -> relu"),
        model("return x -> Linear(3) -> relu"),
        model("return x -> Linear(4) -> relu -> Linear(4) -> relu"),
    ),
    "division by a norm": Case(
        "DL1022",
        model("return x / norm(x, over=-1, keepdims=true)"),
        model("return normalize(x)"),
        model("return x / (norm(x, over=-1, keepdims=true) + 1e-6)"),
    ),
    "division by a count": Case(
        "DL1022",
        model("m = x > 0\n  return sum(where(m, x, 0.0)) / sum(cast(m, float))"),
        model("m = x > 0\n  return sum(where(m, x, 0.0)) / maximum(sum(cast(m, float)), 1.0)"),
        model("return sum(x * m) / sum(m)", "x: float[B, 8], m: float[B, 8]"),
    ),
    "a root of squares": Case(
        "DL1022",
        model("return sqrt(x ** 2 + y ** 2)", "x: float[B, 8], y: float[B, 8]"),
        model("return sqrt(x ** 2 + y ** 2 + 1e-6)", "x: float[B, 8], y: float[B, 8]"),
        model("return sqrt(exp(x) + y ** 2)", "x: float[B, 8], y: float[B, 8]"),
    ),
    "a layer on its own result": Case(
        "DL1023",
        model("layer fc = Linear(8)\n  return x -> fc -> relu -> fc"),
        model("layer one = Linear(8)\n  layer two = Linear(8)\n  return x -> one -> relu -> two"),
        model("layer fc = Linear(8)\n  return fc(x) + fc(relu(x))"),
    ),
    "units that begin alike": Case(
        "DL1024",
        model("return x -> Linear(8, init=zeros) -> relu -> Linear(3)"),
        model("return x -> Linear(8) -> relu -> Linear(3)"),
        model("return x -> Linear(8) -> relu -> Linear(3, init=zeros)"),
    ),
    "nearly everything dropped": Case(
        "DL1025", model("return dropout(x, 0.95)"), model("return dropout(x, 0.05)"), model("return dropout(x, 0.8)")
    ),
    "a value with itself": Case(
        "DL1026",
        model("h = x -> Linear(8) -> relu\n  return h + h"),
        model("h = x -> Linear(8) -> relu\n  return x + h"),
        model("h = x -> Linear(8) -> relu\n  return h * h"),
    ),
    "very large weights": Case(
        "DL1027",
        model("return x -> Linear(10, init=normal(std=1.0))", "x: float[B, 900]"),
        model("return x -> Linear(10, init=normal(std=0.01))", "x: float[B, 900]"),
        model("return x -> Linear(10, init=normal(std=1.0))", "x: float[B, 9]"),
    ),
    "dropout by hand": Case(
        "DL1028",
        model("h = x -> Linear(4) -> relu\n  return h * cast(rand(B, 4) >= 0.5, float) / 0.5"),
        model("h = x -> Linear(4) -> relu\n  return dropout(h, 0.5)"),
        model("h = x -> Linear(4) -> relu\n  return dropout(h, 0.5, training=true)"),
    ),
    "a reshape for a transpose": Case(
        "DL1030",
        model("return reshape(x, [B, 8, T])", TIME),
        model("return transpose(x, 1, 2)", TIME),
        model("return reshape(x, [B, T, 2, 4])", TIME),
    ),
    "heads split without a transpose": Case(
        "DL1030",
        model("return reshape(x, [B, 2, T, 4])", TIME),
        model('return rearrange(x, "b t (h d) -> b h t d", h=2)', TIME),
        model("return reshape(x, [B * T, 8])", TIME),
    ),
    "a reshape that exchanges numbers": Case(
        "DL1030",
        model("return reshape(x, [B, 256, 3])", IMAGE),
        model('return rearrange(x, "b c h w -> b (h w) c")', IMAGE),
        model("return reshape(x, [B, 3, 256]), flatten(x), reshape(x, [B, 48, 16])", IMAGE),
    ),
    "a mean over the examples": Case(
        "DL1031",
        model("return x - mean(x, over=0)"),
        model("return x - mean(x, over=-1, keepdims=true)"),
        model("return x - mean(x, over=B)"),
    ),
    "a normalisation over the examples": Case(
        "DL1031", model("return normalize(x, over=0)"), model("return normalize(x)"), model("return normalize(x, over=B)")
    ),
    "a column meets a row": Case(
        "DL1032",
        model("return mean(((x -> Linear(1)) - y) ** 2)", TWO),
        model("return mean((squeeze(x -> Linear(1), 1) - y) ** 2)", TWO),
        model("z = squeeze(x -> Linear(1), 1)\n  return mean((z[:, none] - y) ** 2)", TWO),
    ),
    "a stride that ends early": Case(
        "DL1033",
        model("return x -> Conv2d(4, 3, stride=2)", IMAGE),
        model("return x -> Conv2d(4, 4, stride=2)", IMAGE),
        model("return x -> Conv2d(4, 3, stride=2, padding=1) -> max_pool2d(3)", IMAGE),
    ),
    "one draw for all examples": Case(
        "DL1034",
        model("return x + randn(8)"),
        model("return x + randn(B, 8)"),
        model("return x + randn(1, 8)"),
    ),
    "a mask multiplied before the softmax": Case(
        "DL1035",
        model("return softmax(x * cast(x > 0, float))"),
        model("return masked_softmax(x, x > 0)"),
        model("return softmax(where(x > 0, x, -1e30))"),
    ),
    "a mask after the softmax": Case(
        "DL1035",
        model("return where(x > 0, softmax(x), 0.0)"),
        model("return masked_softmax(x, x > 0)"),
        model("return where(x > 0, softmax(where(x > 0, x, -1e30)), 0.0)"),
    ),
    "logits against one half": Case(
        "DL1036",
        model("h = x -> Linear(3)\n  return h > 0.5"),
        model("h = x -> Linear(3)\n  return h > 0"),
        model("h = x -> Linear(3)\n  return sigmoid(h) > 0.5"),
    ),
    "a likelihood is minimised": Case(
        "DL1037",
        fit(LOSS.format("mean(categorical_log_prob(y, net(x)))")),
        fit(LOSS.format("-mean(categorical_log_prob(y, net(x)))")),
        fit(LOSS.format("mean(categorical_log_prob(y, net(x)) - categorical_log_prob(y, net(2 * x)))")),
    ),
    "the negative of a loss": Case(
        "DL1037",
        fit(LOSS.format("-cross_entropy(net(x), y)")),
        fit(LOSS.format("cross_entropy(net(x), y)")),
        fit(LOSS.format("cross_entropy(net(x), y) - 0.1 * mean(categorical_entropy(net(x)))")),
    ),
    "a sum over the examples": Case(
        "DL1008",
        fit(LOSS.format('cross_entropy(net(x), y, reduction="sum")')),
        fit(LOSS.format("cross_entropy(net(x), y)")),
        fit(LOSS.format('cross_entropy(net(x), y, reduction="sum") / B')),
    ),
    "a sum over the examples by hand": Case(
        "DL1008",
        fit(LOSS.format("sum(softplus(-net(x)))")),
        fit(LOSS.format("mean(softplus(-net(x)))")),
        fit(LOSS.format("mean(sum(softplus(-net(x)), over=1))")),
    ),
    "a norm of one number": Case(
        "DL1029",
        model("return x -> Linear(1) -> LayerNorm"),
        model("return x -> LayerNorm -> Linear(1)"),
        model("return x -> Linear(2) -> LayerNorm"),
    ),
    "a layer of a constant": Case(
        "DL1038",
        model("layer g = Linear(3)\n  return g(zeros(B, 4)) + y", "y: float[B, 3]"),
        model("layer g = Linear(3)\n  return g(randn(B, 4)) + y", "y: float[B, 3]"),
        model("layer cell = RNNCell(3)\n  return cell(x, zeros(B, 3))"),
    ),
    "a mean over what is hidden": Case(
        "DL1039",
        model("return mean(where(x > 0, x, 0.0))"),
        model("return sum(where(x > 0, x, 0.0)) / maximum(sum(cast(x > 0, float)), 1.0)"),
        model("return mean(where(x > 0, x, 1.0)), mean(where(x > 0, x, 0.0), over=1)"),
    ),
    "dropout of the output": Case(
        "DL1016",
        model("return x -> Linear(3) -> dropout(0.5)"),
        model("return x -> dropout(0.5) -> Linear(3)"),
        model("return x + dropout(x -> Linear(8), 0.5)"),
    ),
    "a norm of the output": Case(
        "DL1017",
        "model Net()(x: float[B, 8]) -> (logits: float[B, 3]) { return x -> Linear(3) -> BatchNorm1d }",
        "model Net()(x: float[B, 8]) -> (logits: float[B, 3]) { return x -> Linear(3) }",
        "model Net()(x: float[B, 8]) -> (code: float[B, 3]) { return x -> Linear(3) -> normalize }",
    ),
    "a difference to class numbers": Case(
        "DL1015",
        fit(LOSS.format("mean((net(x) - cast(y, float)[:, none]) ** 2)")),
        fit(LOSS.format("mean((net(x) - one_hot(y, 3, dtype=float)) ** 2)")),
        fit(LOSS.format("mean((sigmoid(net(x)) - cast(y, float)[:, none]) ** 2)")),
    ),
    "a pool that ends early": Case(
        "DL1033",
        model("return max_pool2d(x, 2)", "x: float[B, 3, 15, 15]"),
        model("return max_pool2d(x, 2, ceil_mode=true)", "x: float[B, 3, 15, 15]"),
        model("return max_pool2d(x, 2)", "x: float[B, 3, 7, 7]"),
    ),
    "convolutions around a pool": Case(
        "DL1020",
        model("return x -> Conv2d(8, 3) -> max_pool2d(2) -> Conv2d(8, 3)", IMAGE),
        model("return x -> Conv2d(8, 3) -> relu -> max_pool2d(2) -> Conv2d(8, 3)", IMAGE),
        model("return x -> Conv2d(8, 3) -> max_pool2d(2) -> relu -> Conv2d(8, 3)", IMAGE),
    ),
}


def codes(text: str) -> list[str]:
    """The codes of the lints for a spec, in order."""
    source = Source("net.dl", text)
    found = compile_training(source)[1] if text.startswith("train") else elaborated(source).warnings
    return [d.code for d in found if d.code >= "DL1008"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_mistake_is_reported_once(case: Case) -> None:
    assert codes(case.wrong) == [case.code]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_was_meant_and_what_only_looks_alike_are_not_reported(case: Case) -> None:
    assert codes(case.sound) == []
    assert codes(case.near) == []


@pytest.mark.parametrize("spec", sorted(SPECS.glob("*/*.dl")), ids=lambda p: p.stem)
def test_no_spec_of_ours_is_reported(spec: Path) -> None:
    """The models of a file with their defaults, and its `train` blocks."""
    assert [f"{d.span}: {d.message}" for d in elaborated(spec).warnings if d.code >= "DL1008"] == []


INVERTED = """module Turn() {
  param angle: float[8, 8] = identity
  def forward(x: float[B, 8]) { return x @ angle }
  def inverse(x: float[B, 8]) { return x @ angle.T }
}

model Net()(x: float[B, 8]) {
  layer turn = Turn()
  return turn.inverse(turn(x))
}
"""

REVERSED = """fn reversed_gradient(x) = x
  backward(g) = -g

model Net()(x: float[B, 8]) { return x -> Linear(8) -> reversed_gradient -> Linear(3) }
"""


@pytest.mark.parametrize("text", [INVERTED, REVERSED], ids=["another entry point", "a gradient of its own"])
def test_what_looks_like_several_mistakes_and_is_none(text: str) -> None:
    assert codes(text) == []


# --- allowing a warning -------------------------------------------------------------------------------------------------------------

ABOVE = """model Net()(x: float[B, 8]) {
  # dslc: allow DL1020, DL1012
  h = x
    -> Linear(64)
    -> Linear(3)
  return softmax(h)
}
"""


@pytest.mark.parametrize(
    "text",
    [
        ABOVE,
        "model Net()(x: float[B, 8]) {\n  return x -> Linear(64) -> Linear(3)  # dslc: allow DL1020\n}\n",
        "# Two maps.\n# dslc: allow DL1020\nmodel Net()(x: float[B, 8]) {\n  return x -> Linear(64) -> Linear(3)\n}\n",
        "model Net()(x: float[B, 8]) {\n  # dslc: allow DL1020\n  for i in range(1) { x = x -> Linear(64) -> Linear(8) }\n  return x\n}\n",
    ],
    ids=["above", "beside", "definition", "loop"],
)
def test_a_comment_allows_a_warning(text: str) -> None:
    assert codes(text) == []
    assert codes(text.replace("allow", "see")) == ["DL1020"]
    assert codes(text.replace("DL1020", "DL1021")) == ["DL1020"]


def test_a_comment_holds_for_its_own_statement_alone() -> None:
    text = "model Net()(x: float[B, 8]) {\n  h = 2 * x  # dslc: allow DL1020\n  return h -> Linear(64) -> Linear(3)\n}\n"
    assert codes(text) == ["DL1020"]


def test_a_comment_of_yaml_does_the_same(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(convert(Source("net.dl", ABOVE), "yaml"))
    assert "dslc: allow DL1020" in path.read_text()
    assert [d.code for d in elaborated(path).warnings] == []
    path.write_text(path.read_text().replace("allow", "see"))
    assert [d.code for d in elaborated(path).warnings] == ["DL1020"]


def test_a_comment_of_an_imported_file_holds_there(tmp_path: Path) -> None:
    (tmp_path / "part.dl").write_text(
        "module Part()(x: float[B, 8]) {\n  return x -> Linear(64) -> Linear(3)  # dslc: allow DL1020\n}\n"
    )
    net = tmp_path / "net.dl"
    net.write_text("from part import Part\nmodel Net()(x: float[B, 8]) { return x -> Part }\n")
    assert elaborated(net).warnings == ()


# --- what is shown ------------------------------------------------------------------------------------------------------------------


def test_the_place_of_the_cause_is_shown_across_definitions() -> None:
    """The softmax stands in the model, the loss in the `train` block."""
    text = (
        model("return x -> Linear(3) -> softmax")
        + "\n"
        + fit("layer net = Net()\n  minimize cross_entropy(net(x), y) using adam(0.001)")
    )
    (found,) = elaborated(Source("net.dl", text)).warnings
    assert found.code == "DL1010"
    assert found.span.text == "cross_entropy(net(x), y)"
    assert [label.span.text for label in found.labels] == ["softmax"]


def test_json_has_the_warnings_of_lints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.dl"
    path.write_text(CASES["softmax twice"].wrong)
    assert run(["check", str(path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["code"], found["severity"], found["line"]) == ("DL1012", "warning", 2)


@pytest.mark.parametrize("code", sorted({case.code for case in CASES.values()}))
def test_each_lint_is_explained_with_an_example(code: str) -> None:
    assert "`" in CODES[code].story
