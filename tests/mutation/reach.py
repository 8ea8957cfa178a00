"""Which tests reach which statements, and how long each test takes: measured once, with a note at every statement of the files."""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path

import pytest

from tests.mutation.hook import install
from tests.mutation.mutators import Mutant, Place, Walk

NOTE = "__reached__"


@dataclass(slots=True)
class Reach:
    """Tests by the statements that they reach, `seconds` has every test that passed, `imports` the
    statements that run at import."""

    tests: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)

    def at_import(self, mutant: Mutant) -> bool:
        """Whether the change runs when the file is imported."""
        return mutant.around[0] in self.imports

    def of(self, mutant: Mutant, own: Sequence[str], budget: float) -> list[str]:
        """The tests for a mutant, the shortest first: those of its `own` files, then others, as many as end within a budget of seconds."""
        found = next((tests for place in mutant.around if (tests := self.tests.get(place))), [])
        if not found and self.at_import(mutant):
            found = [test for test in self.seconds if test.partition("::")[0] in own]
        found = sorted(found, key=lambda t: (t.partition("::")[0] not in own, self.seconds[t]))
        ends = accumulate(self.seconds[test] for test in found)
        kept = [test for i, (test, end) in enumerate(zip(found, ends, strict=True)) if i < 3 or end < budget]
        return sorted(kept, key=lambda t: self.seconds[t])

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"tests": self.tests, "seconds": self.seconds, "imports": self.imports}))


def read_reach(path: Path) -> Reach:
    saved = json.loads(path.read_text())
    return Reach(saved["tests"], saved["seconds"], saved["imports"])


def together(parts: Iterable[Reach]) -> Reach:
    """What several files of tests reach."""
    whole = Reach()
    for part in parts:
        whole.seconds |= part.seconds
        whole.imports += part.imports
        for place, tests in part.tests.items():
            whole.tests.setdefault(place, []).extend(tests)
    return whole


class Recorder:
    """The plugin that runs while the tests run unchanged."""

    def __init__(self, out: Path) -> None:
        self.out, self.reach, self.failed = out, Reach(), set[str]()
        self.now: set[str] = set()

    def note(self, place: str) -> None:
        self.now.add(place)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.now = set()
        yield
        for place in self.now:
            self.reach.tests.setdefault(place, []).append(item.nodeid)
        self.now = set()

    def pytest_collection_finish(self) -> None:
        self.reach.imports = sorted(self.now)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reach.seconds[report.nodeid] = self.reach.seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        sound = {t: s for t, s in self.reach.seconds.items() if t not in self.failed}
        tests = {place: [t for t in found if t in sound] for place, found in self.reach.tests.items()}
        Reach(tests, sound, self.reach.imports).save(self.out)


def record(root: Path, paths: Sequence[str], tests: Sequence[str], out: Path) -> int:
    """Run the tests with notes in these files, in this process, and save what they reach. Tests that fail unchanged are no witnesses."""
    recorder = Recorder(out)
    setattr(builtins, NOTE, recorder.note)
    install(root, {path: partial(noted, path) for path in paths})
    return int(pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[recorder]))


def noted(path: str, text: str) -> ast.Module:
    """The module with a note at the start of every function, before each of its statements, and in every lambda."""
    walk = Walk(ast.parse(text))
    place = {n: walk.place(path, n) for n in walk.nodes if isinstance(n, ast.stmt | ast.Lambda)}
    for function in [n for n in walk.nodes if isinstance(n, ast.FunctionDef)]:
        for node in ast.walk(function):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                if isinstance(block, list) and not isinstance(node, ast.ClassDef) and all(s in place for s in block):
                    block[:] = [new for s in block for new in (ast.Expr(_note(place[s])), s)]
        function.body.insert(0, ast.Expr(_note(place[function])))  # who calls it sees its defaults
    for node in place:
        if isinstance(node, ast.Lambda):
            node.body = ast.Subscript(ast.Tuple([_note(place[node]), node.body], ast.Load()), ast.Constant(1), ast.Load())
    return ast.fix_missing_locations(walk.tree)


def _note(place: Place) -> ast.Call:
    return ast.Call(ast.Name(NOTE, ast.Load()), [ast.Constant(place)], [])
