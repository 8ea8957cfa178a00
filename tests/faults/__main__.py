"""`python -m tests.faults`: check every fault, let the doctor look at what the check does not name, and write docs/faults.md.

With `--keep-doctor` what the doctor found the last time stays, which takes a minute in place of many.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.corpus import FAULTS
from tests.faults.measure import Caught, check, doctor
from tests.faults.page import PAGE, page
from tests.faults.record import FOUND, UNASKED, read, written


def kept(last: Caught | None) -> Caught | None:
    """What the doctor said the last time; nothing of a fault that the check named then."""
    return last if last is None or last.by.startswith("doctor") else UNASKED


def main() -> None:
    """Measure, and write the record and the page."""
    before = read()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Caught | None] = {name: check(fault, Path(folder)) for name, fault in FAULTS.items()}
        for name in [name for name, caught in found.items() if caught is None]:
            if "--keep-doctor" not in sys.argv[1:]:
                found[name] = doctor(FAULTS[name], Path(folder))
            else:
                found[name] = kept(before.get(name, UNASKED))
            caught = found[name]
            print(f"{name}: {caught.by + ': ' + caught.message if caught else 'nothing'}", flush=True)
            FOUND.write_text(written(found))
    FOUND.write_text(written(found))
    PAGE.write_text(page(found))


main()
