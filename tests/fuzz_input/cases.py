"""What is tried: a command line and the files that it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True, slots=True)
class Case:
    """Files in an empty folder, and the command line that is run there. It may write to the folder `writes`, and to no other place."""

    arguments: tuple[str, ...]
    files: Mapping[str, bytes]
    writes: str | None = None


Cases = st.SearchStrategy[Case]
