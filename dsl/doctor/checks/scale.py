"""Numbers that shrink or grow from layer to layer, forward or backward, leave most of a network untrained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dsl.doctor.finding import Finding, Scale, Status
from dsl.doctor.subject import Subject

NAME = "scale"

OUTPUTS = (1e3, 1e5)
"""The ratio of the largest to the smallest output of a layer from which on the check warns, and fails."""

GRADIENTS = (1e4, 1e6)
"""The same for the gradients of weights."""


def scales(subject: Subject) -> tuple[Scale, ...]:
    """The scales of all layers that own parameters, in the order in which they are first applied."""
    gradients = _gradients(subject)
    found = []
    for layer, results in subject.start.layers.items():
        flat = np.concatenate([r.ravel() for r in results]) if results else np.zeros(0)
        if flat.size:
            with np.errstate(over="ignore", invalid="ignore"):
                found.append(Scale(layer, float(np.sqrt(np.mean(flat**2))), gradients.get(layer)))
    return tuple(found)


def check_scale(subject: Subject) -> Iterator[Finding]:
    """The ratios between the layers, of outputs and of gradients."""
    table = scales(subject)
    yield _judged(subject, "outputs", {s.layer: s.output for s in table}, OUTPUTS)
    gradients = {s.layer: s.gradient for s in table if s.gradient is not None}
    if subject.engine is not None:
        yield _judged(subject, "gradients", gradients, GRADIENTS)
    else:
        yield Finding(NAME, Status.SKIPPED, "gradients take PyTorch or JAX, and neither is installed")


def _judged(subject: Subject, what: str, values: Mapping[str, float], limits: tuple[float, float]) -> Finding:
    broken = [layer for layer, value in values.items() if not np.isfinite(value)]
    if broken:
        message = f"the {what} of `{broken[0]}` are not finite"
        return Finding(NAME, Status.FAILED, message, f"{values[broken[0]]}", "finite numbers", subject.place(broken[0]))
    positive = {layer: value for layer, value in values.items() if value > 0}
    if len(positive) < 2:
        return Finding(NAME, Status.SKIPPED, f"there are not two layers whose {what} could be compared")
    smallest, largest = min(positive, key=positive.__getitem__), max(positive, key=positive.__getitem__)
    ratio = positive[largest] / positive[smallest]
    numbers = {"ratio": ratio, smallest: positive[smallest], largest: positive[largest]}
    expected = f"a ratio under {limits[0]:.0e}"
    if ratio <= limits[0]:
        return Finding(
            NAME, Status.OK, f"the {what} of {len(positive)} layers are of one scale", f"{ratio:.3g}", expected, numbers=numbers
        )
    order = list(positive)
    fades = order.index(smallest) < order.index(largest)
    way = (
        ("grow with depth" if fades else "shrink with depth")
        if what == "outputs"
        else "vanish backward"
        if fades
        else "explode backward"
    )
    message = f"the {what} {way}: {positive[smallest]:.2g} in `{smallest}`, {positive[largest]:.2g} in `{largest}`"
    status = Status.FAILED if ratio > limits[1] else Status.WARNING
    return Finding(NAME, status, message, f"{ratio:.2g}", expected, subject.place(smallest), numbers)


def _gradients(subject: Subject) -> dict[str, float]:
    """The norm of the gradient of each layer's weights: parameters of two axes or more."""
    found: dict[str, float] = {}
    for gradients in (subject.start_gradients or {}).values():
        for name, value in gradients.parameters.items():
            if value.ndim > 1:
                layer = name.rpartition(".")[0]
                found[layer] = float(np.hypot(found.get(layer, 0.0), np.linalg.norm(value.astype(np.float64))))
    return found
