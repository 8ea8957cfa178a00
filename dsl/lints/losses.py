"""Lints of losses and of what becomes probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl.diagnostics import Diagnostic, Label
from dsl.lints.facts import (
    AFFINE,
    BOUNDED,
    CAST_LABELS,
    DROPPED,
    LOG_PROBABILITIES,
    NORMED,
    PROBABILITIES,
    RECTIFIED,
    SIGMOID,
    Fact,
    axis_of,
    of_kind,
)
from dsl.lints.place import Lint, Place, warning

_SHOWN = {
    PROBABILITIES: "probabilities",
    LOG_PROBABILITIES: "log-probabilities",
    SIGMOID: "what a sigmoid gave",
    AFFINE: "what a linear map gave",
    RECTIFIED: "what a relu gave",
}


def given_probabilities(place: Place) -> Iterator[Diagnostic]:
    """A loss that turns logits into probabilities by itself, and is given probabilities."""
    logits = min(_LOGITS.get(place.name, 0), len(place.operands) - 1)  # numbers that are written out are no operands
    fact = of_kind(place.operands[logits], PROBABILITIES, LOG_PROBABILITIES, SIGMOID)
    if fact is None:
        return
    inside = "sigmoid" if place.name in ("bce_with_logits", "focal_loss", "softplus") or "bernoulli" in place.name else "softmax"
    if place.name == "softplus":
        help = "leave the sigmoid out as the last step: `softplus(-z)` is -log(sigmoid(z))"
        yield _given("DL1010", f"`softplus` takes logits, and is given {_SHOWN[fact.kind]}", place, fact, help)
        return
    other = "`bce`" if inside == "sigmoid" else "`nll` of log-probabilities"
    yield _given(
        "DL1010",
        f"`{place.name}` takes logits, and is given {_SHOWN[fact.kind]}",
        place,
        fact,
        f"it has a {inside} of its own: give it what came before, or use {other}",
    )


_LOGITS = {"categorical_log_prob": 1, "bernoulli_log_prob": 1}
"""Which argument the logits are, where they are not the first."""


def given_logits(place: Place) -> Iterator[Diagnostic]:
    """A loss of probabilities or of their logarithms that is given something else."""
    logs = place.name in ("nll", "kl_div")
    fact = of_kind(place.operands[0], AFFINE, *((PROBABILITIES, SIGMOID, RECTIFIED) if logs else (LOG_PROBABILITIES,)))
    if fact is None:
        return
    wanted = "log-probabilities" if logs else "probabilities"
    help = "take the `log_softmax` of the logits first" if logs else "`bce_with_logits` takes them"
    if place.name == "nll" and fact.kind == AFFINE:
        help = "`cross_entropy` takes logits; `nll` what `log_softmax` gives"
    yield _given("DL1011", f"`{place.name}` takes {wanted}, and is given {_SHOWN[fact.kind]}", place, fact, help)


def normalised_twice(place: Place) -> Iterator[Diagnostic]:
    """A softmax or sigmoid of what has been through one."""
    fact = of_kind(place.operands[0], PROBABILITIES, LOG_PROBABILITIES, SIGMOID)
    if fact is None or (place.name == "softmax" and _other_axis(fact, place)):
        return
    help = "leave one of the two out" if fact.kind != SIGMOID else "leave the sigmoid out"
    yield _given("DL1012", f"a `{place.name}` of {_SHOWN[fact.kind]}", place, fact, help)


def _other_axis(fact: Fact, place: Place) -> bool:
    """Whether probabilities along one axis are weighed along another, as capsules and double attention do."""
    return fact.kind == PROBABILITIES and fact.axis is not None and fact.axis != axis_of(place.node)


def squashed_scores(place: Place) -> Iterator[Diagnostic]:
    """Scores that an activation has cut or squashed, that a norm has put on one scale, or of which dropout takes some away."""
    fact = of_kind(place.operands[0], RECTIFIED, BOUNDED, NORMED, DROPPED)
    if fact is None or (fact.kind == BOUNDED and place.name == "softmax"):
        return
    code, said, help = _SQUASHED[fact.kind]
    yield _given(code, f"`{place.name}` is given {said}", place, fact, help)


_SQUASHED = {
    RECTIFIED: (
        "DL1014",
        "logits that a relu has cut: none is negative",
        "leave the last activation out: logits are any numbers",
    ),
    BOUNDED: ("DL1014", "logits between -1 and 1, what a tanh gave", "leave the last activation out: logits are any numbers"),
    NORMED: ("DL1017", "logits that a norm has put on one scale", "put the norm before the last layer, or scale what it gives"),
    DROPPED: ("DL1016", "logits of which dropout sets some to 0 in training", "put the dropout before the last layer"),
}


def over_one_class(place: Place) -> Iterator[Diagnostic]:
    """A softmax along an axis of one element, or from example to example."""
    axis = place.node.target.graph.hyper.get("over") if place.node.target is not None else None
    shape = place.shape(0)
    if not isinstance(axis, int) or not shape:
        return
    size = shape[axis % len(shape)]
    if isinstance(size, int) and size == 1:
        help = "for two classes take a `sigmoid`, or `bce_with_logits`; or give the axis of the classes with `over`"
        yield warning("DL1013", f"`{place.name}` along an axis of one element is constant", place.span, help=help)
    elif place.is_batch(size) and sum(place.is_batch(s) for s in shape) == 1:
        message = f"`{place.name}` goes over the examples of the batch"
        help = "each example is for itself: give the axis of the classes with `over`, such as -1"
        yield warning("DL1013", message, place.span, help=help)


def regression_on_labels(place: Place) -> Iterator[Diagnostic]:
    """The number of a class as something to come near to."""
    fact = next((f for facts in place.operands[:2] if (f := of_kind(facts, CAST_LABELS))), None)
    if fact is not None:
        help = "use `cross_entropy(logits, label)`, or `one_hot` of the labels; declare the input `float` if it is a quantity"
        yield _given("DL1015", f"`{place.name}` treats the number of a class as a quantity", place, fact, help)


def _given(code: str, message: str, place: Place, fact: Fact, help: str) -> Diagnostic:
    labels = (Label(fact.span, "this is what it is given"),) if fact.span != place.span else ()
    return warning(code, message, place.span, labels=labels, help=help)


LOGIT_LOSSES = ("cross_entropy", "token_cross_entropy", "soft_cross_entropy", "bce_with_logits", "focal_loss")


def rectified_prediction(place: Place) -> Iterator[Diagnostic]:
    """A regression whose last step is a relu, or dropout."""
    fact = of_kind(place.operands[0], RECTIFIED, DROPPED)
    if fact is None:
        return
    if fact.kind == DROPPED:
        yield _given(
            "DL1016",
            f"`{place.name}` is given what dropout has set to 0 in part",
            place,
            fact,
            "put the dropout before the last layer",
        )
        return
    help = "leave the last activation out, or use `softplus` where nothing is negative"
    yield _given("DL1014", f"`{place.name}` is given what a relu has cut at 0: below it there is no gradient", place, fact, help)


LINTS: Mapping[str, tuple[Lint, ...]] = {
    **dict.fromkeys(LOGIT_LOSSES, (given_probabilities, squashed_scores, over_one_class)),
    **dict.fromkeys(("nll", "kl_div", "bce"), (given_logits,)),
    **dict.fromkeys(("softmax", "log_softmax"), (normalised_twice, squashed_scores, over_one_class)),
    **dict.fromkeys(
        (*_LOGITS, "categorical_entropy", "bernoulli_entropy", "categorical_sample", "softplus"), (given_probabilities,)
    ),
    "sigmoid": (normalised_twice, squashed_scores),
    **dict.fromkeys(("mse", "mae", "huber", "smooth_l1"), (regression_on_labels, rectified_prediction)),
}
