"""Running an ONNX file on onnxruntime, from memory or, with data beside it, from a temporary folder.

NumPy has no bf16: a model that takes or gives it is opened with casts from and to f32 at its ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from onnx import GraphProto, ModelProto, TensorProto, helper

from backends.base import Arrays, Artifact, Result
from backends.onnx_types import NUMPY
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Graph, Program
from dsl.types import DType

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def opened(artifact: Artifact, graph: Graph, device: str = "cpu") -> onnxruntime.InferenceSession:
    """The model of that graph on a device; SpecError (exit code 3) where onnxruntime was built without it."""
    provider = _PROVIDERS.get(device)
    if provider not in onnxruntime.get_available_providers():
        there = ", ".join(d for d, p in _PROVIDERS.items() if p in onnxruntime.get_available_providers())
        raise SpecError(Diagnostic("DL0703", f"this onnxruntime does not run on `{device}`; it runs on {there}"), exit_code=3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = list(dict.fromkeys([provider, _PROVIDERS["cpu"]]))
    ends = (*graph.inputs.values(), *graph.outputs.values())
    narrow = any(graph.type(v).dtype is DType.BF16 for v in ends)
    content = _with_f32_ends(artifact.content) if narrow else artifact.content
    if not artifact.beside:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    with TemporaryDirectory() as folder:
        main = Path(folder, f"model{artifact.suffix}")
        main.write_bytes(content)
        for name, data in artifact.beside.items():
            Path(folder, name).write_bytes(data)
        return onnxruntime.InferenceSession(str(main), options, providers=providers)


def _with_f32_ends(content: bytes) -> bytes:
    """The model with f32 in place of bf16 inputs and outputs."""
    model = ModelProto.FromString(content)
    graph = model.graph
    narrow = {v.name for v in (*graph.input, *graph.output) if v.type.tensor_type.elem_type == TensorProto.BFLOAT16}
    _rename(graph, {name: f"{name}.bf16" for name in narrow})
    given = [v.name for v in graph.input if v.name in narrow]
    made = [v.name for v in graph.output if v.name in narrow]
    before = [helper.make_node("Cast", [name], [f"{name}.bf16"], to=TensorProto.BFLOAT16) for name in given]
    after = [helper.make_node("Cast", [f"{name}.bf16"], [name], to=TensorProto.FLOAT) for name in made]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for v in (*graph.input, *graph.output):
        if v.name in narrow:
            v.type.tensor_type.elem_type = TensorProto.FLOAT
    return bytes(model.SerializeToString())


def _rename(graph: GraphProto, new: Mapping[str, str]) -> None:
    """Give values other names in the nodes of a graph and in the bodies of its loops."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, new)


@dataclass(slots=True)
class OnnxSession:
    """Sessions by entry point; the others are emitted on their first run."""

    program: Program
    sessions: dict[str, onnxruntime.InferenceSession]
    emitted: Callable[[str], Artifact]
    device: str

    def run(self, inputs: Arrays, *, training: bool = False, entry: str = "forward") -> Result:
        if training:
            raise SpecError(
                Diagnostic("DL0713", "an ONNX model does inference only; train with the torch or jax backend"), exit_code=2
            )
        if entry not in self.sessions:
            self.sessions[entry] = opened(self.emitted(entry), self.program.entries[entry], self.device)
        session, graph = self.sessions[entry], self.program.entries[entry]
        _refuse_nothing(graph, inputs)
        feed = {}
        for slot, (name, value) in zip(session.get_inputs(), graph.inputs.items(), strict=True):
            feed[slot.name] = _given(inputs[name], graph.type(value).dtype)
        found = session.run(None, feed)
        return Result(dict(zip(graph.outputs, found, strict=True)))


def _refuse_nothing(graph: Graph, inputs: Arrays) -> None:
    """SpecError for an empty input where steps are run over: onnxruntime would end the process."""
    empty = [name for name in graph.inputs if np.asarray(inputs[name]).size == 0]
    if empty and any(node.op == "scan" for callee in graph.callees() for node in callee):
        raise SpecError(
            Diagnostic("DL0714", f"the input `{empty[0]}` is empty, and onnxruntime cannot run a `scan` over nothing"),
            exit_code=2,
        )


def _given(value: np.ndarray, dtype: DType) -> np.ndarray:
    return np.asarray(value).astype(np.float32 if dtype is DType.BF16 else NUMPY[dtype], copy=False)
