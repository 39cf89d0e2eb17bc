"""NDJSON: an object a line. Numbers keep their digits, and objects within it give columns `outer.inner`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa

from cli.faults import bad_input
from cli.importing.fields import is_attribute
from cli.importing.lines import Lines
from cli.importing.mapping import Plan
from cli.importing.piece import PIECE_BYTES, Piece, Place, Rejected, rows_of, table_of
from cli.importing.source import Source

_SAMPLE_ROWS = 1_000
_INT64 = range(-(2**63), 2**63)
Row = dict[str, Any]


def _number(text: str) -> Any:
    number = Decimal(text)
    # An exponent beyond all bounds is told as text, and refused by the service.
    return number if number.is_finite() else text


_decode = msgspec.json.Decoder(dict[str, Any], float_hook=_number).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class NdjsonFile:
    """A file of JSON objects, one a line; a null says nothing. Its columns are those of its first thousand rows."""

    fixed = False
    delimiter = ""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size
        names: dict[str, None] = {}
        with source.open_buffered() as file:
            for line in islice(Lines(file, Place()).raw(), _SAMPLE_ROWS):
                row = _row(line)
                if isinstance(row, dict):
                    names |= dict.fromkeys(row)
        if not names:
            raise bad_input(f"{source.name} holds no JSON object on a line of its own.")
        self.columns: Sequence[str] = list(names)

    def pieces(self, plan: Plan, start: Place) -> Iterator[Piece]:
        """The pieces from a place on that an earlier piece ended at."""
        with self._source.open_buffered() as file:
            lines = Lines(file, start)
            source = lines.raw()
            while True:
                piece = _piece(source, lines, plan)
                if piece.end == piece.start:
                    return
                yield piece


def _piece(source: Iterator[bytes], lines: Lines, plan: Plan) -> Piece:
    start = lines.place
    rows: list[Row] = []
    raw: list[bytes] = []
    numbers: list[int] = []
    rejected: list[Rejected] = []
    until = start.offset + PIECE_BYTES
    names: set[str] = set()
    while len(rows) < rows_of(len(names)) and lines.offset < until and (line := next(source, None)) is not None:
        row = _row(line)
        if isinstance(row, dict):
            names.update(row)
            rows.append(row)
            raw.append(line)
            numbers.append(lines.number)
        elif row:
            rejected.append(Rejected(lines.number, row, line))
    bad: dict[int, str] = {}
    table = _table(rows, plan, bad)
    if bad:
        rejected += [Rejected(numbers[place], reason, raw[place]) for place, reason in sorted(bad.items())]
        good = [place for place in range(len(rows)) if place not in bad]
        rows, raw, numbers = [rows[place] for place in good], [raw[place] for place in good], [numbers[place] for place in good]
        table = _table(rows, plan, {})
    return Piece(start, lines.place, table, rejected, lambda place: (numbers[place], raw[place]))


def _row(line: bytes) -> Row | str:
    """The object of a line, one level of objects within it unfolded; else what is wrong with it, empty for a blank line."""
    if line.isspace():
        return ""
    try:
        row = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        return f"is no JSON object: {fault}"
    if any(type(value) is dict for value in row.values()):
        flat: Row = {}
        for name, value in row.items():
            flat |= {f"{name}.{inner}": one for inner, one in value.items()} if type(value) is dict else {name: value}
        return flat
    return row


def _table(rows: list[Row], plan: Plan, bad: dict[int, str]) -> pa.Table | None:
    """The rows as columns. Rows whose values can't stand in their columns are added to `bad`."""
    if not rows:
        return None
    columns: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        found = set(map(type, values)) - {type(None)}
        if found <= {str}:
            columns[name] = _texts(values, bad)
        elif found == {bool}:
            columns[name] = pa.array(values, pa.bool_())
        elif found == {int} and all(value is None or value in _INT64 for value in values):
            columns[name] = pa.array(values, pa.int64())
        elif found == {list} and all(value is None or all(type(entry) is str for entry in value) for value in values):
            columns[name] = pa.array(values, pa.list_(pa.string()))
        elif is_attribute(plan.target(name).field):
            kinds[name] = "number" if found <= {int, Decimal} else "json"
            written = map(str, values) if kinds[name] == "number" else (_encode(value).decode() for value in values)
            columns[name] = pa.array([None if value is None else text for value, text in zip(values, written, strict=True)], pa.string())
        else:
            for place, value in enumerate(values):
                if isinstance(value, bool | list | dict):
                    bad.setdefault(place, f"{name} must be text or a number")
            columns[name] = pa.array([value if value is None else str(value) for value in values], pa.string())
    return table_of(columns, kinds, plan, len(rows))


def _texts(values: list[Any], bad: dict[int, str]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        # Half of a surrogate pair, which JSON can write and UTF-8 can't.
        for place, value in enumerate(values):
            if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
                bad.setdefault(place, "holds half of a surrogate pair")
        return pa.nulls(len(values), pa.string())
