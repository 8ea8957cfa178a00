"""Loops, gradients as values and the spec's own gradients in JAX: the numbers are the reference's, the text is what a person would write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backends.base import EmitOptions
from backends.jax import BACKEND
from backends.reference import BACKEND as REFERENCE
from dsl.compiler import compile_graph
from dsl.ir import Program
from dsl.source import Source
from dsl.types import DType
from tests.op_cases import floats
from tests.test_jax import assert_clean
from tests.test_torch_blocks import LSTM, NESTED, SPECS, UNTIL, inputs_of


def compiled(text: str, float_type: DType = DType.F32) -> Program:
    return compile_graph(Source("net.dl", text), float_type=float_type)


def text_of(made: Program) -> str:
    return BACKEND.emit(made, EmitOptions()).content.decode()


def module_of(made: Program) -> Any:
    module = ModuleType("made")
    exec(compile(text_of(made), "<made>", "exec"), module.__dict__)
    return module


def compare(made: Program, inputs: Mapping[str, np.ndarray], *, training: bool = False, tolerance: float = 1e-5) -> None:
    """Outputs against the reference, with arbitrary weights."""
    shapes = {name: tuple(int(str(d)) for d in p.type.shape) for name, p in made.parameters().items()}
    weights = {name: (floats(*shape) * 0.3 + 0.5).astype(np.float32) for name, shape in shapes.items()}
    found = BACKEND.load(BACKEND.emit(made, EmitOptions()), made, weights).run(inputs, training=training).outputs
    wanted = REFERENCE.load(None, made, weights).run(inputs, training=training).outputs
    for name, want in wanted.items():
        size = max(1.0, float(np.max(np.abs(want), initial=0.0)))
        np.testing.assert_allclose(found[name], want, rtol=10 * tolerance, atol=tolerance * size, err_msg=name)


@pytest.mark.parametrize("name", SPECS)
def test_blocks_compute_what_the_reference_does(name: str) -> None:
    made = compiled(SPECS[name])
    compare(made, inputs_of(made, B=2, T=5, S=2))


def test_blocks_are_formatted(tmp_path: Path) -> None:
    for name, spec in SPECS.items():
        (tmp_path / f"{name}.py").write_text(text_of(compiled(spec)))
    assert_clean(tmp_path)
