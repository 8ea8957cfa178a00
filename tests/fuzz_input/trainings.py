"""Strategies of what a training reads: data for `dslc train --data`, and the checkpoints that `--resume` goes on from."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.fuzz_input.arrays import ARRAY_PIECES, lying_npy, npy, npz, pictures, safetensors, zipped
from tests.fuzz_input.cases import Case, Cases
from tests.fuzz_input.mutations import PIECES, damaged, reordered, reworded
from tests.sandbox import READERS, Sandbox

OUT = "out"
"""The folder of the training, which it may write to."""

FIT = """train Fit()(x: float[B, 4], label: int[B]) {
  layer net = Linear(3)
  minimize loss = cross_entropy(net(x), label) using adam(0.01)
}
"""
WORDS = """train Next()(tokens: int[B, T]) {
  layer net = Embedding(256, 3)
  minimize loss = mse(net(tokens), 0.0) using adam(plateau(0.01))
}
"""
SEEN = """train See()(image: float[B, C, H, W], label: int[B]) {
  layer net = Linear(3)
  minimize loss = cross_entropy(net(mean(image, over=[2, 3])), label) using sgd(0.01)
}
"""
ROWS = 8
POINTER = f"{OUT}/checkpoint.json"


MODULES = (*READERS, "tests.fuzz_input.no_pictures", "pyarrow.csv", "pyarrow.parquet")


@cache
def _scene() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="dslc-fuzz-")
    Path(folder.name, "net.dl").write_text(FIT)
    Path(folder.name, "a.npz").write_bytes(npz(False, rows()))
    return folder


def training_sandbox() -> Sandbox:
    """A sandbox for these strategies. While it warms up it does two steps of a training, whose checkpoint is damaged then."""
    folder = Path(_scene().name)
    places = [str(folder / name) for name in ("net.dl", "a.npz", OUT)]
    if Path(places[2]).exists():
        shutil.rmtree(places[2])
    return Sandbox(line(places[1], steps=2, spec=places[0], out=places[2]), modules=MODULES)


def line(data: str, *more: str, steps: int = 1, spec: str = "net.dl", out: str = OUT) -> tuple[str, ...]:
    """A short training."""
    return ("train", spec, "--data", data, "--steps", str(steps), "--batch", "4", "--out", out, *more)


def _case(data: str, files: Mapping[str, bytes], spec: str, *more: str) -> Case:
    return Case(line(data, *more), {"net.dl": spec.encode(), **files}, writes=OUT)


def _fit(name: str, spec: str = FIT, *more: str) -> Callable[[bytes], Case]:
    return lambda data: _case(name, {name: data}, spec, *more)


def rows() -> dict[str, np.ndarray]:
    """Arrays that fit."""
    return {"x": np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 4) / 8, "label": np.arange(ROWS) % 3}


# --- data -----------------------------------------------------------------------------------------------------------------------------


def data_arrays() -> Cases:
    """Damaged archives, arrays that lie, texts, and folders of damaged pictures."""
    good = [npz(compressed, rows()) for compressed in (False, True)]
    named = st.lists(lying_npy(), min_size=2, max_size=2).map(lambda arrays: zipped(arrays, ("x.npy", "label.npy")))
    alone = st.one_of(damaged([npy(rows()["x"])], ARRAY_PIECES), lying_npy())
    return st.one_of(
        damaged(good, ARRAY_PIECES).map(_fit("a.npz")),
        named.map(_fit("a.npz")),
        st.builds(lambda x: _case("x=x.npy,label=a.npz", {"x.npy": x, "a.npz": good[0]}, FIT), alone),
        st.one_of(st.binary(max_size=40), damaged([b"to be or not to be, " * 9])).map(_fit("a.txt", WORDS, "--size", "T=9")),
        st.sampled_from(pictures()).flatmap(
            lambda one: damaged([one[1]], ARRAY_PIECES).map(lambda bad: _pictured(one[0], one[1], bad))
        ),
    )


def _pictured(kind: str, good: bytes, bad: bytes) -> Case:
    """A folder of pictures, one of which is damaged."""
    files = {f"data/{folder}/{i}.{kind}": good for folder in "ab" for i in range(3)}
    return _case("data", {**files, f"data/b/3.{kind}": bad}, SEEN)


CSV = "x0,x1,x2,x3,label\n" + "".join(f"{i}.5,{i},-{i}e-1,{i * 7},{i % 3}\n" for i in range(ROWS))
CELLS = (
    "", "nan", "inf", "-inf", "1e999", "1e-400", "9" * 30, "9" * 400, "0x10", "1_000", "true", "null", "NA", '"', '"1"', "'", "1,2",
    "1;2", "2021-03-04", "12:30", "[1, 2]", "\x00", "\r", "\ufeff", "\u202e", "-1", "3", "0.5", "1.0", "a" * 70_000, "=1+1", "label",
)  # fmt: skip


def data_tables() -> Cases:
    """Damaged tables, and such with other cells in them."""
    texts = st.one_of(reworded([CSV]), reordered([CSV])).map(lambda text: text.encode(errors="surrogatepass"))
    return st.one_of(
        st.one_of(damaged([CSV.encode()], PIECES), texts, _cells()).map(_fit("a.csv")),
        damaged(_parquets(), ARRAY_PIECES).map(_fit("a.parquet")),
        st.builds(_parquet, _random_columns()).map(_fit("a.parquet")),
    )


@st.composite
def _cells(draw: st.DrawFn) -> bytes:
    table = [row.split(",") for row in CSV.splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        i, j = draw(st.integers(0, ROWS)), draw(st.integers(0, 4))
        table[i][j] = draw(st.sampled_from(CELLS))
    return "\n".join(",".join(row) for row in table).encode()


def _parquet(columns: Mapping[str, object]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


@cache
def _parquets() -> tuple[bytes, ...]:
    lists: dict[str, object] = {"x": rows()["x"].tolist(), "label": rows()["label"]}
    plain: dict[str, object] = {**{f"x{i}": rows()["x"][:, i] for i in range(4)}, "label": rows()["label"]}
    return _parquet(lists), _parquet(plain)


def _random_columns() -> st.SearchStrategy[dict[str, object]]:
    """Columns of each kind that the format knows, where numbers are expected."""
    kinds: list[st.SearchStrategy[object]] = [
        st.integers(-3, 3), st.floats(), st.booleans(), st.text(max_size=3), st.none(), st.binary(max_size=3), st.dates(),
        st.decimals(allow_nan=False, places=2, min_value=-9, max_value=9), st.just({"a": 1}),
    ]  # fmt: skip
    numbers: list[st.SearchStrategy[object]] = [st.integers(-3, 3), st.floats(), st.booleans()]
    kinds += [st.lists(kind, max_size=4) for kind in (*kinds[:6], st.just({"a": 1}))]
    kinds += [st.lists(kind, min_size=4, max_size=4) for kind in numbers]
    kinds += [st.lists(st.lists(numbers[0], max_size=3), min_size=4, max_size=4)]
    columns = st.sampled_from(kinds).flatmap(lambda kind: st.lists(kind, min_size=ROWS, max_size=ROWS))
    either: st.SearchStrategy[object] = st.one_of(columns, st.just(rows()["label"]))
    return st.dictionaries(st.sampled_from(("x", "label", "x0", "x_0", "y", "")), either, min_size=1, max_size=3)


def data_written() -> Cases:
    """What stands after `--data`, and what takes its place."""
    places = st.sampled_from((
        "a.npz", "a.npy", "a.csv", "a.txt", "data", "irs", "net.dl", ".", "..", "", "/dev/zero", "/dev/stdin", "missing.npz", "a" * 300,
        "\u202e", "\x1b[2J", "-", "--resume",
    ))  # fmt: skip
    members = st.sampled_from(("", ":x", ":label", ":x0", ":", "::", ":y", ":../x", ":\x1b[2J"))
    names = st.sampled_from(("x=", "label=", "", "y=", "x = ", "=", "x=x="))
    parts = st.builds(lambda name, place, member: name + place + member, names, places, members)
    good = st.sampled_from(("x=a.npz", "label=a.npz", "x=a.npy", "label=a.csv:label", "a.csv", "a.npz", "x=irs"))
    files = {"a.npz": npz(False, rows()), "a.npy": npy(rows()["x"]), "a.csv": CSV.encode(), "a.txt": b"a text"}
    texts = st.one_of(
        st.lists(st.one_of(parts, good), max_size=3).map(",".join),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    )
    return texts.map(lambda text: _case(text, files, FIT))


# --- checkpoints ----------------------------------------------------------------------------------------------------------------------


@cache
def trained() -> Mapping[str, bytes]:
    """The files of the training with which a sandbox was warmed up, and what it read."""
    folder = Path(_scene().name)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (state,) = (path for path in found if path.endswith("state.json"))
    text = json.loads(found[state])
    text["training"]["the data"] = "a.npz"
    return signed({**found, state: json.dumps(text).encode()})


def signed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files with a `checkpoint.json` that has their digests, as if the training had written them so."""
    pointer = json.loads(files[POINTER])
    place = f"{OUT}/{pointer['last']}/"
    pointer["digests"] = {
        path.removeprefix(place): hashlib.blake2b(data).hexdigest()[:32] for path, data in files.items() if path.startswith(place)
    }
    return {**files, POINTER: json.dumps(pointer).encode()}


