"""What random specs have found (docs/fuzzing.md), as specs: outputs and gradients are those of the reference on every target.

The first line of each says what was wrong. `# sizes:` and `# refused:` lines give sizes and the targets that must refuse it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.agreement import Agreement

FOLDER = Path(__file__).parent / "regressions"


def setting(text: str, name: str) -> str:
    """What a comment line of that name says."""
    found = re.search(rf"^# {name}: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def sizes_of(text: str) -> list[dict[str, int]]:
    """`# sizes: B=2 T=3; B=1 T=1`, or two and three for every dimension that an input names."""
    written = setting(text, "sizes")
    if written:
        return [{n: int(v) for n, v in (pair.split("=") for pair in part.split())} for part in written.split(";")]
    names = set(re.findall(r"[\[ ]([A-Z])\b", text.split("model", 1)[1].split("{")[0]))
    return [dict.fromkeys(sorted(names), 3)] if names else [{}]


@pytest.mark.every_run
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.dl")), ids=lambda p: p.stem)
def test_what_was_found_stays_mended(agrees: Agreement, path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    agrees(path, sizes=sizes_of(text), refused=setting(text, "refused").split(), gradients=setting(text, "gradients") != "none")
