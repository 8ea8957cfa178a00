"""Weight files: safetensors with the spec's own names, in the layout of the spec's `param`s; `.npz` is read as well.

A file is loaded as a whole or refused with all that is wrong with it. Pickles are recognised and never opened. Tied tensors are
one parameter in the graph, hence one tensor in the file.
"""

from __future__ import annotations

import json
import mmap
import os
import zipfile
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from dsl.array_files import DAMAGED, member_header, read_member
from dsl.build import numpy_dtype
from dsl.diagnostics import Diagnostic, SpecError, did_you_mean
from dsl.files import explained, refuse_special, replacing
from dsl.initial_values import initial_value, initial_weights
from dsl.ir import Graph, Parameter, Program
from dsl.ops.numpy_types import array_dtype
from dsl.types import DType

__all__ = ["initial_weights", "load_weights", "save_weights"]

MOST_SHOWN = 20
"""How many names of one kind of problem a message lists."""

_STORED = {
    "F16": DType.F16, "BF16": DType.BF16, "F32": DType.F32, "F64": DType.F64, "I8": DType.I8, "U8": DType.U8, "I32": DType.I32,
    "I64": DType.I64, "BOOL": DType.BOOL,
}  # fmt: skip

_CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16", "bfloat16": "BF16", "int32": "I32",
    "uint32": "U32", "float32": "F32", "float64": "F64", "int64": "I64", "uint64": "U64",
}  # fmt: skip
"""What safetensors calls the element types of NumPy. A file has the tensors of the last ones first."""

_ORDER = {code: i for i, code in enumerate(_CODES.values())}

_ANOTHER_SPEC = "these weights were trained with other statistics of the data: give the spec those of the file, or train anew"

_CONVERT = 'convert it where it comes from: `safetensors.torch.save_file(model.state_dict(), "weights.safetensors")`'


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file, not read yet. `dtype` is text, for files may hold types that specs lack."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


# --- writing --------------------------------------------------------------------------------------------------------------------


def save_weights(
    path: str | Path,
    weights: Mapping[str, np.ndarray],
    program: Program | None = None,
    *,
    metadata: Mapping[str, str] | None = None,
    inputs: Iterable[str | Path] = (),
) -> None:
    """Write weights as safetensors, wholly or not at all. With `program`, its bf16 parameters are stored as bf16, not as float32.
    `inputs` are files that are being read, and so must not be the output.

    SpecError with exit code 4 where the file cannot be written; the file that was there is then as it was.
    """
    parameters = program.parameters() if program is not None else {}
    arrays = {n: _as_stored(a, parameters[n].type.dtype if n in parameters else None) for n, a in sorted(weights.items())}
    header, order = _header(arrays, metadata or {})
    with replacing(path, inputs=inputs) as temporary, explained(path), open(temporary, "wb") as file:
        file.write(header)
        for name in order:
            file.write(arrays[name][1].reshape(-1).view(np.uint8).data)


