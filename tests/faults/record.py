"""What was found the last time: tests/faults/found.tsv, a line for each fault. The page is made from it, and CI holds to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.faults.measure import Caught

FOUND = Path(__file__).parent / "found.tsv"
NOTHING = "nothing"
UNASKED = Caught("not asked", "", named=False)
"""Of a fault that the check does not name and the doctor has not been asked about."""
UNNAMED = "unnamed "


def written(found: Mapping[str, Caught | None]) -> str:
    """The text of the file: name, who catches it, what is said."""
    lines = []
    for name, caught in found.items():
        by = NOTHING if caught is None else caught.by if caught.named or caught == UNASKED else UNNAMED + caught.by
        lines.append("\t".join([name, by, "" if caught is None else " ".join(caught.message.split())]))
    return "\n".join(lines) + "\n"


def read() -> dict[str, Caught | None]:
    """What was found the last time; nothing where there is no file."""
    found: dict[str, Caught | None] = {}
    for line in FOUND.read_text().splitlines() if FOUND.exists() else ():
        name, by, message = line.split("\t")
        known = Caught(by.removeprefix(UNNAMED), message, not by.startswith(UNNAMED))
        found[name] = None if by == NOTHING else UNASKED if by == UNASKED.by else known
    return found