NUMBERS = st.one_of(
    st.sampled_from((0, 1, 2, 3, -1, 2**31, 2**63, 2**64, 10**30, 1e308, True, False)), st.integers(), st.floats(), st.none()
)
VALUES: st.SearchStrategy[object] = st.recursive(
    st.one_of(
        NUMBERS, st.text(max_size=5), st.sampled_from(("step-0000002", "..", "/", "step-0000002/../..", "\x1b[2J", "1", "nan"))
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "U8": 1, "I32": 4, "I64": 8, "U64": 8, "BOOL": 1}
"""The bytes of a number of each type that safetensors knows."""


def checkpoints() -> Cases:
    """A checkpoint one of whose files is damaged, says something else or is not there."""
    files = trained()
    unread = (f"{OUT}/curves.png", f"{OUT}/weights.safetensors")
    every = tuple(sorted(path for path in files if path.startswith(f"{OUT}/") and path not in unread))
    parsed = {path: json.loads(files[path]) for path in every if path.endswith(".json")}
    tensors = {path: _header(files[path]) for path in every if path.endswith(".safetensors")}
    curves = st.one_of(
        reordered([files[f"{OUT}/curves.csv"].decode()]),
        st.lists(st.lists(st.sampled_from((*CELLS, "step", "loss", "1", "2", "0.25")), max_size=3).map(",".join), max_size=4).map(
            lambda lines: "\n".join(["step,loss", *lines, ""])
        ),
    )
    return st.one_of(
        st.sampled_from(every).flatmap(lambda path: damaged([files[path]], (*ARRAY_PIECES, *PIECES)).map(_with(path))),
        st.sampled_from(sorted(parsed)).flatmap(lambda path: _edited(parsed[path]).map(_with(path, "state" in path))),
        st.sampled_from(sorted(tensors)).flatmap(lambda path: _retyped(*tensors[path]).map(_with(path))),
        curves.map(lambda text: text.encode(errors="surrogatepass")).map(_with(f"{OUT}/curves.csv")),
        st.sampled_from(every).map(lambda path: _with(path)(None)),
    )


def _with(path: str, forged: bool = False) -> Callable[[bytes | None], Case]:
    """Going on with one file as given, or without it."""

    def case(data: bytes | None) -> Case:
        files = {name: text for name, text in trained().items() if name != path}
        if data is not None:
            files[path] = data
        files = signed(files) if forged else files
        return Case(line("a.npz", "--resume", steps=3), files, writes=OUT)

    return case


def _header(data: bytes) -> tuple[dict[str, object], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@st.composite
def _edited(draw: st.DrawFn, good: Mapping[str, object]) -> bytes:
    """An object with other values, or without some."""
    found: dict[str, object] = dict(good)
    for _ in range(draw(st.integers(1, 2))):
        key = draw(st.sampled_from(sorted(good)))
        match draw(st.sampled_from(("replace", "remove", "inside"))):
            case "remove":
                found.pop(key, None)
            case "inside" if isinstance(value := found.get(key), dict) and value:
                found[key] = {**value, draw(st.sampled_from(sorted(value))): draw(VALUES)}
            case _:
                found[key] = draw(VALUES)
    return json.dumps(found).encode()


@st.composite
def _retyped(draw: st.DrawFn, header: Mapping[str, object], body: bytes) -> bytes:
    """Tensors of other names, shapes and types, which the file may well hold."""
    found: dict[str, object] = dict(header)
    name = draw(st.sampled_from(sorted(header)))
    entry = found.pop(name)
    assert isinstance(entry, dict)
    start, stop = entry["data_offsets"]
    kind = draw(st.sampled_from(sorted(SIZES)))
    count = (stop - start) // SIZES[kind]
    shape = draw(st.sampled_from(([count], [1, count], [count, 1], [count, 1, 1, 1], [0], [], entry["shape"])))
    other = draw(st.sampled_from((name, name, name, *header, "", "net/weight", f"{name}/x", name.upper(), "\x1b[2J")))
    found[other] = {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}
    return safetensors(found, body)
