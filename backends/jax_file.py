"""The text of a generated JAX file: functions of modules and entry points, initial values, names, what is copied."""

from __future__ import annotations

import ast
import re
import textwrap
from functools import lru_cache
from pathlib import Path

import numpy as np

from backends.base import EmitOptions
from backends.jax_facts import facts_of_all
from backends.jax_gradients import Backward, write_backward
from backends.jax_init import Branch, InitWriter
from backends.jax_merge import Written, groups_of, known_of
from backends.jax_module import ModuleFunction, write_function
from backends.python import Body
from backends.writer import Expression, Line, Namespace, call, docstring, quoted, rendered, snake_case
from dsl.ir import Graph, Program
from dsl.types import DType

LAYERS_FILE = Path(__file__).with_name("jax_layers.py")
RESERVED = ("jax", "jnp", "lax", "random", "init", "init_params", "init_state", "apply", "from_named", "to_named")
NAMING = ("nested", "named", "spec_names", "is_hwio")
MODULE = re.compile(r"\b(jax|jnp|lax|random|np|optax|argparse)\.")


@lru_cache(maxsize=1)
def layers() -> dict[str, str]:
    """The functions of jax_layers.py as text, by name."""
    text = LAYERS_FILE.read_text(encoding="utf-8")
    lines = text.splitlines()
    defined = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return {node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno]) + "\n" for node in defined}


def entry_names(program: Program) -> dict[str, str]:
    """The function of each entry point: `apply` for `forward`, else the entry's own name."""
    names = Namespace((*RESERVED, *layers()))
    return {entry: "apply" if entry == "forward" else names.new(entry) for entry in program.entries}


def needs_x64(program: Program) -> bool:
    """Whether the program computes in f64, which JAX has only on request."""
    graphs = [g for root in program.entries.values() for g in root.callees()]
    return any(t.dtype is DType.F64 for graph in graphs for node in graph for t in node.types)


