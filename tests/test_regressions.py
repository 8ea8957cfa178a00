"""What random specs have found (docs/fuzzing.md), as specs: outputs and gradients are those of the reference on every target.

The first line of each says what was wrong. `# sizes:` and `# refused:` lines give sizes and the targets that must refuse it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends.base import EmitOptions
from dsl.compiler import compile_graph
from dsl.initial_values import initial_weights
from dsl.lower import lower
from dsl.passes.pipeline import OPTIONAL
from dsl.target import backend
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


@pytest.mark.parametrize("left_out", [["prune"], [*OPTIONAL]], ids=["prune", "all"])
def test_it_is_written_without_passes_too(left_out: list[str]) -> None:
    for path in sorted(FOLDER.glob("*.dl")):
        program = compile_graph(path)
        for target in {"torch", "jax", "onnx"} - {*setting(path.read_text(), "refused").split()}:
            lower(program, backend(target), EmitOptions(), weights=initial_weights(program, 0), disabled=left_out)
