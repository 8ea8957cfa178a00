"""Error codes: each that is used is documented, each that is documented is used, and the page of them is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dsl.commands.explain import CHAPTERS, page
from dsl.error_codes import CODES

ROOT = Path(__file__).parents[1]


def used_codes() -> set[str]:
    files = [p for folder in ("dsl", "backends") for p in (ROOT / folder).rglob("*.py") if p.name != "error_codes.py"]
    return {code for path in files for code in re.findall(r'"(DL\d{4})"', path.read_text(encoding="utf-8"))}


def test_used_and_documented_codes_are_the_same() -> None:
    assert used_codes() == set(CODES)


def test_codes_are_sorted_and_belong_to_a_chapter() -> None:
    assert list(CODES) == sorted(CODES)
    assert all(sum(code.startswith(prefix) for prefix in CHAPTERS) == 1 for code in CODES)


@pytest.mark.parametrize("code", CODES)
def test_a_story_is_worth_telling(code: str) -> None:
    title, story = CODES[code]
    assert title == title.strip() and not title.endswith(".")
    assert story.endswith((".", "?", "'", ")")) and len(story) > 30


def test_the_page_is_up_to_date(update_golden: bool) -> None:
    path = ROOT / "docs" / "errors.md"
    if update_golden:
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page(), "run `dslc explain --markdown -o docs/errors.md`"
