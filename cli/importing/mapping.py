"""The mapping file: which column of the file becomes which field.

columns:
  E-mail: email
  Signed up: user_attributes.signed_up
  When: {field: time, unit: s}        # or {field: time, format: "%d/%m/%Y %H:%M"}
  Internal note: skip
values:
  event_name: Purchase                # the same in every row
others: attributes                    # or user_attributes, or skip
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cli.faults import CliFault, ExitCode, bad_input
from cli.importing.fields import ATTRIBUTES, EVENT_FIELDS, SKIP, USER_ATTRIBUTES, guess, is_field, names_somebody
from services.chassis.errors import FieldViolation

_UNITS = ("s", "ms", "us", "ns")
_OTHERS = {"attributes": ATTRIBUTES, "user_attributes": USER_ATTRIBUTES, SKIP: SKIP}


@dataclass(frozen=True, slots=True)
class Target:
    """What becomes of a column. `field` may be `skip`; `unit` and `format` say how its times are written, empty: as ISO 8601 or in
    milliseconds since 1970."""

    field: str
    unit: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a mapping file says; all empty: nothing. `others` is a prefix, `skip`, or empty: as the rows are."""

    columns: dict[str, Target] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    others: str = ""
    # Where each column is named, for faults.
    places: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """A mapping over what plain headers mean, for the columns of one file."""

    mapping: Mapping
    others: str

    def target(self, column: str) -> Target:
        """What becomes of a column."""
        named = self.mapping.columns.get(column)
        if named is not None:
            return named
        meant = guess(column)
        if not column or meant == SKIP or (meant is None and self.others == SKIP):
            return Target(SKIP)
        return Target(meant or self.others + column)

    @property
    def digest(self) -> str:
        """Equal where a file would be sent alike."""
        columns = sorted((name, target.field, target.unit, target.format) for name, target in self.mapping.columns.items())
        return repr((columns, sorted(self.mapping.values.items()), self.others))


def plan(mapping: Mapping, columns: Sequence[str], *, fixed: bool) -> Plan:
    """The plan for a file with these columns. Raises CliFault where it names nobody, or what it names is not there.

    `fixed`: the file has these columns in each row, so one that the mapping names must be among them.
    """
    faults = []
    if fixed:
        for name, place in mapping.places.items():
            if name not in columns:
                faults.append(FieldViolation(place, f"the file has no column {name!r}"))
    named = [name for name in columns if name in mapping.columns or guess(name)]
    fields = {*mapping.values, *(mapping.columns[name].field if name in mapping.columns else str(guess(name)) for name in named)}
    made = Plan(mapping, mapping.others or (ATTRIBUTES if fields & EVENT_FIELDS else USER_ATTRIBUTES))
    by_field: dict[str, str] = dict.fromkeys(mapping.values, "a value of the mapping")
    for column in columns:
        target = made.target(column).field
        if target == SKIP:
            continue
        if target in by_field:
            faults.append(FieldViolation(column, f"becomes {target}, and so does {by_field[target]}: name another field in the mapping"))
        by_field[target] = column
    if faults:
        raise CliFault("The mapping and the file do not fit.", exit_code=ExitCode.BAD_INPUT, violations=faults)
    if not any(names_somebody(field) for field in by_field):
        raise bad_input(
            f"No column says who the rows are about: there are {', '.join(columns) or 'none'}.",
            hint="Name one in a mapping file: `columns: {Client: customer_id}`; docs/cli.md lists the fields.",
        )
    return made


def read_mapping(path: Path) -> Mapping:
    """A mapping file. Raises CliFault with each fault and its line."""
    try:
        root = yaml.compose(path.read_text(), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as fault:
        raise bad_input(f"The mapping {path} can't be read: {fault}") from None
    except yaml.YAMLError as fault:
        raise bad_input(f"The mapping {path} is not YAML: {fault}") from None
    reading = _Reading(path)
    mapping = reading.root(root) if root is not None else Mapping()
    if reading.faults:
        raise CliFault("The mapping has faults.", exit_code=ExitCode.BAD_INPUT, violations=reading.faults)
    return mapping


class _Reading:
    """Reads the nodes of the YAML, which know their lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.faults: list[FieldViolation] = []

    def root(self, node: yaml.Node) -> Mapping:
        columns: dict[str, Target] = {}
        places: dict[str, str] = {}
        values: dict[str, str] = {}
        others = ""
        for key, value in self._entries(node, "The file"):
            match key.value:
                case "columns":
                    for column, said in self._entries(value, "columns"):
                        columns[column.value] = self._target(said)
                        places[column.value] = self._place(column)
                case "values":
                    for name, said in self._entries(value, "values"):
                        values[self._field(name)] = self._text(said)
                case "others":
                    others = _OTHERS.get(self._text(value), "")
                    if not others:
                        self._fault(value, f"others is one of {', '.join(_OTHERS)}")
                case _:
                    self._fault(key, f"{key.value!r} is none of columns, values and others")
        return Mapping(columns, values, others, places)

    def _target(self, node: yaml.Node) -> Target:
        if isinstance(node, yaml.ScalarNode):
            return Target(SKIP if node.value == SKIP else self._field(node))
        said: dict[str, yaml.Node] = {}
        for key, value in self._entries(node, "A column"):
            if key.value not in ("field", "unit", "format"):
                self._fault(key, f"{key.value!r} is none of field, unit and format")
            said[key.value] = value
        if "field" not in said:
            self._fault(node, "no field is named")
            return Target(SKIP)
        target = Target(self._field(said["field"]), *(self._text(said[name]) if name in said else "" for name in ("unit", "format")))
        if target.unit and target.unit not in _UNITS:
            self._fault(said["unit"], f"unit is one of {', '.join(_UNITS)}")
        if (target.unit or target.format) and target.field != "time":
            self._fault(node, "only a time has a unit or a format")
        if target.unit and target.format:
            self._fault(node, "a time has a unit or a format, not both")
        return target

    def _field(self, node: yaml.Node) -> str:
        name = self._text(node)
        if name and not is_field(name):
            self._fault(node, f"{name!r} is no field: docs/cli.md lists them; an attribute is attributes.NAME or user_attributes.NAME")
        return name

    def _text(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self._fault(node, "a word is wanted here")
        return ""

    def _entries(self, node: yaml.Node, what: str) -> list[tuple[Any, Any]]:
        if not isinstance(node, yaml.MappingNode):
            self._fault(node, f"{what} must be a mapping: `name: value` on lines of their own")
            return []
        seen: set[str] = set()
        entries = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, "a name is wanted here")
            elif key.value in seen:
                self._fault(key, f"{key.value!r} is there twice")
            else:
                seen.add(key.value)
                entries.append((key, value))
        return entries

    def _place(self, node: yaml.Node) -> str:
        return f"{self._path.name}:{node.start_mark.line + 1}"

    def _fault(self, node: yaml.Node, said: str) -> None:
        self.faults.append(FieldViolation(self._place(node), said))
