"""Pictures of a model as text: Mermaid and Graphviz sources, SVG, and a page of HTML that opens layer by layer without a network."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import networkx as nx

from dsl.ir import Graph, Program
from dsl.picture import Arrow, Box, Picture, picture

FILL = {
    "input": "#dbeafe",
    "output": "#dbeafe",
    "layer": "#dcfce7",
    "repeat": "#fef3c7",
    "loop": "#fee2e2",
    "param": "#ede9fe",
    "op": "#f3f4f6",
}


def draw(program: Program, form: str, depth: int = 1) -> str:
    """The first entry point as `mermaid`, `dot`, `svg` or `html`. Layers are boxes; down to `depth` what is in them is drawn too."""
    graph = program.main
    match form:
        case "mermaid":
            return mermaid(picture(graph, depth))
        case "dot":
            return dot(picture(graph, depth))
        case "svg":
            return svg(picture(graph)) + "\n"
        case _:
            return html(graph, program.name)


# --- Mermaid --------------------------------------------------------------------------------------------------------------------------


def mermaid(whole: Picture) -> str:
    """A flowchart, with a subgraph for each layer that is opened."""
    lines = ["flowchart TB", *_mermaid_boxes(whole, "  ")]
    lines += [f'  {a.source} -->|"{_mermaid_text(a.label)}"| {a.target}' for a in _all_arrows(whole)]
    used = {box.kind for box in _all_boxes(whole) if box.opened is None}
    lines += [f"  classDef {kind} fill:{colour},stroke:#6b7280,color:#111827" for kind, colour in FILL.items() if kind in used]
    return "\n".join(lines) + "\n"


def _mermaid_boxes(one: Picture, indent: str) -> Iterator[str]:
    for box in one.boxes:
        if box.opened is None:
            yield f'{indent}{box.id}["{_mermaid_text(box.label)}"]:::{box.kind}'
        else:
            yield f'{indent}subgraph {box.id}["{_mermaid_text(box.label)}"]'
            yield from _mermaid_boxes(box.opened, indent + "  ")
            yield f"{indent}end"


def _mermaid_text(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _all_arrows(whole: Picture) -> Iterator[Arrow]:
    yield from whole.arrows
    for box in whole.boxes:
        if box.opened is not None:
            yield from _all_arrows(box.opened)


# --- Graphviz -------------------------------------------------------------------------------------------------------------------------


def dot(whole: Picture) -> str:
    """A digraph, with a cluster for each layer that is opened."""
    lines = [
        "digraph {",
        "  compound=true",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif"]',
        "  edge [fontsize=9]",
    ]
    lines += _dot_boxes(whole, "  ")
    opened = {box.id: box for box in _all_boxes(whole) if box.opened is not None}
    for a in _all_arrows(whole):
        ends = [f"lhead=cluster_{a.target}"] if a.target in opened else []
        ends += [f"ltail=cluster_{a.source}"] if a.source in opened else []
        lines.append(
            f"  {_end(a.source, opened, last=True)} -> {_end(a.target, opened)} [{', '.join([f'label={_quoted(a.label)}', *ends])}]"
        )
    return "\n".join([*lines, "}"]) + "\n"


def _dot_boxes(one: Picture, indent: str) -> Iterator[str]:
    for box in one.boxes:
        if box.opened is None:
            yield f'{indent}{box.id} [label={_quoted(box.label)}, fillcolor="{FILL[box.kind]}"]'
        else:
            yield f"{indent}subgraph cluster_{box.id} {{"
            yield f"{indent}  label={_quoted(box.label)}"
            yield from _dot_boxes(box.opened, indent + "  ")
            yield f"{indent}}}"


def _all_boxes(whole: Picture) -> Iterator[Box]:
    for box in whole.boxes:
        yield box
        if box.opened is not None:
            yield from _all_boxes(box.opened)


def _end(name: str, opened: dict[str, Box], *, last: bool = False) -> str:
    """A box that an arrow can end at: of an opened layer one of those inside."""
    while name in opened:
        inside = opened[name].opened
        assert inside is not None
        name = inside.boxes[-1 if last else 0].id
    return name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- SVG ------------------------------------------------------------------------------------------------------------------------------

HEIGHT, GAP, CHARACTER = 44, 34, 7.2


def svg(one: Picture) -> str:
    """The picture in layers from top to bottom: networkx puts the boxes, arrows that skip layers go around."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(box.id for box in one.boxes)
    flow.add_edges_from((a.source, a.target) for a in one.arrows)
    layers = [[n for n in flow if n in set(layer)] for layer in nx.topological_generations(flow)]
    wide = max((CHARACTER * max(len(b.label), len(b.result)) + 20 for b in one.boxes), default=80.0)
    total = max((len(layer) for layer in layers), default=1) * (wide + 16)
    place: dict[str, tuple[float, float, int]] = {}
    for row, layer in enumerate(layers):
        for i, name in enumerate(layer):
            place[name] = ((i - (len(layer) - 1) / 2) * (wide + 16), row * (HEIGHT + GAP), row)
    bulges = [wide / 2 + 12 * min(6, place[a.target][2] - place[a.source][2]) for a in one.arrows]
    reaches = [max(place[a.source][0], place[a.target][0]) + 0.9 * bulge for a, bulge in zip(one.arrows, bulges, strict=True)]
    side = max([total / 2, *reaches]) + 10
    height = max(1, len(layers)) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * side:.0f}" height="{height}" '
        f'viewBox="{-side:.0f} {-GAP / 2:.0f} {2 * side:.0f} {height}" font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#6b7280"/></marker></defs>',
    ]
    parts += [_svg_arrow(place[a.source], place[a.target], bulge, a.label) for a, bulge in zip(one.arrows, bulges, strict=True)]
    parts += [_svg_box(box, place[box.id][0], place[box.id][1], wide) for box in one.boxes]
    return "\n".join([*parts, "</svg>"])


