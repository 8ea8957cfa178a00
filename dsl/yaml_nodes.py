"""YAML text as a tree of mappings, lists and scalars with their places, from the parser's events: no object of Python is ever made.

What YAML offers beyond that is refused where it stands: tags, merge keys, several documents, keys that stand twice, aliases without end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from dsl import text_errors
from dsl.diagnostics import Diagnostic, Label, SpecError
from dsl.limits import limits
from dsl.source import Source, Span

MAX_NODES = 100_000
"""How many nodes the aliases of a document may stand for."""


@dataclass(frozen=True, slots=True)
class YamlScalar:
    """`places[i]` is the offset in the source of character `i` of the text, and one more for its end."""

    text: str
    plain: bool
    span: Span
    places: Sequence[int]
    size: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True)
class YamlList:
    items: tuple[YamlNode, ...]
    span: Span
    size: int
    height: int


@dataclass(frozen=True, slots=True)
class YamlMapping:
    pairs: tuple[tuple[YamlScalar, YamlNode], ...]
    span: Span
    size: int
    height: int

    def get(self, key: str) -> YamlNode | None:
        return next((value for name, value in self.pairs if name.text == key), None)


YamlNode: TypeAlias = YamlScalar | YamlList | YamlMapping


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read."""

    start: int
    anchor: str | None
    mapping: bool
    children: list[YamlNode]


def read_nodes(source: Source) -> YamlNode | None:
    """The only document of the text, None where there is none."""
    return _Reader(source).read()


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.open: list[_Open] = []
        self.anchors: dict[str, YamlNode] = {}
        self.documents: list[YamlNode] = []
        self.total = 0

    def read(self) -> YamlNode | None:
        try:
            for event in self._events():
                self._event(event)
        except yaml.MarkedYAMLError as error:
            raise SpecError(self._malformed(error)) from None
        except yaml.reader.ReaderError as error:
            span = Span(self.source, error.position, error.position + 1)
            raise SpecError(Diagnostic("DL0901", f"this is not YAML: {error.reason}", span)) from None
        return self.documents[0] if self.documents else None

    def _events(self) -> Iterator[yaml.Event]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        events: Iterator[yaml.Event] = yaml.parse(self.source.text, Loader=loader)
        return events

    def _event(self, event: yaml.Event) -> None:
        start = event.start_mark.index if event.start_mark else 0
        end = event.end_mark.index if event.end_mark else start
        match event:
            case yaml.DocumentStartEvent() if self.documents:
                raise self._refused(start, start + 3, "a spec is one YAML document", "list the definitions under `definitions:`")
            case yaml.AliasEvent():
                self._add(self._target(str(event.anchor), Span(self.source, start, end)), None, Span(self.source, start, end))
            case yaml.ScalarEvent():
                self._untagged(event.tag, start)
                scalar = _scalar(self.source, event, start, end)
                self._add(scalar, event.anchor, scalar.span)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._untagged(event.tag, start)
                self.open.append(_Open(start, event.anchor, isinstance(event, yaml.MappingStartEvent), []))
                if len(self.open) > limits().nesting:
                    raise SpecError(text_errors.too_deep(Span(self.source, start, start + 1), limits().nesting))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close(end)
            case _:
                pass

    def _close(self, end: int) -> None:
        done = self.open.pop()
        text = self.source.text[done.start : end]
        span = Span(self.source, done.start, done.start + max(len(text.rstrip()), 1))
        size = 1 + sum(child.size for child in done.children)
        height = 1 + max((child.height for child in done.children), default=0)
        if not done.mapping:
            self._add(YamlList(tuple(done.children), span, size, height), done.anchor, span)
            return
        keys = [child for child in done.children[::2] if isinstance(child, YamlScalar)]
        self._add(YamlMapping(tuple(zip(keys, done.children[1::2], strict=True)), span, size, height), done.anchor, span)

    def _add(self, node: YamlNode, anchor: str | None, span: Span) -> None:
        if len(self.open) + node.height > limits().nesting:
            raise SpecError(text_errors.too_deep(Span(self.source, span.start, span.start + 1), limits().nesting))
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.open:
            self.documents.append(node)
            return
        parent = self.open[-1]
        if parent.mapping and len(parent.children) % 2 == 0:
            self._check_key(node, span, parent)
        parent.children.append(node)

    def _check_key(self, node: YamlNode, span: Span, parent: _Open) -> None:
        if not isinstance(node, YamlScalar):
            raise SpecError(Diagnostic("DL0907", "a key is a word, not a mapping or a list", span))
        if node.plain and node.text == "<<":
            raise self._refused(span.start, span.end, "merge keys are not used in specs", "write the keys out")
        for other in parent.children[::2]:
            if isinstance(other, YamlScalar) and other.text == node.text:
                label = Label(other.span, "first here")
                raise SpecError(Diagnostic("DL0903", f"the key `{node.text}` stands twice", span, "again here", (label,)))

    def _target(self, anchor: str, span: Span) -> YamlNode:
        if any(other.anchor == anchor for other in self.open):
            raise SpecError(Diagnostic("DL0905", f"the alias `*{anchor}` refers to itself", span))
        if anchor not in self.anchors:
            raise SpecError(Diagnostic("DL0905", f"the alias `*{anchor}` refers to nothing", span))
        node = self.anchors[anchor]
        self.total += node.size
        if self.total > MAX_NODES:
            message = f"the aliases stand for more than {MAX_NODES:,} nodes"
            raise SpecError(Diagnostic("DL0905", message, span))
        return node

    def _untagged(self, tag: str | None, start: int) -> None:
        if tag is not None:
            end = start
            while end < len(self.source.text) and not self.source.text[end].isspace():
                end += 1
            raise self._refused(start, end, "tags are not used in specs", "delete the tag; nothing in a spec makes an object")

    def _refused(self, start: int, end: int, message: str, fix: str) -> SpecError:
        return SpecError(Diagnostic("DL0902", message, Span(self.source, start, end), help=fix))

    def _malformed(self, error: yaml.MarkedYAMLError) -> Diagnostic:
        mark = error.problem_mark or error.context_mark
        start = min(mark.index if mark else 0, len(self.source.text))
        labels: tuple[Label, ...] = ()
        if error.context_mark is not None and error.context and error.context_mark.index != start:
            at = error.context_mark.index
            labels = (Label(Span(self.source, at, at + 1), str(error.context)),)
        return Diagnostic("DL0901", f"this is not YAML: {error.problem}", Span(self.source, start, start + 1), labels=labels)


