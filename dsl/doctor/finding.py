"""What a check found: a verdict, the numbers behind it, and the place in the spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from dsl.source import NOWHERE, Span


class Status(Enum):
    """How a check went. `SKIPPED` says that it does not apply, or cannot be made here; the message says why."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found: what was `seen`, in words with the number, and what was `expected` instead."""

    check: str
    status: Status
    message: str
    seen: str = ""
    expected: str = ""
    span: Span = NOWHERE
    numbers: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """For tools. Numbers that JSON lacks are text."""
        place: dict[str, object] = {}
        if self.span.source is not NOWHERE.source:
            place = {"file": self.span.source.name, "line": self.span.line, "column": self.span.column}
        return {
            "check": self.check,
            "status": self.status.value,
            "message": self.message,
            "seen": self.seen,
            "expected": self.expected,
            "numbers": {name: json_number(value) for name, value in self.numbers.items()},
            **place,
        }


def json_number(value: float) -> float | str:
    """The number, or what JSON lacks as text."""
    return value if value == value and abs(value) != float("inf") else str(value)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the numbers of a layer are: the root mean square of what it gives, and the norm of the gradient of its weights, where it
    is known."""

    layer: str
    output: float
    gradient: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of all checks, in order, and the scales of the layers. `data` is None where rows were made up."""

    training: str
    data: str | None
    findings: tuple[Finding, ...]
    scales: tuple[Scale, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(f.status is not Status.FAILED for f in self.findings)
