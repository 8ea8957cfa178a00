"""The YAML form: the same tree both ways, spans that point into the YAML text, and what YAML is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dsl.diagnostics import SpecError, render
from dsl.dump_yaml import dump_yaml
from dsl.load_yaml import DEFINITION_KEYS, load_yaml
from dsl.parse import parse
from dsl.printer import print_file
from dsl.source import Source
from dsl.syntax import Assign, File, Module
from dsl.yaml_statements import STATEMENT_KEYS

ROOT = Path(__file__).parents[1]
SPECS = sorted([*ROOT.glob("dsl/lib/*.dl"), *ROOT.glob("specs/**/*.dl")])

LENET = """\
model: LeNet
params: {classes: {type: int, default: 10}}
inputs: {image: "float[B, 1, 28, 28]"}
outputs: {logits: "float[B, classes]"}
graph:
  - conv1: {layer: Conv2d, of: image, channels: 6, kernel: 5, padding: 2}
  - h: conv1 -> tanh -> avg_pool2d(2) -> Conv2d(16, kernel=5) -> tanh -> avg_pool2d(2) -> flatten
  - logits: h -> Linear(120) -> tanh -> Linear(84) -> tanh -> Linear(classes)
"""

EVERYTHING = """\
# Everything that a file may say.
import language.blocks as blocks

from vision.resnet import ResNet as R, stem

const NAMES = ["a: b", "x"]

fn pair(x, over: int = -1, scale=1e-3) = x * scale, -x

fn longer(x) {
  return x[:, 1:] # beside
}

fn nothing() = none

module Two(hidden: int, act: fn = relu, sizes: list = [1, 2], no: bool = false) {
  layer net = MLP([hidden, hidden], out=2)
  param w: float[hidden] = normal(std=0.02)
  buffer steps: int[]

  # One way.
  def forward(x: float[..., D]) -> (y: float[..., D], int[]) {
    require D % 2 == 0 and hidden != 12, "even: # or else"
    if training {
      update steps = steps + 1
    } else if hidden > 3 {
      x = -x
    } else {
    }
    for i, (a, b) in enumerate(zip(sizes, sizes)) {
      x = x -> net -> repeat(a) { Block(i) -> act }
    }
    a, b = b, a
    normed = x + 1 -> normed: LayerNorm
    conv = (x, a) -> conv: blocks.Conv(kernel=[3, 3], mode="same", size=1e-3, when=true if a else false)
    plain = x -> plain: Conv2d(6, kernel=3)
    return x, steps
  }

  def inverse(y: float[B]) { return y }
}

fn sign_through(x) = sign(x)
  backward(g) = where(abs(x) <= 1, g, 0.0)

fn product(a, b) {
  return a * b, a
} backward(g, h) {
  return g * b + h, g * a
}

module Loops(hidden: int)(x: float[B, T, D], mask: bool[B, T]) {
  scan x_t, m_t in x, mask over T reverse=true length=n carry h = zeros(B, hidden), c = (h, h), e = 1 {
    scan i in range(n) {
      emit h = h
    }
  }
  while not done and n < 3 carry n = 0 limit 2 * n {
    n = n + 1
  }
  while = 3
  return h
}

train Both(steps: int = 3)(x: float[B]) {
  layer target = copy of q every 500
  layer slow = ema of net decay 0.999
  layer fast = net with net.params - rate * grad(loss, net.params)
  minimize loss using adam(1e-3)
  minimize d = mean(loss, over=0) over D, lm."**.weight" using adam(2e-4, betas=[0.5, 0.999]) clip 1.0 every 2
  minimize loss over "**" using adam(1e-3) for "**.bias", sgd(rate) for ["a, b", lm."c: d"], sgd(2) clip_value 0.5
  metric perplexity = exp(loss)
}

test "it's: odd" {
  assert Two(3)(x: float[2, 7]).y.shape == [2, 7]
}
"""

TRAINING = """\
train: Pretrain
inputs: {tokens: "int[B, T]"}
graph:
  - layer: {lm: "GPT2(vocab=256)"}
  - layer: {slow: ema of lm decay 0.99}
  - minimize: {loss: "cross_entropy(lm(tokens), tokens)"}
    over: [lm."**.weight", lm."**.bias"]
    using:
      - {rule: sgd(0.1), for: '"**.bias"'}
      - adamw(3e-4)
    clip: 1.0
  - scan: t in tokens
    over: T
    carry: {h: 0}
    do: [{emit: {hs: h}}]
  - metric: {perplexity: exp(loss)}
