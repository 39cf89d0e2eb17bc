"""From the body of a request to batches: the good ones, and of the others every fault with its place.

The quick way decodes straight into the types of `wire`. Only a batch that does not fit goes the slow way, which walks along the same
types, names each thing that does not fit, takes it out, and reads the rest as usual, so that one answer names all faults.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from services.ingest.domain.limits import BATCH_MAX_BYTES, BATCHES_MAX
from services.ingest.domain.mapping import batch_of
from services.ingest.domain.model import Batch, Fault, Faults, Reason
from services.ingest.domain.values import bad_character, place, whole
from services.ingest.domain.wire import WireBatch

_NUL = b"\\u0000"
# An escaped backslash, a pair of surrogates, or half of one.
_ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_BAD_CHARACTER = "holds a NUL character or half of a surrogate pair"


T = TypeVar("T")
W = TypeVar("W", bound=msgspec.Struct)


@dataclass(slots=True)
class Reading:
    """What came of a body. `whole` tells that the request itself is at fault, so that there are no batches to speak of."""

    batches: list[Batch] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    whole: bool = False


def read(body: bytes, *, bulk: bool, platform: str, now_ms: int) -> Reading:
    """The batches of a request of `/v2/bulkevents` or, not bulk, of `/v2/events`, whose body is one batch."""
    try:
        parts = opened(body, _decode_bulk if bulk else _decode_one)
    except Malformed as error:
        return _refused(str(error), Reason.MALFORMED)
    if len(parts) > BATCHES_MAX:
        return _refused(f"The request has {len(parts)} batches; at most {BATCHES_MAX} are taken.", Reason.TOO_MANY)
    reading = Reading()
    for index, part in enumerate(parts):
        faults = Faults(f"[{index}]" if bulk else "")
        wire = _batch.read(bytes(part), faults)
        batch = batch_of(wire, platform, now_ms, faults) if wire is not None else None
        if batch is not None and not faults:
            reading.batches.append(batch)
        else:
            reading.faults += faults.found
    return reading


class Malformed(Exception):
    """A request that has no parts to speak of; the text says why, and at which byte."""


def opened(body: bytes, decode: Callable[[bytes], T]) -> T:
    """The outermost form of a request, its parts still as they were sent. Raises Malformed."""
    try:
        return decode(body)
    except msgspec.DecodeError:
        # The decoder knows no halves of surrogate pairs. As NULs, of the same length, they are found in their parts.
        body = _ESCAPES.sub(_half_to_nul, body)
    except (RecursionError, UnicodeDecodeError) as error:
        raise Malformed(_sentence(error, body)) from None
    try:
        return decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(_sentence(error, body)) from None


class Form(Generic[W]):
    """The JSON of one part of a request, whose fields and types are those of a Struct of `wire`."""

    def __init__(self, type_: type[W], *, most_bytes: int) -> None:
        self._type = type_
        self._most_bytes = most_bytes
        self._decode = msgspec.json.Decoder(type_, float_hook=_number).decode

    def read(self, part: bytes, faults: Faults) -> W | None:
        """What was sent, of use only if no fault was added; None where nothing can be read."""
        if len(part) > self._most_bytes:
            faults.add("", f"is {len(part)} bytes long; at most {self._most_bytes} are taken", Reason.TOO_LARGE)
            return None
        try:
            wire = self._quickly(part) or _fitting(_decode_any(part), self._type, "", faults)
        except UnicodeDecodeError:
            faults.add("", "is not UTF-8", Reason.BAD_CHARACTER)
            return None
        except (msgspec.DecodeError, RecursionError) as error:
            faults.add("", _sentence(error, part), Reason.MALFORMED)
            return None
        if isinstance(wire, self._type):
            return wire
        faults.add("", "must be an object", Reason.WRONG_TYPE)
        return None

    def _quickly(self, part: bytes) -> W | None:
        """What was sent, if nothing about it is in doubt."""
        if _NUL in part:
            return None
        try:
            return self._decode(part)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def _decode_one(body: bytes) -> list[msgspec.Raw]:
    return [_decode_raw(body)]


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # Its exponent is beyond all bounds; what is not finite is refused where its place is known.
        return Decimal("NaN")


_decode_bulk = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_batch = Form(WireBatch, most_bytes=BATCH_MAX_BYTES)
_decode_any = msgspec.json.Decoder(float_hook=_number).decode


# --- the slow way


def _fitting(value: Any, type_: Any, path: str, faults: Faults) -> Any:
    """The value as a value of the type; what does not fit is named and left out (None)."""
    if value is None:
        return None
    options = [option for option in typing.get_args(type_) if option is not types.NoneType] if _is_union(type_) else [type_]
    expected = options[0]
    if isinstance(expected, type) and issubclass(expected, msgspec.Struct):
        if not isinstance(value, dict):
            faults.add_at(path, f"must be an object, not {_said(value)}", Reason.WRONG_TYPE)
            return None
        return _fitting_struct(value, expected, path, faults)
    origin = typing.get_origin(expected)
    if origin is list:
        if not isinstance(value, list):
            faults.add_at(path, f"must be a list, not {_said(value)}", Reason.WRONG_TYPE)
            return None
        (entry,) = typing.get_args(expected)
        fitting = [_fitting(item, entry, f"{path}[{index}]", faults) for index, item in enumerate(value)]
        # An entry that is null, or does not fit, must keep its place for the places of the others.
        return [_empty(entry) if item is None else item for item in fitting]
    if origin is dict:
        if not isinstance(value, dict):
            faults.add_at(path, f"must be an object, not {_said(value)}", Reason.WRONG_TYPE)
            return None
        return _fitting_entries(value, typing.get_args(expected)[1], path, faults)
    if expected is Any:
        return _clean(value, path, faults)
    return _fitting_leaf(value, options, path, faults)


# The types' annotations are read once: it takes longer than all else that a faulty batch costs.
_fields_of = cache(msgspec.structs.fields)


def _fitting_struct(value: dict[str, Any], type_: type[msgspec.Struct], path: str, faults: Faults) -> Any:
    fields: dict[str, Any] = {}
    missing = False
    for known in _fields_of(type_):
        where = f"{path}.{known.encode_name}" if path else known.encode_name
        fitting = _fitting(value.get(known.encode_name), known.type, where, faults)
        if fitting is not None:
            fields[known.name] = fitting
        elif known.required:
            faults.add_at(where, f'Required field "{known.encode_name}" is missing or empty.', Reason.MISSING)
            missing = True
    return None if missing else type_(**fields)


def _fitting_entries(value: dict[str, Any], entry: Any, path: str, faults: Faults) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, item in value.items():
        where = place(path, name)
        if bad_character(name):
            faults.add_at(where, f"has a name that {_BAD_CHARACTER}", Reason.BAD_CHARACTER)
        else:
            entries[name] = _fitting(item, entry, where, faults)
    return entries


def _fitting_leaf(value: Any, options: list[Any], path: str, faults: Faults) -> Any:
    if float in options and isinstance(value, int | Decimal) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            faults.add_at(path, "is not a number of this world", Reason.NOT_A_NUMBER)
            return None
    elif int in options:
        value = whole(value)
    for option in options:
        try:
            fitting = msgspec.convert(value, option)
        except msgspec.ValidationError:
            continue
        if isinstance(fitting, str) and bad_character(fitting):
            faults.add_at(path, _BAD_CHARACTER, Reason.BAD_CHARACTER)
            return None
        return fitting
    wanted = " or ".join(_WORDS[option] for option in options)
    faults.add_at(path, f"must be {wanted}, not {_said(value)}", Reason.WRONG_TYPE)
    return None


def _clean(value: Any, path: str, faults: Faults) -> Any:
    """A value of any form, if none of its texts has a character that cannot be kept; else None."""
    if isinstance(value, str) and bad_character(value):
        faults.add_at(path, _BAD_CHARACTER, Reason.BAD_CHARACTER)
        return None
    if isinstance(value, list):
        before = len(faults.found)
        for index, item in enumerate(value):
            _clean(item, f"{path}[{index}]", faults)
        return value if len(faults.found) == before else None
    if isinstance(value, dict):
        return _fitting_entries(value, Any, path, faults)
    return value


def _empty(type_: Any) -> Any:
    expected = type_ if isinstance(type_, type) else str
    return expected()


def _is_union(type_: Any) -> bool:
    return typing.get_origin(type_) in (types.UnionType, typing.Union)


_WORDS = {str: "text", int: "a whole number", float: "a number", Decimal: "a number", bool: "true or false"}


def _said(value: Any) -> str:
    if isinstance(value, Decimal):
        return "a number with decimals"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return _WORDS.get(type(value), "something else")


# --- a request that is at fault as a whole


def _half_to_nul(found: re.Match[bytes]) -> bytes:
    return _NUL if len(found[0]) == len(_NUL) else found[0]


def _sentence(error: Exception, body: bytes) -> str:
    if isinstance(error, RecursionError):
        return "The JSON is nested too deeply."
    if isinstance(error, UnicodeDecodeError):
        return "The JSON is not UTF-8: the name of a field can't be read."
    if isinstance(error, msgspec.ValidationError):
        return f"The JSON has another form: {error}."
    # Most of the decoder's sentences name the byte; that the end is missing does not.
    return f"{error}." if "byte" in str(error) else f"{error} (byte {len(body)})."


def _refused(description: str, reason: Reason) -> Reading:
    return Reading(faults=[Fault("", description, reason)], whole=True)
