"""What is mutated, and by which tests it has to be killed."""

from __future__ import annotations

import ast
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutation.mutators import Mutant, mutants

ROOT = Path(__file__).parents[2]

SHAPE_RULES = tuple(
    f"dsl/ops/{name}.py"
    for name in (
        "control", "conv", "create", "einops_patterns", "einsum", "elementwise", "fourier", "index", "inference", "linear",
        "matrix", "parts", "pool", "random", "reduce", "shape", "sizes", "slicing", "sugar", "windows",
    )
)  # fmt: skip
SIMPLIFICATION_RULES = tuple(
    f"dsl/passes/{name}.py" for name in ("cancel_reshapes", "fold_constants", "fuse_linear", "merge_equal", "simplify")
)
ONNX_ROWS = tuple(
    f"backends/onnx_{name}.py" for name in ("creation", "layers", "matrix", "recurrent", "rows", "shapes", "windows")
)
GROUPS = {"shape rules": SHAPE_RULES, "simplification rules": SIMPLIFICATION_RULES, "ONNX rows": ONNX_ROWS}
PATHS = tuple(path for group in GROUPS.values() for path in group)

TESTS = tuple(
    f"tests/test_{name}.py"
    for name in (
        "ops", "ops_conv", "ops_shape", "sugar", "reference", "bad_specs", "differentiable", "passes", "onnx", "onnx_blocks",
        "recurrent", "primitives_backends", "language",
    )
)  # fmt: skip
"""Fast tests of these files. The others of the suite might kill more."""
OWN = {
    "dsl/ops": ("ops", "ops_conv", "ops_shape", "sugar"),
    "dsl/passes": ("passes",),
    "backends": ("onnx", "onnx_blocks", "recurrent"),
}
"""Those that were written for the files of a folder come first."""

WORDS = {"shown", "written_product", "_factor", "written", "refused", "_listed"}
"""Functions that only write texts of errors."""


def rules(path: str) -> list[Mutant]:
    """The mutants of a file: in dsl/ops without those of the references, which compute arrays, and of texts."""
    skipped = WORDS | (_references(path) if path in SHAPE_RULES else set())
    return [m for m in mutants(ROOT, path) if not skipped & set(m.function.split("."))]


def own_tests(mutant: Mutant) -> tuple[str, ...]:
    """The files of tests that were written for what is mutated."""
    return tuple(f"tests/test_{name}.py" for name in OWN[mutant.path.rpartition("/")[0]])


def _references(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    return {
        f.name for f in functions if "np." in ast.unparse(f.args) or (f.returns is not None and "np." in ast.unparse(f.returns))
    }


def sample(found: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """A part drawn by what the mutants are, so that a mutant stays drawn when another line of its file changes."""
    drawn = sorted(found, key=lambda m: hashlib.sha1(f"{seed} {m.key}".encode()).digest())[:count]
    return sorted(drawn, key=lambda m: (m.line, m.node, m.choice))


def same_program(mutant: Mutant) -> str | None:
    """Why a mutant means the same as the source, where equivalent.toml says so."""
    return _why(mutant, EQUIVALENT)


def explained(mutant: Mutant) -> str | None:
    """Why the tests let a mutant live, where survivors.toml says so."""
    return _why(mutant, SURVIVORS)


def _why(mutant: Mutant, told: Sequence[Mapping[str, str]]) -> str | None:
    return next((e["why"] for e in told if e["path"] == mutant.path and e["key"] == mutant.key), None)


def _told(name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = tomllib.loads((Path(__file__).parent / name).read_text()).get("mutant", [])
    return found


EQUIVALENT, SURVIVORS = _told("equivalent.toml"), _told("survivors.toml")
