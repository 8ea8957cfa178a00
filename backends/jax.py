"""The JAX backend: a program as pure functions on nested dicts of parameters, in one file that imports jax alone.

`init(key)` makes the parameters, `apply(params, inputs...)` and the other entry points use them, `from_named` and `to_named` translate
between the nested form and the flat names of the spec. Rows are in jax_rows.py and jax_library.py, functions in jax_module.py.
"""

from __future__ import annotations

from backends.base import Arrays, Artifact, EmitOptions, Session, TrainingSession, TrainOptions, Unsupported
from backends.jax_file import FileWriter, entry_names, needs_x64
from backends.jax_rows import ROWS
from backends.trainings import draws
from dsl.ir import Node, Program
from dsl.training import Rule, Training


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

    def rule_refusal(self, rule: Rule, how: TrainOptions) -> str | None:
        return (
            "optax.lbfgs does one iteration a step, by another line search, and has other settings; train with `--backend torch`"
        )

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
