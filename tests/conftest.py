"""Options and fixtures of the test run that several files share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from tests.agreement import Agreement
from tests.systems_page import Page, systems

SYSTEMS = Path(__file__).parent / "systems"

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
"""Most of the time of a test of JAX goes to LLVM. The program that it compiles is the same; read when jax is imported."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write expected files and messages anew; read the diff before committing"
    )
    parser.addoption("--systems-page", metavar="FILE", help="only tests of systems; write to FILE what they say of each")
    parser.addoption("--family", action="append", default=[], help="only tests of the systems of this family; repeatable")
    parser.addoption("--id", action="append", default=[], help="only tests of this system; repeatable")


def pytest_configure(config: pytest.Config) -> None:
    gc.set_threshold(50_000, 20, 100)  # little of the millions of objects of torch and jax is garbage: a tenth of the time
    page = config.getoption("--systems-page")
    if page and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Page(Path(page)))


def ids_of(item: pytest.Item) -> list[str]:
    return [str(name) for mark in item.iter_markers("system") for name in mark.args]


def compares_targets(item: pytest.Item) -> bool:
    """Whether a test proves on every target, or once more on JAX, what its file checks of a system anyway: XLA takes most of the time
    of such tests. `make systems` runs them all; every run has those marked `every_run`, the library, every primitive and random specs."""
    if item.get_closest_marker("every_run"):
        return False
    if not isinstance(item, pytest.Function):
        return False
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    on_jax = any(isinstance(value, str) and value == "jax" for value in values)
    return "agrees" in item.fixturenames or (on_jax and SYSTEMS in item.path.parents)


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in filter(compares_targets, items):
        item.add_marker(pytest.mark.slow)
    families, names = config.getoption("--family"), config.getoption("--id")
    known = systems()
    wanted = {s.id for s in known.values() if s.family in families} | set(names)
    whole = config.getoption("--systems-page") or families or names
    kept: list[pytest.Item] = []
    for item in items:
        found = ids_of(item)
        unknown = [name for name in found if name not in known]
        if unknown:
            raise pytest.UsageError(f"{item.nodeid}: docs/systems.tsv has no system {', '.join(unknown)}")
        item.user_properties += [("system", name) for name in found]
        if item.get_closest_marker("verification"):
            item.user_properties.append(("kind", "verification"))
        if not whole or (found and (not wanted or wanted & set(found))):
            kept.append(item)
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[i for i in items if i not in set(kept)])
        items[:] = kept


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def agrees(request: pytest.FixtureRequest) -> Agreement:
    """`agrees(SPEC, sizes=[...])`: every target computes the outputs and gradients of the reference, or refuses as said."""
    return Agreement(request.node)
