"""The page docs/mutants.md: how many mutants of each file the tests kill, and who survives."""

from __future__ import annotations

from collections.abc import Sequence

from tests.mutation.mutators import Mutant
from tests.mutation.subjects import GROUPS, explained, same_program
from tests.mutation.trial import Verdict

HEAD = """# Mutants

Written by `make mutants` (`python -m tests.mutation`, seed {seed}). Each mutant is one of the files below with one small change in
a function: a comparison off by one or turned round, a constant one more or one less, `and` for `or`, a guard that never holds,
`min` for `max`, arguments swapped, another result, another choice of a string. A mutant is killed where a test that reaches the
changed statement fails or does not end. Texts of errors, annotations and assertions are not mutated. In `dsl/ops` these are the
shape rules: `infer`, `normalize` and what they call, without the references in NumPy.

A sample is new once: afterwards tests are written for its survivors, and it is told which mean the same. The table is of one that
nobody had looked at. Earlier ones when they were new, with those that mean the same among the survivors (in seed 0 without most):

| seed | files | mutants | killed | % |
| --- | --- | --: | --: | --: |
| 0 | all | 327 | 305 | 93 |
| 1 | ONNX rows | 142 | 118 | 83 |
| 2 | ONNX rows | 142 | 124 | 87 |
| 3 | all | 339 | 316 | 93 |
| 4 | all | 340 | 313 | 92 |
"""


def written_page(tried: Sequence[tuple[Mutant, Verdict]], drawn: Sequence[Mutant], seed: int) -> str:
    """The whole page. Mutants that equivalent.toml explains are listed and not counted."""
    lines = [HEAD.format(seed=seed), f"Seed {seed}:", "", "| file | mutants | killed | % |", "| --- | --: | --: | --: |"]
    for group, paths in GROUPS.items():
        there = [(m, v) for m, v in tried if m.path in paths]
        for path in paths:
            own = [(m, v) for m, v in there if m.path == path]
            if own:
                lines.append(_row(f"`{path}`", own))
        if there:
            lines.append(_row(f"**{group}**", there))
    lines += [_row("**all**", tried), "", "## Who survived", ""]
    lines += [_told(m, explained(m) or ("No test reaches it." if not v.tests else "")) for m, v in tried if not v.killed]
    lines += ["", "## Who means the same", "", "Left out of the table: no test can tell these from the source.", ""]
    lines += [_told(m, why) for m in drawn if (why := same_program(m))]
    return "\n".join(lines) + "\n"


def _row(name: str, own: Sequence[tuple[Mutant, Verdict]]) -> str:
    killed = sum(v.killed for _, v in own)
    return f"| {name} | {len(own)} | {killed} | {100 * killed / max(len(own), 1):.0f} |"


def _told(mutant: Mutant, why: str) -> str:
    note = f" {why}" if why else ""
    return f"- `{mutant.path}:{mutant.line}` in `{mutant.function}`: `{mutant.change}` in `{mutant.code}` ({mutant.key}){note}"
