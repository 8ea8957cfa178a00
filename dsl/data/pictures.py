"""A folder of pictures of one size: each is read when its batch is. Folders inside it are the classes, in the order of their names.

Other files are passed over. A floating input gets pixels from 0 to 1, an integer one from 0 to 255, as [B, C, H, W].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsl.data.columns import ArrayColumn, Column, Source
from dsl.data.examples import Examples, from_zero_to_one
from dsl.data.problems import missing_package, unmatched, unreadable, why
from dsl.dims import as_symbol
from dsl.types import TensorType

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "LA": 4, "RGBA": 4, "PA": 4}
"""How many channels a picture of that mode is read with; any other has 3."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureColumn:
    """Pictures on the disk, decoded when they are read: [C, H, W], or [H, W] without `channel_axis`."""

    paths: tuple[Path, ...]
    channels: int
    size: tuple[int, int]
    channel_axis: bool
    limits: tuple[int, int] | None = (0, 255)
    unit: str = "row"

    @property
    def count(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, *self.size) if self.channel_axis else self.size

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    def read(self, positions: np.ndarray) -> np.ndarray:
        return np.stack([self._pixels(self.paths[i]) for i in positions])

    def chunks(self) -> Iterator[np.ndarray]:
        for i in range(self.count):
            yield self.read(np.array([i]))

    def _pixels(self, path: Path) -> np.ndarray:
        with _opened(path) as picture:
            pixels = np.asarray(picture.convert(_MODES[self.channels]))
        planes = pixels[None] if self.channels == 1 else pixels.transpose(2, 0, 1)
        return planes if self.channel_axis else planes[0]


def open_pictures(folder: str) -> Source:
    """The pictures of a folder; SpecError where there are none, or they have different sizes."""
    classes, paths = _found(folder)
    size, mode = _measured(paths)

    def features(name: str, type_: TensorType, sizes: Mapping[str, int]) -> Column:
        if type_.rank not in (3, 4):
            raise unmatched(
                f"`{folder}` has pictures, and `{name}` is {type_}", help=f"`{name}: float[B, C, H, W]` would be pictures"
            )
        channels = _channels(type_, sizes, mode)
        if channels not in _MODES:
            raise unmatched(f"`{name}` is {type_}, and pictures have 1, 3 or 4 channels")
        return from_zero_to_one(PictureColumn(paths, channels, size, type_.rank == 4), 255, type_)

    labels = ArrayColumn(np.asarray(classes), (0, max(classes))) if classes else None
    return Examples(folder, "image", features, labels)


def _channels(type_: TensorType, sizes: Mapping[str, int], mode: str) -> int:
    if type_.rank == 3:
        return 1
    axis = type_.shape[1]
    if isinstance(axis, int):
        return axis
    symbol = as_symbol(axis)
    return sizes[symbol.name] if symbol is not None and symbol.name in sizes else _CHANNELS.get(mode, 3)


def _found(folder: str) -> tuple[tuple[int, ...], tuple[Path, ...]]:
    """The class of each picture (none at all where no folders are inside) and its path, sorted."""
    try:
        inside = sorted(path for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))
        here = _pictures_in(Path(folder))
        groups = [group for group in map(_pictures_in, inside) if group]
    except OSError as error:
        raise unreadable(folder, why(error)) from None
    if here and groups:
        raise unreadable(folder, f"`{here[0].name}` lies beside the folders of the classes", "move it into one of them")
    if groups:
        return tuple(i for i, group in enumerate(groups) for _ in group), tuple(path for group in groups for path in group)
    if not here:
        raise unreadable(folder, "there are no pictures in it", f"pictures are {', '.join(sorted(SUFFIXES))}")
    return (), tuple(here)


def _pictures_in(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())


def _measured(paths: tuple[Path, ...]) -> tuple[tuple[int, int], str]:
    """Height and width, the same for all, and the mode of the first. Only headers are read."""
    sizes: list[tuple[int, int]] = []
    modes: list[str] = []
    for path in paths:
        with _opened(path) as picture:
            sizes.append((picture.height, picture.width))
            modes.append(picture.mode)
        if sizes[-1] != sizes[0]:
            texts = [f"{width} x {height}" for height, width in (sizes[0], sizes[-1])]
            raise unmatched(
                f"`{path}` has {texts[1]} pixels, and `{paths[0]}` has {texts[0]}", help="all pictures of a folder have one size"
            )
    return sizes[0], modes[0]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture, whose header is read; SpecError where something is wrong with it, now or when its pixels are read."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise missing_package("pillow", "reading pictures") from None
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as error:  # PNGs are said to have a syntax
        raise unreadable(str(path), why(error)) from None
