"""A training as a file of PyTorch: the class of the block with a method for each objective, its optimizers, one step, and a small loop.

The loop is there so that the file is of use alone; dslc's own loop calls `make_optimizers`, `train_step` and `evaluate`.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

from backends.base import EmitOptions, TrainOptions
from backends.python_scalars import ScalarFunctions, constant_of, is_scalar
from backends.torch_file import assembled, definitions
from backends.torch_names import RESERVED
from backends.torch_optimizers import spelled
from backends.torch_steps import LOCALS, Block, StepWriter, member
from backends.torch_tensors import DTYPES
from backends.torch_units import Tree
from backends.trainings import entries_of, followers_of, layers_of, rules_of, waits
from backends.writer import Expression, Line, Namespace, call, number_text, quoted, rendered, sequence
from dsl.diagnostics import InternalError
from dsl.ir import Call, Graph, Node
from dsl.training import Rule, Training

UPDATES_FILE = Path(__file__).with_name("torch_updates.py")
FUNCTIONS = ("make_optimizers", "train_step", "evaluate", "train", "main", "Updates", "argparse", "np")


def training_source(training: Training, options: EmitOptions, how: TrainOptions) -> str:
    """The text of the file."""
    return _FileWriter(training, options, how).text()


@lru_cache(maxsize=1)
def _updates() -> str:
    """The class of torch_updates.py as text."""
    text = UPDATES_FILE.read_text(encoding="utf-8")
    (defined,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    return "\n".join(text.splitlines()[defined.lineno - 1 : defined.end_lineno]) + "\n"


class _FileWriter:
    def __init__(self, training: Training, options: EmitOptions, how: TrainOptions) -> None:
        self.training = training
        self.options = options
        self.how = how
        self.names = Namespace((*RESERVED, *FUNCTIONS))

    def text(self) -> str:
        program = entries_of(self.training)
        tree = Tree(list(program.entries.values()))
        classes = definitions(tree, self.names)
        definition = tree.root.definition
        if definition is None:
            raise InternalError(f"{self.training.name}: the block has no class")
        methods = {e: definition.methods[tree.root.graphs.index(g)] for e, g in program.entries.items()}
        functions = self._rules()
        rates, schedules = self._rates()
        block = Block(self.training, self.how, self.names, definition.name, methods, rates)
        steps = StepWriter(block)
        parts = [*classes, *functions, *schedules, rendered(self._optimizers(definition.name))]
        parts += [rendered(steps.train_step()), rendered(steps.evaluate()), *self._loop(definition.name, steps)]
        return assembled(self.training.name, self.options, parts)

    # --- optimizers ---

    def _rules(self) -> list[str]:
        """The functions of rules that torch.optim lacks, and the class that applies them."""
        self.updates: dict[int, str] = {}
        found: list[str] = []
        written: dict[str, str] = {}
        for objective in self.training.objectives:
            for rule in objective.rules:
                if _native(rule) is not None:
                    continue
                key = "".join(self._defined(rule, Namespace((), self.names))[1])
                if key not in written:
                    written[key], texts = self._defined(rule, self.names)
                    found += texts
                self.updates[id(rule)] = written[key]
        return [*found, _updates()] if found else []

    def _defined(self, rule: Rule, names: Namespace) -> tuple[str, list[str]]:
        if rule.update is None:
            raise InternalError(f"`{rule.name}` has no formula and no name in torch.optim")
        tree = Tree([rule.update])
        texts = definitions(tree, names)
        assert tree.root.definition is not None
        return tree.root.definition.name, texts

    def _rates(self) -> tuple[dict[int, str], list[str]]:
        """Functions of the learning rates that change, by the identity of the graph."""
        for name in LOCALS:  # `train_step` calls these functions, so none is called as a variable of it
            self.names.new(name)
        writer = ScalarFunctions(self.names)
        rates: dict[int, str] = {}
        for objective in self.training.objectives:
            for rule in objective.rules:
                if constant_of(rule.rate) is not None or id(rule.rate) in rates:
                    continue
                if not is_scalar(rule.rate):
                    raise InternalError(f"{self.training.name}: the learning rate of `{rule.name}` is no formula of numbers")
                inner = _called(rule.rate)
                rates[id(rule.rate)] = writer.function(inner, inner.definition)
        return rates, [rendered(lines) for lines in writer.texts]

    def _optimizers(self, kind: str) -> list[Line]:
        groups = self._groups()
        entries = []
        for objective in self.training.objectives:
            for key, rule in rules_of(objective):
                entries.append(Line(2, f"{quoted(key)}: ", self._optimizer(rule), ","))
        head = Line(0, "def ", call("make_optimizers", f"model: {kind}"), " -> dict[str, torch.optim.Optimizer]:")
        made = [Line(1, "return {"), *entries, Line(1, "}")] if entries else [Line(1, "return {}")]
        return [head, Line(1, '"""What follows the gradient of each objective."""'), *groups, *made]

    def _groups(self) -> list[Line]:
        """Statements before the optimizers: the parameters by name, where a rule has neither all nor those of whole layers."""
        self.groups: dict[int, str] = {}
        lines: list[Line] = []
        for objective in self.training.objectives:
            for _, rule in rules_of(objective):
                if layers_of(self.training, rule.parameters) is None:
                    name = self.groups[id(rule)] = f"group_{len(self.groups)}"
                    lines.append(Line(1, f"{name} = ["))
                    lines += [Line(2, f"named[{quoted(n)}],") for n in rule.parameters]
                    lines.append(Line(1, "]"))
        return [Line(1, "named = dict(model.named_parameters())"), *lines] if lines else []

    def _parameters(self, rule: Rule) -> str:
        layers = layers_of(self.training, rule.parameters)
        if layers is None:
            return self.groups[id(rule)]
        if not layers:
            return "model.parameters()"
        if len(layers) == 1:
            return f"{member(layers[0])}.parameters()"
        return f"[{', '.join(f'*{member(name)}.parameters()' for name in layers)}]"

    def _optimizer(self, rule: Rule) -> Expression:
        constant = constant_of(rule.rate)
        rate = number_text(constant) if constant is not None else "0.0"
        native = _native(rule)
        if native is None:
            state = sequence(map(quoted, rule.state)) if rule.state else None
            return call("Updates", self._parameters(rule), self.updates[id(rule)], rate, state=state)
        function, arguments = _taken_apart(native)
        given = {"{parameters}": self._parameters(rule), "lr={rate}": f"lr={rate}"}
        return call(function, *(given.get(a, a) for a in arguments))

    # --- the loop ---

    def _loop(self, kind: str, steps: StepWriter) -> list[str]:
        types = {n: DTYPES[t.dtype] for n, t in self.training.inputs.items()}
        first = next(iter(self.training.inputs))
        begin = [
            Line(1, f"{member(f.layer)}.load_state_dict({member(f.source)}.state_dict())") for f in followers_of(self.training)
        ]
        batch = [f"data[{quoted(n)}][rows]" for n in self.training.inputs]
        given = ["data: dict[str, Tensor]", "steps: int = 1000", "batch: int = 64", "seed: int = 0"]
        train = [
            Line(0, "def ", call("train", *given), f" -> {kind}:"),
            Line(1, '"""Train on tensors whose first axis is that of the examples."""'),
            Line(1, "torch.manual_seed(seed)"),
            Line(1, f"model = {kind}().to(data[{quoted(first)}].device)"),
            *begin,
            Line(1, "optimizers = make_optimizers(model)"),
            *self._scales(),
            Line(1, "for step in range(steps):"),
            Line(2, f"rows = torch.randint(len(data[{quoted(first)}]), (batch,))"),
            Line(
                2,
                "found = ",
                call("train_step", "model", "optimizers", *(["scales"] if waits(self.training) else []), "step", *batch),
            ),
            Line(2, "if step % 100 == 0 or step == steps - 1:"),
            Line(3, "print(step, {name: round(x.item(), 4) for name, x in found.items()})"),
            Line(1, "return model"),
        ]
        tensors = [
            Line(3, f"{quoted(n)}: ", call("torch.tensor", f"file[{quoted(n)}]", dtype=d, device="given.device"), ",")
            for n, d in types.items()
        ]
        main = [
            Line(0, "def main() -> None:"),
            Line(1, '"""Read the data, train, write the weights."""'),
            Line(1, "parser = argparse.ArgumentParser()"),
            Line(1, f'parser.add_argument("data", help={quoted("an .npz file: " + ", ".join(types))})'),
            Line(1, 'parser.add_argument("weights", help="where the weights go")'),
            Line(1, 'parser.add_argument("--steps", type=int, default=1000)'),
            Line(1, 'parser.add_argument("--batch", type=int, default=64)'),
            Line(1, 'parser.add_argument("--seed", type=int, default=0)'),
            Line(1, 'parser.add_argument("--device", default="cpu")'),
            Line(1, "given = parser.parse_args()"),
            Line(1, "with np.load(given.data) as file:"),
            Line(2, "data = {"),
            *tensors,
            Line(2, "}"),
            Line(1, "model = train(data, given.steps, given.batch, given.seed)"),
            Line(1, "torch.save(model.state_dict(), given.weights)"),
        ]
        run = [Line(0, 'if __name__ == "__main__":'), Line(1, "main()")]
        return [rendered(train), rendered(main), rendered(run)]

    def _scales(self) -> list[Line]:
        """What the learning rates that wait are multiplied by: one, in this loop, which evaluates nothing."""
        keys = [key for o in self.training.objectives for key, rule in rules_of(o) if rule.plateau is not None]
        return [Line(1, f"scales = {{{', '.join(f'{quoted(key)}: 1.0' for key in keys)}}}")] if keys else []


def _native(rule: Rule) -> str | None:
    return spelled(rule.name, rule.settings) if rule.library else None


def _taken_apart(text: str) -> tuple[str, list[str]]:
    """The function and the arguments of a call, as text."""
    inside = text.replace("{parameters}", "_parameters_").replace("{rate}", "_rate_")
    made = ast.parse(inside, mode="eval").body
    assert isinstance(made, ast.Call)
    parts = [ast.get_source_segment(inside, a) or "" for a in made.args]
    parts += [f"{k.arg}={ast.get_source_segment(inside, k.value)}" for k in made.keywords]
    back = [p.replace("_parameters_", "{parameters}").replace("_rate_", "{rate}") for p in parts]
    return ast.unparse(made.func), back


def _called(rate: Graph) -> Graph:
    """The schedule itself, where the rate is nothing but its call on the step."""
    nodes = list(rate)
    match nodes:
        case [Node(op="input"), Node(op="call", target=Call(graph=graph, child=None))]:
            return graph if len(graph.inputs) == 1 else rate
    return rate
