"""Examples with classes, as data sets and folders of pictures have them: features and labels, matched to inputs by name or by rank.

An input of the right name gets what the name says. Another gets the labels where it is integer of rank 1, and the features where it has
two axes or more, provided that only one input asks for either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dsl.data.columns import Column, ScaledColumn
from dsl.data.problems import declared, unmatched
from dsl.types import DType, TensorType

FeaturesOf = Callable[[str, TensorType, Mapping[str, int]], Column]
"""The features as the input of that name and type wants them."""

LABEL = "label"


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """`features` go by the name `feature`; `labels` by `label`, where there are any."""

    name: str
    feature: str
    features: FeaturesOf
    labels: Column | None

    def has(self, member: str) -> bool:
        return member in (self.feature, LABEL)

    def columns(self, wanted: Mapping[str, TensorType], sizes: Mapping[str, int]) -> dict[str, Column]:
        found: dict[str, Column] = {}
        roles: dict[str, str] = {}
        for name, type_ in wanted.items():
            role = self._role(name, type_)
            if role is None:
                raise unmatched(f"`{self.name}` has nothing for `{name}: {type_}`", notes=[self._has()], help=self._without(name))
            if role in roles:
                both = declared({n: wanted[n] for n in (roles[role], name)})
                raise unmatched(f"`{self.name}` has one `{role}`, and there are the inputs {both}", help=self._without(name))
            roles[role] = name
            found[name] = self.labels if role == LABEL and self.labels is not None else self.features(name, type_, sizes)
        return found

    def _role(self, name: str, type_: TensorType) -> str | None:
        role = None
        if self.has(name):
            role = name
        elif type_.rank > 1:
            role = self.feature
        elif type_.dtype.is_int:
            role = LABEL
        return None if role == LABEL and self.labels is None else role

    def _has(self) -> str:
        labels = " and `label`, integers of rank 1" if self.labels is not None else " and no labels"
        return f"it has `{self.feature}`, of two axes or more,{labels}"

    def _without(self, name: str) -> str:
        return f"give `{name}` from elsewhere: `--data {self.name},{name}=FILE`"


def from_zero_to_one(raw: Column, top: int, type_: TensorType) -> Column:
    """Pixels as the input wants them: numbers from 0 to 1 where it is floating, else as they are."""
    if not type_.dtype.is_float:
        return raw
    return ScaledColumn(raw, top, np.dtype(np.float64 if type_.dtype is DType.F64 else np.float32))
