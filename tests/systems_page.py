"""What the tests say of each system of docs/systems.tsv: who checks it, on which targets it verifies; and the page that shows it.

A test belongs to systems by the mark `system("id", ...)`. What it found goes along with its report as `user_properties`: the ids, what it
is (a check, or a verification), and for a verification each target with its verdict.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "systems.tsv"
TARGETS = ("torch", "jax", "onnx")

NAMED = re.compile(r"Systems?: ([a-z0-9, -]+?)[.(]|Systems?: ([a-z0-9, -]+)$", re.MULTILINE)
"""How a spec, or the comment of a definition of the library, says which systems it is: `System: lenet-5.`"""

WRAPPED = re.compile(r"(Systems?:[a-z0-9, -]*)\n# ")
"""Such names where the comment breaks its line."""


@dataclass(frozen=True, slots=True)
class System:
    """A row of the table."""

    id: str
    family: str
    kind: str
    name: str
    place: str
    check: str


@dataclass(slots=True)
class Found:
    """What the run found of one system: how its checks and verifications ended, and the verdict of each target."""

    checks: list[bool] = field(default_factory=list)
    verifications: list[bool] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    gradients: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        if not self.checks and not self.verifications:
            return "not done"
        if not all(self.checks + self.verifications):
            return "FAILS"
        return "passes" if self.checks else "has no check"


def systems() -> dict[str, System]:
    """The rows of the table, by id."""
    with TABLE.open(newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {r["id"]: System(r["id"], r["family"], r["kind"], r["name"], r["place"], r["check"]) for r in rows}


def named_systems(text: str) -> list[str]:
    """The ids that the comments of a spec name."""
    found = [a or b for a, b in NAMED.findall(WRAPPED.sub(r"\1 ", text))]
    return [name.strip() for names in found for name in names.split(",") if name.strip()]


def places() -> dict[str, str]:
    """Where each system is: the spec or file of the library whose comment names it."""
    found: dict[str, str] = {}
    for path in sorted([*(ROOT / "specs").rglob("*.dl"), *(ROOT / "dsl" / "lib").glob("*.dl")]):
        for name in named_systems(path.read_text()):
            found.setdefault(name, str(path.relative_to(ROOT)))
    return found


class Page:
    """Collects reports, and writes the page when the run is over."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: defaultdict[str, Found] = defaultdict(Found)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        properties = list(report.user_properties)
        verified = ("kind", "verification") in properties
        for name in (str(value) for key, value in properties if key == "system"):
            found = self.found[name]
            (found.verifications if verified else found.checks).append(report.passed)
            for key, value in properties:
                if key in ("outputs", "gradients"):
                    target, _, verdict = str(value).partition(" ")
                    verdicts = found.outputs if key == "outputs" else found.gradients
                    if verdicts.get(target, "ok") == "ok":
                        verdicts[target] = verdict

    def pytest_sessionfinish(self) -> None:
        self.file.write_text("".join(f"{line}\n" for line in page(self.found)))


def page(found: Mapping[str, Found]) -> Iterator[str]:
    """The lines of docs/systems.md."""
    known, where = systems(), places()
    families = list(dict.fromkeys(s.family for s in known.values()))
    done = [s for s in known.values() if s.id in found and found[s.id].status == "passes"]
    yield "# Systems"
    yield ""
    yield f"What the language has been shown to express: {len(done)} of {len(known)} [systems](systems.tsv). Each has a check from"
    yield "the literature, which runs, and is verified: the same outputs and gradients on every target that can express it, compared with a"
    yield "float64 reference. `make systems` runs them all and writes this page; `make systems FAMILY=cnn` or `ID=vgg` runs a part. A"
    yield "target that is missing in a row was not asked, since the check has no tensors to compare."
    for family in families:
        rows = [s for s in known.values() if s.family == family]
        passed = sum(s in done for s in rows)
        yield ""
        yield f"## {family}: {passed} of {len(rows)}"
        yield ""
        yield "| system | where | outputs | gradients | check | status |"
        yield "|---|---|---|---|---|---|"
        for s in rows:
            yield _row(s, where.get(s.id, ""), found[s.id] if s.id in found else Found())


def _row(s: System, place: str, found: Found) -> str:
    done = found.status != "not done"
    check = s.check.replace("|", r"\|") if done else ""
    cells = (
        f"{s.id}: {s.name}".replace("|", r"\|"),
        f"[{place}](../{place})" if place else s.place.replace("|", r"\|") if done else "",
        _targets(found.outputs),
        _targets(found.gradients),
        check,
        found.status,
    )
    return f"| {' | '.join(cells)} |"


def _targets(verdicts: Mapping[str, str]) -> str:
    agreed = [t for t in TARGETS if verdicts.get(t) == "ok"]
    others = [f"{t} {verdicts[t]}" for t in TARGETS if verdicts.get(t, "ok") != "ok"]
    return ", ".join([*agreed, *others])
