"""The cells of a column of Arrow: checked as the values of the Events API are, and written as text or JSON, many at once.

What is wrong is found by column and described by cell, so a table without faults costs no step by row.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.ingest.domain.limits import ENTRY_MAX, LIST_MAX, NUMBER_MAX_EXPONENT, VALUE_MAX
from services.ingest.domain.model import Faults, Reason
from services.ingest.domain.table import Array, Cells, Flags, Ints, Kind, TableFaults
from services.ingest.domain.values import attributes_of, bad_character, encode, is_number

NUL = "holds a NUL character"
# What JSON writes as an escape.
_ESCAPED = r'[\x00-\x1f"\\]'
# A number whose text is JSON too, of a size that numbers have.
_PLAIN_NUMBER = r"^-?(0|[1-9][0-9]{0,200})(\.[0-9]{1,100})?$"
# A decimal of Arrow has 76 digits at most; with a scale up to here its size is that of a number.
_SCALE_MAX = NUMBER_MAX_EXPONENT - 76


def plain(column: Array) -> Array:
    """The column with each value in its place, if it is dictionary encoded."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def unpacked_bytes(column: Array) -> int:
    """How large `plain` would be, found without making it."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    values = column.dictionary
    if not _is_text(values.type):
        return int(values.type.bit_width // 8 + 1) * len(column) if pa.types.is_primitive(values.type) else int(values.nbytes) * len(column)
    return (pc.sum(pc.binary_length(values).take(column.indices)).as_py() or 0) + 8 * len(column)


def is_text(column: Array) -> bool:
    """Whether the values are text."""
    return _is_text(column.type)


def rows_where(mask: Array) -> list[int]:
    """The rows where a mask of Arrow is true; null is not."""
    return list(np.flatnonzero(flags(mask)).tolist())


def flags(mask: Array) -> Flags:
    """A mask of Arrow as one of numpy; null is false."""
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), np.bool_)


def texts(column: Array, name: str, most: int, faults: TableFaults) -> Array:
    """Texts of at most so many characters, as strings."""
    values = column if column.type == pa.string() else column.cast(pa.string())
    # In bytes first: a text of few bytes has few characters.
    longest = pc.max(pc.binary_length(values)).as_py()
    if longest is not None and longest > most:
        lengths = pc.utf8_length(values)
        rows = rows_where(pc.greater(lengths, most))
        said = [f"is {lengths[row].as_py()} characters long; at most {most} are taken" for row in rows]
        faults.add(rows, name, said, Reason.TOO_LONG)
    faults.add(rows_where(pc.match_substring(values, "\0")), name, NUL, Reason.BAD_CHARACTER)
    return values


def attribute(column: Array, name: str, kind: Kind | None, faults: TableFaults) -> Cells | None:
    """The values of an attribute. None, with a fault of the table, where the column's type is none of theirs.

    `kind` is what its texts are said to be, NUMBER or JSON.
    """
    type_ = column.type
    if pa.types.is_null(type_):
        return Cells(Kind.TEXT, pa.nulls(len(column), pa.string()))
    if _is_text(type_):
        if kind is Kind.NUMBER:
            return Cells(Kind.NUMBER, number_texts(column, name, faults))
        if kind is Kind.JSON:
            return Cells(Kind.JSON, _json_texts(column, name, faults))
        return Cells(Kind.TEXT, texts(column, name, VALUE_MAX, faults))
    if pa.types.is_boolean(type_):
        return Cells(Kind.BOOLEAN, column)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        if _is_text(type_.value_type) or pa.types.is_null(type_.value_type):
            return Cells(Kind.LIST, _lists(column.cast(pa.list_(pa.string())), name, faults))
    elif pa.types.is_timestamp(type_):
        utc = column if type_.tz is None else column.cast(pa.timestamp(type_.unit, "UTC")).cast(pa.timestamp(type_.unit))
        text = pc.replace_substring(utc.cast(pa.string()), " ", "T")
        return Cells(Kind.TEXT, pc.binary_join_element_wise(text, "Z", ""))
    elif pa.types.is_date(type_):
        return Cells(Kind.TEXT, column.cast(pa.date32()).cast(pa.string()))
    elif (numbers := decimal_texts(column, name, faults)) is not None:
        return Cells(Kind.NUMBER, numbers)
    wanted = "must be text, a number, true or false, a date or a list of texts"
    faults.add_whole(f"columns.{name}", f"{wanted}, not {type_}", Reason.WRONG_TYPE)
    return None


def decimal_texts(column: Array, name: str, faults: TableFaults) -> Array | None:
    """Numbers as text, with the digits that they have; a float with the fewest that tell it. None: these are no numbers."""
    type_ = column.type
    if pa.types.is_integer(type_):
        return column.cast(pa.string())
    if pa.types.is_decimal(type_):
        return column.cast(pa.string()) if abs(type_.scale) <= _SCALE_MAX else None
    if not pa.types.is_floating(type_):
        return None
    if pa.types.is_float16(type_):
        # Arrow computes with no halves.
        column = column.cast(pa.float32())
    size = pc.abs(column)
    no_number = pc.or_(pc.invert(pc.is_finite(column)), pc.and_(pc.less(size, 10.0**-NUMBER_MAX_EXPONENT), pc.greater(size, 0.0)))
    faults.add(rows_where(no_number), name, "is not a number of this world", Reason.NOT_A_NUMBER)
    return column.cast(pa.string())


def number_texts(column: Array, name: str, faults: TableFaults) -> Array:
    """Decimal texts of numbers, as JSON writes them."""
    values = column.cast(pa.string())
    if pc.all(pc.match_substring_regex(values, _PLAIN_NUMBER)).as_py() is not False:
        return values
    return each(values, _decimal_text, pa.string(), name, "is not decimal text", Reason.NOT_A_NUMBER, faults)


def _decimal_text(text: str) -> str:
    amount = Decimal(text)
    if not is_number(amount):
        raise ValueError("not a number of this world")
    return str(amount)


def _json_texts(column: Array, name: str, faults: TableFaults) -> Array:
    """Values as JSON, each checked as the Events API checks it, and written as it writes it."""
    coded = column.dictionary_encode()
    made: list[str | None] = []
    indices = codes(coded.indices)
    for number, text in enumerate(coded.dictionary.to_pylist()):
        found = Faults()
        try:
            value = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            found.add("", "is not JSON", Reason.MALFORMED)
        else:
            attributes_of({"x": value}, "", found)
            entries = value if isinstance(value, list) else [value]
            if any(isinstance(entry, str) and bad_character(entry) for entry in entries):
                found.add("", NUL, Reason.BAD_CHARACTER)
        for fault in found.found[:1]:
            # `.x` is the value, `.x[3]` an entry of a list.
            inside = fault.place.removeprefix(".x")
            faults.add(np.flatnonzero(indices == number).tolist(), name, fault.description, fault.reason, inside=inside)
        made.append(None if found or value is None else encode(value).decode())
    return pa.array(made, pa.string()).take(coded.indices)


def _finite(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # Its exponent is beyond all bounds: refused as no number.
        return Decimal("NaN")


_decode = msgspec.json.Decoder(float_hook=_finite).decode


def whole_numbers(column: Array, name: str, wanted: str, faults: TableFaults) -> Array | None:
    """Whole numbers of 64 bits, also where they are written as text. None: these are neither."""
    if not (pa.types.is_integer(column.type) or _is_text(column.type)):
        return None
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return each(column, int, pa.int64(), name, wanted, Reason.NOT_A_NUMBER, faults)


def each(column: Array, read: Callable[[Any], Any], type_: Any, name: str, wanted: str, reason: Reason, faults: TableFaults) -> Array:
    """Each distinct value by itself: what `read` makes of it, null with a fault where it raises ValueError or does not fit the type."""
    coded = column.dictionary_encode()
    made: list[Any] = []
    bad: list[int] = []
    for number, value in enumerate(coded.dictionary.to_pylist()):
        try:
            made.append(pa.scalar(read(value), type_).as_py())
        except (ValueError, ArithmeticError, pa.ArrowException):
            made.append(None)
            bad.append(number)
    if bad:
        rows = rows_where(pc.is_in(coded.indices, pa.array(bad, coded.indices.type)))
        faults.add(rows, name, wanted, reason)
    return pa.array(made, type_).take(coded.indices)


def json_of(cells: Cells) -> Array:
    """Each value as JSON, as `values.encode` writes it; null where there is none."""
    values = cells.values
    if cells.kind in (Kind.NUMBER, Kind.JSON):
        return values
    if cells.kind is Kind.BOOLEAN:
        return pc.if_else(values, "true", "false")
    if cells.kind is Kind.LIST:
        return pa.array([None if value is None else encode(value).decode() for value in values.to_pylist()], pa.string())
    if not pc.any(pc.match_substring_regex(values, _ESCAPED)).as_py():
        return pc.binary_join_element_wise('"', values, '"', "")
    coded = values.dictionary_encode()
    return pa.array([encode(value).decode() for value in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)


def json_key(name: str) -> str:
    """What stands before a value in an object: `"name":`."""
    return msgspec.json.encode(name).decode() + ":"


def codes(indices: Array) -> Ints:
    """The places of a dictionary-encoded column, -1 where it is null."""
    return np.asarray(pc.fill_null(indices, -1).to_numpy(zero_copy_only=False)).astype(np.int64, copy=False)


def _lists(column: Array, name: str, faults: TableFaults) -> Array:
    lengths = pc.list_value_length(column)
    rows = rows_where(pc.greater(lengths, LIST_MAX))
    said = [f"has {lengths[row].as_py()} entries; at most {LIST_MAX} are taken" for row in rows]
    faults.add(rows, name, said, Reason.TOO_MANY)
    entries = column.flatten()
    _check_entries(column, pc.is_null(entries), name, "must be text: a list holds texts only", Reason.WRONG_TYPE, faults)
    too_long = pc.greater(pc.utf8_length(entries), ENTRY_MAX)
    _check_entries(column, too_long, name, f"is longer than {ENTRY_MAX} characters", Reason.TOO_LONG, faults)
    _check_entries(column, pc.match_substring(entries, "\0"), name, NUL, Reason.BAD_CHARACTER, faults)
    return column


def _check_entries(column: Array, bad: Array, name: str, said: str, reason: Reason, faults: TableFaults) -> None:
    if not pc.any(bad).as_py():
        return
    parents = column.value_parent_indices().to_numpy()
    begins = np.searchsorted(parents, parents)
    for entry in rows_where(bad):
        faults.add([int(parents[entry])], name, said, reason, inside=f"[{entry - begins[entry]}]")


def _is_text(type_: Any) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))
