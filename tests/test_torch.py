"""PyTorch: every primitive computes what its card says, and the files are ones that a careful person might have written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backends.base import EmitOptions, Unsupported
from backends.reference import BACKEND as REFERENCE
from backends.torch import BACKEND, main_class, module_of
from backends.torch_file import source_of
from backends.torch_layers import FUNCTIONS, LAYERS
from backends.torch_names import MODULE_ATTRIBUTES
from backends.torch_rows import ROWS
from dsl.build import numpy_dtype
from dsl.compiler import compile_graph
from dsl.ir import Program
from dsl.ops.registry import CARDS
from dsl.source import Source
from dsl.types import DType
from tests.op_cases import CASES, Case, floats, ints, one_op, program
from tests.small import SPECS, VARIANTS

OPTIONS = EmitOptions(source="net.dl", version="0.1.0")


def compiled(text: str, **hyper: object) -> Program:
    return compile_graph(Source("net.dl", text), hyper)


def text_of(made: Program) -> str:
    return source_of(made, OPTIONS)


def model_of(made: Program) -> nn.Module:
    """The generated model, with initial values of its own."""
    return main_class(module_of(text_of(made)))()


def weights_of(made: Program) -> dict[str, np.ndarray]:
    """Arbitrary values for every parameter and buffer."""
    shapes = {name: tuple(int(str(d)) for d in p.type.shape) for name, p in made.parameters().items()}
    return {name: (floats(*shape) * 0.3 + 0.5).astype(np.float32) for name, shape in shapes.items()}


def compare(made: Program, inputs: Mapping[str, np.ndarray], *, training: bool = False, entry: str = "forward") -> None:
    """Outputs and new buffers against the reference."""
    weights = weights_of(made)
    found = BACKEND.load(BACKEND.emit(made, OPTIONS), made, weights).run(inputs, training=training, entry=entry)
    wanted = REFERENCE.load(None, made, weights).run(inputs, training=training, entry=entry)
    assert found.outputs.keys() == wanted.outputs.keys()
    assert found.updates.keys() >= wanted.updates.keys()
    for name, want in (*wanted.outputs.items(), *wanted.updates.items()):
        have = found.outputs[name] if name in found.outputs else found.updates[name]
        # float32 after a few products: relative to the largest element
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.max(np.abs(want), initial=0.0))))


def assert_clean(path: Path) -> None:
    """`ruff check` and `ruff format --check` at 88 columns have nothing to say."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    assert ruff is not None
    for command in (["check", "--no-cache"], ["format", "--diff", "--no-cache"]):
        done = subprocess.run(
            [ruff, *command, "--isolated", "--line-length", "88", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[:3000]


# --- primitives ---


def test_the_matrix_is_closed() -> None:
    assert set(ROWS) == set(CARDS)
    assert all(callable(row) or isinstance(row, Unsupported) for row in ROWS.values())


def _is_documented_exception(case: Case) -> bool:
    """The card of `sign` says that PyTorch has 0 for NaN."""
    return case[0] == "sign" and bool(np.isnan(case[1][0]).any())


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{op}" for i, (op, _, _) in enumerate(CASES)])
def test_a_primitive_computes_what_its_card_says(case: Case) -> None:
    op, operands, attributes = case
    graph = one_op(op, operands, attributes)
    made = program(graph)
    inputs = {f"x{i}": np.nan_to_num(x, nan=0.0) if _is_documented_exception(case) else x for i, x in enumerate(operands)}
    wanted = REFERENCE.load(None, made, {}).run(inputs).outputs
    found = BACKEND.load(BACKEND.emit(made, OPTIONS), made, {}).run(inputs).outputs
    for name, value in graph.outputs.items():
        assert found[name].shape == wanted[name].shape
        assert found[name].dtype == numpy_dtype(graph.type(value).dtype)
        # float32 against float64: a few units in the last place of the largest term, which is of size 10 here
        np.testing.assert_allclose(found[name], wanted[name], rtol=2e-5, atol=2e-5)


def test_every_primitive_is_formatted(tmp_path: Path) -> None:
    for i, (op, operands, attributes) in enumerate(CASES):
        (tmp_path / f"case_{i}_{op}.py").write_text(text_of(program(one_op(op, operands, attributes))))
    assert_clean(tmp_path)


@pytest.mark.parametrize("op", ["randn", "rand", "bernoulli", "categorical"])
def test_random_draws_have_the_right_mean(op: str) -> None:
    n = 20000
    draw = {"randn": f"randn({n})", "rand": f"rand({n})", "bernoulli": f"bernoulli(expand(p, [{n}]))",
            "categorical": f"cast(categorical(expand(stack(log(1 - p), log(p), over=0), [{n}, 2])), float)"}[op]  # fmt: skip
    made = compiled(f"model Draw()(p: float[]) -> (y: float[{n}]) {{ return {draw} }}")
    torch.manual_seed(0)
    y = BACKEND.load(BACKEND.emit(made, OPTIONS), made, {}).run({"p": np.array(0.3, np.float32)}).outputs["y"]
    mean, deviation = {"randn": (0, 1), "rand": (0.5, 0.29)}.get(op, (0.3, 0.46))
    assert abs(y.mean() - mean) < 5 * deviation / np.sqrt(n)
    assert y.std() == pytest.approx(deviation, rel=0.05)


# --- what the file looks like ---

NORM_SPEC = """
module Step(width: int, stride: int = 1)(x: float[B, C, H, W]) {
  return x -> conv: Conv2d(width, kernel=3, stride=stride, padding=1, bias=false) -> bn: BatchNorm2d -> relu
}
model Net(classes: int = 5)(image: float[B, 3, H, W]) -> (logits: float[B, classes]) {
  return image -> stem: Step(8) -> down: Step(16, stride=2) -> steps: repeat(2) { Step(16) } -> mean(over=[2, 3]) -> head: Linear(classes)
}
"""


def test_layers_that_differ_in_numbers_share_a_class() -> None:
    text = text_of(compiled(NORM_SPEC))
    assert (
        text
        == '''"""Net, compiled by dslc 0.1.0 from net.dl."""

import torch.nn.functional as F
from torch import Tensor, nn


class Step(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, width, 3, stride=stride, padding=1, bias=False
        )
        self.bn = nn.BatchNorm2d(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Step(3, 8, stride=1)
        self.down = Step(8, 16, stride=2)
        self.steps = nn.ModuleList([Step(16, 16, stride=1) for _ in range(2)])
        self.head = nn.Linear(16, 5)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor) -> Tensor:
        h = self.down(self.stem(image))
        for step in self.steps:
            h = step(h)
        return self.head(h.mean(dim=(2, 3)))
'''
    )


def test_layers_of_a_class_begin_with_numbers_of_their_own() -> None:
    model = model_of(
        compiled(
            """
            module Part(n: int)(x: float[B, D]) {
              param weight: float[n, D] = uniform(n - 0.1, n)
              return x @ weight.T -> Linear(4, init=normal(mean=n, std=0.001))
            }
            model M()(x: float[B, 4]) { return x -> Part(3) -> Part(5) }
            """
        )
    )
    part: Any
    for part, low in ((model.part, 3), (model.part_1, 5)):
        assert low - 0.1 <= part.weight.min() <= part.weight.max() <= low
        assert abs(part.linear.weight.mean().item() - low) < 0.01


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_in_a_repeat_agrees_with_the_reference(training: bool) -> None:
    compare(compiled(NORM_SPEC), {"image": floats(2, 3, 8, 8)}, training=training)


@pytest.mark.slow  # 150 files; the small ones are looked at in every run, by test_generated_code.py
def test_every_spec_is_formatted_at_both_sizes(tmp_path: Path) -> None:
    for spec, hyper in ((v.spec, v.settings) for v in VARIANTS.values() if v.model is None):
        for size, given in (("small", hyper), ("full", {})):
            made = compile_graph(SPECS / spec, given)
            (tmp_path / f"{size}_{spec.replace('/', '_')}.py").write_text(source_of(made, OPTIONS))
    assert_clean(tmp_path)


def test_the_text_is_the_same_every_time() -> None:
    spec = SPECS / "language" / "gpt2.dl"
    assert text_of(compile_graph(spec)) == text_of(compile_graph(spec))


def test_a_long_chain_stays_flat() -> None:
    """Ten thousand operations: in linear time, without deep recursion, in short lines."""
    steps = "\n".join(f"  x = x * 2.0 + {i}.5" for i in range(5000))
    text = text_of(compiled(f"model Long()(x: float[B]) -> (y: float[B]) {{\n{steps}\n  return x\n}}"))
    assert max(map(len, text.splitlines())) <= 88
    assert text.count("x = x * 2.0 + ") >= 4999


def test_an_expression_too_long_for_a_line_gets_variables() -> None:
    terms = " + ".join(f"sin(x * {i}.125) * cos(x + {i}.25)" for i in range(12))
    made = compiled(f"model Sum()(x: float[B]) -> (y: float[B]) {{ return {terms} }}")
    assert max(map(len, text_of(made).splitlines())) <= 88
    compare(made, {"x": floats(3)})


def test_the_spec_s_names_are_bound_again_when_they_are_free() -> None:
    made = compiled("""
model Net()(x: float[B, 4]) -> (y: float[B, 4]) {
  x = x + 1.0
  kept = x
  x = tanh(x)
  return x * kept
}
""")
    assert "        x = x + 1.0\n        x_1 = torch.tanh(x)\n        return x_1 * x\n" in text_of(made)
    compare(made, {"x": floats(2, 4)})


# --- names, documentation and messages cannot break out ---


def test_names_of_python_and_of_nn_module_keep_their_place_in_the_state_dict() -> None:
    made = compiled("""
model Net()(input: float[B, 4]) -> (lambda: float[B, 4]) {
  param type: float[4] = ones
  param yield: float[4] = ones
  buffer half: float[4] = ones
  h = input * type + yield * half
  return h -> parameters: Linear(4) -> class: Linear(4)
}
""")
    model = model_of(made)
    assert set(model.state_dict()) == set(made.parameters())
    compare(made, {"input": floats(2, 4)})


def test_documentation_and_messages_are_only_text() -> None:
    nasty = 'a """ quote \\" and \\\\ {x} and the end"'
    made = compiled(f"""
# {nasty}
model Net()(x: float[B, T]) -> (y: float[B, T]) {{
  require T <= 4, "no more\\" + exit(1) # than 4, 'please', as this sentence is long enough to be broken over several lines"
  return x * 2.0
}}
""")
    model = model_of(made)
    with pytest.raises(ValueError, match="than 4, 'please', as this sentence is long enough to be broken"):
        model(torch.zeros(2, 5))
    assert model(torch.ones(2, 4)).sum() == 16


def test_long_messages_are_formatted(tmp_path: Path) -> None:
    made = compiled("""
# A sentence of documentation that is longer than a line of eighty-eight columns can be, whatever one does to it.
model Net()(x: float[B, T]) -> (y: float[B, T]) {
  require T <= 4, "this sentence is long enough to be broken over several lines, since it goes on and on and on"
  return x * 2.0
}
""")
    (tmp_path / "net.py").write_text(text_of(made))
    assert_clean(tmp_path)


def test_the_list_of_module_attributes_is_torch_s() -> None:
    assert {name for name in dir(nn.Module()) if not name.startswith("_")} <= MODULE_ATTRIBUTES | {
        "call_super_init",
        "dump_patches",
    }


# --- training ---

EMA_SPEC = """
model Codes(count: int = 6)(x: float[B, 4]) -> (q: float[B, 4], loss: float[]) {
  param scale: float[4] = ones
  buffer codebook: float[count, 4] = normal(std=1)
  buffer seen: float[] = zeros
  z = x * scale
  distance = sum(z ** 2, over=1, keepdims=true) - 2 * z @ codebook.T + sum(codebook ** 2, over=1)
  e = codebook[argmin(distance, over=1)]
  noisy = z
  if training {
    noisy = z + 0.5
    update codebook = 0.9 * codebook + 0.1 * mean(z, over=0)
    update seen = seen + 1.0
  }
  return noisy + stop_gradient(e - z), mean((z - e) ** 2)
}
"""


@pytest.mark.parametrize("training", [False, True])
def test_buffers_are_updated_in_training_only(training: bool) -> None:
    compare(compiled(EMA_SPEC), {"x": floats(5, 4)}, training=training)


def test_an_update_does_not_disturb_the_backward_pass() -> None:
    model = model_of(compiled(EMA_SPEC)).train()
    scale = model.get_parameter("scale")
    before = model.get_buffer("codebook").clone()
    q, loss = model(torch.ones(3, 4))
    (q.sum() + loss).backward()
    assert scale.grad is not None
    assert not torch.equal(before, model.get_buffer("codebook"))
    assert not model.get_buffer("codebook").requires_grad
    assert model.get_buffer("seen") == 1


def test_both_modes_have_their_branch() -> None:
    text = text_of(compiled(EMA_SPEC))
    assert "noisy = z + 0.5 if self.training else z\n" in text
    assert "        if self.training:\n            with torch.no_grad():\n" in text
    assert "self.seen.copy_(" in text  # nothing that is returned depends on it
    assert "self.codebook = " in text  # the old codebook is kept for the backward pass


def test_dropout_follows_the_mode_and_its_function_is_told_of_it() -> None:
    made = compiled("""
fn noisy(x, rate: float) = dropout(x, rate) + 1.0
model Net()(x: float[B, 100]) -> (y: float[B, 100]) { return noisy(noisy(x, 0.5), 0.25) }
""")
    model = model_of(made)
    x = torch.ones(3, 100)
    assert torch.equal(model.eval()(x), x + 2)
    assert not torch.equal(model.train()(x), x + 2)
    assert "def noisy(x: Tensor, rate: float, training: bool) -> Tensor:" in text_of(made)


# --- layers and entry points ---


def test_two_entry_points_share_their_layers() -> None:
    made = compile_graph(SPECS / "examples" / "tour.dl", {"hidden": 8}, model="Coupling")
    x = floats(3, 2)
    for entry, name in (("forward", "x"), ("inverse", "y")):
        compare(made, {name: x}, entry=entry)
    model = model_of(made)
    with torch.no_grad():
        y, _ = model(torch.tensor(x))
        inverse = model.inverse
        assert callable(inverse)
        np.testing.assert_allclose(inverse(y).numpy(), x, atol=1e-5)


def test_a_layer_applied_to_two_shapes_has_a_method_for_each_where_they_differ() -> None:
    made = compiled("""
module Shared()(x: float[..., 4]) {
  return x -> fc: Linear(4) -> mean(over=-1)
}
model Net()(x: float[B, 4], y: float[B, T, 4]) -> (a: float[B], b: float[B, T]) {
  layer net = Shared()
  return net(x), net(y)
}
""")
    compare(made, {"x": floats(2, 4), "y": floats(2, 3, 4)})
    assert text_of(made).count("class Shared(") == 1


def test_tied_weights_are_one_tensor() -> None:
    made = compile_graph(SPECS / "language" / "gpt2.dl", {"vocab": 11, "context": 8, "width": 8, "layers": 1, "heads": 2})
    assert "h @ self.wte.weight.T" in text_of(made)
    assert sum(p.numel() for p in model_of(made).parameters()) == sum(
        int(np.prod([int(str(d)) for d in p.type.shape])) for p in made.parameters().values()
    )


def test_padding_that_torch_has_no_layer_for_gets_the_body() -> None:
    made = compiled(
        'model Net()(x: float[B, 2, 7]) -> (y: float[B, 3, 4]) { return x -> conv: Conv1d(3, kernel=4, stride=2, padding="same") }'
    )
    assert "nn.Conv1d(" not in text_of(made)
    assert "F.pad(x, (1, 2))" in text_of(made)
    compare(made, {"x": floats(2, 2, 7)})


LAYER_EXPRESSIONS = {
    "Linear": ("Linear(5)", (2, 4)),
    "Conv1d": ("Conv1d(6, kernel=3, stride=2, padding=1, groups=2)", (2, 4, 9)),
    "Conv2d": ("Conv2d(6, kernel=[3, 2], dilation=2, bias=false)", (2, 4, 9, 8)),
    "Conv3d": ("Conv3d(2, kernel=2)", (1, 4, 3, 4, 3)),
    "ConvTranspose1d": ("ConvTranspose1d(6, kernel=3, stride=2, output_padding=1, groups=2)", (2, 4, 5)),
    "ConvTranspose2d": ("ConvTranspose2d(3, kernel=4, stride=2, padding=1)", (2, 4, 5, 4)),
    "ConvTranspose3d": ("ConvTranspose3d(2, kernel=2, dilation=2)", (1, 4, 3, 2, 3)),
    "BatchNorm1d": ("BatchNorm1d(momentum=0.3)", (6, 4)),
    "BatchNorm2d": ("BatchNorm2d(eps=1e-3)", (3, 4, 5, 2)),
    "BatchNorm3d": ("BatchNorm3d(affine=false)", (3, 4, 2, 2, 3)),
    "LayerNorm": ("LayerNorm(bias=false)", (2, 3, 4)),
    "RMSNorm": ("RMSNorm(eps=1e-5)", (2, 3, 4)),
    "GroupNorm": ("GroupNorm(2)", (2, 4, 5)),
    "InstanceNorm": ("InstanceNorm(affine=true)", (2, 4, 5, 3)),
    "PReLU": ("PReLU(shared=false)", (2, 4, 5)),
}


@pytest.mark.parametrize("layer", sorted(LAYER_EXPRESSIONS))
def test_a_layer_of_torch_means_the_same(layer: str) -> None:
    expression, shape = LAYER_EXPRESSIONS[layer]
    made = compiled(f"model Net()(x: float[{', '.join(map(str, shape))}]) {{ return x -> net: {expression} }}")
    assert f"nn.{layer}" in text_of(made)
    names = [name for name in model_of(made).state_dict() if not name.endswith("num_batches_tracked")]
    assert sorted(names) == sorted(made.parameters())
    for training in (False, True):
        compare(made, {"x": floats(*shape)}, training=training)


def test_layers_of_two_inputs_or_of_integers_mean_the_same() -> None:
    cells = {"RNNCell", "LSTMCell", "GRUCell"}  # in test_torch_blocks.py
    assert set(LAYER_EXPRESSIONS) | {"Bilinear", "Embedding"} | cells == set(LAYERS)
    made = compiled("model Net()(a: float[B, 3], b: float[B, 2]) { layer net = Bilinear(4)\n  return net(a, b) }")
    compare(made, {"a": floats(2, 3), "b": floats(2, 2)})
    made = compiled("model Net()(t: int[B, 3]) { return t -> net: Embedding(5, 4) }")
    compare(made, {"t": ints(5, 2, 3)})


IMAGE = {1: "float[2, 3, 8]", 2: "float[2, 3, 8, 6]", 3: "float[2, 3, 8, 6, 4]"}
POOLS = {
    "local_response_norm": ("local_response_norm(x, 3, alpha=0.1)", IMAGE[2]),
    "unfold": ("unfold(x, [2, 3], stride=2, padding=1)", IMAGE[2]),
    **{f"max_pool{n}d": (f"max_pool{n}d(x, 3, stride=2, padding=1)", IMAGE[n]) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": (f"avg_pool{n}d(x, 2)", IMAGE[n]) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": (f"adaptive_avg_pool{n}d(x, 2)", IMAGE[n]) for n in (1, 2, 3)},
}
ARGUMENTS = {
    "leaky_relu": "slope=0.2", "elu": "alpha=0.5", "celu": "alpha=0.5", "hard_tanh": "low=-0.5, high=0.25",
    "hard_shrink": "threshold=0.25", "soft_shrink": "threshold=0.25", "glu": "over=1", "softmax": "over=1", "normalize": "over=-1",
}  # fmt: skip
LOSSES = {
    "mse": "",
    "mae": 'reduction="sum"',
    "huber": "delta=0.5",
    "smooth_l1": "beta=0.5",
    "bce_with_logits": 'reduction="none"',
}


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"attention", "cross_entropy"}))
def test_a_function_of_torch_means_the_same(name: str) -> None:
    if name in POOLS:
        expression, kind = POOLS[name]
    elif name in LOSSES:
        expression, kind = f"{name}(x, y, {LOSSES[name]})".replace(", )", ")"), "float[3, 4]"
    elif name == "bce":
        expression, kind = "bce(sigmoid(x), sigmoid(y))", "float[3, 4]"
    else:
        expression, kind = f"{name}(x, {ARGUMENTS.get(name, '')})".replace(", )", ")"), "float[3, 4]"
    made = compiled(f"model Net()(x: {kind}, y: {kind}) {{ return {expression} + 0.0 * sum(y) }}")
    assert f"def {name}(" not in text_of(made)
    shape = [int(n) for n in kind[6:-1].split(", ")]
    compare(made, {"x": floats(*shape), "y": np.abs(floats(*shape))})


