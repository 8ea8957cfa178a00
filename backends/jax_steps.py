"""One step of a training in JAX: a function for what each objective does, and one that calls them in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backends.base import TrainOptions
from backends.jax_facts import Facts
from backends.trainings import followers_of, layers_of, reporting, rules_of, shared, split_inputs
from backends.writer import Expression, Line, Namespace, Precedence, call, fits, number, number_text, quoted, sequence
from dsl.ir import Graph
from dsl.training import Follower, Objective, Rule, Training, Update

LOCALS = (
    "training", "params", "state", "moments", "key", "keys", "step", "found", "trained", "gradients", "updates", "objective",
    "batch", "part", "total", "value", "due", "optimizer", "mine", "theirs", "more", "scales", "_",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """What the text of a step needs to know. `entries` are the functions of the entry points, `stateful` says that there are buffers."""

    training: Training
    how: TrainOptions
    names: Namespace
    entries: Mapping[str, str]
    facts: Mapping[int, Facts]
    stateful: bool
    copied: Callable[[str], str]

    def graph(self, entry: str) -> Graph:
        if entry == "draws" and self.training.draws is not None:
            return self.training.draws
        return self.training.program.entries[entry]

    def fact(self, entry: str) -> Facts:
        return self.facts[id(self.graph(entry))]

    def drawing(self) -> list[str]:
        """The entry points that take a key, the draws first."""
        entries = ["draws"] if self.training.draws is not None else []
        entries += [turn.entry for turn in self.training.turns if self.fact(turn.entry).key]
        return entries


class StepWriter:
    """Writes the functions of the objectives, `train_step` and `evaluate`. `groups` are names for the parameters of rules, by key."""

    def __init__(self, block: Block, groups: Mapping[str, str]) -> None:
        self.block = block
        self.groups = groups
        self.training = block.training
        self.scope = Namespace(LOCALS, block.names)
        self.inputs = {name: self.scope.new(name) for name in self.training.inputs}
        draws = self.training.draws
        self.drawn = {name: self.scope.new(name) for name in draws.outputs} if draws is not None else {}
        self.variables = {**self.inputs, **self.drawn}
        self.updates = {o.name: block.names.new(f"update_{o.name}") for o in self.training.objectives}
        self.drawing = block.drawing()

    # --- an objective ---

    def update(self, objective: Objective) -> list[Line]:
        """The function of one objective."""
        graph = self.block.graph(objective.entry)
        facts = self.block.fact(objective.entry)
        plateau = any(rule.plateau for rule in objective.rules)
        given = ["params", *(["state"] if facts.state else []), "moments", *(["scales"] if plateau else [])]
        given += [self.variables[name] for name in graph.inputs]
        given += ["key"] if facts.key else []
        results = self._results(graph)
        lines = [Line(0, "def ", call(self.updates[objective.name], *given), ":")]
        lines += [Line(1, f'"""One update by the gradient of {objective.name}."""'), Line(0, "")]
        lines += self._objective(objective, graph, facts, results)
        lines += self._gradients(objective, graph, facts, results)
        if objective.clip is not None:
            clip = self.block.copied(f"clip_by_{objective.clip.kind}")
            lines.append(Line(1, "gradients = ", call(clip, "gradients", number(objective.clip.limit))))
        lines += self._applied(objective)
        found = ["params", *(["state"] if facts.state else []), "moments", "found"]
        return [*lines, Line(1, f"return {', '.join(found)}")]

    def _results(self, graph: Graph) -> list[str]:
        scope = Namespace(self.variables.values(), self.scope)
        return ["value", *(scope.new(name) for name in list(graph.outputs)[1:])]

    def _found(self, objective: Objective, results: Sequence[str]) -> Expression:
        metrics = list(self.block.graph(objective.entry).outputs)[1:]
        items = [f"{quoted(k)}: {v}" for k, v in zip((objective.name, *metrics), results, strict=True)]
        return Expression(f"{{{', '.join(items)}}}")

    def _objective(self, objective: Objective, graph: Graph, facts: Facts, results: Sequence[str]) -> list[Line]:
        """The function that is differentiated: loss, and beside it metrics and the new state."""
        variables = [self.variables[name] for name in graph.inputs]
        accumulated = self.block.how.accumulate > 1
        own = ["state"] if facts.state else []
        batch = [*own, *variables, *(["key"] if facts.key else [])] if accumulated else own
        lines = [Line(1, "def ", call("objective", "trained", *batch), ":")]
        params = self._merged(objective)
        if self.block.how.amp is not None:
            half = self.block.copied("in_bfloat16")
            params = f"{half}({params})"
            floats = [self.variables[n] for n, v in graph.inputs.items() if graph.type(v).dtype.is_float]
            variables = [f"{half}({v})" if v in floats else v for v in variables]
        given = [params, *own, *variables, "training=True", *(["key=key"] if facts.key else [])]
        made = call(self.block.entries[objective.entry], *given)
        several = f"({', '.join(results)})" if facts.state and len(results) > 1 else ", ".join(results)
        lines.append(Line(2, f"{several}{', state' if facts.state else ''} = ", made))
        if self.block.how.amp is not None:
            lines += [Line(2, f"{result} = {result}.astype(jnp.float32)") for result in results]
        found = self._found(objective, results).text
        line = Line(2, f"return value, {f'({found}, state)' if facts.state else found}")
        if len(line.prefix) + 8 > 88:
            line = Line(2, f"return value, {'(found, state)' if facts.state else 'found'}")
            lines.append(Line(2, "found = ", call("dict", *(f"{k}={v}" for k, v in self._pairs(objective, results)))))
        return [*lines, line, Line(0, "")]

    def _pairs(self, objective: Objective, results: Sequence[str]) -> list[tuple[str, str]]:
        metrics = list(self.block.graph(objective.entry).outputs)[1:]
        return list(zip((objective.name, *metrics), results, strict=True))

    def _merged(self, objective: Objective) -> str:
        """All parameters, those of the objective being the ones that are differentiated."""
        layers = layers_of(self.training, objective.parameters)
        if len(objective.rules) > 1 or layers is None:
            return call(self.block.copied("with_leaves"), "params", "trained").text
        return "{**params, **trained}" if layers else "trained"

    def _taken(self, objective: Objective) -> Expression:
        layers = layers_of(self.training, objective.parameters)
        if len(objective.rules) > 1 or layers is None:
            names = [self.groups[key] for key, _ in rules_of(objective)]
            return call(self.block.copied("selected"), "params", " + ".join(names))
        if not layers:
            return Expression("params")
        return Expression(f"{{{', '.join(f'{quoted(n)}: params[{quoted(n)}]' for n in layers)}}}")

    def _gradients(self, objective: Objective, graph: Graph, facts: Facts, results: Sequence[str]) -> list[Line]:
        parts = self.block.how.accumulate
        differentiated = "jax.value_and_grad(objective, has_aux=True)"
        also = "(found, state)" if facts.state else "found"
        taken = self._taken(objective)
        trained = taken.text
        before = []
        if trained != "params":
            before, trained = [Line(1, "trained = ", taken)], "trained"
        if parts == 1:
            target = f"(_, {also}), gradients = "
            given = [trained, *(["state"] if facts.state else [])]
            applied = Expression(f"{differentiated}({', '.join(given)})", head=differentiated, arguments=tuple(given))
            return [*before, Line(1, target, applied)]
        split = split_inputs(self.training, graph)
        pieces = {**{name: self.variables[name] for name in graph.inputs}}
        cut = [f"{self.variables[n]}.reshape({parts}, -1, *{self.variables[n]}.shape[1:])" for n in split]
        keys = [f"random.split(key, {parts})"] if facts.key else []
        items = [*cut, *keys]
        together = [Line(1, "batch = ("), *(Line(2, f"{item},") for item in items), Line(1, ")")]
        lines = [*before, *(together if len(items) > 1 else [Line(1, f"batch = ({items[0]},)")]), Line(0, "")]
        names = [*(pieces[n] for n in split), *(["key"] if facts.key else [])]
        given = [*(["state"] if facts.state else []), *(pieces[n] for n in graph.inputs), *(["key"] if facts.key else [])]
        unpacked = f"{names[0]}, = part" if len(names) == 1 else f"{', '.join(names)} = part"
        if len(names) == 1:
            unpacked = f"({names[0]},) = part"
        unpack = [Line(2, "gradients, state = total")] if facts.state else []
        lines += [
            Line(1, f"def add({'total' if facts.state else 'gradients'}, part):"),
            *unpack,
            Line(2, unpacked),
            Line(2, f"of = {differentiated}"),
            Line(2, f"(_, {also}), more = ", call("of", trained, *given)),
            Line(2, "gradients = jax.tree.map(jnp.add, gradients, more)"),
            Line(2, f"return {'(gradients, state)' if facts.state else 'gradients'}, found"),
            Line(0, ""),
            Line(1, f"zeros = jax.tree.map(jnp.zeros_like, {trained})"),
        ]
        first = "(zeros, state)" if facts.state else "zeros"
        result = "(gradients, state)" if facts.state else "gradients"
        return [
            *lines,
            Line(1, f"{result}, found = ", call("lax.scan", "add", first, "batch")),
            Line(1, f"gradients = jax.tree.map(lambda g: g / {parts}, gradients)"),
            Line(1, "found = jax.tree.map(jnp.mean, found)"),
        ]

    def _applied(self, objective: Objective) -> list[Line]:
        layers = layers_of(self.training, objective.parameters)
        rules = rules_of(objective)
        if len(rules) > 1:
            put = self.block.copied("with_leaves")
            take = self.block.copied("selected")
            lines = [Line(1, "moments = dict(moments)")]
            for key, rule in rules:
                group = self.groups[key]
                lines += [
                    Line(1, f"optimizer, mine = OPTIMIZERS[{quoted(key)}], ", call(take, "params", group)),
                    Line(1, "theirs = ", call(take, "gradients", group)),
                    Line(
                        1,
                        f"updates, moments[{quoted(key)}] = ",
                        call("optimizer.update", "theirs", f"moments[{quoted(key)}]", "mine"),
                    ),
                    *self._scaled(key, rule),
                    Line(1, "params = ", call(put, "params", "optax.apply_updates(mine, updates)")),
                ]
            return lines
        ((key, rule),) = rules
        trained = "params" if layers == [] else "trained"
        lines = [
            Line(1, f"optimizer = OPTIMIZERS[{quoted(key)}]"),
            Line(1, "updates, moments = ", call("optimizer.update", "gradients", "moments", trained)),
            *self._scaled(key, rule),
        ]
        new = f"optax.apply_updates({trained}, updates)"
        if layers == []:
            return [*lines, Line(1, f"params = {new}")]
        if layers:
            return [*lines, Line(1, f"params = {{**params, **{new}}}")]
        return [*lines, Line(1, "params = ", call(self.block.copied("with_leaves"), "params", new))]

    def _scaled(self, key: str, rule: Rule) -> list[Line]:
        if rule.plateau is None:
            return []
        return [Line(1, f"updates = jax.tree.map(lambda u: scales[{quoted(key)}] * u, updates)")]

    # --- the step ---

    def train_step(self) -> list[Line]:
        key = ["key"] if self.drawing else []
        turns = "every objective in turn, on what the others left" if self.training.objectives else "every update"
        lines = [
            Line(0, "@partial(jax.jit, donate_argnums=0)"),
            Line(0, "def ", call("train_step", "training", *key, *self.inputs.values()), ":"),
            Line(1, f'"""One step: {turns}."""'),
            Line(1, 'params, moments = training["params"], dict(training["moments"])'),
        ]
        if self.block.stateful:
            lines.append(Line(1, 'state = training["state"]'))
        lines += self._keys('random.fold_in(key, training["step"])')
        lines += self._draws(True)
        lines.append(Line(1, "found = {}"))
        for turn in self.training.turns:
            lines += self._update(turn) if isinstance(turn, Update) else self._turn(turn)
        for follower in followers_of(self.training):
            lines += self._follow(follower)
        fields = ['"params": params', *(['"state": state'] if self.block.stateful else []), '"moments": moments']
        lines.append(Line(1, 'step = training["step"] + 1'))
        text = f'training = {{**training, {", ".join(fields)}, "step": step}}'
        if len(text) + 4 > 88:
            return [*lines, Line(1, f'new = {{{", ".join(fields)}, "step": step}}'), Line(1, "return {**training, **new}, found")]
        return [*lines, Line(1, text), Line(1, "return training, found")]

    def _keys(self, made: str) -> list[Line]:
        if not self.drawing:
            return []
        lines = [Line(1, f"key = {made}")]
        return [*lines, Line(1, f"keys = random.split(key, {len(self.drawing)})")] if len(self.drawing) > 1 else lines

    def _key(self, entry: str, position: int | None = None) -> str:
        places = [i for i, name in enumerate(self.drawing) if name == entry]
        return "key" if len(self.drawing) == 1 else f"keys[{places[0]}]"

    def _draws(self, training: bool) -> list[Line]:
        draws = self.training.draws
        if draws is None:
            return []
        facts = self.block.fact("draws")
        given = ["params", *(["state"] if facts.state else []), *(self.inputs[n] for n in draws.inputs)]
        made = call(self.block.entries["draws"], *given, *(["training=True"] if training else []), f"key={self._key('draws')}")
        names = ", ".join(self.drawn.values())
        if facts.state:
            names = f"({names}), _" if len(self.drawn) > 1 else f"{names}, _"
        return [Line(1, f"{names} = ", made)]

    def _turn(self, objective: Objective) -> list[Line]:
        facts = self.block.fact(objective.entry)
        graph = self.block.graph(objective.entry)
        own = ["state"] if facts.state else []
        moments = f"moments[{quoted(objective.name)}]"
        scales = ['training["scales"]'] if any(r.plateau for r in objective.rules) else []
        given = ["params", *own, moments, *scales, *(self.variables[n] for n in graph.inputs)]
        given += [self._key(objective.entry)] if facts.key else []
        target = f"{', '.join(['params', *own, moments])}, more = "
        name = self.updates[objective.name]
        if objective.every == 1:
            return [Line(1, target, call(name, *given)), Line(1, "found |= more")]
        metrics = [objective.name, *list(graph.outputs)[1:]]
        none = call("dict.fromkeys", sequence(map(quoted, metrics)), "jnp.full((), jnp.nan)")
        skip = self.block.names.new(f"skip_{objective.name}")
        kept = ["params", *own, "moments"]
        return [
            Line(0, ""),
            Line(1, f"def {skip}({', '.join(kept)}, *_):"),
            Line(2, "found = ", none),
            Line(2, f"return {', '.join(kept)}, found"),
            Line(0, ""),
            Line(1, f'due = training["step"] % {objective.every} == 0'),
            Line(1, target, call("lax.cond", "due", name, skip, *given)),
            Line(1, "found |= more"),
        ]

    def _follow(self, follower: Follower) -> list[Line]:
        mine, theirs = ("".join(f"[{quoted(p)}]" for p in path.split(".")) for path in (follower.layer, follower.source))
        trees = [
            tree
            for tree, trained in (("params", True), ("state", False))
            if any(
                p.trained is trained and n.startswith(f"{follower.layer}.") for n, p in self.training.program.parameters().items()
            )
        ]
        lines = []
        for tree in trees:
            blend = self._blend(follower, tree)
            lines += [
                Line(1, f"{tree} = dict({tree})"),
                Line(1, f"{tree}{mine} = ", call("jax.tree.map", blend, f"{tree}{mine}", f"{tree}{theirs}")),
            ]
        if follower.decay is None and (follower.every or 1) != 1:
            lines[:0] = [Line(1, f'due = (training["step"] + 1) % {follower.every} == 0')]
        return lines

    def _blend(self, follower: Follower, tree: str) -> str:
        if follower.decay is not None:
            share = Expression(f"1 - {number_text(follower.decay)}", Precedence.SUM).within(Precedence.PRODUCT)
            return f"lambda a, b: a + {share} * (b - a)" if tree == "params" else "lambda a, b: jnp.copy(b)"
        return "lambda a, b: jnp.where(due, b, a)" if (follower.every or 1) != 1 else "lambda a, b: jnp.copy(b)"

    # --- updates ---

    def _computed(self, turn: Objective | Update, results: Sequence[str], state: str, *, training: bool) -> Line:
        """`value, accuracy = loss(params, x)`; where there is state, it is the second of two results."""
        graph, facts = self.block.graph(turn.entry), self.block.fact(turn.entry)
        given = ["params", *(["state"] if facts.state else []), *(self.variables[n] for n in graph.inputs)]
        given += ["training=True"] if training else []
        given += [f"key={self._key(turn.entry)}"] if facts.key else []
        several = f"({', '.join(results)})" if facts.state and len(results) > 1 else ", ".join(results)
        return Line(1, f"{several}{f', {state}' if facts.state else ''} = ", call(self.block.entries[turn.entry], *given))

    def _changed(self, update: Update) -> dict[str, str]:
        """Variables for the outputs of its entry point, by their names."""
        scope = Namespace(self.variables.values(), self.scope)
        return {name: scope.new(name) for name in self.block.graph(update.entry).outputs}

    def _update(self, update: Update) -> list[Line]:
        results = self._changed(update)
        copied = shared(self.block.graph(update.entry), update)
        values = {n: f"jnp.copy({v})" if n in copied else v for n, v in results.items()}
        owned = self.training.program.parameters()
        lines = [self._computed(update, list(results.values()), "state", training=True)]
        for tree, trained in (("params", True), ("state", False)):
            paths = {path: values[name] for path, name in update.assigned.items() if owned[path].trained is trained}
            if any("." in path for path in paths):
                new = f"{{{', '.join(f'{quoted(path)}: {value}' for path, value in paths.items())}}}"
                lines.append(Line(1, f"{tree} = ", call(self.block.copied("replaced"), tree, new)))
            elif paths:
                lines += _with_items(tree, [f"{quoted(path)}: {value}" for path, value in paths.items()])
        return [*lines, *(Line(1, f"found[{quoted(name)}] = {results[name]}") for name in self.training.reported(update))]

    def _reported(self, update: Update) -> list[Line]:
        names = self.training.reported(update)
        results = self._changed(update)
        lines = [self._computed(update, [*(results[name] for name in names), "*_"], "_", training=False)]
        return [*lines, *(Line(1, f"found[{quoted(name)}] = {results[name]}") for name in names)]

    # --- evaluation ---

    def evaluate(self) -> list[Line]:
        key = ["key"] if self.drawing else []
        lines = [
            Line(0, "@jax.jit"),
            Line(0, "def ", call("evaluate", "training", *key, *self.inputs.values()), ":"),
            Line(1, '"""The losses and metrics in inference mode."""'),
            Line(1, 'params = training["params"]'),
        ]
        reported = reporting(self.training)
        if self.block.stateful and any(self.block.fact(turn.entry).state for turn in reported):
            lines.append(Line(1, 'state = training["state"]'))
        if len(self.drawing) > 1:
            lines.append(Line(1, f"keys = random.split(key, {len(self.drawing)})"))
        lines += [*self._draws(False), Line(1, "found = {}")]
        for turn in reported:
            if isinstance(turn, Update):
                lines += self._reported(turn)
                continue
            results = self._results(self.block.graph(turn.entry))
            lines.append(self._computed(turn, results, "_", training=False))
            lines += [Line(1, f"found[{quoted(k)}] = {v}") for k, v in self._pairs(turn, results)]
        return [*lines, Line(1, "return found")]


def _with_items(tree: str, items: Sequence[str]) -> list[Line]:
    """`state = {**state, "mean": mean}`, an item a line where that is long."""
    alone = Line(1, f"{tree} = {{**{tree}, {', '.join(items)}}}")
    if fits(alone):
        return [alone]
    return [Line(1, f"{tree} = {{"), *(Line(2, f"{item},") for item in (f"**{tree}", *items)), Line(1, "}")]
