"""Checkpoints: generations of files in a folder, and one small file that says which of them count.

A generation is written beside the others; then `checkpoint.json` is replaced, in one rename, by one that names it; then generations that
nothing names are removed. Whenever the process is killed, what `checkpoint.json` names is whole. It has the digests of the files of the
last generation, so that none is read that was changed by something else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from backends.base import Arrays
from dsl.diagnostics import Diagnostic, SpecError
from dsl.files import cannot_write, explained, write_atomically
from dsl.ir import Program
from dsl.locks import only_process
from dsl.weights import load_weights, save_weights

POINTER = "checkpoint.json"
WEIGHTS = "weights.safetensors"
MOMENTS = "optimizer.safetensors"
STATE = "state.json"
LOCK = ".training"
"""The file that a process has while it trains in the folder."""
FORMAT = 2
COMPUTATION = "the computation"
"""Under this name is a digest, which differs wherever anything does."""
_GENERATION = re.compile(r"step-\d{7,18}", re.ASCII)
MOST_SHOWN = 20
"""How many differences a message lists."""

Described = Mapping[str, str]
"""What a training is, as text by what it is text of: two trainings are the same where these are."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a training needs beside tensors to go on: steps done, the best validation so far, the state of plateaus by key."""

    step: int
    seed: int
    described: Described
    best: tuple[int, float] | None = None
    plateaus: Mapping[str, Mapping[str, float]] | None = None


@dataclass(frozen=True, slots=True)
class Pointer:
    """The generations that count, and the digests of the files of the last."""

    last: str
    best: str
    digests: Mapping[str, str]


