"""One way to run one network, in a process of its own: `python benchmarks/targets.py TARGET NETWORK FOLDER`.

The process pins itself to one core, loads the weights and the input that stand in FOLDER, leaves its output there, and then answers each
line on its standard input with the best time of a few calls, in seconds. run.py starts several and lets them take turns.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path

CORE = max(os.sched_getaffinity(0))
os.sched_setaffinity(0, {CORE})
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

import numpy as np  # noqa: E402  # the number of threads is read when it is imported

from dsl.compiler import compile_spec  # noqa: E402

SPECS: dict[str, tuple[str, str, dict[str, object]]] = {
    "mlp": ("mlp/mlp.dl", "Perceptron", {"widths": (256, 256)}),
    "resnet50": ("cnn/resnet.dl", "ResNet50", {}),
    "gpt2": ("language/gpt2.dl", "GPT2", {}),
}
"""Each network's spec, model and hyper-parameters."""

SPEC_FOLDER = Path(__file__).parent.parent / "specs"
Weights = dict[str, np.ndarray]
Run = Callable[[], np.ndarray]
"""One inference; its result is ready when it returns."""


def spec(network: str) -> Path:
    return SPEC_FOLDER / SPECS[network][0]


def generated(network: str, backend: str, folder: Path) -> dict[str, object]:
    """The names of the generated module."""
    _, model, hyper = SPECS[network]
    compiled = compile_spec(spec(network), backend, hyper, model=model)
    path = folder / f"{network}_{backend}.py"
    path.write_bytes(compiled.artifact.content)
    return runpy.run_path(str(path))


# --- PyTorch --------------------------------------------------------------------------------------------------------------------


def _torch(network: str, weights: Weights, x: np.ndarray, folder: Path, *, by_hand: bool, compiled: bool) -> Run:
    import torch

    torch.set_num_threads(1)
    if by_hand:
        import hand_torch

        net = hand_torch.network(network, weights)
    else:
        net = generated(network, "torch", folder)[SPECS[network][1]]()  # type: ignore[operator]
        found = net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
        assert all(k.endswith("num_batches_tracked") for k in found.missing_keys) and not found.unexpected_keys, found
        net.eval()
    call = torch.compile(net, fullgraph=True) if compiled else net
    given = torch.from_numpy(x)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return call(given).numpy()

    return run


# --- JAX ------------------------------------------------------------------------------------------------------------------------


def _jax_by_hand(network: str, weights: Weights, x: np.ndarray) -> Run:
    import hand_jax
    import jax

    function = jax.jit(hand_jax.NETWORKS[network])
    params = hand_jax.parameters(network, weights)
    given = jax.numpy.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x)
    return lambda: np.asarray(function(params, given))


def _jax_generated(network: str, weights: Weights, x: np.ndarray, folder: Path) -> Run:
    import jax

    names = generated(network, "jax", folder)
    apply, owned = names["apply"], names["from_named"](weights)  # type: ignore[operator]
    given = jax.numpy.asarray(x)
    if isinstance(owned, tuple):  # parameters and state; the state that inference hands back unchanged is of no use
        function = jax.jit(lambda params, state, image: apply(params, state, image)[0])  # type: ignore[operator]
        return lambda: np.asarray(function(*owned, given))
    whole = jax.jit(apply)  # type: ignore[arg-type]
    return lambda: np.asarray(whole(owned, given))


# --- ONNX -----------------------------------------------------------------------------------------------------------------------


def _session(path: Path, x: np.ndarray) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)[0]


def _onnx_generated(network: str, weights: Weights, x: np.ndarray, folder: Path, opset: int | None) -> Run:
    _, model, hyper = SPECS[network]
    compiled = compile_spec(spec(network), "onnx", hyper, model=model, weights=weights, opset=opset)
    path = folder / f"{network}_{opset}.onnx"
    path.write_bytes(compiled.artifact.content)
    for name, data in compiled.artifact.beside.items():
        (folder / name).write_bytes(data)
    return _session(path, x)


def _onnx_exported(network: str, weights: Weights, x: np.ndarray, folder: Path) -> Run:
    import hand_torch
    import torch

    path = folder / f"{network}_exported.onnx"
    net = hand_torch.network(network, weights)
    with torch.inference_mode():
        torch.onnx.export(net, (torch.from_numpy(x),), str(path), dynamo=True, verbose=False)
    return _session(path, x)


TARGETS: dict[str, Callable[[str, Weights, np.ndarray, Path], Run]] = {
    "torch by hand": lambda n, w, x, f: _torch(n, w, x, f, by_hand=True, compiled=False),
    "torch generated": lambda n, w, x, f: _torch(n, w, x, f, by_hand=False, compiled=False),
    "torch.compile by hand": lambda n, w, x, f: _torch(n, w, x, f, by_hand=True, compiled=True),
    "torch.compile generated": lambda n, w, x, f: _torch(n, w, x, f, by_hand=False, compiled=True),
    "jax by hand": lambda n, w, x, _: _jax_by_hand(n, w, x),
    "jax generated": _jax_generated,
    "onnx exported": _onnx_exported,
    "onnx generated": lambda n, w, x, f: _onnx_generated(n, w, x, f, None),
    "onnx generated, opset 23": lambda n, w, x, f: _onnx_generated(n, w, x, f, 23),
}


def best(run: Run, seconds: float) -> float:
    """The least time of as many calls as fit into `seconds`, three at least."""
    least = float("inf")
    end = time.perf_counter() + seconds
    calls = 0
    while calls < 3 or time.perf_counter() < end:
        start = time.process_time()
        run()
        least = min(least, time.process_time() - start)
        calls += 1
    return least


def main() -> None:
    target, network, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")  # what libraries print does not come between
    os.dup2(2, 1)
    weights, x = dict(np.load(folder / f"{network}.npz")), np.load(folder / f"{network}.npy")
    run = TARGETS[target](network, weights, x, folder)
    start = time.perf_counter()
    output = run()
    first = time.perf_counter() - start
    np.save(folder / f"{network} {target}.npy", output)
    print(first, file=answers, flush=True)
    for line in sys.stdin:
        print(best(run, float(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
