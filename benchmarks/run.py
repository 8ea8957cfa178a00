"""`make bench`: measure, print, and write docs/benchmarks.md.

`--quick` takes fewer rounds, `--networks mlp,gpt2` some networks, `--sections Training` a part of the page.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import compile_time
import latency
import scan_cost
import training

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
PACKAGES = ("torch", "jax", "optax", "flax", "onnx", "onnxruntime", "onnxscript", "networkx", "numpy")
TITLES = {
    "mlp": "MLP 784-256-256-10, 64 rows",
    "resnet50": "ResNet-50, one image of 224 x 224",
    "gpt2": "GPT-2 small, one sequence of 128",
}
TRAINED = {
    "Images": "MLP 784-256-256-10, 64 rows, Adam",
    "Text": "2 LSTMs of 512, 32 sequences of 100, Adam",
    "Words": "GPT-2 small with 4 layers, one sequence of 128, AdamW",
}
BLOCKS = {"Images": "mlp", "Text": "lstm", "Words": "gpt2"}
"""The name of each block's network on the command line."""
NODES = {("MLP", 20): 5, ("ResNet-50", 20): 122, ("GPT-2", 20): 329, ("GPT-2", 23): 185}
"""The fewest nodes known: what the best of torch.onnx.export and its optimizers, or a graph made by hand, has."""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---:" if i else "---" for i in range(len(head))), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def latency_table(found: list[latency.Comparison]) -> str:
    rows = [
        (
            TITLES[c.network],
            c.ours,
            f"{c.our_seconds * 1e3:.2f}",
            c.theirs,
            f"{c.their_seconds * 1e3:.2f}",
            f"**{c.ratio:.2f}**",
            f"{c.difference:.0e}",
        )
        for c in found
    ]
    return table(("network", "generated", "ms", "compared with", "ms", "ratio", "difference"), rows)


def growth_table() -> str:
    rows: list[tuple[str, ...]] = []
    for shape, counts in (("chain", (1_000, 10_000, 100_000)), ("layers", (1_000, 10_000)), ("repeat", (10, 10_000))):
        for count in counts:
            g = compile_time.growth(shape, count)
            print(g, flush=True)
            each = (f"{g.seconds / count * 1e6:.1f}", f"{g.bytes / count * 1e-3:.2f}") if shape != "repeat" else ("-", "-")
            rows.append((f"{shape} of {count:,}", f"{g.seconds:.3f}", f"{g.bytes / 1e6:.1f}", *each))
    return table(("spec", "CPU seconds", "MB", "ms per 1,000", "MB per 1,000"), rows)


def emission_table() -> str:
    rows: list[tuple[str, ...]] = []
    for network in compile_time.NETWORKS:
        for backend, opset in (("torch", None), ("jax", None), ("onnx", 20), ("onnx", 23)):
            e = compile_time.emission(network, backend, opset)
            print(e, flush=True)
            target = backend if opset is None else f"onnx, opset {opset}"
            known = NODES.get((network, opset or 0))
            nodes = (str(e.nodes) if e.nodes is not None else "", str(known) if known is not None else "")
            rows.append((network, target, f"{e.seconds:.3f}", f"{e.whole:.3f}", *nodes))
    return table(("network", "target", "seconds", "with weights", "nodes", "fewest known"), rows)


def depth_table() -> str:
    rows = []
    for backend in ("torch", "jax", "onnx"):
        ten, thousand = (compile_time.depth_seconds(backend, n) for n in (10, 1_000))
        print(backend, ten, thousand, flush=True)
        rows.append((backend, f"{ten * 1e3:.1f}", f"{thousand * 1e3:.1f}"))
    return table(("target", "`repeat(10)`, ms", "`repeat(1000)`, ms"), rows)


def training_table(found: list[latency.Comparison]) -> str:
    rows = [
        (
            TRAINED[c.network],
            c.ours,
            f"{c.our_seconds * 1e3:.1f}",
            c.theirs,
            f"{c.their_seconds * 1e3:.1f}",
            f"**{c.ratio:.2f}**",
        )
        for c in found
    ]
    return table(("network", "generated", "ms", "compared with", "ms", "ratio"), rows)


def scan_table() -> str:
    rows = []
    for target in ("torch", "jax", "onnx", "jax.jit"):
        for length in scan_cost.LENGTHS:
            c = scan_cost.cost(target, length)
            print(c, flush=True)
            buffers = "" if c.buffers is None else f"{c.buffers * 1e3:.1f}"
            rows.append((target, f"{length:,}", f"{c.seconds:.3f}", f"{c.megabytes:.1f}", f"{c.code:,}", buffers))
    return table(("target", "steps", "CPU seconds", "MB", "bytes of code", "KB to run"), rows)


