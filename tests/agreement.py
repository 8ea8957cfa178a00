"""Comparing the targets with the reference, outputs and gradients, and noting for the page of the systems what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dsl.compiler import compile_graph
from dsl.ir import Program
from dsl.source import Source
from dsl.types import DType
from dsl.verification.compare import verify
from dsl.verification.gradients import verify_gradients

DIFFERENTIATING = frozenset({"torch", "jax"})
TARGETS = DIFFERENTIATING | {"onnx"}

Sizes = Sequence[Mapping[str, int]]


class Agreement:
    """Asserts that targets agree. `refused` are those that must refuse the program; every other one has to compute it."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item

    def __call__(
        self,
        spec: str | Path,
        settings: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        sizes: Sizes = ({},),
        refused: Sequence[str] = (),
        gradients: bool = True,
    ) -> None:
        """A model of a spec, given as its text or its path: outputs at all `sizes`, gradients at the last."""
        source = Source("test.dl", spec) if isinstance(spec, str) else spec
        self.outputs(compile_graph(source, settings, model=model), sizes, refused)
        if gradients:
            self.gradients(compile_graph(source, settings, model=model, float_type=DType.F64), sizes[-1:], refused)

    def outputs(self, program: Program, sizes: Sizes, refused: Sequence[str] | frozenset[str] = ()) -> None:
        report = verify(program, sizes=sizes)
        reasons = {r.backend: r.diagnostics[0].message for r in report.refusals}
        for name in sorted(TARGETS):
            self._note("outputs", name, f"refuses: {reasons[name]}" if name in reasons else "ok" if report.ok else "DIFFERS")
        assert set(reasons) == set(refused), reasons
        assert report.ok, report
        assert {row.backend for row in report.rows} >= TARGETS - set(refused)

    def gradients(
        self, exact: Program, sizes: Sizes, refused: Sequence[str] | frozenset[str] = (), *, loss: bool = False
    ) -> None:
        """Of the parameters and floating inputs, in float64 and in the mode of training, against central differences."""
        report = verify_gradients(exact, sizes=sizes, brief=True, loss=loss)
        reasons = {r.backend: r.diagnostics[0].message for r in report.refusals}
        for name in sorted(DIFFERENTIATING):
            self._note("gradients", name, f"refuses: {reasons[name]}" if name in reasons else "ok" if report.ok else "DIFFERS")
        assert set(reasons) == set(refused) & DIFFERENTIATING, reasons
        assert report.ok, report
        assert {row.backend for row in report.rows} == DIFFERENTIATING - set(refused)

    def _note(self, what: str, target: str, verdict: str) -> None:
        self.item.user_properties.append((what, f"{target} {verdict}"))
