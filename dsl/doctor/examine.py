"""All checks, in the order in which one would do them by hand, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from dsl.diagnostics import Diagnostic, SpecError
from dsl.doctor import engine
from dsl.doctor.checks import baseline, batch, gradients, initial_loss, inputs, overfit, scale, symmetry, units
from dsl.doctor.finding import Finding, Report
from dsl.doctor.samples import take_sample
from dsl.doctor.subject import Subject
from dsl.doctor.trial import STEPS
from dsl.training import Training

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: Mapping[str, Check] = {
    initial_loss.NAME: initial_loss.check_initial_loss,
    inputs.NAME: inputs.check_inputs,
    batch.NAME: batch.check_batch,
    units.NAME: units.check_units,
    scale.NAME: scale.check_scale,
    gradients.NAME: gradients.check_gradients,
    symmetry.NAME: symmetry.check_symmetry,
    overfit.NAME: overfit.check_overfit,
    baseline.NAME: baseline.check_baseline,
}
BATCH = 32


def examine(
    training: Training,
    *,
    data: str | None = None,
    sizes: Mapping[str, int] | None = None,
    batch: int = BATCH,
    seed: int = 0,
    steps: int = STEPS,
    checks: Sequence[str] = (),
) -> Report:
    """Look at a training before it begins. `data` is as for `dslc train`, else rows are made up; `steps` is the most that the short
    training takes; `checks` are names of `CHECKS`, all by default. SpecError where data does not fit the block."""
    if not training.inputs:
        message = f"`{training.name}` has no inputs, so there is no batch to look at"
        raise SpecError(Diagnostic("DL0839", message, help="inputs stand in the second brackets: `train T()(x: float[B, 4])`"))
    if not training.objectives:
        message = f"`{training.name}` minimises nothing, so there is no loss and no gradient to look at"
        raise SpecError(Diagnostic("DL0536", message, help="the doctor looks at blocks with a `minimize`"))
    sample = take_sample(training, data, sizes or {}, batch, seed)
    subject = Subject(training, sample, seed, steps, engine.installed())
    findings = tuple(finding for name in checks or CHECKS for finding in CHECKS[name](subject))
    table = scale.scales(subject) if scale.NAME in (checks or CHECKS) else ()
    return Report(training.name, sample.source, findings, table)
