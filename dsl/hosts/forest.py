"""Decision trees and forests that scikit-learn fitted, as the tables that specs/linear/decision_forest.dl reads.

Fitting a tree is a search, not a computation with tensors: scikit-learn does it, and this file takes what it found. scikit-learn
comes with `pip install 'dslc[data]'`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dsl.diagnostics import Diagnostic, SpecError


class Nodes(Protocol):
    """The nodes of one fitted tree, an array each, 0 the root (`sklearn.tree._tree.Tree`)."""

    children_left: np.ndarray
    children_right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray
    node_count: int
    max_depth: int


@dataclass(frozen=True, slots=True)
class Forest:
    """A forest for `DecisionForest`: `settings` are its hyper-parameters, `weights` its buffers by name. An output is the probability of a
    class, in the order of the estimator's `classes_`, or a predicted number."""

    settings: Mapping[str, int]
    weights: Mapping[str, np.ndarray]


def from_scikit_learn(estimator: object) -> Forest:
    """The tables of a fitted tree or forest: `DecisionTree`, `ExtraTree`, `RandomForest` or `ExtraTrees`, `Classifier` or `Regressor`.

    On inputs in float32 without missing values they give its `predict_proba`, or its `predict`. TypeError for anything else.
    """
    fitted = _trees(estimator)
    trees = [tree for tree, _ in fitted]
    nodes = max(tree.node_count for tree in trees)
    weights = {
        "feature": _table([np.maximum(tree.feature, 0) for tree in trees], nodes, np.int64),
        "threshold": _table([_not_above(tree.threshold) for tree in trees], nodes, np.float32),
        "left": _table([_itself_at_leaves(tree.children_left) for tree in trees], nodes, np.int64),
        "right": _table([_itself_at_leaves(tree.children_right) for tree in trees], nodes, np.int64),
        "value": _table([_answers(tree, classifies) for tree, classifies in fitted], nodes, np.float32),
    }
    settings = {
        "trees": len(trees),
        "nodes": nodes,
        "depth": max(tree.max_depth for tree in trees),
        "outputs": weights["value"].shape[2],
        "features": int(estimator.n_features_in_),  # type: ignore[attr-defined]  # what it was fitted on
    }
    return Forest(settings, weights)


def _trees(estimator: object) -> list[tuple[Nodes, bool]]:
    """Each tree, and whether it tells classes."""
    try:
        from sklearn import ensemble, tree
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted
    except ModuleNotFoundError:
        message = "a forest of scikit-learn needs the package `scikit-learn`"
        raise SpecError(Diagnostic("DL0708", message, help="pip install 'dslc[data]'"), exit_code=3) from None
    classifiers = (tree.DecisionTreeClassifier, ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier)
    regressors = (tree.DecisionTreeRegressor, ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor)
    if not isinstance(estimator, classifiers + regressors):
        raise TypeError(f"a decision tree or a forest of scikit-learn is needed, not {type(estimator).__name__}")
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise TypeError(f"this {type(estimator).__name__} has not been fitted") from None
    classifies = isinstance(estimator, classifiers)
    if classifies and estimator.n_outputs_ > 1:
        raise TypeError("a classifier of one label is needed, and this one has several")
    single = isinstance(estimator, (tree.DecisionTreeClassifier, tree.DecisionTreeRegressor))
    return [(e.tree_, classifies) for e in ([estimator] if single else estimator.estimators_)]


def _table(rows: Sequence[np.ndarray], nodes: int, dtype: type[np.generic]) -> np.ndarray:
    """The rows of all trees, filled up with zeros where a tree has fewer nodes."""
    return np.stack([np.pad(row, [(0, nodes - len(row))] + [(0, 0)] * (row.ndim - 1)) for row in rows]).astype(dtype)


def _itself_at_leaves(children: np.ndarray) -> np.ndarray:
    return np.where(children < 0, np.arange(len(children)), children)


def _not_above(threshold: np.ndarray) -> np.ndarray:
    """The largest numbers of 32 bits up to each threshold, which has 64: the same of them are below."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _answers(tree: Nodes, classifies: bool) -> np.ndarray:
    """[nodes, outputs]: shares of the classes, or means."""
    if not classifies:
        return tree.value[:, :, 0]
    counts = tree.value[:, 0]
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))