@pytest.mark.parametrize("arguments", ["", "label_smoothing=0.1", "ignore_index=2", 'reduction="sum"', "over=1"])
@pytest.mark.parametrize("rank", [2, 3])
def test_cross_entropy_means_the_same(arguments: str, rank: int) -> None:
    logits, target = ("float[4, 3]", "int[4]") if rank == 2 else ("float[4, 3, 3]", "int[4, 3]")
    made = compiled(f"model Net()(x: {logits}, t: {target}) {{ return cross_entropy(x, t, {arguments}) }}".replace(", )", ")"))
    assert "F.cross_entropy(" in text_of(made)
    compare(made, {"x": floats(*(4, 3, 3)[:rank]), "t": ints(3, *(4, 3)[: rank - 1])})


@pytest.mark.parametrize("arguments", ["", "causal=true", "mask=mask", "scale=0.3", "mask=mask, causal=true"])
def test_attention_means_the_same_even_where_nothing_may_be_seen(arguments: str) -> None:
    made = compiled(
        f"""
model Net()(q: float[2, 3, 5, 4], k: float[2, 3, 5, 4], v: float[2, 3, 5, 4], mask: bool[2, 1, 1, 5]) {{
  return attention(q, k, v, {arguments}) + cast(sum(mask), float) * 0.0
}}
""".replace(", )", ")")
    )
    assert ("F.scaled_dot_product_attention(" in text_of(made)) == ("mask=mask, " not in arguments)
    mask = np.array([[[[True, True, False, True, False]]], [[[False] * 5]]])
    compare(made, {**{name: floats(2, 3, 5, 4) for name in "qkv"}, "mask": mask})