class FileWriter:
    """Writes one file: what its functions share."""

    def __init__(self, program: Program, options: EmitOptions) -> None:
        self.program = program
        self.options = options
        self.mixed = False
        self.entries = entry_names(program)
        self.names = Namespace((*RESERVED, *layers(), *self.entries.values()))
        self.facts = facts_of_all(list(program.entries.values()))
        self.x64 = needs_x64(program)
        self.stateful = any(not p.trained for p in program.parameters().values())
        self.graphs = list({id(g): g for root in program.entries.values() for g in root.callees()}.values())
        self._functions: dict[int, tuple[str, tuple[str, ...]]] = {}
        self._used: dict[str, None] = {}
        self._texts: dict[tuple[str, tuple[str, ...], str, Backward | None], str] = {}
        self._companions: dict[str, tuple[str, str]] = {}
        self._copied: dict[str, None] = {}
        self._tables: dict[str, tuple[str, list[Line]]] = {}

    # --- what functions share ---

    def dtype(self, dtype: DType) -> str:
        """Without f64 there is no i64 in JAX: indices are then i32."""
        if dtype is DType.I64 and not self.x64:
            return "jnp.int32"
        return f"jnp.{_DTYPES[dtype]}"

    def copied(self, function: str) -> str:
        """Note that the file has a function of jax_layers.py, and what that calls."""
        if function not in self._copied:
            self._copied[function] = None
            text = self.library()[function]
            for name in re.findall(r"\b[a-z_]\w*\b", text):
                if name in self.library() and name != function and re.search(rf"(?<![\w.\"]){name}\(", text):
                    self.copied(name)
        return function

    def library(self) -> dict[str, str]:
        """The functions that may be copied, as text."""
        return layers()

    def more(self) -> list[str]:
        """What comes after the functions of the model."""
        return []

    def table(self, value: np.ndarray, dtype: DType, name: str, taken: Namespace) -> str:
        """The name of a constant of the file. The bytes are in hexadecimal, which is exact and of one form."""
        little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<") if value.dtype.itemsize > 1 else value.dtype)
        if value.dtype == np.int64 and not self.x64:
            little = little.astype("<i4")
        rows = [f'"{line}",' for line in textwrap.wrap(little.tobytes().hex(), 80)]
        element = "bool" if value.dtype == np.bool_ else f"jnp.{little.dtype.name}"
        shape = f"({', '.join(map(str, value.shape))}{',' if value.ndim == 1 else ''})"
        cast = f".astype({self.dtype(dtype)})" if dtype is DType.BF16 else ""
        lines = [Line(1, f"{element},"), Line(1, f"{shape},"), *(Line(1, row) for row in rows), Line(0, f"){cast}")]
        key = rendered(lines)
        if key not in self._tables:
            wanted = re.sub(r"\W", "_", name).upper()
            count = 1
            found = wanted
            while found in taken or found in self.names:
                count += 1
                found = f"{wanted}_{count}"
            self._tables[key] = (self.names.new(found), [Line(0, f"{found} = {self.copied('table')}("), *lines])
        return self._tables[key][0]

    def function(self, graph: Graph, wanted: str) -> tuple[str, tuple[str, ...]]:
        """The function of a graph: its name, and keywords for the numbers in which it differs from others that share it."""
        if id(graph) not in self._functions:
            alike = [g for g in self.graphs if kin(g, graph) and may_share(g)] if may_share(graph) else [graph]
            self._define(alike, wanted)
        name, keywords = self._functions[id(graph)]
        self._used[name] = None
        return name, keywords

    def _define(self, graphs: list[Graph], wanted: str) -> None:
        """Write functions for graphs of one definition, as few as will do."""
        written = []
        for graph in graphs:
            arguments, lines, names = write_function(self, graph)
            written.append(Written(known_of(graph), arguments, tuple(lines), names))
        for merged, members in groups_of(written):
            body = rendered([*docstring(graphs[members[0]].entry_doc or about(graphs[members[0]]), 1), *merged.lines])
            first = graphs[members[0]]
            backward = write_backward(self, first, merged.arguments) if first.backward is not None else None
            key = (snake_case(wanted), merged.arguments, body, backward)
            name = self._texts.get(key) or self.names.new(snake_case(wanted))
            self._texts[key] = name
            if backward is not None and name not in self._companions:
                self._companions[name] = self.names.new(f"{name}_forward"), self.names.new(f"{name}_backward")
            for member, keywords in zip(members, merged.keywords(), strict=True):
                self._functions[id(graphs[member])] = name, keywords

    # --- the parts of the file ---

    def text(self) -> str:
        """The whole file."""
        roots = [self._entry(entry, graph) for entry, graph in self.program.entries.items()]
        more = self.more()
        modules = [
            backward.around((name, *self._companions[name]), arguments, body)
            if backward is not None
            else definition(name, arguments) + body
            for (_, arguments, body, backward), name in self._texts.items()
            if name in self._used
        ]
        inits = self._inits()
        named = self._named()
        tables = [rendered(lines) for _, lines in self._tables.values()]
        copied = [text for name, text in self.library().items() if name in self._copied]
        parts = [*copied, *modules, *roots, *inits, *named, *more]
        code = "\n\n".join(parts)
        head = rendered(docstring(self.header(), 0)) + "\n" + imports("".join([*tables, code]))
        if tables:
            before, after = self._table_function(copied)
            code = "\n\n".join([before, "\n".join(tables), *after, *parts[len(copied) :]])
        return f"{head}\n\n{code}"

    def _table_function(self, copied: list[str]) -> tuple[str, list[str]]:
        """The function that tables are made by, which stands before them, and the others."""
        made = layers()["table"]
        return made, [text for text in copied if text != made]

    def header(self) -> str:
        graph = self.program.main
        by = f"dslc {self.options.version}".strip()
        source = f" from {self.options.source}" if self.options.source else ""
        arguments = ", ".join(["params", *(["state"] if self.stateful else []), *graph.inputs])
        first = next(iter(self.entries.values()))
        results = ", ".join(graph.outputs)
        returned = f"{f'({results})' if ',' in results else results}, state" if self.facts[id(graph)].state else results
        made = "params, state" if self.stateful else "params"
        paragraphs = [
            f"{self.program.name} in JAX, generated{source} by {by}.",
            about(graph),
            f"Call {made} = init(jax.random.key(0)), then {returned} = {first}({arguments}).",
            'The argument `training` is a Python bool: jax.jit(..., static_argnames="training").',
            "Needs float64: call jax.config.update('jax_enable_x64', True) first." if self.x64 else "",
        ]
        return "\n\n".join(p for p in paragraphs if p)

    def _entry(self, entry: str, graph: Graph) -> str:
        arguments, lines, _ = write_function(self, graph, root=True, first=self._checks(graph))
        results = about(graph) if graph.kind == "train" else f"The outputs of the model: {', '.join(graph.outputs)}."
        doc = graph.entry_doc or results
        return definition(self.entries[entry], arguments) + rendered([*docstring(doc, 1), *lines])

    def _checks(self, graph: Graph) -> Checks:
        return Checks(graph, self.facts[id(graph)].always, self.facts[id(graph)].key)

    def _inits(self) -> list[str]:
        tree = Branch(self.program.name)
        for graph in self.program.entries.values():
            tree.grow(graph)
        writer = InitWriter(tree, self.names, self.copied, self.dtype, self.x64)
        if not self.stateful:
            doc = docstring("The initial parameters, drawn with `key`.", 1)
            lines, _ = writer.statements(tree, True)
            return [*writer.texts(), definition("init", ("key",)) + rendered([*doc, *lines])]
        doc = docstring("The initial parameters, drawn with `key`, and the initial state.", 1)
        draws, also = writer.whole(tree, True, "init_params"), writer.whole(tree, False, "init_state")
        keys = ("keys[0]", "keys[1]") if draws and also else ("key", "key")
        lines = [Line(1, "keys = random.split(key)")] if draws and also else []
        made = [
            f"{name}({key if takes else ''})"
            for name, key, takes in (("init_params", keys[0], draws), ("init_state", keys[1], also))
        ]
        lines.append(Line(1, f"return {', '.join(made)}"))
        return [*writer.texts(), definition("init", ("key",)) + rendered([*doc, *lines])]

    def _named(self) -> list[str]:
        for function in ("named", "nested"):
            self.copied(function)
        helpers = [layers()[name] for name in NAMING]
        for name in NAMING:
            self._copied.pop(name, None)
        what = "Parameters and state" if self.stateful else "Parameters"
        doc = docstring(f"{what} from tensors by the names of the spec.", 1)
        shapes = "jax.eval_shape(init, random.key(0))"
        if self.stateful:
            lines = [Line(1, f"params, state = {shapes}"), Line(1, "return nested(params, tensors), nested(state, tensors)")]
        else:
            lines = [Line(1, f"return nested({shapes}, tensors)")]
        to_doc = docstring("The leaves of `params` (and `state`) by the names of the spec.", 1)
        to = [Line(1, "return {name: leaf for tree in trees for name, leaf in named(tree).items()}")]
        return [
            definition("from_named", ("tensors",)) + rendered([*doc, *lines]),
            definition("to_named", ("*trees",)) + rendered([*to_doc, *to]),
            *helpers,
        ]