# --- sections of the page -----------------------------------------------------------------------------------------------------------


def latency_section(quick: bool, networks: list[str]) -> str:
    found = latency.compare_all([n for n in networks if n in TITLES], list(latency.PAIRS), 3 if quick else latency.ROUNDS)
    return f"""The networks that dslc generates, against the same networks written by hand for the same target
([hand_torch.py](../benchmarks/hand_torch.py), [hand_jax.py](../benchmarks/hand_jax.py)), with the same weights on the same input. ONNX is
compared with `torch.onnx.export(dynamo=True)` of the network by hand; both run on onnxruntime. The two of a row take turns, each in its own
process; the best time of each counts. A ratio below 1 means that the generated network is faster. The last column is the largest difference
of the outputs, as a part of the largest output.

{latency_table(found)}"""


def training_section(quick: bool, networks: list[str]) -> str:
    blocks = [b for b in TRAINED if BLOCKS[b] in networks]
    found = training.compare_all(blocks, list(training.PAIRS), 3 if quick else training.ROUNDS)
    return f"""One step of the generated trainings of [training.dl](../benchmarks/training.dl), against the same steps written by hand
([hand_training_torch.py](../benchmarks/hand_training_torch.py), [hand_training_jax.py](../benchmarks/hand_training_jax.py) with optax;
its LSTM is flax's `nn.RNN(nn.OptimizedLSTMCell)`), from the same weights on the same batch, measured as above; the losses of the first
four steps agree to {training.DIFFERENCE:.0e} of their size. With torch.compile, it is the loss that is compiled, and PyTorch's fused
LSTM is left as it is. Where the machine has other work, the ratio of one pair differs by up to 8 % either way from one run to the next.

{training_table(found)}"""


def scan_section(quick: bool, networks: list[str]) -> str:
    return f"""A recurrent network as a `scan` of more and more steps. *torch*, *jax* and *onnx*: from the text of the spec to the file, a
training or for ONNX the network; *jax.jit*: XLA's compilation of a training step and of the network. MB is what the peak of memory grows
by meanwhile. The last column is what XLA sets aside for intermediate results of the network; a training has to keep every step for the
way back.

{scan_table()}"""


def checking_section(quick: bool, networks: list[str]) -> str:
    spec = compile_time.ROOT / "specs" / "language" / "gpt2.dl"
    check = compile_time.check_seconds(spec)
    print(f"check {check:.3f} s", flush=True)
    return f"""`dslc check specs/language/gpt2.dl` takes {check:.2f} s more CPU time than `python -c pass`. Nearly all of it goes into
importing NumPy and dslc itself.

Elaborating, checking and pruning larger and larger specs; a *chain* has one primitive in each statement, *layers* a `Linear` and a `relu`,
and *repeat* is one block repeated. MB is what the peak of memory grows by.

{growth_table()}"""


def compiling_section(quick: bool, networks: list[str]) -> str:
    return f"""From the text of a spec to the artifact, without importing torch. `seconds` is for the same graph with layers so narrow
that there are next to no weights to make, fold and copy. Nodes are those of the ONNX graph with all functions inlined; "fewest known" is
the best of torch's exporter, the optimizers for its output, and graphs made by hand.

{emission_table()}
A deep `repeat` costs what a shallow one costs, except that an ONNX file has a node and the weights of every copy.

{depth_table()}"""


SECTIONS: dict[str, Callable[[bool, list[str]], str]] = {
    "Latency": latency_section,
    "Training": training_section,
    "Length of a scan": scan_section,
    "Checking": checking_section,
    "Compiling": compiling_section,
}


def head() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"""# Benchmarks

Made by `make bench` on {platform.machine()}, Python {platform.python_version()}, {versions}.

Times are CPU time of one thread on one core. They depend on the machine; the ratios hardly do.
"""


def sections_of(text: str) -> dict[str, str]:
    """What the page has under each title."""
    pieces = [piece.partition("\n\n") for piece in text.split("\n## ")[1:]]
    return {title: content.rstrip("\n") + "\n" for title, _, content in pieces}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds of each comparison")
    parser.add_argument("--networks", default="mlp,resnet50,lstm,gpt2", help="which networks to time")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="what to measure; the page keeps the rest as it is")
    arguments = parser.parse_args()
    wanted = arguments.sections.split(",")
    if unknown := sorted(set(wanted) - set(SECTIONS)):
        parser.error(f"no section is called {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    found = sections_of(PAGE.read_text(encoding="utf-8"))
    for title in wanted:
        found[title] = SECTIONS[title](arguments.quick, arguments.networks.split(","))
    text = "\n".join([head(), *(f"## {title}\n\n{found[title]}" for title in SECTIONS if title in found)])
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
