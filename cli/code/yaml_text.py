"""YAML that anybody may have written: read without surprises, each value with its place; and written.

Every scalar is the text that stands there (`no` is no boolean, `007` is no number). Anchors, aliases and tags, which files of
audiences have no use for, are refused; so are files that are too large, too deep, or of too many parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from cli.code.places import Fault, Place

BYTES_MAX = 1_000_000
PARTS_MAX = 20_000
DEPTH_MAX = 10
_SHOWN_MAX = 40
# Of one file so many faults are told.
FAULTS_MAX = 100

# The parser in C where PyYAML has it: it is a hundred times as fast.
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NO_ALIASES = "anchors and aliases (& and *) are not read here; write the value out"

Path = tuple[str | int, ...]
Value = str | list["Value"] | dict[str, "Value"]


@dataclass(frozen=True, slots=True)
class Tree:
    """What a file says: texts, lists and mappings. `values` and `keys` are the places of each value, and of the key of each entry, by
    their paths; `faults` are all that was found, in which case the rest may be incomplete."""

    value: Value
    file: str
    lines: tuple[str, ...]
    values: Mapping[Path, Place]
    keys: Mapping[Path, Place]
    faults: tuple[Fault, ...]

    def place(self, path: Path) -> Place:
        """The place of a value, or of the innermost one around it that is there."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(self.file, 1, 1))


class _Stop(Exception):
    """Nothing more can be read."""


def read(data: bytes, file: str) -> Tree:
    """The tree of a file, or what of it could be read, with all its faults. Never raises, whatever the bytes are."""
    reading = _Reading(file)
    value: Value = {}
    lines: tuple[str, ...] = ()
    try:
        text = reading.text(data)
        lines = tuple(text.split("\n"))
        value = reading.document(yaml.parse(text, Loader=_LOADER))
    except _Stop:
        value = {}
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        reading.faults.append(Fault(place, f"this is not YAML: {fault.problem or fault.context}"))
    except yaml.YAMLError as fault:
        reading.faults.append(Fault(Place(file), f"this is not YAML: {fault}"))
    return Tree(value, file, lines, reading.values, reading.keys, tuple(reading.faults))


@dataclass(slots=True)
class _Reading:
    file: str
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    parts: int = 0

    def text(self, data: bytes) -> str:
        if len(data) > BYTES_MAX:
            self._stop(Place(self.file), f"the file has {len(data):,} bytes; shorten it to {BYTES_MAX:,} or fewer")
        try:
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as fault:
            line = data[: fault.start].count(b"\n") + 1
            self._stop(Place(self.file, line, 1), "the file is not UTF-8; save it as UTF-8")
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        if found is not None:
            line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
            self._stop(Place(self.file, line, column), f"U+{ord(found[0]):04X} is not read here; remove it")
        return text

    def document(self, events: Iterator[yaml.Event]) -> Value:
        """The one document of the file."""
        value: Value | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and value is not None:
                self._stop(self._at(event), "a file holds one audience; put the other into a file of its own")
            if isinstance(event, yaml.NodeEvent):
                value = self._node(event, events, ())
        return {} if value is None or value == "" else value

    def _node(self, event: Any, events: Iterator[yaml.Event], path: Path) -> Value:
        place = self._at(event)
        self.values[path] = place
        self.parts += 1
        if self.parts > PARTS_MAX:
            self._stop(place, f"the file has more than {PARTS_MAX:,} parts; split it")
        if len(path) > DEPTH_MAX:
            self._stop(place, f"this lies in more than {DEPTH_MAX} others; no field is so deep")
        if isinstance(event, yaml.AliasEvent):
            self._wrong(place, _NO_ALIASES)
            return ""
        # What is left is the beginning of a list or a mapping, or a scalar.
        if event.anchor is not None:
            self._wrong(place, _NO_ALIASES)
        if event.tag is not None and event.tag != "!":
            self._wrong(place, f"tags are not read here; remove {event.tag[:_SHOWN_MAX]}")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(events, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        return str(event.value)

    def _list(self, events: Iterator[yaml.Event], path: Path) -> Value:
        values: list[Value] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            values.append(self._node(event, events, (*path, len(values))))
        return values

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> Value:
        values: dict[str, Value] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            place = self._at(event)
            key = self._node(event, events, (*path, "<key>"))
            said = next(events)
            if not isinstance(key, str):
                self._wrong(place, "a name is wanted before the colon")
                self._node(said, events, (*path, "<value>"))
                continue
            if key in values:
                self._wrong(place, f"{key[:_SHOWN_MAX]} is there twice; keep one")
                self._node(said, events, (*path, "<value>"))
                continue
            value = self._node(said, events, (*path, key))
            self.keys[*path, key] = place
            # `key:` with nothing behind it says nothing.
            if value != "" or getattr(said, "style", None):
                values[key] = value
        return values

    def _at(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _wrong(self, place: Place, description: str) -> None:
        self.faults.append(Fault(place, description))
        if len(self.faults) == FAULTS_MAX:
            raise _Stop

    def _stop(self, place: Place, description: str) -> NoReturn:
        self.faults.append(Fault(place, description))
        raise _Stop


def place_in_text(tree: Tree, path: Path, text: str, line: int, column: int) -> tuple[Place, bool]:
    """Where a line and column (from 1) of a text stand in the file. The flag is False where that can't be told to the column, as of folded
    texts and of texts with escapes: then the place is that where the text begins."""
    start = tree.place(path)
    said = text.split("\n")
    if line > len(said):
        return start, False
    wanted = said[line - 1]
    first = tree.lines[start.line - 1][start.column - 1 :]
    if first.startswith("|"):
        # A block: its lines stand below, all with one indentation.
        at = start.line + line - 1
        if at < len(tree.lines) and tree.lines[at].endswith(wanted):
            return Place(tree.file, at + 1, len(tree.lines[at]) - len(wanted) + column), True
    elif len(said) == 1:
        offset = 1 if first[:1] in "'\"" else 0
        if first[offset:].startswith(wanted):
            return Place(tree.file, start.line, start.column + offset + column - 1), True
    return start, False


class _Dumper(yaml.SafeDumper):
    """Lists indented below their keys, and texts of several lines as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def write(value: Mapping[str, Any]) -> str:
    """A mapping as YAML, its entries in their order; the same value gives the same text."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31 - 1)
