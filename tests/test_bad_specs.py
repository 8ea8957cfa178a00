"""Specs that are wrong, and exactly what a user is told: `tests/bad/NAME.dl` and the message beside it in `NAME.txt`.

`pytest --update-golden tests/test_bad_specs.py` writes the messages anew; read each as a user would before committing it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dsl import compiler
from dsl.diagnostics import Diagnostic, SpecError, render
from dsl.error_codes import CODES

ROOT = Path(__file__).parents[1]
FOLDER = Path("tests/bad")
IMPORTED = {"import_missing_names.dl"}
SPECS = sorted(p.name for p in (ROOT / FOLDER).glob("*.dl") if p.name not in IMPORTED)


def findings(path: Path) -> tuple[Diagnostic, ...]:
    try:
        warnings = compiler.elaborated(path).warnings
        return (*warnings, *(d for _, problems in compiler.test_blocks(path) for d in problems))
    except SpecError as error:
        return error.diagnostics


@pytest.mark.parametrize("name", SPECS)
def test_the_message_is_as_written(name: str, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    monkeypatch.chdir(ROOT)
    found = findings(FOLDER / name)
    text = "".join(f"{render(d)}\n\n" for d in found)
    expected = FOLDER / name.replace(".dl", ".txt")
    if update_golden:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SPECS)
def test_every_finding_has_a_documented_code_and_a_place_in_what_the_user_wrote(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    found = findings(FOLDER / name)
    assert found
    for diagnostic in found:
        assert diagnostic.code in CODES
        assert diagnostic.span.source.name.startswith("tests/bad/"), f"{diagnostic.code} is placed in {diagnostic.span}"
        assert diagnostic.as_json()["line"] == diagnostic.span.line


def test_every_expected_message_has_its_spec() -> None:
    written = {p.stem for p in (ROOT / FOLDER).glob("*.txt")} - {"syntax"}
    assert written <= {name.removesuffix(".dl") for name in SPECS}


def test_all_that_is_wrong_comes_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = findings(FOLDER / "wrong_types.dl")
    assert [d.span.line for d in found] == [2, 3, 4, 5]
