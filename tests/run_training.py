"""Run generated training programs where nothing of ours can be imported: `python -I run_training.py TARGET FOLDER`.

Each NAME.py in FOLDER has a NAME.npz beside it; its `main` trains a few steps and writes weights. Prints the shapes of those as
JSON. Not a test itself; tests/test_training.py runs it.
"""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

OURS = ("dsl", "backends", "grammar", "specs")


class Refuse:
    """Finds no module of ours, wherever it is installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in OURS:
            raise ImportError(f"generated code imports {name}")


def main(target: str, folder: Path) -> None:
    sys.meta_path.insert(0, Refuse())
    if target == "torch":
        import torch

        torch.set_num_threads(1)
    found = {}
    for path in sorted(folder.glob("*.py")):
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        weights = path.with_suffix(".pt" if target == "torch" else ".weights.npz")
        sys.argv = [path.name, str(path.with_suffix(".npz")), str(weights), "--steps", "3", "--batch", "8"]
        module.main()
        if target == "torch":
            tensors = torch.load(weights)
        else:
            import numpy as np

            tensors = dict(np.load(weights))
        found[path.stem] = {name: list(x.shape) for name, x in tensors.items() if not name.endswith("num_batches_tracked")}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
