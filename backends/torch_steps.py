"""One step of a training in PyTorch: what each objective does, in order, and the layers that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.base import TrainOptions
from backends.python_scalars import constant_of
from backends.torch_names import is_plain
from backends.trainings import followers_of, lives_on, reporting, rules_of, shared, split_inputs, waits
from backends.writer import Expression, Line, Namespace, Precedence, binary, call, fits, number, quoted
from dsl.ir import Graph
from dsl.training import Follower, Objective, Training, Update


@dataclass(frozen=True, slots=True)
class Block:
    """What the text of a step needs to know: the class of the block, its methods by entry point, the functions of learning rates."""

    training: Training
    how: TrainOptions
    names: Namespace
    kind: str
    methods: Mapping[str, str]
    rates: Mapping[int, str]

    def graph(self, entry: str) -> Graph:
        if entry == "draws" and self.training.draws is not None:
            return self.training.draws
        return self.training.program.entries[entry]


LOCALS = (
    "loss", "model", "optimizers", "optimizer", "closure", "step", "found", "parameters", "scales", "part", "parts", "mine", "theirs",
    "name", "parameter", "buffer", "_",
)  # fmt: skip


class StepWriter:
    """Writes `train_step` and `evaluate`."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.training = block.training
        self.scope = Namespace(LOCALS, block.names)
        self.inputs = {name: self.scope.new(name) for name in self.training.inputs}
        draws = self.training.draws
        self.drawn = {name: self.scope.new(name) for name in draws.outputs} if draws is not None else {}
        self.variables = {**self.inputs, **self.drawn}
        self.waits = waits(self.training)

    def train_step(self) -> list[Line]:
        given = [f"model: {self.block.kind}", "optimizers: dict[str, torch.optim.Optimizer]"]
        given += ["scales: dict[str, float]"] if self.waits else []
        given += ["step: int"]
        turns = "every objective in turn, on what the others left" if self.training.objectives else "every update"
        about = f'"""Step `step`, counted from 0: {turns}."""'
        lines = [*self._head("train_step", given), Line(1, about)]
        lines += self._draws()
        lines.append(Line(1, "found: dict[str, Tensor] = {}"))
        for turn in self.training.turns:
            lines += self._update(turn) if isinstance(turn, Update) else self._objective(turn)
        for follower in followers_of(self.training):
            lines += self._follow(follower)
        return [*lines, Line(1, "return found")]

    def evaluate(self) -> list[Line]:
        lines = [Line(0, "@torch.no_grad()"), *self._head("evaluate", [f"model: {self.block.kind}"])]
        lines += [Line(1, '"""The losses and metrics in inference mode."""'), Line(1, "model.eval()")]
        lines += [*self._draws(), Line(1, "found: dict[str, Tensor] = {}")]
        for turn in reporting(self.training):
            if isinstance(turn, Update):
                lines += self._reported(turn)
                continue
            variables = self._results(turn)
            lines += self._computed(turn, variables, self.variables, 1)
            lines += [Line(1, f"found[{quoted(name)}] = {v}") for name, v in self._keys(turn, variables)]
        return [*lines, Line(1, "model.train()"), Line(1, "return found")]

    def _head(self, name: str, first: Sequence[str]) -> list[Line]:
        given = [*first, *(f"{v}: Tensor" for v in self.inputs.values())]
        return [Line(0, "def ", call(name, *given), " -> dict[str, Tensor]:")]

    def _draws(self) -> list[Line]:
        draws = self.training.draws
        if draws is None:
            return []
        made = call(f"model.{self.block.methods['draws']}", *(self.inputs[name] for name in draws.inputs))
        return [Line(1, "with torch.no_grad():"), Line(2, f"{', '.join(self.drawn.values())} = ", made)]

    # --- an objective ---

    def _results(self, objective: Objective) -> list[str]:
        """Variables for the outputs of its entry point, the loss first."""
        scope = Namespace((*LOCALS, *self.variables.values()), self.block.names)
        return ["loss", *(scope.new(name) for name in list(self.block.graph(objective.entry).outputs)[1:])]

    def _keys(self, objective: Objective, variables: Sequence[str]) -> list[tuple[str, str]]:
        metrics = list(self.block.graph(objective.entry).outputs)[1:]
        return list(zip((objective.name, *metrics), variables, strict=True))

    def _noted(self, objective: Objective, name: str, variable: str) -> str:
        """A result as it is now; what the step goes on to change is copied."""
        graph = self.block.graph(objective.entry)
        moves = name in graph.outputs and name != objective.name and lives_on(graph, name)
        return f"{variable}.detach().clone()" if moves else f"{variable}.detach()"

    def _computed(self, objective: Objective, results: Sequence[str], variables: Mapping[str, str], indent: int) -> list[Line]:
        graph = self.block.graph(objective.entry)
        made = call(f"model.{self.block.methods[objective.entry]}", *(variables[name] for name in graph.inputs))
        line = Line(indent, f"{', '.join(results)} = ", made)
        if self.block.how.amp is None:
            return [line]
        device = next(iter(self.inputs.values()))
        return [Line(indent, f"with torch.autocast({device}.device.type, torch.bfloat16):"), line.indented(1)]

    def _objective(self, objective: Objective) -> list[Line]:
        indent = 1
        lines = []
        if objective.every != 1:
            lines.append(Line(1, f"if step % {objective.every} == 0:"))
            indent = 2
        rules = rules_of(objective)
        optimizers = [f"optimizers[{quoted(key)}]" for key, _ in rules]
        if len(rules) == 1:
            lines.append(Line(indent, f"optimizer = {optimizers[0]}"))
            optimizers = ["optimizer"]
        count = "step" if objective.every == 1 else f"step // {objective.every}"
        for (key, rule), optimizer in zip(rules, optimizers, strict=True):
            if id(rule.rate) in self.block.rates:
                rate = call(self.block.rates[id(rule.rate)], count)
                scale = f" * scales[{quoted(key)}]" if rule.plateau is not None else ""
                lines.append(Line(indent, f'{optimizer}.param_groups[0]["lr"] = ', rate, scale))
            elif rule.plateau is not None:
                rate = number(constant_of(rule.rate) or 0.0)
                lines.append(Line(indent, f'{optimizer}.param_groups[0]["lr"] = {rate.text} * scales[{quoted(key)}]'))
        if any(rule.update is None for _, rule in rules):
            return [*lines, *self._closure(objective, indent)]
        lines += [Line(indent, f"{optimizer}.zero_grad()") for optimizer in optimizers]
        groups = [f'{optimizer}.param_groups[0]["params"]' for optimizer in optimizers]
        whole = self._is_whole(objective)
        parameters, naming = groups[0], []
        if len(groups) > 1 or (objective.clip is not None and not whole):
            parameters, naming = "parameters", _joined(groups, indent)
        if not whole:
            lines += naming
        lines += self._backward(objective, indent, None if whole else parameters)
        if whole and objective.clip is not None:
            lines += naming
        if objective.clip is not None:
            function = "clip_grad_norm_" if objective.clip.kind == "norm" else "clip_grad_value_"
            lines.append(Line(indent, "", call(f"nn.utils.{function}", parameters, number(objective.clip.limit))))
        return [*lines, *(Line(indent, f"{optimizer}.step()") for optimizer in optimizers)]

    def _closure(self, objective: Objective, indent: int) -> list[Line]:
        """The step of an optimizer that computes the loss several times: what is found is what it was at first."""
        results = self._results(objective)
        inputs = None if self._is_whole(objective) else 'optimizer.param_groups[0]["params"]'
        return [
            Line(indent, "def ", Expression("closure() -> Tensor"), ":"),
            Line(indent + 1, "optimizer.zero_grad()"),
            *self._computed(objective, results, self.variables, indent + 1),
            Line(indent + 1, "", call("loss.backward", inputs=inputs)),
            *(
                Line(indent + 1, "", call("found.setdefault", quoted(name), self._noted(objective, name, v)))
                for name, v in self._keys(objective, results)
            ),
            Line(indent + 1, "return loss"),
            Line(indent, "optimizer.step(closure)"),
        ]

    def _is_whole(self, objective: Objective) -> bool:
        """Whether no parameter but those of the objective could get a gradient, so that none must be named."""
        if len(self.training.objectives) > 1 or self.training.untrained or self.training.followers:
            return False
        trained = {name for name, p in self.training.program.parameters().items() if p.trained}
        return trained == set(objective.parameters)

    def _backward(self, objective: Objective, indent: int, inputs: str | None) -> list[Line]:
        results = self._results(objective)
        parts = self.block.how.accumulate
        keys = self._keys(objective, results)
        if parts == 1:
            lines = self._computed(objective, results, self.variables, indent)
            lines.append(Line(indent, "", call("loss.backward", inputs=inputs)))
            return [*lines, *(Line(indent, f"found[{quoted(name)}] = {self._noted(objective, name, v)}") for name, v in keys)]
        split = self._split(objective)
        scope = Namespace((*results, *self.variables.values()), self.scope)
        pieces = {name: scope.new(f"{self.variables[name]}_part") for name in split}
        names = ", ".join(quoted(name) for name, _ in keys)
        lines = [
            Line(indent, "found |= ", call("dict.fromkeys", f"({names},)" if len(keys) == 1 else f"({names})", "torch.zeros(())"))
        ]
        chunks = [f"{self.variables[name]}.chunk({parts})" for name in split]
        over = call("zip", *chunks, strict="True") if len(chunks) > 1 else Expression(chunks[0])
        lines.append(Line(indent, f"for {', '.join(pieces.values())} in ", over, ":"))
        lines += self._computed(objective, results, {**self.variables, **pieces}, indent + 1)
        scaled = binary(Expression("loss"), "/", number(parts))
        lines.append(Line(indent + 1, "", call(f"({scaled.text}).backward", inputs=inputs)))
        return [*lines, *(Line(indent + 1, f"found[{quoted(n)}] = found[{quoted(n)}] + {v}.detach() / {parts}") for n, v in keys)]

    def _split(self, objective: Objective) -> list[str]:
        """The inputs of the objective whose first axis is that of the batch."""
        return split_inputs(self.training, self.block.graph(objective.entry))

    # --- updates ---

    def _changed(self, update: Update) -> dict[str, str]:
        """Variables for the outputs of its entry point, by their names."""
        scope = Namespace((*LOCALS, *self.variables.values()), self.block.names)
        return {name: scope.new(name) for name in self.block.graph(update.entry).outputs}

    def _applied(self, update: Update, variables: Mapping[str, str]) -> Expression:
        graph = self.block.graph(update.entry)
        return call(f"model.{self.block.methods[update.entry]}", *(variables[name] for name in graph.inputs))

    def _update(self, update: Update) -> list[Line]:
        results = self._changed(update)
        graph = self.block.graph(update.entry)
        lines = [
            Line(1, "with torch.no_grad():"),
            Line(2, f"{', '.join(results.values())} = ", self._applied(update, self.variables)),
        ]
        if len(update.assigned) > 1:  # what is changed first may be read by the next
            lines += [Line(2, f"{results[name]} = {results[name]}.clone()") for name in shared(graph, update)]
        lines += [
            Line(2, "", call(f"{tensor_at(path, self._is_trained(path))}.copy_", results[name]))
            for path, name in update.assigned.items()
        ]
        reported = [(n, f"{results[n]}.clone()" if lives_on(graph, n) else results[n]) for n in self.training.reported(update)]
        return [*lines, *(Line(1, f"found[{quoted(name)}] = {value}") for name, value in reported)]

    def _reported(self, update: Update) -> list[Line]:
        results = self._changed(update)
        names = self.training.reported(update)
        targets = ", ".join([*(results[name] for name in names), "*_"])
        lines = [Line(1, f"{targets} = ", self._applied(update, self.variables))]
        return [*lines, *(Line(1, f"found[{quoted(name)}] = {results[name]}") for name in names)]

    def _is_trained(self, path: str) -> bool:
        return self.training.program.parameters()[path].trained

    # --- followers ---

    def _follow(self, follower: Follower) -> list[Line]:
        mine, theirs = member(follower.layer), member(follower.source)
        if follower.decay is None:
            strict = None if self._alike(follower) else "False"
            copied = Line(1, "", call(f"{mine}.load_state_dict", f"{theirs}.state_dict()", strict=strict))
            every = follower.every or 1
            return [copied] if every == 1 else [Line(1, f"if (step + 1) % {every} == 0:"), copied.indented(1)]
        share = Expression(f"1 - {number(follower.decay).text}", Precedence.SUM)
        if not self._alike(follower):
            return [
                Line(1, "with torch.no_grad():"),
                Line(2, f"theirs = {theirs}.state_dict()"),
                Line(2, f"for name, parameter in {mine}.named_parameters():"),
                Line(3, "", call("parameter.lerp_", "theirs[name]", share)),
                Line(2, f"for name, buffer in {mine}.named_buffers():"),
                Line(3, "if name in theirs:"),
                Line(4, "buffer.copy_(theirs[name])"),
            ]
        lines = [
            Line(1, "with torch.no_grad():"),
            Line(2, "parts = ", call("zip", f"{mine}.parameters()", f"{theirs}.parameters()", strict="True")),
            Line(2, "for mine, theirs in parts:"),
            Line(3, "", call("mine.lerp_", "theirs", share)),
        ]
        if any(not p.trained and n.startswith(f"{follower.layer}.") for n, p in self.training.program.parameters().items()):
            lines += [
                Line(2, "parts = ", call("zip", f"{mine}.buffers()", f"{theirs}.buffers()", strict="True")),
                Line(2, "for mine, theirs in parts:"),
                Line(3, "mine.copy_(theirs)"),
            ]
        return lines

    def _alike(self, follower: Follower) -> bool:
        """Whether the follower is applied as its source is, and has the same class: a class of PyTorch may count what ours does not."""
        applied: dict[str, set[int]] = {follower.layer: set(), follower.source: set()}
        for entry in self.training.program.entries.values():
            for node in entry.layers():
                if node.target is not None and node.target.child in applied:
                    applied[node.target.child].add(id(node.target.graph))
        return applied[follower.layer] == applied[follower.source]


def _joined(groups: Sequence[str], indent: int) -> list[Line]:
    """`parameters`, those of several groups together."""
    if len(groups) == 1:
        return [Line(indent, f"parameters = {groups[0]}")]
    together = Line(indent, f"parameters = [{', '.join(f'*{g}' for g in groups)}]")
    if fits(together):
        return [together]
    return [Line(indent, "parameters = ["), *(Line(indent + 1, f"*{g},") for g in groups), Line(indent, "]")]


def tensor_at(path: str, trained: bool) -> str:
    """A parameter or buffer of the model, as an expression."""
    if all(is_plain(part) for part in path.split(".")):
        return f"model.{path}"
    return f"model.{'get_parameter' if trained else 'get_buffer'}({quoted(path)})"


def member(path: str) -> str:
    """A layer of the model, as an expression."""
    parts = path.split(".")
    if all(is_plain(p) for p in parts):
        return f"model.{path}"
    return f"model.get_submodule({quoted(path)})"
