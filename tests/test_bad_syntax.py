"""Broken specs and the exact text that a user sees, from tests/bad/syntax.txt.

Each case is `=== title`, the spec, `---`, and the message.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dsl.diagnostics import SpecError, render
from dsl.error_codes import CODES
from dsl.parse import parse
from dsl.source import Source

TABLE = Path(__file__).parent / "bad" / "syntax.txt"
CASES = [
    (title, spec, message)
    for title, spec, message in re.findall(
        r"^=== (.*)\n((?s:.*?))\n---\n((?s:.*?))\n(?=\n===|\Z)", TABLE.read_text("utf-8"), re.MULTILINE
    )
]


@pytest.mark.parametrize(("spec", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_message_of_a_broken_spec(spec: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(Source("bad.dl", spec + "\n"))
    assert "\n".join(render(d) for d in caught.value.diagnostics) == message
    assert all(d.code in CODES for d in caught.value.diagnostics)
    assert caught.value.exit_code == 1


def test_the_table_is_read_whole() -> None:
    assert len(CASES) == TABLE.read_text("utf-8").count("=== ")


@pytest.mark.parametrize("text", ["9" * 5000, "1e999", "9" * 31])
def test_a_number_too_large_is_refused_at_its_place(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(Source("bad.dl", f"fn f(x) = g(x, {text})"))
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.message, diagnostic.span.text) == ("DL0107", "number too large", text)


def test_each_definition_is_checked_whatever_is_wrong_with_the_others() -> None:
    broken = "fn f(x) {\n  y = x +\n  return y\n}\n"
    with pytest.raises(SpecError) as caught:
        parse(Source("bad.dl", broken * 10))
    assert [d.span.line for d in caught.value.diagnostics] == list(range(2, 42, 4))