def _header(arrays: Mapping[str, tuple[str, np.ndarray]], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """How a safetensors file of these tensors begins, and their order: the widest elements first, so that all are aligned.

    The library's own writer makes a temporary file beside ours, which would stay where the process is killed; the bytes are the same.
    """
    order = sorted(arrays, key=lambda name: (-_ORDER[arrays[name][0]], name))
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        code, array = arrays[name]
        start, end = end, end + array.nbytes
        entries[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order


def _as_stored(array: np.ndarray, dtype: DType | None) -> tuple[str, np.ndarray]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    if dtype is DType.BF16 and little.dtype == np.float32:
        return "BF16", (little.view(np.uint32) >> 16).astype(np.uint16)
    return _CODES[little.dtype.name], little


# --- reading --------------------------------------------------------------------------------------------------------------------


def load_weights(
    path: str | Path, program: Program, *, into: str = "", allow_nan: bool = False, updated: Container[str] = ()
) -> dict[str, np.ndarray]:
    """The weights of `program`, or with `into` those of its layer `into`, under their full names, from a safetensors or npz file:
    memory-mapped where the file allows; changes stay in memory.

    SpecError with one diagnostic for each kind of problem, names listed: missing, extra, other shape, other element type, NaN
    (unless `allow_nan`); or because the file is none that can be read. `updated` are what a training updates beside the program, which
    therefore is no constant. `FILE:net` is what the file has of the layer `net`, as a
    training of a model within its block leaves it.
    """
    target = f"{into}." if into else ""
    parameters = {n.removeprefix(target): p for n, p in program.parameters().items() if n.startswith(target)}
    file, layer = file_and_layer(path)
    everything = _stored(file)
    found = _within(path, layer, everything)
    stored = {name: tensor for name, tensor in found.items() if not _counts_batches(name, parameters)}
    owner = f"the layer `{into}`" if into else "the model"
    problems = [*_names(path, owner, parameters, stored), *_types(path, owner, parameters, stored)]
    if problems:
        fits = _layer_that_fits(into, parameters, everything)
        if problems[0].code in ("DL0804", "DL0805") and fits not in (None, layer):
            problems[0] = replace(problems[0], help=f"`{file}:{fits}` is the part of the file that has all of them")
        raise SpecError(problems)
    weights = {target + name: np.asarray(stored[name].read()) for name in parameters}
    other = list(_other_constants(program, weights, updated))
    if other:
        what = "a constant" if len(other) == 1 else f"{len(other)} constants"
        raise SpecError(listed("DL0810", f"`{path}` has other values than the spec for {what}", other, _ANOTHER_SPEC))
    if not allow_nan:
        with_nan = [n for n, a in weights.items() if a.dtype.kind == "f" and np.isnan(a).any()]
        if with_nan:
            raise SpecError(listed("DL0808", f"`{path}` has NaN in {_tensors(with_nan)}", [f"`{n}`" for n in with_nan]))
    return weights


def file_and_layer(path: str | Path) -> tuple[str | Path, str]:
    """The file and the layer of `FILE:LAYER`. A file whose name has a colon is a file."""
    file, colon, layer = str(path).rpartition(":")
    if colon and file and not os.path.exists(path) and all(part.isidentifier() or part.isdecimal() for part in layer.split(".")):
        return file, layer
    return path, ""


def _within(path: str | Path, layer: str, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """What the file has of a layer, under the names inside it."""
    prefix = f"{layer}." if layer else ""
    found = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    if layer and not found:
        raise SpecError(no_layer(f"`{str(path).removesuffix(f':{layer}')}` has no layer `{layer}`", layer, stored))
    return found


def no_layer(message: str, layer: str, names: Iterable[str]) -> Diagnostic:
    """What is said where a layer of that name is not among those that the names of tensors tell."""
    layers = list(dict.fromkeys(owner for name in names for owner in _owners(name)))
    near = did_you_mean(layer, layers[:2000])
    shown = ", ".join(f"`{name}`" for name in sorted(layers, key=lambda name: name.count("."))[:8])
    return Diagnostic("DL0851", message, help=f"did you mean `{near}`?" if near else f"there is {shown}" if shown else None)


def _owners(name: str) -> Iterator[str]:
    """The layers that a tensor is in, from the outermost on."""
    parts = name.split(".")[:-1]
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _stored(path: str | Path) -> dict[str, Stored]:
    refuse_special(path)
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError(Diagnostic("DL0001", f"cannot read `{path}`: {reason.lower()}"), exit_code=4) from None
    if head.startswith(b"PK\x03\x04"):
        return _npz(path)
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) and head[2:3] in b"}c\x8a\x95(":
        raise _pickle(path)
    if head.startswith(b"\x89HDF\r\n"):
        raise _unreadable(path, "it is an HDF5 file", "write the arrays with `safetensors.numpy.save_file`")
    return _safetensors(path)


def _pickle(path: str | Path) -> SpecError:
    return _unreadable(path, "it is a pickle, which can run any code when it is opened", _CONVERT)


def _unreadable(path: str | Path, reason: str, help: str | None = None) -> SpecError:
    return SpecError(Diagnostic("DL0803", f"`{path}` is no weight file: {reason}", help=help))


def _safetensors(path: str | Path) -> dict[str, Stored]:
    """The tensors of a safetensors file. The library checks the header, its offsets and the length of the file."""
    try:
        with safe_open(path, framework="np") as checked:
            names = set(checked.keys())
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, str(error) or "it is empty") from None
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    length = int.from_bytes(data[:8], "little")
    header: dict[str, dict[str, object]] = json.loads(data[8 : 8 + length])
    found = {name: _mapped(data, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"}
    if set(found) != names:
        raise _unreadable(path, "its header is ambiguous")
    return found


def _mapped(data: mmap.mmap, base: int, entry: Mapping[str, object]) -> Stored:
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    assert isinstance(kind, str) and isinstance(shape, list) and isinstance(offsets, list)
    dtype = _STORED.get(kind)

    def read() -> np.ndarray:
        assert dtype is not None
        element = np.dtype(np.uint16) if dtype is DType.BF16 else numpy_dtype(dtype)
        count = (offsets[1] - offsets[0]) // element.itemsize
        array = np.frombuffer(data, element.newbyteorder("<"), count, base + offsets[0]).reshape(shape)
        if dtype is DType.BF16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array if array.flags.aligned and element.isnative else array.astype(element)

    return Stored(str(dtype or kind), tuple(shape), read)


def _npz(path: str | Path) -> dict[str, Stored]:
    """The arrays of a `.npz` file. A zip file of PyTorch's is a pickle with attachments, and refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(m.filename.endswith("data.pkl") for m in members):
                raise _pickle(path)
            found = {m.filename.removesuffix(".npy"): _array(path, archive, m) for m in members}
    except DAMAGED as error:
        raise _unreadable(path, str(error)) from None
    if len(found) < len(members):
        raise _unreadable(path, "an array is in it twice")
    return found


def _array(path: str | Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Stored:
    header = member_header(archive, member)

    def read() -> np.ndarray:
        try:
            with zipfile.ZipFile(path) as again:
                return read_member(again, member)
        except DAMAGED as error:
            raise _unreadable(path, str(error)) from None

    dtype = array_dtype(np.empty(0, header.dtype))
    return Stored(str(dtype or header.dtype), header.shape, read)


def _other_constants(program: Program, weights: Mapping[str, np.ndarray], also: Container[str]) -> Iterator[str]:
    """What the weights have instead of the buffers that the spec writes out and nothing updates, such as the mean of a training set."""
    updated = {name for graph in program.entries.values() for name in _updated(graph)}
    for name, parameter in program.parameters().items():
        if name not in weights or parameter.trained or parameter.initial.kind != "values" or name in updated or name in also:
            continue
        wanted = initial_value(name, parameter, 0)
        if not np.allclose(weights[name], wanted, rtol=1e-5, atol=1e-8):
            yield f"`{name}` is {_numbers(weights[name])} in the file and {_numbers(wanted)} in the spec"


def _updated(graph: Graph, prefix: str = "") -> Iterator[str]:
    """The full names of the buffers that a graph and the layers in it update."""
    yield from (prefix + path for path in graph.updates)
    for node in graph.layers():
        call = node.target
        assert call is not None
        copies = [""] if call.count is None else [f"{i}." for i in range(call.start, call.start + call.count)]
        for copy in copies:
            yield from _updated(call.graph, f"{prefix}{call.child}.{copy}")


def _numbers(values: np.ndarray) -> str:
    """The first numbers, in the order of their place."""
    flat = values.ravel()
    shown = ", ".join(f"{v:.6g}" for v in flat[:6].tolist())
    return f"[{shown}{', ...' if flat.size > 6 else ''}]"


# --- comparing ------------------------------------------------------------------------------------------------------------------


def _counts_batches(name: str, parameters: Mapping[str, Parameter]) -> bool:
    """Whether it is the counter that PyTorch's batch norms keep beside their statistics and that nothing computes with."""
    owner, dot, last = name.rpartition(".")
    return last == "num_batches_tracked" and f"{owner}{dot}running_mean" in parameters and name not in parameters


def _names(path: str | Path, owner: str, parameters: Mapping[str, Parameter], stored: Mapping[str, Stored]) -> list[Diagnostic]:
    missing = [n for n in parameters if n not in stored]
    extra = [n for n in stored if n not in parameters]
    problems: list[Diagnostic] = []
    if missing:
        lines = [f"`{n}` ({parameters[n].type})" for n in missing]
        problems.append(listed("DL0804", f"`{path}` lacks {_tensors(missing)} of {owner}", _with_nearest(lines, missing, extra)))
    if extra:
        lines = [f"`{n}` ({stored[n]})" for n in extra]
        problems.append(
            listed("DL0805", f"`{path}` has {_tensors(extra)} that {owner} lacks", _with_nearest(lines, extra, missing))
        )
    return problems


def _layer_that_fits(into: str, names: Collection[str], stored: Mapping[str, Stored]) -> str | None:
    """The layer in the file that has tensors of all these names; one that is called as `into` is, if there is one."""
    first = next(iter(names), None)
    layers = [name.removesuffix(f".{first}") for name in stored if name.endswith(f".{first}")]
    fitting = [layer for layer in layers if all(f"{layer}.{name}" in stored for name in names)]
    called = into.rpartition(".")[2]
    return next((layer for layer in fitting if layer.rpartition(".")[2] == called), fitting[0] if fitting else None)


def _types(path: str | Path, owner: str, parameters: Mapping[str, Parameter], stored: Mapping[str, Stored]) -> list[Diagnostic]:
    both = [n for n in parameters if n in stored]
    shapes = [n for n in both if parameters[n].type.shape != stored[n].shape]
    dtypes = [n for n in both if str(parameters[n].type.dtype) != stored[n].dtype]
    problems: list[Diagnostic] = []
    if shapes:
        lines = [f"`{n}` is {stored[n]} in the file and {parameters[n].type} in the model" for n in shapes]
        problems.append(listed("DL0806", f"`{path}` has {_tensors(shapes)} of another shape than {owner}", lines))
    if dtypes:
        lines = [f"`{n}` is {stored[n].dtype} in the file and {parameters[n].type.dtype} in the model" for n in dtypes]
        problems.append(
            listed(
                "DL0807", f"`{path}` has {_tensors(dtypes)} of another element type than {owner}", lines,
                "values are never converted silently: compile with the `--dtype` of the file, or convert the file",
            )
        )  # fmt: skip
    return problems


def _with_nearest(lines: list[str], names: list[str], candidates: list[str]) -> list[str]:
    """The first lines with the candidate nearest to each name, which takes time quadratic in their number."""
    shown = []
    for line, name in zip(lines[:MOST_SHOWN], names, strict=False):
        near = did_you_mean(name, candidates[:2000])
        shown.append(f"{line}; the nearest is `{near}`" if near else line)
    return shown + lines[MOST_SHOWN:]


def _tensors(names: list[str]) -> str:
    return "a tensor" if len(names) == 1 else f"{len(names)} tensors"


def listed(code: str, message: str, lines: list[str], help: str | None = None) -> Diagnostic:
    """A diagnostic with a note for each of the first lines, and how many more there are."""
    rest = len(lines) - MOST_SHOWN
    notes = (*lines[:MOST_SHOWN], f"and {rest} more") if rest > 0 else tuple(lines)
    return Diagnostic(code, message, notes=notes, help=help)
