"""Generated PyTorch and JAX stand alone: they run where dslc cannot be imported, own the tensors of the spec, train, and are formatted.

That they compute the right numbers is tested in test_specs.py; here is what a user meets who keeps the file and forgets the compiler.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dsl.compiler import compile_graph, compile_spec
from dsl.dims import evaluate
from dsl.ir import Program
from dsl.types import DType, TensorType
from tests.small import VARIANTS

ROOT = Path(__file__).parents[1]
SMALL = {v.spec: v for v in VARIANTS.values() if v.model is None}
TARGETS = ("torch", "jax")
COMPILED = "examples/digits.dl"
"""The spec that is also compiled by torch.compile, and differentiated under jax.jit."""

NO_SLOPES = {"linear/threshold.dl", "linear/k_means.dl", "semi_supervised/cross_view.dl"}
"""The specs whose outputs have no gradient for some parameters: comparisons, the nearest of several, heads for training only."""

Found = Mapping[str, Mapping[str, Any]]


def stem(spec: str) -> str:
    return spec.removesuffix(".dl").replace("/", "_")


@cache
def small(spec: str) -> Program:
    return compile_graph(ROOT / "specs" / spec, hyper(spec))


def hyper(spec: str) -> dict[str, object]:
    return dict(SMALL[spec].settings)


def concrete(spec: str, type_: TensorType) -> list[int]:
    """The shape of a tensor at the last size of each dimension that small.toml lists: at the first one a batch norm has one value."""
    sizes = {name: values[-1] for name, values in SMALL[spec].dims.items()}
    return [evaluate(d, sizes) for d in type_.shape]


def job(spec: str) -> dict[str, object]:
    words = {DType.F32: "float32", DType.I64: "int64", DType.BOOL: "bool"}
    graph = small(spec).main
    types = {name: graph.type(value) for name, value in graph.inputs.items()}
    inputs = {name: [words[t.dtype], concrete(spec, t)] for name, t in types.items()}
    trained = spec not in NO_SLOPES and any(p.trained for p in small(spec).parameters().values())
    return {"entry": graph.entry, "inputs": inputs, "trained": trained, "compile": spec == COMPILED}


@pytest.fixture(scope="module", params=TARGETS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """All small variants in the form of a target."""
    folder = tmp_path_factory.mktemp(request.param)
    for spec in SMALL:
        made = compile_spec(ROOT / "specs" / spec, request.param, hyper(spec))
        (folder / f"{stem(spec)}.py").write_bytes(made.artifact.content)
    (folder / "jobs.json").write_text(json.dumps({stem(spec): job(spec) for spec in SMALL}))
    return request.param, folder


@pytest.fixture(scope="module")
def ran(written: tuple[str, Path]) -> tuple[str, Found]:
    """What came of running the files, each target in one process."""
    target, folder = written
    command = [sys.executable, "-I", str(ROOT / "tests/run_generated.py"), target, str(folder)]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return target, json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize("spec", SMALL)
def test_a_file_alone_has_the_tensors_and_outputs_of_its_spec(ran: tuple[str, Found], spec: str) -> None:
    target, found = ran
    program, made = small(spec), found[stem(spec)]
    assert made["tensors"] == {name: list(p.type.shape) for name, p in program.parameters().items()}
    assert made["outputs"] == [concrete(spec, program.main.type(v)) for v in program.main.outputs.values()]
    if target == "torch":
        drawn = {"randn", "rand", "bernoulli", "categorical"} & {n.op for g in program.main.callees() for n in g}
        assert made["repeatable"] or drawn, "inference draws random numbers that the spec does not"
        if job(spec)["trained"]:
            assert made["without_gradient"] == []


def test_frameworks_compile_it_whole(ran: tuple[str, Found]) -> None:
    """`torch.compile(fullgraph=True)` finds no break in the graph; JAX differentiates under jit, and every gradient is there."""
    target, found = ran
    made = found[stem(COMPILED)]
    if target == "torch":
        assert made["compiled"] == pytest.approx(0, abs=1e-5)
    else:
        assert made["loss"] > 0
        assert made["gradients"] == [True] * len(made["gradients"])
        assert made["gradients"]


def test_ruff_has_nothing_to_say(written: tuple[str, Path]) -> None:
    _, folder = written
    for command in (["check", "--extend-select", "I,UP,W"], ["format", "--check", "--diff"]):
        words = [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "--line-length", "88", str(folder)]
        finished = subprocess.run(words, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_spec_gives_the_same_text(target: str) -> None:
    program = ROOT / "specs/language/gpt2.dl"
    first, second = (compile_spec(program, target, hyper("language/gpt2.dl")).artifact.content for _ in range(2))
    assert first == second
