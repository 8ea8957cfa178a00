"""Every spec that ships is checked, formatted and survives YAML; the tour verifies. What each spec computes is in test_systems.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import EmitOptions
from dsl.compiler import compile_graph, format_source
from dsl.dump_yaml import dump_yaml
from dsl.load_yaml import load_yaml
from dsl.loader import LIBRARY
from dsl.parse import parse
from dsl.printer import print_file
from dsl.source import Source
from dsl.verification.compare import verify
from tests.small import SPECS, VARIANTS

ALL = sorted(str(path.relative_to(SPECS)) for path in SPECS.rglob("*.dl"))


def source_of(spec: str) -> Source:
    return Source(spec, (SPECS / spec).read_text())


def test_every_spec_has_a_small_variant_for_the_tests() -> None:
    assert {v.spec for v in VARIANTS.values()} == set(ALL) - {
        "examples/tour.dl"
    }  # the tour is many models, verified one by one below


@pytest.mark.parametrize("spec", ALL)
def test_it_is_checked(spec: str) -> None:
    compile_graph(SPECS / spec)


@pytest.mark.parametrize("path", [*SPECS.rglob("*.dl"), *LIBRARY.glob("*.dl")], ids=lambda path: path.stem)
def test_it_is_formatted(path: Path) -> None:
    assert format_source(Source(path.name, path.read_text())) == path.read_text()


@pytest.mark.parametrize("spec", ALL)
def test_it_survives_printing_and_yaml(spec: str) -> None:
    tree = parse(source_of(spec))
    assert parse(Source("printed.dl", print_file(tree))) == tree
    assert load_yaml(Source("dumped.yaml", dump_yaml(tree))) == tree


@pytest.mark.parametrize("inline", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["functions", "inlined"])
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