def _scalar(source: Source, event: yaml.ScalarEvent, start: int, end: int) -> YamlScalar:
    text: str = event.value
    raw = source.text[start:end]
    plain = not event.style
    inner = 0 if plain else 1
    if raw[inner : inner + len(text)] == text:
        places: Sequence[int] = range(start + inner, start + inner + len(text) + 1)
    else:
        places = _aligned(raw, text, start)
    if event.style in ("|", ">") and text:
        return YamlScalar(text, False, Span(source, places[0], places[len(text.rstrip())]), places)
    return YamlScalar(text, plain, Span(source, start, max(end, start + 1)), places)


def _aligned(raw: str, text: str, start: int) -> list[int]:
    """Where each character of a folded or escaped scalar comes from; near enough for a message."""
    places: list[int] = []
    at = raw.index("\n") + 1 if raw[:1] in ("|", ">") and "\n" in raw else 1 if raw[:1] in ("'", '"') else 0
    for character in text:
        if character.isspace():
            places.append(start + min(at, len(raw)))
            at += raw[at : at + 2] in ("\\n", "\\t")
            at += 1
            continue
        found = raw.find(character, at)
        if found < 0 or (raw[at : at + 1] == "\\" and found > at + 1):
            places.append(start + min(at, len(raw)))
            continue
        places.append(start + found)
        at = found + 1
    places.append(min((places[-1] if places else start) + 1, start + len(raw)))
    return places
