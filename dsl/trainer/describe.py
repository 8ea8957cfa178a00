"""What makes a training the one that it is, as lines of text: a checkpoint of another one shows in what they differ."""

from __future__ import annotations

import hashlib

from backends.python_scalars import constant_of
from backends.trainings import entries_of, graphs_of
from dsl.data.dataset import Dataset
from dsl.ir import Program
from dsl.print_graph import print_program
from dsl.trainer.checkpoint import COMPUTATION
from dsl.trainer.settings import Settings
from dsl.training import Objective, Rule, Training


def described(training: Training, data: Dataset, settings: Settings, backend: str) -> dict[str, str]:
    """Each part by what it is called. The last is a digest of all that is computed, for differences that nothing else shows."""
    found = {"the block": training.name, "the backend": backend, "the batch": str(settings.batch)}
    found["the data held out"] = str(settings.validation)
    if settings.watch:
        found["what is best"] = f"the {'highest' if settings.highest else 'lowest'} `{settings.watch}`"
    found["the data"] = settings.data
    found["the number of rows"] = str(data.rows)
    found |= {f"the hyper-parameter `{name}`": str(value) for name, value in training.hyper.items()}
    found |= {f"`{name}`": str(p.type) for name, p in training.program.parameters().items()}
    for objective in training.objectives:
        found[f"the objective `{objective.name}`"] = _objective(objective)
    for update in training.updates:
        found[f"the update of {', '.join(f'`{path}`' for path in update.assigned)}"] = f"after {update.after} objectives"
    for follower in training.followers:
        how = f"every {follower.every}" if follower.decay is None else f"decay {follower.decay:g}"
        found[f"`{follower.layer}`, which follows `{follower.source}`,"] = how
    found[COMPUTATION] = _digest(training)
    return found


def _objective(objective: Objective) -> str:
    parts = [f"using {_rule(rule)}" for rule in objective.rules]
    if objective.clip is not None:
        parts.append(f"clip {objective.clip.kind} {objective.clip.limit:g}")
    if objective.every != 1:
        parts.append(f"every {objective.every}")
    return ", ".join(parts)


def _rule(rule: Rule) -> str:
    rate = constant_of(rule.rate)
    settings = {"lr": "a schedule" if rate is None else f"{rate:g}", **{n: str(v) for n, v in rule.settings.items()}}
    given = ", ".join(f"{name}={value}" for name, value in settings.items())
    return f"{rule.name}({given}) for {len(rule.parameters)} tensors"


def _digest(training: Training) -> str:
    programs = [entries_of(training)]
    programs += [Program("rule", graphs_of(r)) for o in training.objectives for r in o.rules]
    text = "\n".join(print_program(p) for p in programs)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