def _svg_box(box: Box, x: float, y: float, wide: float) -> str:
    look = f'rx="6" fill="{FILL[box.kind]}" stroke="#6b7280"'
    return (
        f'<g><rect x="{x - wide / 2:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{HEIGHT}" {look}/>'
        f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">{escape(box.label)}</text>'
        f'<text x="{x:.0f}" y="{y + 35:.0f}" text-anchor="middle" fill="#6b7280">{escape(box.result)}</text></g>'
    )


def _svg_arrow(start: tuple[float, float, int], end: tuple[float, float, int], bulge: float, label: str) -> str:
    x0, y0, x1, y1 = start[0], start[1] + HEIGHT, end[0], end[1]
    if end[2] - start[2] > 1:
        side = max(x0, x1) + bulge * 1.2
        bend = f"C{side:.0f} {y0 + GAP:.0f} {side:.0f} {y1 - GAP:.0f}"
    else:
        bend = f"C{x0:.0f} {y0 + GAP / 2:.0f} {x1:.0f} {y1 - GAP / 2:.0f}"
    path = f"M{x0:.0f} {y0:.0f} {bend} {x1:.0f} {y1:.0f}"
    return f'<path d="{path}" fill="none" stroke="#6b7280" marker-end="url(#tip)"><title>{escape(label)}</title></path>'


# --- HTML -----------------------------------------------------------------------------------------------------------------------------

_STYLE = (
    "body{font-family:sans-serif;margin:2em;color:#111827;background:#fff}details{margin:.4em 0 .4em 1em;padding-left:.6em;"
    "border-left:3px solid #d1d5db}summary{cursor:pointer}code{color:#6b7280}svg{max-width:100%;height:auto;margin:.6em 0}"
)


def html(root: Graph, title: str) -> str:
    """A page by itself: the picture of the model, and of each layer below it to be opened. What is used again is a link."""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
        f"<h1>{escape(title)}</h1>\n{_section(root, {})}\n</html>\n"
    )


def _section(graph: Graph, seen: dict[int, str]) -> str:
    one = picture(graph)
    parts = [svg(one)]
    for box in one.boxes:
        if box.inside is None:
            continue
        heading = f"{escape(box.label)} <code>{escape(box.result)}</code>"
        anchor = seen.get(id(box.inside))
        if anchor is not None:
            parts.append(f'<p><a href="#{anchor}">{heading}</a></p>')
        else:
            seen[id(box.inside)] = anchor = f"layer-{len(seen)}"
            parts.append(f'<details id="{anchor}"><summary>{heading}</summary>\n{_section(box.inside, seen)}\n</details>')
    return "\n".join(parts)
