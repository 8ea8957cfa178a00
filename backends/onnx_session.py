"""Running an ONNX file on onnxruntime, from memory or, with data beside it, from a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

from backends.base import Arrays, Artifact, Result
from backends.onnx_types import NUMPY
from dsl.diagnostics import Diagnostic, SpecError
from dsl.ir import Program
from dsl.types import DType

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def opened(artifact: Artifact, device: str = "cpu") -> onnxruntime.InferenceSession:
    """The model on that device; SpecError (exit code 3) where onnxruntime was built without it."""
    provider = _PROVIDERS.get(device)
    if provider not in onnxruntime.get_available_providers():
        there = ", ".join(d for d, p in _PROVIDERS.items() if p in onnxruntime.get_available_providers())
        raise SpecError(Diagnostic("DL0714", f"this onnxruntime does not run on `{device}`; it runs on {there}"), exit_code=3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = list(dict.fromkeys([provider, _PROVIDERS["cpu"]]))
    if not artifact.beside:
        return onnxruntime.InferenceSession(artifact.content, options, providers=providers)
    with TemporaryDirectory() as folder:
        main = Path(folder, f"model{artifact.suffix}")
        main.write_bytes(artifact.content)
        for name, data in artifact.beside.items():
            Path(folder, name).write_bytes(data)
        return onnxruntime.InferenceSession(str(main), options, providers=providers)


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
                Diagnostic("DL0715", "an ONNX model does inference only; train with the torch or jax backend"), exit_code=2
            )
        if entry not in self.sessions:
            self.sessions[entry] = opened(self.emitted(entry), self.device)
        session, graph = self.sessions[entry], self.program.entries[entry]
        feed = {}
        for slot, (name, value) in zip(session.get_inputs(), graph.inputs.items(), strict=True):
            feed[slot.name] = _given(inputs[name], graph.type(value).dtype)
        found = session.run(None, feed)
        return Result(dict(zip(graph.outputs, found, strict=True)))


def _given(value: np.ndarray, dtype: DType) -> np.ndarray:
    if dtype is DType.BF16:
        message = "onnxruntime takes no bf16 arrays from NumPy; give the model f32 inputs and cast them"
        raise SpecError(Diagnostic("DL0716", message), exit_code=2)
    return np.asarray(value).astype(NUMPY[dtype], copy=False)
