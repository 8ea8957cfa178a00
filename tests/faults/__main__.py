"""`python -m tests.faults`: check every fault, let the doctor look at what the check misses, and write docs/faults.md.

With `--keep-doctor` what the doctor found the last time stays, which takes a minute in place of many.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.faults.corpus import FAULTS, Fault
from tests.faults.measure import Caught, check, doctor
from tests.faults.page import PAGE, page
from tests.faults.record import FOUND, read, written


def looked_at(fault: Fault, folder: Path, before: Mapping[str, Caught | None], *, keep: bool) -> Caught | None:
    """Who catches a fault: the check, else the doctor, else the check by an error that says something else."""
    caught = check(fault, folder)
    if caught is not None and caught.named:
        return caught
    if keep:
        last = before.get(fault.name)
        treated = last if last is not None and last.by.startswith("doctor") else None
    else:
        treated = doctor(fault, folder) if caught is None else None
    return treated or caught


def main() -> None:
    """Measure, and write the record and the page."""
    keep = "--keep-doctor" in sys.argv[1:]
    before = read()
    found: dict[str, Caught | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        for fault in FAULTS.values():
            caught = found[fault.name] = looked_at(fault, Path(folder), before, keep=keep)
            print(f"{fault.name}: {caught.by + ': ' + caught.message if caught else 'nothing'}", flush=True)
    FOUND.write_text(written(found))
    PAGE.write_text(page(found))


main()
