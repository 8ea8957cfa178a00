"""docs/faults.md: how many faults of each kind are caught by whom, and the list of them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.corpus import FAULTS, Fault
from tests.faults.measure import Caught
from tests.faults.record import UNASKED

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

HEAD = """\
# Seeded faults

{total} faults in sound specs of ours, each one mistake of the kind that people make: **{check} ({check_share}) are named by `dslc check`**,
before anything runs ({errors} by an error, {warnings} by a warning), {doctor} more are noticed by `dslc doctor`, {stopped} are stopped by
an error about something else, {nothing} by nothing{unasked}. {hard} of them leave every shape as it was; of these the check names
{hard_check} ({hard_share}).

The faults were written before it was measured what catches them: then the check named 107 of them. Since then none was left out; the words
that count were widened in nine places where a message named the mistake in others. They stand, by kind, in
[tests/faults](../tests/faults), each as a replacement in the text of a spec, with the words that a message has to contain to count. The
sound specs have no warning of any of these kinds. `make faults` makes this page; the doctor is asked of what the check does not name, on
made-up rows at the sizes of [specs/small.toml](../specs/small.toml), where the file has a `train` block.

"""


def page(found: Mapping[str, Caught | None]) -> str:
    """The page as text."""
    kinds: dict[str, list[Fault]] = {}
    for fault in FAULTS.values():
        kinds.setdefault(fault.kind, []).append(fault)
    text = _head(found) + "## By kind\n\n"
    text += "| kind | faults | error | warning | doctor | another error | nothing | codes |\n|---|---|---|---|---|---|---|---|\n"
    for kind, faults in kinds.items():
        text += _row(f"[{kind}](#{kind})", [found[f.name] for f in faults])
    text += _row("all", list(found.values()))
    for kind, faults in kinds.items():
        text += f"\n## {kind}\n\n{faults[0].mistake[:1].upper()}{faults[0].mistake[1:]}.\n\n"
        text += "| where | caught by | what is said | meant |\n|---|---|---|---|\n"
        for fault in faults:
            text += _line(fault, found[fault.name])
    return text


def who(caught: Caught | None) -> str:
    """Who catches it, in a word."""
    if caught is None or caught == UNASKED:
        return "nothing"
    return caught.by.split()[0].rstrip(":") if caught.named else "another error"


def _head(found: Mapping[str, Caught | None]) -> str:
    by = Counter(who(caught) for caught in found.values())
    hard = [name for name, fault in FAULTS.items() if fault.keeps_shapes]
    hard_check = sum(who(found[name]) in ("error", "warning") for name in hard)
    check = by["error"] + by["warning"]
    unasked = sum(caught == UNASKED for caught in found.values())
    return HEAD.format(
        unasked=f" (of {unasked} of these the doctor has not been asked)" if unasked else "",
        total=len(found), check=check, check_share=f"{check / len(found):.0%}", errors=by["error"], warnings=by["warning"],
        doctor=by["doctor"], stopped=by["another error"], nothing=by["nothing"], hard=len(hard), hard_check=hard_check,
        hard_share=f"{hard_check / len(hard):.0%}",
    )  # fmt: skip


def _row(title: str, caught: Sequence[Caught | None]) -> str:
    by = Counter(map(who, caught))
    codes = sorted({c.by.split()[1] for c in caught if c is not None and who(c) in ("error", "warning")})
    counts = [str(by[w] or "") for w in ("error", "warning", "doctor", "another error", "nothing")]
    return f"| {title} | {len(caught)} | {' | '.join(counts)} | {' '.join(codes) if title != 'all' else ''} |\n"


def _line(fault: Fault, caught: Caught | None) -> str:
    by = (
        "nothing"
        if caught is None
        else "nothing; the doctor was not asked"
        if caught == UNASKED
        else caught.by
        if caught.named
        else f"{caught.by}, about something else"
    )
    said = "" if caught is None else _cell(caught.message)
    return f"| [{fault.name.split('/')[1]}](../specs/{fault.spec}#L{fault.line}) | {by} | {said} | {_cell(fault.meant)} |\n"


def _cell(text: str) -> str:
    short = text if len(text) <= 150 else text[:147] + "..."
    return short.replace("|", "\\|").replace("\n", " ")
