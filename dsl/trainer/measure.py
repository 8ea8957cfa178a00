"""Hyper-parameters that the data decides: expressions over the inputs of a block, computed once on all rows that are trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dsl.compiler import run
from dsl.data.dataset import Dataset
from dsl.diagnostics import Diagnostic, SpecError
from dsl.source import Source
from dsl.training import Training


def measured(training: Training, data: Dataset, expressions: Mapping[str, str]) -> dict[str, object]:
    """The value of each expression, such as `mean(y)` or `sqrt(var(x, over=0))`: a number, or lists of them. SpecError where one is
    wrong, or its value is not finite."""
    if not expressions:
        return {}
    for name in expressions:
        if name not in training.hyper:
            message = f"`{training.name}` has no hyper-parameter `{name}` to measure"
            help = f"it has {', '.join(f'`{n}`' for n in training.hyper) or 'none'}"
            raise SpecError(Diagnostic("DL0203", message, help=help), exit_code=2)
    (rows,) = data.batches(data.rows, seed=0, epoch=0, shuffle=False)
    found: dict[str, object] = {}
    for name, expression in expressions.items():
        given = ", ".join(f"{n}: {t}" for n, t in training.inputs.items())
        source = Source(f"--measure {name}", f"module Measured()({given}) {{ return ({expression}) }}")
        value = next(iter(run(source, rows).outputs.values()))
        if not np.isfinite(value).all():
            raise SpecError(Diagnostic("DL0850", f"`{name}`, measured as `{expression}`, is not finite on these rows"))
        found[name] = _listed(value)
    return found


def written(value: object) -> str:
    """The value as `--set` takes it."""
    return f"[{', '.join(map(written, value))}]" if isinstance(value, tuple) else repr(value)


def _listed(value: np.ndarray) -> object:
    """The numbers as the language has them, a list as a tuple."""
    return tuple(_listed(item) for item in value) if value.ndim else value.item()
