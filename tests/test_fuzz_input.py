"""Some hundred examples for each thing that dslc reads, the same in every run. `make fuzz-input N=10000` looks further."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz_input.cases import Case, Cases
from tests.fuzz_input.oracle import problem
from tests.fuzz_input.targets import LARGEST, TARGETS, TRAININGS, specs, yaml_specs
from tests.fuzz_input.trainings import training_sandbox
from tests.sandbox import READERS, WARM, Sandbox

EXAMPLES = 100
TRAINED = 20
"""Examples of each thing that a training reads, which takes longer."""
QUIET = settings(derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(*WARM, modules=READERS) as started:
        yield started


@pytest.fixture(scope="module")
def trainings() -> Iterator[Sandbox]:
    with training_sandbox() as started:
        yield started


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in TRAININGS])
def test_whatever_is_read_there_is_an_answer(sandbox: Sandbox, name: str) -> None:
    check(sandbox, TARGETS[name](), EXAMPLES)


@pytest.mark.parametrize("name", TRAININGS)
def test_whatever_a_training_reads_there_is_an_answer(trainings: Sandbox, name: str) -> None:
    check(trainings, TRAININGS[name](), TRAINED)


def check(sandbox: Sandbox, cases: Cases, examples: int) -> None:
    @settings(QUIET, max_examples=examples)
    @given(cases)
    def answered(case: Case) -> None:
        fault = problem(sandbox, case)
        assert fault is None, f"{fault}: dslc {' '.join(case.arguments)} with {case.files}"

    answered()


def test_the_oracle_sees_faults(sandbox: Sandbox) -> None:
    """A file that is written, an exit code that is no answer, and silence are faults."""
    good = {"net.dl": specs()[0].encode()}
    assert problem(sandbox, Case(("check", "net.dl"), good)) is None
    assert problem(sandbox, Case(("fmt", "net.dl"), {"net.dl": b"model  Net()(x: float[B]){ return x }"})) == "a file was written"
    assert (
        problem(sandbox, Case(("init", "net.dl", "-o", "w"), {"net.dl": b"model Net()(x: float[B]) { return x }"}))
        == "a file was written"
    )
    assert (
        problem(sandbox, Case(("fmt", "--check", "net.dl"), {"net.dl": b"model  Net()(x: float[B]){ return x }"}))
        == "no word of why"
    )
    assert len(specs()) > 30 and len(yaml_specs()) > 30 and max(map(len, specs())) <= LARGEST
