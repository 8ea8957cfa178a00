"""A few hundred random specs against every oracle, always the same ones; `make fuzz N=10000` runs many (docs/fuzzing.md)."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.context import SpawnProcess as Process
from pathlib import Path
from random import Random

import pytest

from dsl.ops.registry import CARDS
from tests.fuzz.batch import run_batch
from tests.fuzz.examples import ROTATION, Example, judge
from tests.fuzz.expressions import EXPRESSIONS
from tests.fuzz.finding import write_finding
from tests.fuzz.oracles import OTHERS, TARGETS, Finding, Tally, agrees, subject_of
from tests.fuzz.process import Batch, Running, batches, run_batches
from tests.fuzz.shrink import shrink
from tests.fuzz.specs import random_spec

EXAMPLES = 220
CHEAP = [name for name in OTHERS if "gradients" not in name]


def oracles_of(i: int) -> tuple[str, str]:
    """The turns of an example: what costs most has the fewest, and each oracle has some."""
    target = "jax" if i % 40 == 7 else ("torch", "onnx")[i % 2]
    other = "gradients everywhere" if i % 100 == 3 else "gradients" if i % 8 == 3 else CHEAP[i % len(CHEAP)]
    return target, other


def test_random_specs_hold_to_every_oracle() -> None:
    tally, reached = Tally(), Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy and of the targets, about numbers that are infinite on purpose
        for i in range(EXAMPLES):
            spec = random_spec(Random(i), most=3)
            try:
                judge(Example(spec, oracles_of(i), 1), tally, reached)
            except Finding as found:
                pytest.fail(f"of the spec of Random({i}), {found}\n{spec}")
    assert tally.counts["text"] > 0.95 * EXAMPLES
    assert set(TARGETS) | set(OTHERS) <= {oracle for i in range(EXAMPLES) for oracle in oracles_of(i)}
    assert tally.counts["undecided"] < 10
    assert len(reached) > 150


def test_a_batch_is_compiled_again_in_another_process() -> None:
    outcome = run_batch(4, seed_=1)
    assert outcome.finding is None, f"{outcome.finding}\n{outcome.finding.spec}"
    assert outcome.counts["bytes"] == outcome.counts["text"] > 0


def test_a_finding_shrinks_to_what_it_needs() -> None:
    spec = """fn twice(x) = 2 * x
model Net()(x1: float[B, 3], x2: float[2]) -> (y0: float[B, 3], y1: float[2]) {
  scan s in x1 over 1 carry c = mean(x1, over=1) {
    c = c + s
  }
  v1 = exp(x1)
  v2 = twice(x2)
  return v1, v2
}
"""
    assert shrink(spec, lambda smaller: "exp" in smaller and "return" in smaller) == (
        "model Net()() {\n  v1 = exp(x1)\n  return v2\n}\n"
    )


def test_every_primitive_has_a_drawer_and_every_oracle_a_turn() -> None:
    assert set(EXPRESSIONS) >= set(CARDS)
    assert set(ROTATION["targets"]) == set(TARGETS)
    assert set(ROTATION["others"]) == set(OTHERS)


def test_a_wrong_number_is_a_finding_with_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = "model Net()(x: float[2, 3]) { return exp(x) }\n"
    subject = subject_of(spec, Tally())
    assert subject is not None
    agrees(subject, "torch")
    with monkeypatch.context() as patched:
        patched.setitem(subject.points[0].inputs, "x", 2 * subject.points[0].inputs["x"])
        with pytest.raises(Finding, match="`y` is off by"):
            agrees(subject, "torch")
    folder = write_finding(Finding("torch", "off", spec), tmp_path, ("torch",), 1)
    assert sorted(p.name for p in folder.iterdir()) == ["inputs.npz", "show.py", "spec.dl", "why.txt"]


def test_what_runs_is_what_was_asked_for_and_not_what_the_processes_make_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins for processes: a batch of seed 1 finds something after 100 examples, and what is left of it begins again."""

    class Done(Running):
        def listen(self, step: Callable[[], None]) -> bool:
            self.outcome.ran = 100 if self.batch.seed == 1 else self.batch.count
            return False

        @classmethod
        def started(cls, batch: Batch, out: Path) -> Running:
            here, there = Pipe()
            there.close()
            return cls(batch, out, out / "trail", Process(), here)

    monkeypatch.setattr("tests.fuzz.process.Running", Done)
    assert batches(1200, 0) == [Batch(500, 0), Batch(500, 1), Batch(200, 2)]
    for jobs in (1, 2, 5):
        ran = [outcome.ran for outcome, _ in run_batches(batches(1200, 0), tmp_path, jobs, lambda: None)]
        assert sorted(ran) == [100, 200, 400, 500]


def test_a_refusal_is_no_finding() -> None:
    tally = Tally()
    judge(Example("model Net()(x: float[2, 2]) { return inverse(x + 3 * eye(2)) }\n", ("onnx",), 1), tally, Counter())
    assert tally.counts["onnx refuses"] == 1