class Checkpoints:
    """The checkpoints in one folder. `updated` are the tensors that the training updates beside its program."""

    def __init__(self, folder: Path, program: Program, updated: Container[str] = ()) -> None:
        self.folder = folder
        self.program = program
        self.updated = updated

    # --- writing ---

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder, which is made where there is none. SpecError where one trains in it."""
        with ExitStack() as stack:
            with explained(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                alone = stack.enter_context(only_process(self.folder / LOCK))
            if not alone:
                message = f"another process is training in `{self.folder}`"
                raise SpecError(Diagnostic("DL0841", message, help="`--out` names another folder"), exit_code=2)
            self._refuse_links()
            yield

    def _refuse_links(self) -> None:
        """A link in the folder, which may come from somebody else, would have us write over what it leads to."""
        generations = self.folder.glob("step-*"), self.folder.glob("step-*/*")
        for place in (self.folder / POINTER, *self.folder.glob("curves.*"), *chain(*generations)):
            if place.is_symlink():
                raise cannot_write(place, "it is a link", help="a training writes to files of its own")

    def prepare(self) -> None:
        """SpecError where a training is in the folder already."""
        if (self.folder / POINTER).exists():
            raise SpecError(
                Diagnostic(
                    "DL0841",
                    f"there is a training in `{self.folder}`",
                    help="`--resume` goes on with it; `--out` names another folder for a new one",
                ),
                exit_code=2,
            )

    def save(self, memory: Memory, weights: Arrays, moments: Arrays, *, best: bool) -> None:
        """Write a generation and make it the last, and the best where it is; the one that was the best before may then go."""
        name = f"step-{memory.step:07}"
        place = self.folder / name
        place.mkdir(exist_ok=True)
        save_weights(place / WEIGHTS, weights, self.program)
        if moments:  # safetensors of nothing cannot be read again
            save_weights(place / MOMENTS, moments)
        state = {
            "step": memory.step,
            "seed": memory.seed,
            "best": list(memory.best) if memory.best else None,
            "plateaus": memory.plateaus or {},
            "moments": len(moments),
            "training": dict(memory.described),
        }
        write_atomically(place / STATE, _json(state))
        kept = name if best or not (self.folder / POINTER).exists() else self.pointer().best
        digests = {file: _digest(place / file) for file in (WEIGHTS, MOMENTS, STATE) if (place / file).exists()}
        write_atomically(self.folder / POINTER, _json({"format": FORMAT, "last": name, "best": kept, "digests": digests}))
        self._publish(kept)
        self._tidy({name, kept})

    def _publish(self, name: str) -> None:
        """`weights.safetensors` in the folder itself: the best weights, for other commands to read. A link where the system has them."""
        source, place = self.folder / name / WEIGHTS, self.folder / WEIGHTS
        temporary = self.folder / f".{WEIGHTS}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(place)

    def _tidy(self, kept: set[str]) -> None:
        for place in self.folder.glob("step-*"):
            if place.is_dir() and place.name not in kept:
                shutil.rmtree(place, ignore_errors=True)

    # --- reading ---

    def pointer(self) -> Pointer:
        """What the folder says of itself. SpecError where there is no checkpoint in it, or none of ours."""
        try:
            found = _read(self.folder / POINTER)
        except FileNotFoundError:
            raise no_checkpoint(f"there is no checkpoint in `{self.folder}`") from None
        if found.get("format") != FORMAT:
            raise no_checkpoint(f"the checkpoint in `{self.folder}` is of another version of dslc")
        last, best, digests = str(found.get("last")), str(found.get("best")), found.get("digests")
        if not (_GENERATION.fullmatch(last) and _GENERATION.fullmatch(best) and isinstance(digests, dict)):
            raise no_checkpoint(f"`{self.folder / POINTER}` is damaged: it names no generation")
        return Pointer(last, best, {str(file): str(digest) for file, digest in digests.items()})

    def memory(self) -> Memory:
        """What the last generation remembers. SpecError where there is none that can be read, or a file of it is not as it was written."""
        pointer = self.pointer()
        place = self.folder / pointer.last
        try:
            for file in (STATE, WEIGHTS, *([MOMENTS] if (place / MOMENTS).exists() else [])):
                if _digest(place / file) != pointer.digests.get(file):
                    raise no_checkpoint(f"`{place / file}` is damaged: it is not what was written")
            return _memory(_read(place / STATE))
        except OSError as error:
            raise no_checkpoint(f"the checkpoint `{place}` is damaged: {(error.strerror or str(error)).lower()}") from None
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise no_checkpoint(f"the checkpoint `{place}` is damaged: {error}") from None

    def tensors(self) -> tuple[Arrays, Arrays]:
        """The weights and the moments of the last generation."""
        place = self.folder / self.pointer().last
        weights = load_weights(place / WEIGHTS, self.program, updated=self.updated)
        try:
            wanted = _read(place / STATE).get("moments")
            moments = load_file(place / MOMENTS) if wanted != 0 else {}
        except (OSError, SafetensorError, TypeError) as error:  # TypeError is that NumPy has no such type
            raise no_checkpoint(f"the checkpoint `{place}` is damaged: {error}") from None
        if len(moments) != wanted:
            raise no_checkpoint(f"the checkpoint `{place}` is damaged: {len(moments)} of {wanted} moments are there")
        return {name: np.array(value) for name, value in weights.items()}, moments


def compare(found: Memory, described: Described, seed: int | None, folder: Path) -> None:
    """Raise unless the checkpoint is of the training that is described, with all that differs."""
    if seed is not None and seed != found.seed:
        message = f"the checkpoint in `{folder}` was trained with the seed {found.seed}, not {seed}"
        raise SpecError(Diagnostic("DL0844", message, help="leave `--seed` out: `--resume` knows it"), exit_code=2)
    lines = differences(found.described, described)
    if lines:
        message = f"the checkpoint in `{folder}` is of another training"
        raise SpecError(Diagnostic("DL0843", message, notes=tuple(lines), help="start a new one with `--out`"))


def differences(before: Described, now: Described) -> list[str]:
    """What differs, a line each."""
    lines = []
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name), now.get(name)
        if old == new or name == COMPUTATION:
            continue
        if new is None:
            lines.append(f"{name} ({old}) is no more")
        elif old is None:
            lines.append(f"{name} ({new}) is new")
        else:
            lines.append(f"{name} was {old} and is {new}")
    if not lines and before.get(COMPUTATION) != now.get(COMPUTATION):
        return ["the spec computes something else than it did"]
    return lines if len(lines) <= MOST_SHOWN else [*lines[:MOST_SHOWN], f"and {len(lines) - MOST_SHOWN} more"]


def _memory(state: Mapping[str, object]) -> Memory:
    step, seed, best, described = state["step"], state["seed"], state["best"], state["training"]
    plateaus = state["plateaus"]
    if not (isinstance(step, int) and isinstance(seed, int) and isinstance(described, dict) and isinstance(plateaus, dict)):
        raise ValueError("its state is none")
    found = (int(best[0]), float(best[1])) if isinstance(best, Sequence) and not isinstance(best, str) else None
    return Memory(step, seed, {str(k): str(v) for k, v in described.items()}, found, plateaus)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()[:32]


def _read(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise no_checkpoint(f"`{path}` is damaged: {error}") from None
    if not isinstance(found, dict):
        raise no_checkpoint(f"`{path}` is damaged: it is no object")
    return found


def no_checkpoint(message: str) -> SpecError:
    """The error for a checkpoint that cannot be read."""
    return SpecError(Diagnostic("DL0842", message), exit_code=4)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
