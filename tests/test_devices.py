"""Where programs compute: on the CPU everywhere, on a CUDA device where there is one."""

from __future__ import annotations

import subprocess
import sys

import pytest


def cuda_backends() -> list[str]:
    """The backends that see a CUDA device here, found in a process of its own: asking starts the device."""
    probes = {
        "torch": "import torch; assert torch.cuda.is_available()",
        "jax": "import jax; assert jax.devices('cuda')",
        "onnx": "import onnxruntime; assert 'CUDAExecutionProvider' in onnxruntime.get_available_providers()",
    }
    return [
        name
        for name, probe in probes.items()
        if subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0
    ]


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "reference"])
def test_a_device_that_is_not_there_is_an_error_with_its_own_exit_code(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    from dsl.cli import run

    code = run(
        [
            "run",
            "specs/mlp/mlp.dl",
            "--set",
            "features=3",
            "--inputs",
            "x=[[1, 2, 3]]",
            "--backend",
            backend,
            "--device",
            "abacus",
        ]
    )
    assert code == (2 if backend == "reference" else 3)
    assert "error[DL0703]" in capsys.readouterr().err


@pytest.mark.gpu
def test_specs_are_the_same_on_a_cuda_device() -> None:
    from dsl.compiler import compile_graph
    from dsl.verification.compare import verify

    found = cuda_backends()
    if not found:
        pytest.skip("no backend sees a CUDA device here")
    settings: dict[str, object] = {"vocab": 13, "context": 9, "width": 8, "layers": 2, "heads": 2}
    report = verify(compile_graph("specs/language/gpt2.dl", settings), found, device="cuda")
    assert report.ok, report
