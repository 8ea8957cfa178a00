"""The neural Turing machine: where its heads look, that a cyclic one is refused, and that it learns to copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsl.compiler import compile_graph
from dsl.diagnostics import SpecError
from dsl.source import Source
from tests.small import SPECS
from tests.systems.expressions import TARGETS, values
from tests.test_learning import saved, trained

NTM = SPECS / "memory" / "ntm.dl"


@pytest.mark.system("ntm")
@pytest.mark.parametrize("target", TARGETS)
def test_the_weights_of_an_address_sum_to_one_after_every_stage(target: str) -> None:
    random = np.random.default_rng(0)
    given = {
        "memory": random.standard_normal((3, 6, 4)), "key": random.standard_normal((3, 4)), "strength": 5 * random.random((3, 1)),
        "before": random.dirichlet(np.ones(6), size=3), "gate": random.random((3, 1)), "shift": random.dirichlet(np.ones(3), size=3),
        "power": 1 + 10 * random.random((3, 1)),
    }  # fmt: skip
    content = "by_content(memory, key, strength)"
    mixed = f"gated({content}, before, gate)"
    moved = f"shifted({mixed}, shift)"
    stages = [content, mixed, moved, f"sharpened({moved}, power)"]
    imports = "from memory.ntm import by_content, gated, shifted, sharpened"
    for weights in values(stages, given, target, definitions=imports):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def cyclic() -> str:
    """The machine with a head that writes to where it looks in what it has written."""
    text = NTM.read_text()
    changed = text.replace("writer(h, memory, w_write)", "writer(h, next, w_write)").replace(
        "memory = memory ->", "next = memory ->"
    )
    changed = changed.replace("reader(h, memory, w_read)", "reader(h, next, w_read)").replace(
        "read = recalled(memory, w_read)", "read = recalled(next, w_read)\n    memory = next"
    )
    assert changed.count("next") == 5
    return changed


@pytest.mark.system("ntm")
def test_a_head_that_writes_where_it_looks_in_what_it_writes_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        compile_graph(Source("ntm.dl", cyclic()))
    (problem,) = caught.value.diagnostics
    assert (problem.code, problem.message) == ("DL0220", "`next` depends on itself")
    assert [label.span.text for label in problem.labels] == ["next = memory -> written(w_write, sigmoid(erase), add)"]
    compile_graph(Source("ntm.dl", cyclic().replace("writer(h, next, w_write)", "writer(h, memory, w_write)")))


@pytest.mark.slow
@pytest.mark.system("ntm")
def test_sequences_of_four_steps_are_copied_after_training(tmp_path: Path) -> None:
    """Of the bits that it says in the last of 1200 steps, on sequences that it has not seen, fewer than 1 % are wrong."""
    bits = np.random.default_rng(0).integers(2, size=(1200 * 32, 4, 4)).astype(np.float32)
    data = saved(tmp_path, "bits", {"x": bits})
    curve = trained("memory/ntm.dl:Copy", data, tmp_path / "run", "-b", "jax", "--batch", 32, "--steps", 1200, "--set", "lr=1e-2")
    assert np.mean([row["wrong"] for row in curve[:20]]) > 0.3
    assert np.mean([row["wrong"] for row in curve[-50:]]) < 0.01
