"""The faults as data: what is replaced where, what was meant, and what a message has to say."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from dsl.source import Source
from tests.small import SPECS

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake. `model` is the model or `train` block of `spec` that has it, None for the first model of the file; `keeps_shapes` says
    that every shape fits as before, so that only its meaning is wrong."""

    kind: str
    name: str
    spec: str
    model: str | None
    old: str
    new: str
    mistake: str
    meant: str
    names: tuple[re.Pattern[str], ...]
    keeps_shapes: bool

    @property
    def path(self) -> Path:
        return SPECS / self.spec

    @property
    def line(self) -> int:
        """Where the mistake begins."""
        before = self.path.read_text().split(self.old)[0]
        same = next((i for i, (a, b) in enumerate(zip(self.old, self.new, strict=False)) if a != b), 0)
        return (before + self.old[:same]).count("\n") + 1

    def source(self) -> Source:
        """The faulty spec, in place of the sound one: its imports are found as before."""
        text = self.path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.old!r} is {text.count(self.old)} times in {self.spec}")
        return Source(str(self.path), text.replace(self.old, self.new))

    def named_by(self, message: str) -> bool:
        """Whether a message says what is wrong: every pattern is found."""
        return all(pattern.search(message) for pattern in self.names)


def _text(table: dict[str, object], key: str, otherwise: str = "") -> str:
    value = table.get(key, otherwise)
    assert isinstance(value, str)
    return value


def _patterns(value: object) -> tuple[re.Pattern[str], ...]:
    assert isinstance(value, list)
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in value)


def _fault(kind: dict[str, object], table: dict[str, object]) -> Fault:
    spec, _, model = _text(table, "spec").partition(":")
    return Fault(
        kind=_text(kind, "name"),
        name=f"{kind['name']}/{_text(table, 'as', Path(spec).stem)}",
        spec=spec,
        model=model or None,
        old=_text(table, "old"),
        new=_text(table, "new"),
        mistake=_text(kind, "mistake"),
        meant=_text(table, "meant", _text(kind, "meant")),
        names=_patterns(table.get("names", kind["names"])),
        keeps_shapes=bool(table.get("hard", kind.get("hard", True))),
    )


def _corpus() -> dict[str, Fault]:
    found: dict[str, Fault] = {}
    for path in sorted(HERE.glob("*.toml")):
        for kind in tomllib.loads(path.read_text())["kind"]:
            for table in kind["fault"]:
                fault = _fault(kind, table)
                if fault.name in found:
                    raise ValueError(f"two faults are called {fault.name}")
                found[fault.name] = fault
    return found


FAULTS = _corpus()
"""By name: `kind/spec`."""
