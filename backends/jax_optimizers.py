"""Which update rules of the library optax has, and how they are spelled there.

A rule is here only if optax computes the same formula, up to rounding, for all settings for which a text is given; tests run both. What
has no text is written out by the emitter: adagrad and nadam, which optax has in another form. `{rate}` stands for the learning rate, a
number or a function of the number of updates done before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from dsl.ir import StaticValue

Settings = Mapping[str, StaticValue]


def spelled(rule: str, settings: Settings) -> str | None:
    """The optimiser of optax for a rule of the library with all its settings but `lr`; None where optax has another formula or none."""
    row = ROWS.get(rule)
    return row(settings) if row is not None else None


def _chain(*stages: str | None) -> str:
    """Transformations after each other, those that are None left out."""
    said = [stage for stage in stages if stage is not None]
    return said[0] if len(said) == 1 else f"optax.chain({', '.join(said)})"


def _decay(settings: Settings) -> str | None:
    """Weight decay added to the gradient (L2): comes first in a chain."""
    return f"optax.add_decayed_weights({settings['weight_decay']!r})" if settings["weight_decay"] else None


def _betas(settings: Settings) -> str:
    first, second = cast("tuple[float, float]", settings["betas"])
    return f"b1={first!r}, b2={second!r}"


def _sgd(settings: Settings) -> str | None:
    if settings["momentum"] and settings["dampening"]:
        return None
    momentum = f", momentum={settings['momentum']!r}" if settings["momentum"] else ""
    nesterov = ", nesterov=True" if settings["nesterov"] else ""
    return _chain(_decay(settings), f"optax.sgd({{rate}}{momentum}{nesterov})")


def _rmsprop(settings: Settings) -> str | None:
    """By parts where there is momentum: optax.rmsprop has the rate inside the momentum, which differs when the rate changes."""
    if settings["eps_root"] or settings["centered"]:  # optax has one epsilon, and a root of what rounding may make negative
        return None
    scale = f"decay={settings['alpha']!r}, eps={settings['eps']!r}, eps_in_sqrt=False"
    if not settings["momentum"]:
        return _chain(_decay(settings), f"optax.rmsprop({{rate}}, {scale})")
    trace = f"optax.trace(decay={settings['momentum']!r})"
    return _chain(_decay(settings), f"optax.scale_by_rms({scale})", trace, "optax.scale_by_learning_rate({rate})")


def _adadelta(settings: Settings) -> str:
    return _chain(_decay(settings), f"optax.adadelta({{rate}}, rho={settings['rho']!r}, eps={settings['eps']!r})")


def _adam(settings: Settings) -> str | None:
    if not settings["corrected"]:
        return None
    root = f", eps_root={settings['eps_root']!r}" if settings["eps_root"] else ""
    return _chain(_decay(settings), f"optax.adam({{rate}}, {_betas(settings)}, eps={settings['eps']!r}{root})")


def _adamw(settings: Settings) -> str:
    return f"optax.adamw({{rate}}, {_betas(settings)}, eps={settings['eps']!r}, weight_decay={settings['weight_decay']!r})"


def _adamax(settings: Settings) -> str:
    return _chain(_decay(settings), f"optax.adamax({{rate}}, {_betas(settings)}, eps={settings['eps']!r})")


def _lion(settings: Settings) -> str:
    return f"optax.lion({{rate}}, {_betas(settings)}, weight_decay={settings['weight_decay']!r})"


ROWS: dict[str, Callable[[Settings], str | None]] = {
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adadelta": _adadelta,
    "adam": _adam,
    "adamw": _adamw,
    "adamax": _adamax,
    "lion": _lion,
}
"""How each rule is spelled."""
