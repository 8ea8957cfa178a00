"""What the check of gradients found: a row for each comparison, and the operation whose gradient is the first to differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsl.diagnostics import Diagnostic, Label
from dsl.source import NOWHERE, Span
from dsl.verification.report import Refusal

DIFFERENCES = "central differences"


@dataclass(frozen=True, slots=True)
class GradientRow:
    """The gradient of one scalar on one backend, `against` another backend or central differences. `dtype` is the element type that the
    model was compiled for; `tensor` is the parameter or input that is worst for its tolerance."""

    backend: str
    against: str
    dtype: str
    entry: str
    mode: str
    sizes: Mapping[str, int]
    tensor: str
    error: float
    tolerance: float
    ok: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class GradientDivergence:
    """The first operation whose own gradient differs, on the operands that it really has. `op` is None where none differs by itself."""

    row: GradientRow
    op: str | None = None
    name: str | None = None
    spans: tuple[Span, ...] = ()
    against: str = ""
    error: float = 0.0
    tolerance: float = 0.0

    def diagnostic(self) -> Diagnostic:
        """The finding at its place in the spec."""
        row = self.row
        sizes = ", ".join(f"{n} = {v}" for n, v in row.sizes.items())
        at = f"found at {sizes}, in {row.mode}, for `{row.tensor}`" if sizes else f"found in {row.mode}, for `{row.tensor}`"
        called = tuple(Label(span, "called here") for span in self.spans[1:3])
        place = self.spans[0] if self.spans else NOWHERE
        if self.op is None:
            message = (
                f"the gradient of {row.backend} by `{row.tensor}` differs from that of {row.against}, "
                f"by {row.error:.3g} where {row.tolerance:.3g} is allowed"
            )
            note = "each operation by itself has the same gradient: the difference is in how they are put together"
            return Diagnostic("DL0816", message, place, labels=called, notes=(at, note))
        what = f"`{self.op}`" + (f" (`{self.name}`)" if self.name else "")
        message = (
            f"the gradient of {row.backend} differs from that of {self.against} first in {what}, "
            f"by {self.error:.3g} where {self.tolerance:.3g} is allowed"
        )
        return Diagnostic("DL0815", message, place, "its own gradient, at these operands", labels=called, notes=(at,))


@dataclass(frozen=True, slots=True)
class GradientReport:
    """All comparisons. `ok` is false where one failed; `remarks` say what has no gradient and was left out."""

    rows: tuple[GradientRow, ...]
    refusals: tuple[Refusal, ...] = ()
    divergences: tuple[GradientDivergence, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return (bool(self.rows) or bool(self.remarks)) and all(row.ok for row in self.rows)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(d.diagnostic() for d in self.divergences)
