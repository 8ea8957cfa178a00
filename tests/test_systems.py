"""Each spec computes what it says: its `test` blocks hold, and its small variant has the outputs and gradients of the reference everywhere.

What the systems of docs/systems.tsv have to show beyond that is in tests/systems, a file a family.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dsl import compiler, syntax
from dsl.diagnostics import render
from dsl.parse import parse
from dsl.source import Source
from dsl.types import DType
from tests.agreement import Agreement
from tests.small import SPECS, VARIANTS, Variant
from tests.systems_page import named_systems, systems

IN_EVERY_RUN = {"language/gpt2.dl", "linear/svm.dl", "meta_learning/maml.dl", "recurrent/hello.dl", "segmentation/unet.dl"}
"""The specs that are verified in every run of the tests; the others by `make systems`."""


def marks(text: str) -> pytest.MarkDecorator:
    return pytest.mark.system(*(name for name in named_systems(text) if name in systems()))


def blocks() -> Iterator[object]:
    """The titles of all `test` blocks. One that begins with the id of a system is its check."""
    for path in sorted(SPECS.rglob("*.dl")):
        spec = str(path.relative_to(SPECS))
        named = [name for name in named_systems(path.read_text()) if name in systems()]
        tree = parse(Source(spec, path.read_text()))
        for title in (d.title for d in tree.definitions if isinstance(d, syntax.Test)):
            id, colon, _ = title.partition(": ")
            checked = [id] if colon and id in named else []
            yield pytest.param(spec, title, id=f"{spec}: {title}", marks=pytest.mark.system(*checked))


@pytest.mark.parametrize(("spec", "title"), list(blocks()))
def test_block(spec: str, title: str) -> None:
    problems = [render(d) for name, found in compiler.test_blocks(SPECS / spec) if name == title for d in found]
    assert not problems, "\n".join(problems)


def variants(*, gradients: bool) -> Iterator[object]:
    for key, variant in VARIANTS.items():
        if gradients and not variant.gradients:
            continue
        often = [pytest.mark.every_run] if key in IN_EVERY_RUN else []
        yield pytest.param(variant, id=key, marks=[marks(variant.path.read_text()), pytest.mark.verification, *often])


@pytest.mark.parametrize("variant", list(variants(gradients=False)))
def test_outputs(variant: Variant, agrees: Agreement) -> None:
    agrees.outputs(variant.program(), variant.sizes, variant.refused)


@pytest.mark.parametrize("variant", list(variants(gradients=True)))
def test_gradients(variant: Variant, agrees: Agreement) -> None:
    exact = variant.program(DType.F64)
    agrees.gradients(exact, variant.sizes[-1:], variant.refused, loss=variant.is_training)
