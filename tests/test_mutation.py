"""The mutators of tests/mutation: each change is one that compiles, and what is told to mean the same is still there."""

from __future__ import annotations

from pathlib import Path

from tests.mutation.mutators import mutants, mutated
from tests.mutation.reach import noted
from tests.mutation.subjects import EQUIVALENT, ROOT, SURVIVORS

SOURCE = '''
def rule(x: int, over: tuple[int, ...]) -> int:
    """What 2 + 2 is, is left alone."""
    assert x > 1
    if x < 3 and not over:
        raise ValueError(f"{x + 1}")
    return min(x, over[0])
'''


def test_each_mutant_is_one_change_of_a_function(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text(SOURCE)
    found = mutants(tmp_path, "rule.py")
    assert [(m.line, m.change) for m in found if m.line == 6] == [(6, "raise ValueError(f'{x + 1}') -> pass")]
    assert {"min -> max", "0 -> 1", "return min(x, over[0]) -> return min(x, over[0]) + 1"} <= {
        m.change for m in found if m.line == 7
    }
    changes = {m.change for m in found if m.line == 5}
    assert {
        "x < 3 -> x <= 3",
        "x < 3 -> x >= 3",
        "3 -> 4",
        "not over -> over",
        "x < 3 and (not over) -> x < 3 or not over",
    } <= changes
    assert not [m for m in found if m.line < 5]
    for mutant in found:
        compile(mutated(SOURCE, mutant), "rule.py", "exec")
    assert len({m.key for m in found}) == len(found)


def test_notes_leave_what_a_function_does() -> None:
    reached: list[str] = []
    space: dict[str, object] = {"__reached__": reached.append}
    exec(compile(noted("rule.py", SOURCE), "rule.py", "exec"), space)
    rule = space["rule"]
    assert callable(rule) and rule(7, (4,)) == 4
    assert reached[-1] == "rule.py rule: return min(x, over[0])"


def test_what_is_explained_is_still_a_mutant() -> None:
    told = [*EQUIVALENT, *SURVIVORS]
    keys = {m.key for path in {e["path"] for e in told} for m in mutants(ROOT, path)}
    assert [e for e in told if e["key"] not in keys] == []
    assert all(e["why"].endswith(".") for e in told)
