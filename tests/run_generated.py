"""Run generated files where nothing of ours can be imported: `python -I run_generated.py TARGET FOLDER`.

FOLDER has `jobs.json`, which names the inputs of each file. Prints JSON: for each file the tensors that it owns, its outputs, and what else
the tests ask for. Not a test itself; tests/test_generated_code.py runs it.
"""

from __future__ import annotations

import inspect
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = ("dsl", "backends", "grammar", "specs")


class Refuse:
    """Finds no module of ours, wherever it is installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in OURS:
            raise ImportError(f"generated code imports {name}")


def imported(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def with_torch(path: Path, job: dict[str, Any]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = imported(path)
    classes = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    model = classes[-1]()
    inputs = [torch.ones(shape, dtype=getattr(torch, dtype)) for dtype, shape in job["inputs"].values()]
    entry = getattr(model, job["entry"])
    model.eval()
    first, again = listed(entry(*inputs)), listed(entry(*inputs))
    model.train()
    loss: Any = sum(y.mean() for y in listed(entry(*inputs)) if y.is_floating_point())
    if job["trained"]:
        loss.backward()
    found: dict[str, Any] = {
        "tensors": {n: list(t.shape) for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")},
        "outputs": [list(y.shape) for y in first],
        "repeatable": all(bool(torch.equal(a, b)) for a, b in zip(first, again, strict=True)),
        "without_gradient": [n for n, p in model.named_parameters() if p.grad is None],
    }
    if job.get("compile"):
        model.eval()
        compiled: Any = torch.compile(model, fullgraph=True, backend="eager")
        pairs = zip(listed(compiled(*inputs)), listed(model(*inputs)), strict=True)
        found["compiled"] = max(float((a - b).abs().max()) for a, b in pairs)
    return found


def with_jax(path: Path, job: dict[str, Any]) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    module = imported(path)
    owned = jax.eval_shape(module.init, jax.random.key(0))
    stateful = isinstance(owned, tuple)
    inputs = [jnp.ones(shape, "int32" if dtype == "int64" else dtype) for dtype, shape in job["inputs"].values()]
    trees = owned if stateful else (owned,)
    entry = module.apply if job["entry"] == "forward" else getattr(module, job["entry"])
    key = {"key": jax.random.key(0)} if "key" in inspect.signature(entry).parameters else {}
    outputs = jax.eval_shape(lambda *given: entry(*given, **key), *trees, *inputs)
    found: dict[str, Any] = {
        "tensors": {n: list(t.shape) for n, t in jax.eval_shape(module.to_named, *trees).items()},
        "outputs": [list(y.shape) for y in listed(outputs[0] if isinstance(outputs, tuple) and stateful else outputs)],
    }
    if job.get("compile"):
        params, state = module.init(jax.random.key(0))

        def loss(params: object) -> object:
            y, _ = module.apply(params, state, *inputs, training=True, key=jax.random.key(1))
            return (y**2).mean()

        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
        leaves = jax.tree_util.tree_leaves(gradient)
        found["loss"] = float(value)
        found["gradients"] = [bool(jnp.isfinite(leaf).all()) and bool(jnp.any(leaf)) for leaf in leaves]
    return found


def listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, tuple) else [results]


def main(target: str, folder: Path) -> None:
    sys.meta_path.insert(0, Refuse())
    run = {"torch": with_torch, "jax": with_jax}[target]
    jobs = json.loads((folder / "jobs.json").read_text())
    found = {name: run(folder / f"{name}.py", job) for name, job in jobs.items()}
    assert not [m for m in sys.modules if m.split(".")[0] in OURS]
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
