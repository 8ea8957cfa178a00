"""The JAX backend: a program as pure functions on nested dicts of parameters, in one file that imports jax alone.

`init(key)` makes the parameters, `apply(params, inputs...)` and the other entry points use them, `from_named` and `to_named` translate
between the nested form and the flat names of the spec. Rows are in jax_rows.py and jax_library.py, functions in jax_module.py.
"""

from __future__ import annotations

from backends.base import Arrays, Artifact, EmitOptions, Session, TrainingSession, TrainOptions, Unsupported
from backends.jax_file import FileWriter, entry_names, needs_x64
from backends.jax_init import stacked_leaves
from backends.jax_rows import ROWS
from backends.trainings import draws
from dsl.ir import Node, Program
from dsl.ops.registry import CARDS
from dsl.training import Rule, Training

ELEMENTWISE = frozenset({"input", "const", "call", "full", *(name for name, card in CARDS.items() if card.elementwise)})


class JaxBackend:
    """Emits and runs JAX programs."""

    name = "jax"
    summary = "pure functions in JAX, one file"
    requires = ("jax",)
    training = True

    def refusal(self, node: Node, options: EmitOptions) -> str | None:
        row = ROWS.get(node.op)
        return row.because if isinstance(row, Unsupported) else None

    def emit(self, program: Program, options: EmitOptions, weights: Arrays | None = None) -> Artifact:
        return Artifact(".py", FileWriter(program, options).text().encode())

    def load(self, artifact: Artifact, program: Program, weights: Arrays, *, device: str = "cpu") -> Session:
        from backends.jax_session import JaxSession

        return JaxSession(artifact.content.decode(), program, entry_names(program), weights, needs_x64(program), device)

    def rule_refusal(self, rule: Rule, program: Program, how: TrainOptions) -> str | None:
        if rule.update is None:
            return "optax.lbfgs does one iteration a step, by another line search, and has other settings; use `--backend torch`"
        own = set(rule.parameters)
        for leaf in (leaf for graph in program.entries.values() for leaf in stacked_leaves(graph) if leaf & own):
            name = sorted(leaf & own)[0]
            if not leaf <= own:
                return f"`{name}` is one array with the copies of a long `repeat` that the rule is not for"
            if not all(n.op in ELEMENTWISE for g in rule.update.callees() for n in g):
                return f"`{name}` is one array with the other copies of a long `repeat`, which a rule that is not elementwise would mix"
        return None

    def emit_training(self, training: Training, options: EmitOptions, how: TrainOptions) -> Artifact:
        from backends.jax_training import training_source

        return Artifact(".py", training_source(training, options, how).encode())

    def load_training(
        self, artifact: Artifact, training: Training, weights: Arrays, *, seed: int = 0, device: str = "cpu"
    ) -> TrainingSession:
        from backends.jax_trainer import JaxTraining

        drawing, x64 = draws(training), needs_x64(training.program)
        return JaxTraining(artifact.content.decode(), training, weights, drawing=drawing, x64=x64, seed=seed, device=device)


BACKEND = JaxBackend()
