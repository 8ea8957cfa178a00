"""What is fuzzed: for each part of dslc that reads something a strategy of cases, each a command line and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from hypothesis import strategies as st

from dsl.compiler import convert
from dsl.source import Source
from tests.fuzz_input.arrays import ARRAY_PIECES, lying_npy, npy, npz, pictures, safetensors, zipped
from tests.fuzz_input.cases import Case, Cases
from tests.fuzz_input.derivations import NAMES, derived, nonsense
from tests.fuzz_input.mutations import PIECES, WORDS, damaged, reordered, revalued, reworded
from tests.fuzz_input.trainings import checkpoints, data_arrays, data_tables, data_written

ROOT = Path(__file__).parents[2]
LARGEST = 3000
"""Specs of more bytes are left out: what they have the smaller ones have, and they take longer."""


@cache
def specs() -> tuple[str, ...]:
    """Our specs and the files of the library, the shortest first."""
    found = [path.read_text(encoding="utf-8") for folder in ("specs", "dsl/lib") for path in (ROOT / folder).rglob("*.dl")]
    return tuple(sorted((text for text in found if len(text) <= LARGEST), key=lambda text: (len(text), text)))


@cache
def yaml_specs() -> tuple[str, ...]:
    """The same specs as YAML, without the comments."""
    return tuple(convert(Source("net.dl", text), "yaml") for text in specs()[:60])


# --- specs ----------------------------------------------------------------------------------------------------------------------------


def _spec(name: str) -> Callable[[str | bytes], Case]:
    def case(text: str | bytes) -> Case:
        return Case(("check", name), {name: text if isinstance(text, bytes) else text.encode(errors="surrogatepass")})

    return case


def spec_bytes() -> Cases:
    """Damaged files."""
    return damaged([text.encode() for text in specs()]).map(_spec("net.dl"))


def spec_tokens() -> Cases:
    """Specs with other words in them."""
    return reworded(specs()).map(_spec("net.dl"))


def spec_values() -> Cases:
    """Specs with other numbers, names and operators in them."""
    return revalued(specs()).map(_spec("net.dl"))


def spec_derived() -> Cases:
    """Texts that follow from the grammar."""
    return nonsense().map(_spec("net.dl"))


# --- YAML -----------------------------------------------------------------------------------------------------------------------------

KEYS = (
    "model", "module", "fn", "const", "from", "import", "as", "train", "test", "params", "inputs", "outputs", "graph", "entries",
    "value", "backward",
    "of", "definitions", "type", "default", "return", "layer", "param", "buffer", "update", "if", "then", "else", "for", "in",
    "do", "scan", "over",
    "carry", "while", "limit", "emit", "minimize", "using", "metric", "require", "assert", "message", "repeat", "comment", "x",
    "y", "n", "<<", "",
)  # fmt: skip


def yaml_bytes() -> Cases:
    """Damaged YAML files, and such with other words or other lines."""
    files = yaml_specs()
    damage = st.one_of(damaged([text.encode() for text in files]), reworded(files), reordered(files), revalued(files))
    return damage.map(_spec("net.yaml"))


def yaml_random() -> Cases:
    """Any structure of mappings, lists and scalars, of our keys and expressions mostly."""
    scalars = st.one_of(
        st.sampled_from((*NAMES, *WORDS)), st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates(),
        derived("expression", 10), derived("type", 10), derived("_statement", 15), st.binary(max_size=8),
    )  # fmt: skip
    keys = st.one_of(st.sampled_from(KEYS), scalars.filter(lambda value: not isinstance(value, bytes)))

    def grown(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
        return st.one_of(
            st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
            st.lists(inner, max_size=5),
            st.dictionaries(keys, inner, max_size=3),
        )

    head: dict[str, object] = {"model": "Net", "inputs": {"x": "float[B, 4]", "y": "int[B]"}}
    anything = st.recursive(scalars, grown, max_leaves=25)
    statements = st.lists(anything, max_size=6)
    whole = st.one_of(
        anything,
        statements.map(lambda graph: {**head, "graph": graph}),
        st.dictionaries(st.sampled_from(KEYS), anything).map(lambda d: {**d, **head}),
    )
    dumped = st.builds(
        lambda value, flow: yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow), whole, st.booleans()
    )
    return dumped.map(_spec("net.yaml"))


# --- the command line -----------------------------------------------------------------------------------------------------------------

HYPER = """model Net(n: int = 3, rate: float = 0.5, flag: bool = true, name: str = "relu", sizes: list = [1, 2], pads: ints = 1,
  act: fn = relu, norm: layer = LayerNorm, kind: dtype = float, other: any = none)(x: float[B, 3, 8]) {
  y = x -> Linear(n) -> act -> Dropout(rate) -> norm()
  for size in sizes { y = y -> Linear(size) }
  if flag { y = pad(y, [[0, 0], [pads, pads], [0, 0]]) }
  return cast(y, kind)
}
"""


def settings() -> Cases:
    """Values after `--set NAME=`, and what takes their place."""
    names = ("n", "rate", "flag", "name", "sizes", "pads", "act", "norm", "kind", "other")
    values = st.one_of(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
        derived("expression", 12), derived("value", 12), st.sampled_from(WORDS), st.integers().map(str), st.floats().map(str),
        st.sampled_from([piece.decode(errors="surrogateescape").replace("\0", "") for piece in PIECES]),
    )  # fmt: skip
    pairs = st.lists(st.builds(lambda name, value: f"{name}={value}", st.sampled_from(names), values), min_size=1, max_size=3)
    return pairs.map(
        lambda texts: Case(("check", "net.dl", *(p for text in texts for p in ("--set", text))), {"net.dl": HYPER.encode()})
    )


# --- arrays ---------------------------------------------------------------------------------------------------------------------------

TINY = """model Tiny()(x: float[B, 3]) -> (y: float[B, 2]) {
  buffer calls: int[] = 0
  return x -> fc: Linear(2)
}
"""

BOTH = """model Both()(x: float[B, 3], tokens: int[B], mask: bool[B]) {
  y = x -> Linear(2)
  return y, tokens + 1, logical_not(mask)
}
"""

ARRAYS: dict[str, np.ndarray] = {
    "fc.weight": np.ones((2, 3), np.float32),
    "fc.bias": np.zeros(2, np.float32),
    "calls": np.zeros((), np.int64),
}


def tensors() -> dict[str, object]:
    """The header of the tensors of the tiny model."""
    return {
        "fc.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
        "calls": {"dtype": "I64", "shape": [], "data_offsets": [32, 40]},
    }


def _run(*given: str, files: Mapping[str, bytes], spec: str = TINY) -> Case:
    return Case(("run", "net.dl", *given), {"net.dl": spec.encode(), **files})


def _weights(name: str) -> Callable[[bytes], Case]:
    return lambda data: _run("--inputs", "x=[[1, 2, 3]]", "--weights", name, files={name: data})


def weights_safetensors() -> Cases:
    """Damaged weight files, and headers that lie."""
    good = safetensors(tensors(), bytes(40))
    numbers = st.one_of(
        st.sampled_from((0, 1, 2, 3, 24, 32, 40, -1, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30)),
        st.integers(),
        st.floats(),
        st.none(),
    )
    names = st.one_of(
        st.sampled_from((*tensors(), "__metadata__", "fc", "", "../x", "a.b.c", "\u202e", "\x1b[2J")), st.text(max_size=5)
    )
    kinds: st.SearchStrategy[object] = st.sampled_from(
        ("F32", "F16", "BF16", "F64", "I8", "U8", "I64", "BOOL", "F8_E4M3", "F4", "C64", "", "f32", "U64", None, 3, [])
    )
    entry = st.fixed_dictionaries(
        {"dtype": kinds, "shape": st.lists(numbers, max_size=4), "data_offsets": st.lists(numbers, max_size=3)}
    )
    entries = st.one_of(
        entry,
        st.none(),
        st.text(max_size=3),
        st.lists(numbers, max_size=2),
        st.dictionaries(st.text(max_size=3), numbers, max_size=3),
    )

    def changed(more: dict[str, object], without: list[str], size: int, length: int | None) -> bytes:
        header = {name: entry for name, entry in tensors().items() if name not in without}
        return safetensors({**header, **more}, bytes(size), length)

    lies = st.builds(
        changed,
        st.dictionaries(names, entries, max_size=3),
        st.lists(st.sampled_from(tuple(tensors())), max_size=2),
        st.sampled_from((40, 0, 24, 39, 41, 100)),
        st.one_of(st.none(), st.integers(0, 2**64 - 1), st.integers(0, 300)),
    )
    return st.one_of(damaged([good], ARRAY_PIECES), lies).map(_weights("w.safetensors"))


def weights_npz() -> Cases:
    """Damaged archives of weights, and archives of arrays that lie."""
    good = [npz(compressed, ARRAYS) for compressed in (False, True)]
    return st.one_of(
        damaged(good, ARRAY_PIECES),
        st.lists(lying_npy(), min_size=1, max_size=3).map(
            lambda arrays: zipped(arrays, ("fc.weight.npy", "fc.bias.npy", "calls.npy"))
        ),
    ).map(_weights("w.npz"))


def inputs_files() -> Cases:
    """Arrays and pictures that are damaged or lie, as inputs of `dslc run`."""
    array = npy(np.ones((2, 3), np.float32))
    given: dict[str, np.ndarray] = {"x": np.ones((2, 3), np.float32), "tokens": np.zeros(2, np.int64), "mask": np.ones(2, bool)}
    return st.one_of(
        st.one_of(damaged([array], ARRAY_PIECES), lying_npy()).map(
            lambda data: _run("--inputs", "x=a.npy", files={"a.npy": data})
        ),
        damaged([npz(False, given), npz(True, given)], ARRAY_PIECES).map(
            lambda data: _run("--inputs", "a.npz", files={"a.npz": data}, spec=BOTH)
        ),
        st.sampled_from(pictures()).flatmap(
            lambda one: damaged([one[1]], ARRAY_PIECES).map(
                lambda data: _run("--inputs", f"x=a.{one[0]}", files={f"a.{one[0]}": data}, spec=PICTURE)
            )
        ),
    )


PICTURE = "model Net()(x: float[B, 3, H, W]) { return mean(x, over=[2, 3]) }\n"


def inputs_written() -> Cases:
    """Numbers written on the command line, and what takes their place."""
    numbers = st.one_of(st.integers(-3, 3), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3))
    lists = st.recursive(numbers, lambda inner: st.lists(inner, max_size=4), max_leaves=12).map(json.dumps)
    pieces = [piece.decode(errors="surrogateescape").replace("\0", "") for piece in PIECES]
    texts = st.one_of(
        lists, lists, st.sampled_from(pieces), st.sampled_from(WORDS), st.builds(lambda a, b: a + b, lists, st.sampled_from(pieces)),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        st.sampled_from(("NaN", "Infinity", "[1e400]", "[[1, 2], [3]]", "{}", '{"x": 1}', "/dev/zero", "/dev/stdin.npy", ".",
        "..", "a.npy", "net.dl")),
    )  # fmt: skip
    names = st.sampled_from(("x=", "tokens=", "mask=", "", "z=", "x ="))
    given = st.lists(st.builds(lambda name, text: name + text, names, texts), max_size=4)
    good = st.permutations(("x=[[1, 2, 3]]", "tokens=[1]", "mask=[true]"))
    mixed = st.one_of(
        given, st.builds(lambda one, rest: [one, *rest[1:]], st.builds(lambda name, text: name + text, names, texts), good)
    )
    return mixed.map(lambda every: _run(*(p for text in every for p in ("--inputs", text)), files={}, spec=BOTH))


TRAININGS: Mapping[str, Callable[[], Cases]] = {
    "data-arrays": data_arrays,
    "data-tables": data_tables,
    "data-written": data_written,
    "checkpoints": checkpoints,
}
"""Those that want a `training_sandbox`."""

TARGETS: Mapping[str, Callable[[], Cases]] = {
    "spec-bytes": spec_bytes,
    "spec-tokens": spec_tokens,
    "spec-values": spec_values,
    "spec-derived": spec_derived,
    "yaml-bytes": yaml_bytes,
    "yaml-random": yaml_random,
    "settings": settings,
    "weights-safetensors": weights_safetensors,
    "weights-npz": weights_npz,
    "inputs-files": inputs_files,
    "inputs-written": inputs_written,
    **TRAININGS,
}
