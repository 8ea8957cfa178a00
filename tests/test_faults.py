"""The seeded faults: what `dslc check` names stays named, and the sound specs have no warning.

After a change that catches more, or words a message anew: `python -m tests.faults --keep-doctor` (`make faults` asks the doctor again).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.corpus import FAULTS
from tests.faults.measure import check, said_of
from tests.faults.page import PAGE, page
from tests.faults.record import read
from tests.small import SPECS

FOUND = read()
CAUGHT = [name for name, caught in FOUND.items() if caught is not None and caught.named and not caught.by.startswith("doctor")]
A_PART = 3
"""Of so many faults one is checked in every run; `make faults` and `make test-all` check each."""

SHARE = 0.85
"""How many of the faults are to be named before anything runs."""

MEANT = {"examples/tour.dl": {"DL1002", "DL1005"}}
"""Warnings of sound specs: the tour writes out what the library has, as its head says, and shows a module that it does not use."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if i % A_PART == 0 else [pytest.mark.slow]) for i, name in enumerate(CAUGHT)]
)
def test_what_the_check_names_stays_named(name: str, tmp_path: Path) -> None:
    caught = check(FAULTS[name], tmp_path)
    assert caught is not None and caught.named, f"{FAULTS[name].mistake}: {caught}"


@pytest.mark.parametrize("spec", sorted(str(path.relative_to(SPECS)) for path in SPECS.glob("*/*.dl")))
def test_a_sound_spec_raises_no_alarm(spec: str) -> None:
    assert {d.code for d in said_of(SPECS / spec)} <= MEANT.get(spec, set())


def test_there_are_faults_of_many_kinds_and_most_leave_the_shapes() -> None:
    assert len(FAULTS) >= 120
    assert len({fault.kind for fault in FAULTS.values()}) >= 25
    assert sum(fault.keeps_shapes for fault in FAULTS.values()) > len(FAULTS) / 2


def test_most_are_named_before_anything_runs() -> None:
    assert len(CAUGHT) >= SHARE * len(FAULTS)


def test_the_page_is_that_of_the_record() -> None:
    assert list(FOUND) == list(FAULTS)
    links = re.compile(r"#L\d+\)")  # lines move with every edit of a spec
    assert links.sub(")", PAGE.read_text()) == links.sub(")", page(FOUND))