"""


def dl(text: str) -> File:
    return parse(Source("test.dl", text))


def test_the_example_is_the_same_model_as_its_dl_form() -> None:
    assert load_yaml(Source("lenet.yaml", LENET)) == dl("""
        model LeNet(classes: int = 10)(image: float[B, 1, 28, 28]) -> (logits: float[B, classes]) {
          conv1 = image -> conv1: Conv2d(channels=6, kernel=5, padding=2)
          h = conv1 -> tanh -> avg_pool2d(2) -> Conv2d(16, kernel=5) -> tanh -> avg_pool2d(2) -> flatten
          logits = h -> Linear(120) -> tanh -> Linear(84) -> tanh -> Linear(classes)
          return logits
        }""")


def test_a_training_is_the_same_as_its_dl_form() -> None:
    assert load_yaml(Source("train.yaml", TRAINING)) == dl("""
        train Pretrain()(tokens: int[B, T]) {
          layer lm = GPT2(vocab=256)
          layer slow = ema of lm decay 0.99
          minimize loss = cross_entropy(lm(tokens), tokens) over lm."**.weight", lm."**.bias"
            using sgd(0.1) for "**.bias", adamw(3e-4) clip 1.0
          scan t in tokens over T carry h = 0 { emit hs = h }
          metric perplexity = exp(loss)
        }""")


def test_everything_survives_both_ways() -> None:
    file = dl(EVERYTHING)
    text = dump_yaml(file)
    again = load_yaml(Source("test.yaml", text))
    assert again == file
    assert print_file(again) == print_file(file)
    assert dump_yaml(again) == text


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_spec_survives_both_ways_with_its_comments(path: Path) -> None:
    file = parse(Source(path.name, path.read_text(encoding="utf-8")))
    again = load_yaml(Source(path.name, dump_yaml(file)))
    assert again == file
    assert repr(again).replace("'", '"').count("Literal") == repr(file).count("Literal")
    assert print_file(again).split() == print_file(file).split()  # YAML does not say where the author began a line


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "definitions: []\n"])
def test_a_file_may_define_nothing(text: str) -> None:
    assert load_yaml(Source("empty.yaml", text)).definitions == ()


def test_the_exponent_of_a_number_needs_no_point() -> None:
    text = "const: RATE\nvalue: 1e-3\n"
    assert load_yaml(Source("test.yaml", text)) == dl("const RATE = 0.001")


@pytest.mark.parametrize(
    ("value", "underlined"),
    [
        ("a + größer", "größer"),
        ("'a + größer'", "größer"),
        ("|\n      a +\n      größer", "größer"),
        (">\n      a\n      + größer", "größer"),
    ],
)
def test_an_error_points_into_the_yaml_text(value: str, underlined: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_yaml(Source("test.yaml", f"fn: f\nparams: [x]\ngraph:\n  - y: {value}\n  - return: y\n"))
    assert caught.value.diagnostics[0].span.text == underlined


def test_spans_of_nodes_point_into_the_yaml_text() -> None:
    (model,) = load_yaml(Source("lenet.yaml", LENET)).definitions
    assert isinstance(model, Module)
    conv, h, *_ = model.entries[0].body
    assert isinstance(conv, Assign)
    assert isinstance(h, Assign)
    assert conv.span.line == 6
    assert (h.value.span.line, h.value.span.column) == (7, 8)
    assert h.value.span.text.startswith("conv1 -> tanh")


# --- what is refused --------------------------------------------------------------------------------------------------------------

F = "fn: f\nparams: [x]\n"
LAUGHS = "a0: &a0 [1]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9))


@pytest.mark.parametrize(
    ("text", "code", "place", "message"),
    [
        ("a: " + "[" * 5000, "DL0601", "1:203", "nested deeper than 200 levels"),
        (LAUGHS, "DL0905", "6:40", "the aliases stand for more than 100,000 nodes"),
        ("a: &a [*a]", "DL0905", "1:8", "the alias `*a` refers to itself"),
        ("a: *b", "DL0905", "1:4", "the alias `*b` refers to nothing"),
        (F + "value: x\nfn: g", "DL0903", "4:1", "the key `fn` stands twice"),
        (F + "value: !!python/object/apply:os.system ['true']", "DL0902", "3:8", "tags are not used in specs"),
        ("<<: {a: b}", "DL0902", "1:1", "merge keys are not used in specs"),
        (F + "value: x\n---\nfn: g\n", "DL0902", "4:1", "a spec is one YAML document"),
        (F + "value: no", "DL0904", "3:8", "`no` is read differently by different versions of YAML"),
        (F + "value: Null", "DL0904", "3:8", "`Null` is read differently by different versions of YAML"),
        (F + "value: 012", "DL0904", "3:8", "`012` is read differently by different versions of YAML"),
        (F + "value: 1:30", "DL0904", "3:8", "`1:30` is read differently by different versions of YAML"),
        (F + "value: 2020-01-01", "DL0904", "3:8", "`2020-01-01` is read differently by different versions of YAML"),
        (F + "value: f(x", "DL0103", "3:9", "this `(` is never closed"),
        (F + "value: x +", "DL0102", "3:11", "expected an expression after `+`"),
        (F + "value:", "DL0101", "3:7", "expected an expression"),
        (F + "valeu: x", "DL0906", "3:1", "unknown key `valeu`"),
        (F, "DL0906", "1:1", "the key `graph` is missing"),
        ("name: x", "DL0906", "1:1",
         "a definition has one of the keys `model`, `module`, `fn`, `const`, `from`, `import`, `train`, `test`"),
        ("- fn: f", "DL0907", "1:1", "expected a definition, a mapping, found a list"),
        ("just words", "DL0907", "1:1", "expected a definition, a mapping, found `just words`"),
        ("? [a]\n: b", "DL0907", "1:3", "a key is a word, not a mapping or a list"),
        (F + "graph: x", "DL0907", "3:8", "expected statements, a list, found `x`"),
        (F + "graph:\n  - a: b\n    c: d", "DL0906", "5:5", "one statement a list item"),
        (F + "graph:\n  - layer for: b", "DL0101", "4:5", "expected a name"),
        (F + "graph:\n  - scan: x\n    do: []", "DL0102", "4:12", "expected `in` after `x`"),
        (F + "graph:\n  - scan: t in x", "DL0906", "4:5", "the key `do` is missing"),
        (F + "graph:\n  - {while: x, carry: {a: 1}, do: []}", "DL0906", "4:6", "the key `limit` is missing"),
        (F + "graph:\n  - {minimize: x, using: [], over: y}", "DL0101", "4:26", "expected an optimizer"),
        (F + "graph:\n  - {minimize: x, using: a, clip: 1, clip_value: 1}", "DL0906", "4:50",
         "gradients are clipped by `clip` or by `clip_value`"),
        (F + "graph:\n  - layer: {a: copy of b}", "DL0102", "4:25", "expected `every` after `b`"),
        ("model: M\ngraph: []", "DL0113", "1:8", "the model `M` has no entry point"),
        ("model: M\ninputs: {x: float}\ngraph: []", "DL0113", "2:10", "the input `x` has no shape"),
        ("a: [1\nb: 2", "DL0901", "2:2", "this is not YAML: did not find expected ',' or ']'"),
        ("a: b: c", "DL0901", "1:5", "this is not YAML: mapping values are not allowed in this context"),
    ],
)  # fmt: skip
def test_bad_yaml_is_refused_where_it_stands(text: str, code: str, place: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_yaml(Source("bad.yaml", text))
    first = caught.value.diagnostics[0]
    assert (first.code, str(first.span), first.message) == (code, f"bad.yaml:{place}", message)


def test_a_key_that_stands_twice_shows_both_places() -> None:
    with pytest.raises(SpecError) as caught:
        load_yaml(Source("bad.yaml", F + "value: x\nfn: g"))
    assert (
        render(caught.value.diagnostics[0])
        == """\
error[DL0903]: the key `fn` stands twice
 --> bad.yaml:4:1
  |
1 | fn: f
  | -- first here
4 | fn: g
  | ^^ again here"""
    )


def test_all_errors_come_in_one_run() -> None:
    with pytest.raises(SpecError) as caught:
        load_yaml(Source("bad.yaml", F + "graph:\n  - a: x +\n  - b: (x\n  - return: no\n"))
    assert [d.span.line for d in caught.value.diagnostics] == [4, 5, 6]


def test_nothing_is_made_but_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "load", None)
    monkeypatch.setattr(yaml.constructor.BaseConstructor, "construct_object", None)
    assert len(load_yaml(Source("lenet.yaml", LENET)).definitions) == 1


def test_the_schema_names_the_keys_that_the_loader_knows() -> None:
    schema = json.loads((ROOT / "grammar/spec.schema.json").read_text(encoding="utf-8"))
    definitions = {kind: set(schema["$defs"][kind]["properties"]) for kind in DEFINITION_KEYS}
    statements = {kind: set(schema["$defs"][f"{kind}_statement"]["properties"]) for kind in STATEMENT_KEYS}
    assert definitions == DEFINITION_KEYS
    assert statements == STATEMENT_KEYS
