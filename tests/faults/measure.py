"""Who catches a fault: `dslc check` by an error or a warning that names it, else `dslc doctor` by what the sound spec does not show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dsl.compiler import compile_training, elaborated, load
from dsl.diagnostics import Diagnostic, SpecError
from dsl.doctor.examine import CHECKS, examine
from dsl.doctor.finding import Finding, Status
from dsl.elaborate.program import trainings
from tests.faults.corpus import Fault
from tests.small import SPECS, VARIANTS

BATCH = 8
STEPS = 100
"""Of the short training of the doctor, where its own default would take hours for all faults."""


@dataclass(frozen=True, slots=True)
class Caught:
    """How the fault shows: `by` is `error DL0301`, `warning DL1010`, `doctor: batch`; `message` what is said. `named` is False for an
    error about something else, which stops a user without telling what is wrong."""

    by: str
    message: str
    named: bool = True


@contextmanager
def in_place(fault: Fault, folder: Path) -> Iterator[Path]:
    """The faulty spec as a file that finds what the sound one imports."""
    path = folder / "specs" / fault.spec
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(fault.source().text)
    yield path
    shutil.rmtree(folder / "specs")


def words(found: Diagnostic) -> str:
    """All that a diagnostic says, without the lines of the spec that it shows."""
    return "\n".join([found.message, found.text, *(label.text for label in found.labels), *found.notes, found.help or ""])


def said_of(path: Path) -> tuple[Diagnostic, ...]:
    """Errors and warnings of `dslc check PATH`."""
    try:
        return elaborated(path).warnings
    except SpecError as problem:
        return problem.diagnostics


@cache
def _said_of_sound(spec: str) -> frozenset[tuple[str, str]]:
    return frozenset((d.code, d.message) for d in said_of(SPECS / spec))


def check(fault: Fault, folder: Path) -> Caught | None:
    """What `dslc check` says of the faulty spec and not of the sound one: what names the mistake first, then what stops."""
    with in_place(fault, folder) as path:
        new = [d for d in said_of(path) if (d.code, d.message) not in _said_of_sound(fault.spec)]
    for found in new:
        if fault.named_by(words(found)):
            return Caught(f"{found.severity} {found.code}", found.message)
    for found in new:
        if found.severity == "error":
            return Caught(f"error {found.code}", found.message, named=False)
    return None


# --- the doctor ---------------------------------------------------------------------------------------------------------------------


def block_of(fault: Fault) -> str | None:
    """The `train` block in which the doctor would meet the fault: the one that has it, else the first of the file."""
    unit, _ = load(fault.path)
    blocks = trainings(unit)
    return fault.model if fault.model in blocks else next(iter(blocks), None)


def _symptoms(path: Path, spec: str, block: str) -> list[Finding]:
    """What the doctor warns of or fails, at the small sizes of specs/small.toml."""
    variant = VARIANTS.get(f"{spec}:{block}")
    settings: Mapping[str, object] = variant.settings if variant else {}
    sizes = {name: sizes[-1] for name, sizes in variant.dims.items() if name != "B"} if variant else {}
    training, _ = compile_training(path, settings, name=block)
    report = examine(training, sizes=sizes, batch=BATCH, steps=STEPS)
    return [f for f in report.findings if f.status in (Status.WARNING, Status.FAILED)]


@cache
def _symptoms_of_sound(spec: str, block: str) -> frozenset[str] | None:
    """The checks that the sound block fails; None where the doctor has nothing to look at."""
    try:
        return frozenset(f.check for f in _symptoms(SPECS / spec, spec, block))
    except SpecError:
        return None


def doctor(fault: Fault, folder: Path) -> Caught | None:
    """The first check of the doctor that the faulty block fails and the sound one passes; the doctor may refuse the block as well."""
    block = block_of(fault)
    if block is None:
        return None
    sound = _symptoms_of_sound(fault.spec, block)
    if sound is None:
        return None
    with in_place(fault, folder) as path:
        try:
            found = [f for f in _symptoms(path, fault.spec, block) if f.check not in sound]
        except SpecError as problem:
            return Caught("doctor: refuses", problem.diagnostics[0].message)
    order = list(CHECKS)
    found.sort(key=lambda f: (f.status is not Status.FAILED, order.index(f.check)))
    return Caught(f"doctor: {found[0].check}", found[0].message) if found else None
