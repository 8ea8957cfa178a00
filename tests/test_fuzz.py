"""A few hundred random specs against every oracle, always the same ones; `make fuzz N=10000` runs many (docs/fuzzing.md)."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.context import SpawnProcess as Process
from pathlib import Path

import pytest

from dsl.ops.registry import CARDS
from tests.fuzz.batch import run_batch
from tests.fuzz.examples import ROTATION, Example, judge
from tests.fuzz.expressions import EXPRESSIONS
from tests.fuzz.finding import write_finding
from tests.fuzz.oracles import OTHERS, TARGETS, Finding, Tally, agrees, subject_of
from tests.fuzz.process import Batch, Running, batches, run_batches

EXAMPLES = 120


def test_random_specs_hold_to_every_oracle() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy and of the targets, about numbers that are infinite on purpose
        outcome = run_batch(EXAMPLES, seed_=1)
    assert outcome.finding is None, f"{outcome.finding}\n{outcome.finding.spec}"
    assert outcome.counts["text"] > 0.9 * EXAMPLES
    assert all(outcome.counts[target] for target in ("torch", "onnx", "jax"))
    assert outcome.counts["undecided"] < 10
    assert len(outcome.reached) > 100


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
