"""A finding as a folder: the spec, the inputs, what the oracle said, and a script that shows it again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.fuzz.oracles import Finding, Tally, subject_of

SCRIPT = '''"""{title}

Run from the root of the repository: python {path}
"""

from collections import Counter
from pathlib import Path

from tests.fuzz.examples import Example, judge
from tests.fuzz.oracles import Tally

spec = (Path(__file__).parent / "spec.dl").read_text()
judge(Example(spec, {oracles}, {sizes}), Tally(), Counter())
print("every oracle holds now")
'''


def write_finding(found: Finding, folder: Path, oracles: Sequence[str], sizes: int) -> Path:
    """Write the folder; its name is the oracle and a digest of the spec."""
    digest = hashlib.blake2b(found.spec.encode(), digest_size=4).hexdigest()
    here = folder / f"{found.oracle.replace(' ', '-')}-{digest}"
    here.mkdir(parents=True, exist_ok=True)
    (here / "spec.dl").write_text(found.spec)
    (here / "why.txt").write_text(f"{found.oracle}: {found.message}\n")
    script = SCRIPT.format(title=found.oracle, path=here / "show.py", oracles=tuple(oracles), sizes=sizes)
    (here / "show.py").write_text(script)
    _write_inputs(found.spec, here / "inputs.npz", sizes)
    return here


def _write_inputs(spec: str, path: Path, sizes: int) -> None:
    """The inputs of each point; none where the checker or the reference is what failed."""
    try:
        subject = subject_of(spec, Tally(), sizes=sizes)
    except Finding:
        return
    arrays = {
        f"{i}.{name}": np.asarray(x) for i, p in enumerate(subject.points if subject else ()) for name, x in p.inputs.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]


def write_dead(found: Finding, folder: Path) -> Path:
    """The spec that a process died of, as it was: nothing shrinks it, and nothing runs on it here."""
    here = folder / f"process-{hashlib.blake2b(found.spec.encode(), digest_size=4).hexdigest()}"
    here.mkdir(parents=True, exist_ok=True)
    (here / "spec.dl").write_text(found.spec)
    (here / "why.txt").write_text(f"{found.message}\n")
    return here
