"""What `dslc verify` found: a row for each comparison, and where computations part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsl.diagnostics import Diagnostic, Label
from dsl.source import NOWHERE, Span


@dataclass(frozen=True, slots=True)
class Row:
    """One backend at one entry point, mode and sizes against the reference. `output` is the tensor that is worst for its tolerance."""

    backend: str
    entry: str
    mode: str
    sizes: Mapping[str, int]
    output: str
    error: float
    tolerance: float
    ok: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A backend that cannot express the model at all."""

    backend: str
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first operation whose result differs although its operands agree. `spans` begin with its own place and end with the outermost
    call. `op` is None where no operation differs by itself, only the whole."""

    row: Row
    op: str | None
    name: str | None
    spans: tuple[Span, ...]
    error: float
    tolerance: float

    def diagnostic(self) -> Diagnostic:
        """The finding at its place in the spec."""
        row = self.row
        sizes = ", ".join(f"{n} = {v}" for n, v in row.sizes.items())
        at = f"found at {sizes}, in {row.mode}" if sizes else f"found in {row.mode}"
        called = tuple(Label(span, "called here") for span in self.spans[1:3])
        if self.op is None:
            return Diagnostic(
                "DL0813",
                f"{row.backend} differs from the reference in `{row.output}`, by {row.error:.3g} where {row.tolerance:.3g} is allowed",
                self.spans[0] if self.spans else NOWHERE,
                labels=called,
                notes=(at, "each operation by itself agrees: the difference is in how the backend spells the whole"),
            )
        what = f"`{self.op}`" + (f" (`{self.name}`)" if self.name else "")
        return Diagnostic(
            "DL0812",
            f"{row.backend} differs from the reference first in {what}, by {self.error:.3g} where {self.tolerance:.3g} is allowed",
            self.spans[0] if self.spans else NOWHERE,
            "its operands agree, its result does not",
            labels=called,
            notes=(at,),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """All comparisons. `ok` is false where one failed, and where nothing was compared."""

    rows: tuple[Row, ...]
    refusals: tuple[Refusal, ...] = ()
    divergences: tuple[Divergence, ...] = ()

    @property
    def ok(self) -> bool:
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(d.diagnostic() for d in self.divergences)