# --- the file works as PyTorch does ---


def test_it_moves_to_another_element_type() -> None:
    made = compiled("""
model Net()(x: float[B, T, 4]) -> (y: float[B, T, 4]) {
  return (x + unsqueeze(cast(arange(T), float), 1) / 10.0 + zeros([T, 4])) -> fc: Linear(4)
}
""")
    model = model_of(made).to(torch.bfloat16)
    assert model(torch.ones(2, 3, 4, dtype=torch.bfloat16)).dtype is torch.bfloat16


def test_tables_follow_the_model_and_are_not_saved() -> None:
    table = ", ".join(f"{i}.0" for i in range(100))
    made = compiled(f"model Net()(x: float[100]) -> (y: float[100]) {{ return x + [{table}] }}")
    model = model_of(made)
    assert list(model.state_dict()) == []
    assert len(list(model.buffers())) == 1
    compare(made, {"x": floats(100)})


@pytest.mark.parametrize("spec", ["mlp/mlp.dl", "language/gpt2.dl"])
def test_it_compiles_as_one_graph(spec: str) -> None:
    made = VARIANTS[spec].program()
    model = model_of(made).eval()
    (value,) = made.main.inputs.values()
    tokens = made.main.type(value).dtype is DType.I64
    x = torch.zeros(2, 5, dtype=torch.int64) if tokens else torch.ones(2, 7)
    whole = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(whole(x), model(x))


def test_training_with_updates_compiles_as_one_graph() -> None:
    model = model_of(compiled(EMA_SPEC)).train()
    whole = torch.compile(model, fullgraph=True, backend="eager")
    for _ in range(2):
        q, loss = whole(torch.ones(3, 4))
        (q.sum() + loss).backward()
    assert model.get_buffer("seen") == 2
