"""Every spec that ships: it is checked, its `test` blocks hold, it is formatted, it survives YAML, and its small variant verifies."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from backends.base import EmitOptions
from dsl import compiler
from dsl.compiler import compile_graph, format_source
from dsl.diagnostics import render
from dsl.dump_yaml import dump_yaml
from dsl.load_yaml import load_yaml
from dsl.loader import LIBRARY
from dsl.parse import parse
from dsl.printer import print_file
from dsl.source import Source
from dsl.types import DType
from dsl.verification.compare import verify
from dsl.verification.gradients import verify_gradients

SPECS = Path(__file__).parent.parent / "specs"
SMALL = tomllib.loads((SPECS / "small.toml").read_text())
ALL = sorted(str(path.relative_to(SPECS)) for path in SPECS.rglob("*.dl"))


def source_of(spec: str) -> Source:
    return Source(spec, (SPECS / spec).read_text())


def test_every_spec_has_a_small_variant_for_the_tests() -> None:
    assert set(SMALL) == set(ALL) - {"examples/tour.dl"}  # the tour is many models, verified one by one below


@pytest.mark.parametrize("spec", ALL)
def test_it_is_checked_and_its_tests_hold(spec: str) -> None:
    compile_graph(SPECS / spec)
    problems = [render(d) for _, found in compiler.test_blocks(SPECS / spec) for d in found]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", [*SPECS.rglob("*.dl"), *LIBRARY.glob("*.dl")], ids=lambda path: path.stem)
def test_it_is_formatted(path: Path) -> None:
    assert format_source(Source(path.name, path.read_text())) == path.read_text()


@pytest.mark.parametrize("spec", ALL)
def test_it_survives_printing_and_yaml(spec: str) -> None:
    tree = parse(source_of(spec))
    assert parse(Source("printed.dl", print_file(tree))) == tree
    assert load_yaml(Source("dumped.yaml", dump_yaml(tree))) == tree


@pytest.mark.parametrize("spec", sorted(SMALL))
def test_its_small_variant_is_the_same_on_every_backend(spec: str) -> None:
    settings: dict[str, object] = {name: value for name, value in SMALL[spec].items() if name not in ("dims", "refused")}
    refused = set(SMALL[spec].get("refused", ()))
    report = verify(compile_graph(SPECS / spec, settings), sizes=assignments(SMALL[spec]["dims"]))
    assert {refusal.backend for refusal in report.refusals} == refused
    assert report.ok, report
    assert {row.backend for row in report.rows} >= {"torch", "jax", "onnx"} - refused


@pytest.mark.parametrize("spec", sorted(SMALL))
def test_the_gradients_of_its_small_variant_are_the_same(spec: str) -> None:
    """PyTorch, JAX and central differences, in float64 and in the mode of training."""
    settings: dict[str, object] = {name: value for name, value in SMALL[spec].items() if name not in ("dims", "refused")}
    sizes = [{name: sizes[-1] for name, sizes in SMALL[spec]["dims"].items()}]
    report = verify_gradients(compile_graph(SPECS / spec, settings, float_type=DType.F64), sizes=sizes, brief=True)
    assert not report.refusals
    assert report.ok, report
    assert {row.backend for row in report.rows} == {"torch", "jax"}


@pytest.mark.parametrize("inline", [False, True], ids=["functions", "inlined"])
@pytest.mark.parametrize("model", ["VQVAE", "Coupling", "ResNet", "GPT2"])
def test_models_of_the_tour_are_the_same_on_every_backend(model: str, inline: bool) -> None:
    small: dict[str, dict[str, object]] = {
        "VQVAE": {"codes": 7, "dim": 4},
        "Coupling": {"hidden": 8, "flip": True},
        "ResNet": {"depths": [1, 2], "widths": [4, 6], "classes": 3},
        "GPT2": {"vocab": 11, "context": 8, "width": 8, "layers": 2, "heads": 2},
    }
    options = EmitOptions(inline=inline)
    report = verify(compile_graph(SPECS / "examples" / "tour.dl", small[model], model=model), sizes=2, options=options)
    assert not report.refusals
    assert report.ok, report


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("z: float[B, 5]", "z -> Generator(6) -> Discriminator(7)"),
        ("s: float[B, 4]", "s -> QNet(3)"),
        ("x: float[B, 4, H, H]", "x -> Residual(6, stride=2) -> Residual(6)"),
        ("x: float[B, T, 8]", "x -> Block(2) -> Linear(3)"),
        ("x: float[B, 4, 28, 28]", "mean(x, over=1, keepdims=true) -> LeNet(classes=3)"),
    ],
    ids=["generator and discriminator", "q-network", "residual", "block", "lenet"],
)
def test_modules_of_the_tour_are_the_same_on_every_backend(signature: str, body: str) -> None:
    names = "Generator, Discriminator, QNet, Residual, Block, Linear, LeNet"
    text = f"from examples.tour import {names}\nmodel M()({signature}) {{ return {body} }}"
    report = verify(compile_graph(Source("test.dl", text)), sizes=1)
    assert not report.refusals
    assert report.ok, report


def assignments(dims: dict[str, list[int]]) -> list[dict[str, int]]:
    """As many assignments as the longest list of sizes has entries; shorter lists repeat their last."""
    longest = max(len(sizes) for sizes in dims.values())
    return [{name: sizes[min(i, len(sizes) - 1)] for name, sizes in dims.items()} for i in range(longest)]
