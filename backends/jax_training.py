"""A training as a file of JAX and optax: the functions of the model, an update for each objective, one jitted step, and a small loop.

The state of a training is a dict: `params`, `state` where there are buffers, `moments` of the optimizers and the number of the `step`. The
loop is there so that the file is of use alone; dslc's own loop calls `init_training`, `train_step` and `evaluate`.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

from backends.base import EmitOptions, TrainOptions
from backends.jax_facts import facts_of_all
from backends.jax_file import FileWriter, layers
from backends.jax_optimizers import spelled
from backends.jax_steps import LOCALS, Block, StepWriter
from backends.python_scalars import constant_of
from backends.trainings import entries_of, followers_of, graphs_of, layers_of, rules_of
from backends.writer import Expression, Line, call, number_text, quoted, rendered, sequence
from dsl.training import Rule, Training

UPDATES_FILE = Path(__file__).with_name("jax_updates.py")
RESERVED = (
    "optax", "np", "argparse", "partial", "init_training", "train_step", "evaluate", "train", "main", "OPTIMIZERS",
)  # fmt: skip


def training_source(training: Training, options: EmitOptions, how: TrainOptions) -> str:
    """The text of the file."""
    return TrainingWriter(training, options, how).text()


@lru_cache(maxsize=1)
def _updates() -> dict[str, str]:
    """The functions of jax_updates.py as text, by name."""
    text = UPDATES_FILE.read_text(encoding="utf-8")
    lines = text.splitlines()
    defined = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return {node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno]) + "\n" for node in defined}


class TrainingWriter(FileWriter):
    """Writes the file of a training: that of its program, and more."""

    def __init__(self, training: Training, options: EmitOptions, how: TrainOptions) -> None:
        super().__init__(entries_of(training), options)
        self.training = training
        self.how = how
        self.mixed = how.amp is not None
        for name in (*RESERVED, *_updates()):
            self.names.new(name)
        taken = {*RESERVED, *LOCALS, *_updates()}
        self.entries = {e: self.names.new(f"{e}_of") if name in taken else name for e, name in self.entries.items()}
        rules = [rule for objective in training.objectives for rule in objective.rules]
        graphs = [g for rule in rules for g in graphs_of(rule).values()]
        self.facts |= facts_of_all(graphs)
        known = {id(g): g for root in graphs for g in root.callees()}
        self.graphs += [g for g in known.values() if all(g is not h for h in self.graphs)]

    def library(self) -> dict[str, str]:
        return {**layers(), **_updates()}

    def header(self) -> str:
        by = f"dslc {self.options.version}".strip()
        source = f" from {self.options.source}" if self.options.source else ""
        made = "params, state" if self.stateful else "params"
        given = ", ".join(["training", *(["key"] if self._block({}).drawing() else []), *self.training.inputs])
        paragraphs = [
            f"The training {self.training.name} in JAX, generated{source} by {by}.",
            self.training.doc,
            f"Call {made} = init(jax.random.key(0)) and training = init_training({made}), then training, found = train_step({given}) "
            "again and again.",
        ]
        return "\n\n".join(p for p in paragraphs if p)

    def _block(self, _: dict[str, str]) -> Block:
        return Block(self.training, self.how, self.names, self.entries, self.facts, self.stateful, self.copied)

    def more(self) -> list[str]:
        groups, tables = self._groups()
        steps = StepWriter(self._block(groups), groups)
        optimizers = rendered(self._optimizers())
        updates = [rendered(steps.update(o)) for o in self.training.objectives]
        begin = rendered(self._begin(groups))
        loop = self._loop(steps)
        return [
            "\n".join([*tables, optimizers]),
            begin,
            *updates,
            rendered(steps.train_step()),
            rendered(steps.evaluate()),
            *loop,
        ]

    # --- optimizers ---

    def _groups(self) -> tuple[dict[str, str], list[str]]:
        """Names for the parameters of rules that have neither all nor those of whole layers, and their tables."""
        groups: dict[str, str] = {}
        tables = []
        for objective in self.training.objectives:
            several = len(objective.rules) > 1
            for key, rule in rules_of(objective):
                if several or layers_of(self.training, rule.parameters) is None:
                    groups[key] = self.names.new(key.upper().replace(" ", "_"))
                    items = [Line(1, f"{quoted(n)},") for n in rule.parameters]
                    tables.append(rendered([Line(0, f"{groups[key]} = ("), *items, Line(0, ")")]))
        return groups, tables

    def _optimizers(self) -> list[Line]:
        if not self.training.objectives:
            return [Line(0, "OPTIMIZERS = {}")]
        lines = [Line(0, "OPTIMIZERS = {")]
        for objective in self.training.objectives:
            for key, rule in rules_of(objective):
                lines.append(Line(1, f"{quoted(key)}: ", self._optimizer(rule), ","))
        return [*lines, Line(0, "}")]

    def _optimizer(self, rule: Rule) -> Expression:
        constant = constant_of(rule.rate)
        rate = number_text(constant) if constant is not None else self._function("learning_rate", rule, "rate")
        text = spelled(rule.name, rule.settings) if rule.library else None
        if text is None:
            state = sequence(map(quoted, rule.state)) if rule.state else None
            return call(self.copied("by_rule"), self._function(rule.name, rule, "update"), rate, *([state] if state else []))
        return _call_of(text.replace("{rate}", rate))

    def _function(self, wanted: str, rule: Rule, what: str) -> str:
        name, keywords = self.function(graphs_of(rule)[what], wanted)
        return name if not keywords else f"partial({', '.join([name, *keywords])})"

    def _begin(self, groups: dict[str, str]) -> list[Line]:
        given = ("params", "state") if self.stateful else ("params",)
        lines = [
            Line(0, "def ", call("init_training", *given), ":"),
            Line(1, '"""A training at its beginning."""'),
        ]
        for follower in followers_of(self.training):
            for tree in given:
                if self._owns(follower.layer, tree == "params"):
                    source = "".join(f"[{quoted(p)}]" for p in follower.source.split("."))
                    copied = call("jax.tree.map", "jnp.copy", f"{tree}{source}")
                    lines.append(Line(1, f"{tree} = {{**{tree}, {quoted(follower.layer)}: ", copied, "}"))
        lines.append(Line(1, "moments = {}"))
        scales = []
        for objective in self.training.objectives:
            inner = []
            for key, rule in rules_of(objective):
                if rule.plateau is not None:
                    scales.append(f"{quoted(key)}: jnp.ones(())")
                held = self._held(rule, groups.get(key))
                head = f"OPTIMIZERS[{quoted(key)}].init"
                made = Expression(f"{head}({held})", head=head, arguments=(held,))
                if len(objective.rules) > 1:
                    inner.append(Line(2, f"{quoted(key)}: ", made, ","))
                else:
                    lines.append(Line(1, f"moments[{quoted(key)}] = ", made))
            if inner:
                lines += [Line(1, f"moments[{quoted(objective.name)}] = {{"), *inner, Line(1, "}")]
        fields = ['"params": params', *(['"state": state'] if self.stateful else []), '"moments": moments']
        fields += [f'"scales": {{{", ".join(scales)}}}'] if scales else []
        fields.append('"step": jnp.zeros((), jnp.int32)')
        return [*lines, Line(1, "return {"), *(Line(2, f"{f},") for f in fields), Line(1, "}")]

    def _owns(self, layer: str, trained: bool) -> bool:
        found = self.training.program.parameters().items()
        return any(p.trained is trained and n.startswith(f"{layer}.") for n, p in found)

    def _held(self, rule: Rule, group: str | None) -> str:
        if group is not None:
            return call(self.copied("selected"), "params", group).text
        names = layers_of(self.training, rule.parameters)
        if not names:
            return "params"
        return f"{{{', '.join(f'{quoted(n)}: params[{quoted(n)}]' for n in names)}}}"

    # --- the loop ---

    def _loop(self, steps: StepWriter) -> list[str]:
        first = next(iter(self.training.inputs))
        key = ["random.key(seed)"] if steps.drawing else []
        batch = [f"data[{quoted(n)}][rows]" for n in self.training.inputs]
        made = "*init(random.key(seed))" if self.stateful else "init(random.key(seed))"
        trees = 'training["params"], training["state"]' if self.stateful else 'training["params"]'
        train = [
            Line(0, "def train(data, steps=1000, batch=64, seed=0):"),
            Line(1, '"""Train on arrays whose first axis is that of the examples."""'),
            Line(1, "generator = np.random.default_rng(seed)"),
            Line(1, f"training = init_training({made})"),
            Line(1, "for step in range(steps):"),
            Line(2, f"rows = generator.integers(len(data[{quoted(first)}]), size=batch)"),
            Line(2, "training, found = ", call("train_step", "training", *key, *batch)),
            Line(2, "if step % 100 == 0 or step == steps - 1:"),
            Line(3, "print(step, {name: round(float(x), 4) for name, x in found.items()})"),
            Line(1, "return training"),
        ]
        arrays = [
            Line(3, f"{quoted(n)}: ", call(f"file[{quoted(n)}].astype", self.dtype(t.dtype)), ",")
            for n, t in self.training.inputs.items()
        ]
        main = [
            Line(0, "def main():"),
            Line(1, '"""Read the data, train, write the weights."""'),
            Line(1, "parser = argparse.ArgumentParser()"),
            Line(1, f'parser.add_argument("data", help={quoted("an .npz file: " + ", ".join(self.training.inputs))})'),
            Line(1, 'parser.add_argument("weights", help="where the weights go, .npz")'),
            Line(1, 'parser.add_argument("--steps", type=int, default=1000)'),
            Line(1, 'parser.add_argument("--batch", type=int, default=64)'),
            Line(1, 'parser.add_argument("--seed", type=int, default=0)'),
            Line(1, "given = parser.parse_args()"),
            Line(1, "with np.load(given.data) as file:"),
            Line(2, "data = {"),
            *arrays,
            Line(2, "}"),
            Line(1, "training = train(data, given.steps, given.batch, given.seed)"),
            Line(1, f"np.savez(given.weights, **to_named({trees}))"),
        ]
        run = [Line(0, 'if __name__ == "__main__":'), Line(1, "main()")]
        return [rendered(train), rendered(main), rendered(run)]


def _call_of(text: str) -> Expression:
    """A call as an expression that may be broken over lines."""
    made = ast.parse(text, mode="eval").body
    assert isinstance(made, ast.Call)
    parts = [ast.get_source_segment(text, a) or "" for a in made.args]
    parts += [f"{k.arg}={ast.get_source_segment(text, k.value)}" for k in made.keywords]
    return call(ast.unparse(made.func), *parts)