def may_share(graph: Graph) -> bool:
    """Whether a function may be for several graphs, with what differs as arguments. `jax.custom_vjp` would differentiate by those."""
    return graph.kind != "body" and graph.backward is None


def family(graph: Graph) -> tuple[str, str, str, bool]:
    """Graphs that may share a function have this in common."""
    return graph.definition, graph.entry, graph.kind, graph.library


def kin(a: Graph, b: Graph) -> bool:
    """Whether the graphs may share a function: not where one holds the other, as a chain of layers may be of chains."""
    return family(a) == family(b) and nesting(a) == nesting(b)


def nesting(graph: Graph) -> int:
    """How many graphs of one family are inside each other, from this one on."""
    inner = [g for g in graph.callees() if g is not graph and family(g) == family(graph)]
    return 1 + max(map(nesting, inner), default=0)


class Checks:
    """Writes the checks at the start of an entry point: what the spec requires of symbolic sizes, and that there is a key to draw by."""

    def __init__(self, graph: Graph, always: bool, draws: bool) -> None:
        self.graph = graph
        self.always = always
        self.draws = draws

    def __call__(self, body: Body, function: ModuleFunction) -> None:
        for constraint in self.graph.constraints:
            left, right = body.dim(constraint.left), body.dim(constraint.right)
            condition = f"{left.text} {_OPPOSITE[constraint.relation]} {right.text}"
            only = "training and " if constraint.training else ""
            self._refuse(body, only + condition, constraint.message or "a size is out of range")
        if self.draws:
            condition = "key is None" if self.always else "training and key is None"
            self._refuse(body, condition, "random numbers are drawn here: give key=jax.random.key(seed)")

    def _refuse(self, body: Body, condition: str, message: str) -> None:
        body.statement(f"if {condition}:")
        with body.block():
            body.statement("raise ", call("ValueError", quoted(message)))


_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_DTYPES = {
    DType.F16: "float16", DType.BF16: "bfloat16", DType.F32: "float32", DType.F64: "float64", DType.I8: "int8", DType.U8: "uint8",
    DType.I32: "int32", DType.I64: "int64", DType.BOOL: "bool_",
}  # fmt: skip


def about(graph: Graph) -> str:
    """The comment above the definition in the spec, its last paragraph."""
    paragraphs = [p for p in re.split(r"\n\s*\n", graph.doc.strip()) if p.strip()]
    return paragraphs[-1] if paragraphs else ""


def definition(name: str, arguments: tuple[str, ...]) -> str:
    """The first line of a function."""
    listed = Expression(f"({', '.join(arguments)})", arguments=arguments)
    return rendered([Line(0, f"def {name}", listed, ":")])


def imports(code: str) -> str:
    """The import statements that `code` needs."""
    used = set(MODULE.findall(code))
    standard = ["import argparse"] if "argparse" in used else []
    standard += ["from functools import partial"] if re.search(r"\bpartial\(", code) else []
    lines = [*standard, ""] if standard else []
    lines += ["import jax"] if "jax" in used else []
    lines += ["import jax.numpy as jnp"] if "jnp" in used else []
    lines += ["import numpy as np"] if "np" in used else []
    lines += ["import optax"] if "optax" in used else []
    several = [name for name in ("lax", "random") if name in used]
    lines += [f"from jax import {', '.join(several)}"] if several else []
    return "".join(f"{line}\n" for line in lines)
