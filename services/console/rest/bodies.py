"""JSON bodies: parsed, and held against the message that they are to fill, so that every fault is told by its name.

protobuf's own reader stops at the first fault and takes some values in silence; what passes here it reads.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from typing import Any, NoReturn

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from .faults import VIOLATIONS_MAX, Findings, nearest, shown

# protobuf's reader goes no deeper.
DEPTH_MAX = 90
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_KEY_MAX = 100
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


class _Repeated(dict[str, Any]):
    """An object with keys that came more than once."""

    keys_repeated: tuple[str, ...] = ()


class _BadConstant(Exception):
    """NaN or an infinity, which are no JSON."""


def parsed(text: bytes, findings: Findings) -> Any:
    """The value of a JSON text; a fault where it is none."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except RecursionError:
        findings.add("", "TOO_DEEP", f"The body is nested deeper than {DEPTH_MAX} levels; flatten it.")
    except _BadConstant as fault:
        findings.add("", "NOT_JSON", f"The body is no JSON: {fault} is no number.")
    except json.JSONDecodeError as fault:
        findings.add("", "NOT_JSON", f"The body is no JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}.")
    except (UnicodeDecodeError, ValueError):
        # A number of thousands of digits is a ValueError too.
        findings.add("", "NOT_JSON", "The body is no JSON in UTF-8 with numbers of a usual length.")
    return None


def check(value: Any, message: Descriptor, findings: Findings, path: str = "", depth: int = 0) -> None:
    """Every fault of a value that is to fill a message. `path` is that of the value in the request."""
    if depth > DEPTH_MAX:
        findings.add(path, "TOO_DEEP", f"The body is nested deeper than {DEPTH_MAX} levels; flatten it.")
        return
    if message.full_name == "google.protobuf.FieldMask":
        if not isinstance(value, str) or "_" in value:
            findings.add(path, "WRONG_TYPE", "A mask is one text of field names in lowerCamelCase with commas between.")
        return
    if not isinstance(value, dict):
        findings.add(path, "WRONG_TYPE", f"An object is needed, not {kind_of(value)}.")
        return
    for key in getattr(value, "keys_repeated", ())[:VIOLATIONS_MAX]:
        findings.add(_below(path, key), "DUPLICATE_KEY", "The key comes twice in its object; keep one.")
    known = _names_of(message)
    chosen: dict[str, str] = {}
    for key, inner in value.items():
        if findings.full:
            return
        field = known.get(key)
        if field is None:
            told = f"There is no field {shown(key)} in {message.name}.{nearest(key, message.fields_by_name)}"
            findings.add(_below(path, key), "UNKNOWN_FIELD", told)
            continue
        at = _below(path, field.name)
        first = chosen.setdefault(field.name, key)
        if first != key:
            findings.add(at, "DUPLICATE_KEY", f"The field is given as `{first}` and as `{key}`; keep one.")
        if inner is None:
            continue
        if (oneof := field.containing_oneof) is not None:
            other = chosen.setdefault(f"oneof {oneof.name}", field.name)
            if other != field.name:
                findings.add(at, "NOT_APPLICABLE", f"Only one of `{other}` and `{field.name}` can be given; leave one out.")
        _field(inner, field, findings, at, depth)


def _field(value: Any, field: FieldDescriptor, findings: Findings, path: str, depth: int) -> None:
    of = field.message_type
    if of is not None and of.GetOptions().map_entry:
        if not isinstance(value, dict):
            findings.add(path, "WRONG_TYPE", f"An object is needed, not {kind_of(value)}.")
            return
        for key, inner in value.items():
            if findings.full:
                return
            if not _is_text(key):
                findings.add(path, "WRONG_TYPE", "A key holds half of a surrogate pair, which is no character; remove it.")
            _one(inner, of.fields_by_name["value"], findings, f'{path}["{_printable(key)}"]', depth)
    elif field.is_repeated:
        if not isinstance(value, list):
            findings.add(path, "WRONG_TYPE", f"A list is needed, not {kind_of(value)}.")
            return
        for index, inner in enumerate(value):
            if findings.full:
                return
            _one(inner, field, findings, f"{path}[{index}]", depth)
    else:
        _one(value, field, findings, path, depth)


@cache
def _names_of(message: Descriptor) -> dict[str, FieldDescriptor]:
    return {name: field for field in message.fields for name in (field.name, field.json_name)}


def _one(value: Any, field: FieldDescriptor, findings: Findings, path: str, depth: int) -> None:
    findings.look()
    if field.message_type is not None:
        check(value, field.message_type, findings, path, depth + 1)
    elif field.enum_type is not None:
        _enum(value, field.enum_type, findings, path)
    elif field.cpp_type in _RANGES:
        _integer(value, field, findings, path)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            findings.add(path, "WRONG_TYPE", f"true or false is needed, not {kind_of(value)}.")
    elif field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        _number(value, findings, path)
    elif not isinstance(value, str):
        findings.add(path, "WRONG_TYPE", f"A text is needed, not {kind_of(value)}.")
    elif not _is_text(value):
        findings.add(path, "WRONG_TYPE", "The text holds half of a surrogate pair, which is no character; remove it.")


def _enum(value: Any, enum: EnumDescriptor, findings: Findings, path: str) -> None:
    names = enum.values_by_name
    if isinstance(value, str):
        if value not in names:
            findings.add(path, "UNKNOWN_VALUE", f"{shown(value)} is no {enum.name}.{nearest(value, names)}")
    elif isinstance(value, bool) or not isinstance(value, int) or value not in enum.values_by_number:
        findings.add(path, "UNKNOWN_VALUE", f"A name of {enum.name} is needed.{nearest('', names)}")


def _integer(value: Any, field: FieldDescriptor, findings: Findings, path: str) -> None:
    least, most = _RANGES[field.cpp_type]
    number: int | None = None
    if isinstance(value, str):
        number = int(value) if _INTEGER.fullmatch(value) else None
    elif isinstance(value, float):
        number = int(value) if math.isfinite(value) and value.is_integer() else None
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None:
        findings.add(path, "WRONG_TYPE", f"A whole number is needed, not {kind_of(value)} that is none.")
    elif not least <= number <= most:
        findings.add(path, "OUT_OF_RANGE", f"The number does not fit; give {least} to {most}.")


def _number(value: Any, findings: Findings, path: str) -> None:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not math.isfinite(number) or (isinstance(value, str) and value.strip() != value):
        findings.add(path, "WRONG_TYPE", f"A number is needed, not {kind_of(value)} that is none.")


def kind_of(value: Any) -> str:
    """What a value is, for a sentence."""
    return next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "null")


def _below(path: str, name: str) -> str:
    return f"{path}.{_printable(name)}" if path else _printable(name)


def _printable(name: str) -> str:
    return name[:_KEY_MAX].encode(errors="replace").decode()


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _no_constant(name: str) -> NoReturn:
    raise _BadConstant(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeated = _Repeated(value)
    seen = set[str]()
    twice = dict[str, None]()
    for key, _ in pairs:
        if key in seen:
            twice[key] = None
        seen.add(key)
    repeated.keys_repeated = tuple(twice)
    return repeated
